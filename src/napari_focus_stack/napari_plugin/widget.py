"""What the panel does: choose a stack and options, fuse, look at the sharpness."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from ..chosen import in_words
from ..errors import InputError
from ..options import FocusStackOptions
from ..presets import PRESETS, preset_of
from .heights import HeightScale, HeightView, ShownHeights, shown_heights, surface_in_view
from .host import Shown
from .latest import Latest
from .layers import Position, StackChoice, describe_axis, focus_axes, is_stack
from .panel import FocusStackPanel
from .placement import place_results
from .preview import InView, Pasted, Preview, PreviewMaker, PreviewPlan, plan_preview
from .remembered import Remembered, keep, recall
from .results import ResultLayers
from .turns import Turns
from .worker import FocusRunner, Job, RunFailure, RunProgress, StackResults, describe_run, warm_up

if TYPE_CHECKING:
    from magicgui.widgets import ComboBox
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ..alignment import Alignment
    from ..sharpness import SharpnessReport
    from ..surface import SurfaceReport
    from .samples import LayerTuple

_LIVE_DELAY_MS = 40
# A run as short as this needs no quick look.
_WHOLE_AT_ONCE_S = 0.15
# Height maps as small as this are levelled and measured without a thread.
_AT_ONCE_PX = 1 << 18
_NO_STACK = "No image layer has a z axis: open a z-stack to fuse it."
_OUTDATED = "Out of date: an option was changed since this result."


class FocusStackWidget(FocusStackPanel):
    """The dock widget "Focus stacking".

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Injected by napari, by this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self.viewer = napari_viewer
        self.closed = False
        self._run_again = False
        self._running: StackChoice | None = None
        self._job_end: Callable[[Any], None] | None = None
        self._seconds_per_value: float | None = None
        self._preview_rate: dict[str, float] = {}
        self._began = 0.0
        self._previews, self._pasted = PreviewMaker(), Pasted()
        self._levelling, self._measuring = Latest(), Latest()
        self._shown: Shown | None = None
        self._measured: tuple[Shown, Position, HeightScale, HeightView] | None = None
        self.result_layers = ResultLayers(napari_viewer)
        self._runner = FocusRunner(self._show_progress, self._end_run, self._show_preview)
        super().__init__()
        self._turns = Turns(self.native)
        self._boxes = {"height": self.height_box, "confidence": self.confidence_box}
        self._live_timer = QTimer(self.native)
        self._live_timer.setSingleShot(True)
        self._live_timer.setInterval(_LIVE_DELAY_MS)
        for section in self.sections:
            section.attach(self)
        self._recall()
        self._connect_rows()
        self._connect_viewer()
        self._choose_active_layer()
        self._stack_changed()
        self._take_theme()
        warm_up()

    def _connect_rows(self) -> None:
        self.stack_choice.changed.connect(self._stack_changed)
        self.axis_choice.changed.connect(self._refresh)
        self.sample_button.changed.connect(self._open_sample)
        for widget in self.option_rows.widgets.values():
            widget.changed.connect(self._option_changed)
        self.live_box.changed.connect(self._option_changed)
        self.preset_choice.changed.connect(self._preset_chosen)
        self.reset_button.changed.connect(self.reset)
        self.height_box.changed.connect(self._show_maps)
        self.confidence_box.changed.connect(self._show_maps)
        for control in (self.height_controls.level, self.height_controls.trust, self.height_controls.mask):
            control.changed.connect(self._height_view_changed)
        self.height_section.toggled.connect(self._show_surface)
        self.fuse_button.changed.connect(self.fuse)
        self.cancel_button.changed.connect(self.cancel)
        self.sharpness_view.plot.slice_clicked.connect(self._go_to_slice)
        self.measures.report_chosen.connect(self.sharpness_view.show_report)
        self._live_timer.timeout.connect(self._refresh_live)
        for box in (self.live_box, self.height_box, self.confidence_box):
            box.changed.connect(self._keep)
        self.closing.closed.connect(self._keep)
        self.closing.closed.connect(self.shut_down)
        self.native.destroyed.connect(self.shut_down)

    def _connect_viewer(self) -> None:
        # napari holds these bound methods weakly.
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered, layers.renamed):
            event.connect(self._layers_changed)
        self.viewer.dims.events.point.connect(self._view_moved)
        self.viewer.events.theme.connect(self._take_theme)

    def _leave_viewer(self) -> None:
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered, layers.renamed):
            event.disconnect(self._layers_changed)
        self.viewer.dims.events.point.disconnect(self._view_moved)
        self.viewer.events.theme.disconnect(self._take_theme)

    # ---- the stack -----------------------------------------------------------------------------

    def _stack_choices(self, _: Any) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in self.viewer.layers if is_stack(layer)]

    def _axis_choices(self, _: Any) -> list[tuple[str, Any]]:
        layer = self.stack_choice.value
        return [] if layer is None else [(describe_axis(layer, axis), axis) for axis in focus_axes(layer)]

    def _choose_active_layer(self) -> None:
        active = self.viewer.layers.selection.active
        if active is not None and is_stack(active):
            self.stack_choice.value = active

    def _layers_changed(self) -> None:
        if self.closed:
            return
        if self._running is not None and self._running.layer not in self.viewer.layers:
            self.cancel()
        if self._shown is not None and self._shown.choice.layer not in self.viewer.layers:
            self._shown = None
            self._turns.clear()
            self._pasted.forget()
            self._previews.forget()
        self.result_layers.forget_removed()
        if _reset_choices(self.stack_choice):
            self._stack_changed()
        else:
            self._refresh()

    def _stack_changed(self) -> None:
        layer = self.stack_choice.value
        with self.axis_choice.changed.blocked():
            self.axis_choice.reset_choices()
            if layer is not None:
                self.axis_choice.value = focus_axes(layer)[0]
        self.option_rows.set_channels(layer is not None and bool(layer.rgb))
        self.say("")
        self._refresh()

    def chosen(self) -> StackChoice | None:
        """Return the stack and axis that are chosen."""
        layer, axis = self.stack_choice.value, self.axis_choice.value
        return None if layer is None or axis is None else StackChoice(layer, axis)

    def options(self) -> FocusStackOptions | None:
        """Return the options as set, or None while what is typed is refused."""
        try:
            return self.option_rows.options()
        except InputError:
            return None

    def _open_sample(self) -> None:
        from napari.qt.threading import create_worker

        from .samples import bead_stack

        self.sample_button.enabled = False
        create_worker(bead_stack, _connect={"returned": self._add_sample, "finished": self._sample_opened})

    def _add_sample(self, layers: list[LayerTuple]) -> None:
        from napari.layers import Layer

        if not self.closed:
            for layer in layers:
                self.viewer.add_layer(Layer.create(*layer))

    def _sample_opened(self) -> None:
        if not self.closed:
            self.sample_button.enabled = True

    # ---- a run ---------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a run is under way or about to start, or its results are being added."""
        threads = self._levelling.busy or self._measuring.busy
        return self._runner.running or self._live_timer.isActive() or self._turns.pending or threads

    def fuse(self) -> None:
        """Fuse the chosen stack with the options as they are set."""
        self._fuse(live=False)

    def start_job(self, job: Job, on_end: Callable[[Any], None]) -> bool:
        """Run work that yields progress, as a fusion does.

        Parameters
        ----------
        job : callable
            Returns a generator of `RunProgress`; it runs in a thread.
        on_end : callable
            Gets what the generator returned; not called if it was cancelled or failed.

        Returns
        -------
        bool
            False where a run is under way already.
        """
        chosen = self.chosen()
        if self.closed or chosen is None or self._runner.running:
            return False
        self._runner.start_job(job)
        self._job_end = on_end
        self._begin(chosen)
        return True

    def _fuse(self, *, live: bool) -> None:
        chosen = self.chosen()
        if self.closed or chosen is None or self._runner.running:
            return
        try:
            options = self.option_rows.options()
            quick_look = self._quick_look(options) if live else None
            self._runner.start(chosen.stack, options, quick_look, self._known(options) if live else None)
        except InputError as refusal:
            self._fail(refusal)
            return
        self._job_end = None
        self._began = perf_counter()
        self._begin(chosen)

    def _known(self, options: FocusStackOptions) -> dict[Position, Alignment]:
        """Return the alignments of the result on show, if the same was asked for."""
        shown = self.shown_of_chosen()
        if shown is None:
            return {}
        before = shown.results.options
        alike = (before.align, before.match_brightness) == (options.align, options.match_brightness)
        return shown.results.alignments if alike else {}

    def _begin(self, chosen: StackChoice) -> None:
        self._running = chosen
        self.say("")
        self.progress_bar.value = 0
        self.progress_bar.native.setFormat("starting")
        self._refresh()

    def cancel(self) -> None:
        """Stop the run at the next slice; nothing is added."""
        self._run_again = False
        self._stop()

    def _stop(self) -> None:
        self._runner.cancel()
        self.progress_bar.native.setFormat("stopping")
        self.cancel_button.enabled = False

    def shut_down(self) -> None:
        """Stop what is running, and take no more part in the viewer: the panel was closed."""
        if self.closed:
            return
        self.closed = True
        self._run_again = False
        self._turns.clear()
        self._pasted.lift()
        for section in self.sections:
            section.shut_down()
        for thread in (self._levelling, self._measuring):
            thread.close()
        self._leave_viewer()
        self._runner.cancel()

    def _show_progress(self, progress: RunProgress) -> None:
        if not self.closed:
            self.progress_bar.max = progress.total
            self.progress_bar.value = progress.done
            self.progress_bar.native.setFormat(str(progress))

    def _end_run(self, outcome: Any) -> None:
        ran_on, self._running = self._running, None
        job_end, self._job_end = self._job_end, None
        if self.closed or ran_on is None:
            return
        if self._run_again:
            self._run_again = False
            if self.shown_of_chosen() is None or self._outdated():
                self._fuse(live=True)
            else:
                self._pasted.lift()
        elif isinstance(outcome, RunFailure):
            self._pasted.lift()
            self._fail(outcome.error)
        elif outcome is None or ran_on.layer not in self.viewer.layers:
            self._pasted.lift()
            self.say("Cancelled: nothing was added.")
        elif job_end is not None:
            job_end(outcome)
        else:
            self._show_results(ran_on, outcome)
        self._refresh()

    def _show_results(self, choice: StackChoice, results: StackResults) -> None:
        """Update the layers of the results at once, and add those that are not there yet, each in its turn."""
        self._seconds_per_value = (perf_counter() - self._began) / max(int(np.prod(choice.stack.pixels.shape)), 1)
        self._pasted.forget()
        self._keep()
        placement = place_results(choice.layer, choice.focus_axis)
        self._shown = Shown(choice, results, (placement.dropped, *results.warnings))
        is_first = self.result_layers.get(choice.key, "image") is None
        for field in ("image", "index"):
            self._update_or_add(choice.key, field)
        for field in self._ticked():
            self._update_or_add(choice.key, field)
        if is_first:
            self._turns.add(self._choose_fused)

    def _update_or_add(self, key: tuple[str, int], field: str) -> None:
        if self.result_layers.get(key, field) is None:
            self._turns.add(partial(self._show_result, field))
        else:
            self._show_result(field)

    def _ticked(self) -> list[str]:
        return [field for field, box in self._boxes.items() if box.value]

    def _show_result(self, field: str) -> None:
        """Add or update the layer of one result."""
        if self.closed or self._shown is None:
            return
        results, choice = self._shown.results, self._shown.choice
        if field == "height":
            work = partial(shown_heights, results, choice.stack, HeightScale.of(choice), self.height_controls.view())
            self._at_once_or_in_thread(self._levelling, work, partial(self._show_heights, self._shown))
            return
        self.result_layers.show([field], results, choice, place_results(choice.layer, choice.focus_axis))

    def _show_heights(self, shown: Shown, heights: ShownHeights) -> None:
        if self.closed or shown is not self._shown or not self.height_box.value:
            return
        choice = shown.choice
        placement = place_results(choice.layer, choice.focus_axis)
        self.result_layers.show(["height"], shown.results, choice, placement, heights)
        self.heights_seen.refresh()

    def _at_once_or_in_thread(self, thread: Latest, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do work on the height map: levelling 1 Mpx takes up to 130 ms, measuring it 140 ms."""
        if self._shown is not None and self._shown.results.height.size <= _AT_ONCE_PX and not thread.busy:
            done(work())
        else:
            thread.request(work, done)

    def _show_maps(self) -> None:
        """Show the maps whose boxes are ticked, and take away those that are not."""
        if self.closed or self._shown is None:
            return
        for field in self._boxes:
            if field in self._ticked():
                self._show_result(field)
            else:
                self.result_layers.remove(self._shown.choice.key, field)

    def _height_view_changed(self) -> None:
        if self.height_box.value:
            self._show_result("height")
        self._show_surface()

    def _fail(self, error: Exception) -> None:
        from napari.utils.notifications import show_error

        sentence = str(error)
        if not isinstance(error, InputError):
            sentence = f"Fusing failed: {type(error).__name__}: {sentence.partition(chr(10))[0]}"
        self.say(sentence)
        show_error(sentence)
        self._refresh()

    # ---- options and live ----------------------------------------------------------------------

    def _recall(self) -> None:
        """Set what was kept when the panel was closed last."""
        kept = recall()
        self.live_box.value, self.height_box.value = kept.live, kept.height
        self.confidence_box.value = kept.confidence
        self.option_rows.set_options(kept.options)
        self._name_preset()

    def _keep(self) -> None:
        """Keep what is set for the next start of napari."""
        options = self.options()
        if options is not None:
            keep(Remembered(self.live_box.value, self.height_box.value, self.confidence_box.value, options))

    def reset(self) -> None:
        """Set every option to its default."""
        self.option_rows.set_options(FocusStackOptions())

    def _preset_chosen(self, name: str | None) -> None:
        if name is not None:
            now = self.options() or FocusStackOptions()
            preset = FocusStackOptions.of(PRESETS[name].options, sharpness_measure=now.sharpness_measure)
            self.option_rows.set_options(preset)

    def _name_preset(self) -> None:
        """Name the preset that the options are; none where they were changed since."""
        options = self.options()
        with self.preset_choice.changed.blocked():
            self.preset_choice.value = None if options is None else preset_of(options)

    def height_view(self) -> HeightView:
        """Return how heights are levelled and masked."""
        return self.height_controls.view()

    def strokes(self) -> Labels | None:
        """Return the strokes of retouching on the chosen stack, if there are any."""
        return self.retouch.strokes()

    def _option_changed(self) -> None:
        self._name_preset()
        self._refresh()
        # Not put off by further changes: while a slider is dragged, quick looks follow it.
        if self.live_box.value and not self._live_timer.isActive():
            self._live_timer.start()

    def _refresh_live(self) -> None:
        options = self.options()
        if self.closed or options is None or not self.live_box.value:
            return
        if self._runner.running:
            if self._job_end is None and options != self._runner.options:
                self._run_again = True
                if self._runner.previewing:
                    self._runner.supersede()
                else:
                    self._stop()
        elif self._outdated():
            self._fuse(live=True)

    def _quick_look(self, options: FocusStackOptions) -> tuple[PreviewMaker, PreviewPlan] | None:
        """Return what to show before the whole is there; None where that takes no longer, or nothing is in view."""
        shown = self.shown_of_chosen()
        fused = self.shown_layer("image")
        if shown is None or fused is None:
            return None
        if options.aligns and (options.crop or self.position_in_view(shown.choice) not in self._known(options)):
            # Where the slices lie is not known before the whole was looked at.
            return None
        choice, known = shown.choice, self._seconds_per_value or 0.0
        stack = choice.stack
        if stack.result_array(bool, colour=True).shape != fused.data.shape:
            return None
        layers = self.result_layers.of(choice.key)
        in_view = next((seen for layer in layers.values() if (seen := InView.of(layer, choice, self.viewer))), None)
        if in_view is None or known * int(np.prod(stack.pixels.shape)) < _WHOLE_AT_ONCE_S:
            return None
        # Levelled or masked heights are those of the whole map.
        plain = self.height_controls.view() == HeightView(trust=self.height_controls.view().trust)
        fields = tuple(field for field in layers if layers[field].visible and (field != "height" or plain))
        position = self.position_in_view(choice)
        rate = self._preview_rate.get(options.method, self._seconds_per_value)
        return self._previews, plan_preview(stack, position, in_view, options, shown.results, fields, rate)

    def _show_preview(self, preview: Preview) -> None:
        if self.closed or self._shown is None or self._runner.options is None:
            return
        self._preview_rate[self._runner.options.method] = preview.seconds_per_value
        choice = self._shown.choice
        if "height" in preview.pixels:
            preview.pixels["height"] *= np.float32(HeightScale.of(choice).step)
        self._pasted.paste(preview, self.result_layers.of(choice.key), choice.stack)

    def _outdated(self) -> bool:
        """Return whether the result on show is of the chosen stack, but of other options."""
        shown = self.shown_of_chosen()
        return shown is not None and self.options() != shown.results.options

    # ---- what is shown -------------------------------------------------------------------------

    def shown_of_chosen(self) -> Shown | None:
        """Return the result on show if it is of the stack and the axis that are chosen now."""
        chosen = self.chosen()
        if self._shown is None or chosen is None or chosen.key != self._shown.choice.key:
            return None
        return self._shown

    def shown_layer(self, field: str) -> Image | None:
        """Return the layer of one result of the chosen stack, if it is there."""
        shown = self.shown_of_chosen()
        return None if shown is None else self.result_layers.get(shown.choice.key, field)

    def want_height(self) -> Image | None:
        """Return the layer of heights, added if it was not there; None without a result."""
        if self.shown_of_chosen() is not None:
            self.height_box.value = True
        return self.shown_layer("height")

    def _choose_fused(self) -> None:
        fused = self.shown_layer("image")
        if fused is not None and not self.closed:
            self.viewer.layers.selection.active = fused

    def _refresh(self) -> None:
        chosen, running = self.chosen(), self._runner.running
        self.description.setText(_NO_STACK if chosen is None else describe_run(chosen.stack, self.options()))
        self.sample_button.visible = chosen is None
        self.fuse_button.enabled = chosen is not None and not running
        self.cancel_button.enabled = running
        self.progress_bar.visible = running
        if self._outdated() and not running:
            self.say(_OUTDATED)
        elif self.status_line.text() == _OUTDATED:
            self.say("")
        shown = self.shown_of_chosen()
        self.warn(shown.warnings if shown is not None else ())
        self._show_sharpness()
        self._show_surface()
        for section in self.sections:
            section.refresh()

    def _show_sharpness(self) -> None:
        shown = self.shown_of_chosen()
        chosen = {} if shown is None else shown.results.chosen.get(self.position_in_view(shown.choice), {})
        self.tell_chosen(in_words(chosen))
        report = self._report_in_view()
        self.sharpness_view.setVisible(report is not None)
        if report is not None:
            self.sharpness_view.show_report(report)
            self._mark_slice()

    def _report_in_view(self) -> SharpnessReport | None:
        shown = self.shown_of_chosen()
        return None if shown is None else shown.results.reports.get(self.position_in_view(shown.choice))

    def position_in_view(self, choice: StackChoice) -> Position:
        """Return where the sliders stand along the axes that are neither focus nor picture."""
        return tuple(choice.index_in_view(axis, self.viewer) for axis in choice.stack.outer_axes)

    def _show_surface(self) -> None:
        """Measure the heights in view where the section on them is open and they have not been measured yet."""
        shown = self.shown_of_chosen()
        self.surface_figures.setVisible(shown is not None)
        if shown is None or not self.height_section.isExpanded():
            self._measured = None
            return
        choice = shown.choice
        wanted = self.position_in_view(choice), HeightScale.of(choice), self.height_controls.view()
        if self._measured is None or self._measured[0] is not shown or self._measured[1:] != wanted:
            self._measured = (shown, *wanted)
            work = partial(surface_in_view, shown.results, choice.stack, *wanted)
            self._at_once_or_in_thread(self._measuring, work, partial(self._show_figures, self._measured))

    def _show_figures(self, measured: tuple[Shown, Position, HeightScale, HeightView], report: SurfaceReport) -> None:
        if not self.closed and measured is self._measured:
            self.surface_figures.show_report(report)

    def _view_moved(self) -> None:
        if self.closed or self._shown is None or self._shown.choice.layer not in self.viewer.layers:
            return
        if len(self._shown.results.reports) > 1:
            self._show_sharpness()
            self._show_surface()
        else:
            self._mark_slice()
        for section in self.sections:
            section.view_moved()

    def _mark_slice(self) -> None:
        if self._shown is not None:
            choice = self._shown.choice
            self.sharpness_view.plot.set_slice_in_view(choice.index_in_view(choice.focus_axis, self.viewer))

    def _go_to_slice(self, k: int) -> None:
        if self._shown is not None:
            self._shown.choice.go_to_slice(k, self.viewer)

    def _take_theme(self) -> None:
        from napari.utils.theme import get_theme

        theme = get_theme(self.viewer.theme)
        colours = [colour.as_hex() for colour in (theme.background, theme.text, theme.current)]
        self.sharpness_view.plot.set_colours(*colours)
        for section in self.sections:
            section.set_colours(*colours)


def _reset_choices(choice: ComboBox) -> bool:
    """Read the choices anew, keeping what was chosen; return whether it is gone."""
    before = choice.value
    with choice.changed.blocked():
        choice.reset_choices()
        # magicgui takes the first choice when the chosen one is renamed.
        if before is not None and before in choice.choices:
            choice.value = before
    return bool(choice.value != before)
