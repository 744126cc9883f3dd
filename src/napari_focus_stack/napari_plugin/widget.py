"""What the panel does: choose a stack and options, fuse, look at the sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from ..chosen import in_words
from ..errors import InputError
from .heights import HeightScale, HeightView, shown_heights, surface_in_view
from .layers import Position, StackChoice, describe_axis, focus_axes, is_stack
from .panel import FocusStackPanel
from .placement import place_results
from .results import ResultLayers
from .worker import FocusRunner, RunFailure, RunOutcome, RunProgress, StackResults, describe_run, warm_up

if TYPE_CHECKING:
    from magicgui.widgets import ComboBox
    from napari.viewer import Viewer

    from ..options import FocusStackOptions
    from ..sharpness import SharpnessReport
    from .samples import LayerTuple

_LIVE_DELAY_MS = 150
_NO_STACK = "No image layer has a z axis: open a z-stack to fuse it."
_OUTDATED = "Out of date: an option was changed since this result."


@dataclass(frozen=True)
class _Shown:
    """The result that the panel tells about."""

    choice: StackChoice
    results: StackResults
    warnings: tuple[str, ...]


class FocusStackWidget(FocusStackPanel):
    """The dock widget "Focus stacking".

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Injected by napari, by this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._viewer = napari_viewer
        self._closed = False
        self._run_again = False
        self._running: StackChoice | None = None
        self._shown: _Shown | None = None
        self._measured: tuple[_Shown, Position, HeightScale, HeightView] | None = None
        self._result_layers = ResultLayers(napari_viewer)
        self._runner = FocusRunner(self._show_progress, self._end_run)
        super().__init__()
        self._live_timer = QTimer(self.native)
        self._live_timer.setSingleShot(True)
        self._live_timer.setInterval(_LIVE_DELAY_MS)
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
        self.height_box.changed.connect(self._show_maps)
        self.confidence_box.changed.connect(self._show_maps)
        for control in (self.height_controls.level, self.height_controls.trust, self.height_controls.mask):
            control.changed.connect(self._height_view_changed)
        self.height_section.toggled.connect(self._show_surface)
        self.fuse_button.changed.connect(self.fuse)
        self.cancel_button.changed.connect(self.cancel)
        self.sharpness_view.plot.slice_clicked.connect(self._go_to_slice)
        self._live_timer.timeout.connect(self._refresh_live)
        self.closing.closed.connect(self.shut_down)
        self.native.destroyed.connect(self.shut_down)

    def _connect_viewer(self) -> None:
        # napari holds these bound methods weakly.
        layers = self._viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered, layers.renamed):
            event.connect(self._layers_changed)
        self._viewer.dims.events.point.connect(self._view_moved)
        self._viewer.events.theme.connect(self._take_theme)

    # ---- the stack -----------------------------------------------------------------------------

    def _stack_choices(self, _: Any) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in self._viewer.layers if is_stack(layer)]

    def _axis_choices(self, _: Any) -> list[tuple[str, Any]]:
        layer = self.stack_choice.value
        return [] if layer is None else [(describe_axis(layer, axis), axis) for axis in focus_axes(layer)]

    def _choose_active_layer(self) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and is_stack(active):
            self.stack_choice.value = active

    def _layers_changed(self) -> None:
        if self._closed:
            return
        if self._running is not None and self._running.layer not in self._viewer.layers:
            self.cancel()
        if self._shown is not None and self._shown.choice.layer not in self._viewer.layers:
            self._shown = None
        self._result_layers.forget_removed()
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

    def _chosen(self) -> StackChoice | None:
        layer, axis = self.stack_choice.value, self.axis_choice.value
        return None if layer is None or axis is None else StackChoice(layer, axis)

    def _options(self) -> FocusStackOptions | None:
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

        if not self._closed:
            for layer in layers:
                self._viewer.add_layer(Layer.create(*layer))

    def _sample_opened(self) -> None:
        if not self._closed:
            self.sample_button.enabled = True

    # ---- a run ---------------------------------------------------------------------------------

    def fuse(self) -> None:
        """Fuse the chosen stack with the options as they are set."""
        chosen = self._chosen()
        if self._closed or chosen is None or self._runner.running:
            return
        try:
            self._runner.start(chosen.stack, self.option_rows.options())
        except InputError as refusal:
            self._fail(refusal)
            return
        self._running = chosen
        self.say("")
        self.progress_bar.value = 0
        self.progress_bar.native.setFormat("starting")
        self._refresh()

    def cancel(self) -> None:
        """Stop the run at the next slice; nothing is added."""
        self._run_again = False
        self._runner.cancel()
        self.progress_bar.native.setFormat("stopping")
        self.cancel_button.enabled = False

    def shut_down(self) -> None:
        """Stop what is running, and take no more part in the viewer: the panel was closed."""
        self._closed = True
        self._run_again = False
        self._runner.cancel()

    def _show_progress(self, progress: RunProgress) -> None:
        if not self._closed:
            self.progress_bar.max = progress.total
            self.progress_bar.value = progress.done
            self.progress_bar.native.setFormat(str(progress))

    def _end_run(self, outcome: RunOutcome) -> None:
        ran_on, self._running = self._running, None
        if self._closed or ran_on is None:
            return
        if self._run_again:
            self._run_again = False
            self.fuse()
        elif isinstance(outcome, RunFailure):
            self._fail(outcome.error)
        elif outcome is None or ran_on.layer not in self._viewer.layers:
            self.say("Cancelled: nothing was added.")
        else:
            placement = place_results(ran_on.layer, ran_on.focus_axis)
            self._shown = _Shown(ran_on, outcome, (placement.dropped, *outcome.warnings))
            added = self._result_layers.show(["image", "index"], outcome, ran_on, placement)
            self._show_maps()
            if added:
                self._viewer.layers.selection.active = added[0]
        self._refresh()

    def _show_maps(self) -> None:
        """Show the maps whose boxes are ticked, and take away those that are not."""
        if self._closed or self._shown is None:
            return
        results, choice = self._shown.results, self._shown.choice
        placement = place_results(choice.layer, choice.focus_axis)
        self._show_heights()
        if self.confidence_box.value:
            self._result_layers.show(["confidence"], results, choice, placement)
        else:
            self._result_layers.remove(choice.key, "confidence")

    def _show_heights(self) -> None:
        """Show the heights as they are to be seen now, or take them away."""
        if self._closed or self._shown is None:
            return
        results, choice = self._shown.results, self._shown.choice
        if self.height_box.value:
            heights = shown_heights(results, choice.stack, HeightScale.of(choice), self.height_controls.view())
            placement = place_results(choice.layer, choice.focus_axis)
            self._result_layers.show(["height"], results, choice, placement, heights)
        else:
            self._result_layers.remove(choice.key, "height")

    def _height_view_changed(self) -> None:
        self._show_heights()
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

    def _option_changed(self) -> None:
        self._refresh()
        if self.live_box.value:
            self._live_timer.start()

    def _refresh_live(self) -> None:
        options = self._options()
        if self._closed or options is None or not self.live_box.value:
            return
        if self._runner.running:
            if options != self._runner.options:
                self.cancel()
                self._run_again = True
        elif self._outdated():
            self.fuse()

    def _outdated(self) -> bool:
        """Return whether the result on show is of the chosen stack, but of other options."""
        shown = self._shown_of_chosen()
        return shown is not None and self._options() != shown.results.options

    # ---- what is shown -------------------------------------------------------------------------

    def _shown_of_chosen(self) -> _Shown | None:
        """Return the result on show if it is of the stack and the axis that are chosen now."""
        chosen = self._chosen()
        if self._shown is None or chosen is None or chosen.key != self._shown.choice.key:
            return None
        return self._shown

    def _refresh(self) -> None:
        chosen, running = self._chosen(), self._runner.running
        self.description.setText(_NO_STACK if chosen is None else describe_run(chosen.stack, self._options()))
        self.sample_button.visible = chosen is None
        self.fuse_button.enabled = chosen is not None and not running
        self.cancel_button.enabled = running
        self.progress_bar.visible = running
        if self._outdated() and not running:
            self.say(_OUTDATED)
        elif self.status_line.text() == _OUTDATED:
            self.say("")
        shown = self._shown_of_chosen()
        self.warn(shown.warnings if shown is not None else ())
        self._show_sharpness()
        self._show_surface()

    def _show_sharpness(self) -> None:
        shown = self._shown_of_chosen()
        chosen = {} if shown is None else shown.results.chosen.get(self._position_in_view(shown.choice), {})
        self.tell_chosen(in_words(chosen))
        report = self._report_in_view()
        self.sharpness_view.setVisible(report is not None)
        if report is not None:
            self.sharpness_view.show_report(report)
            self._mark_slice()

    def _report_in_view(self) -> SharpnessReport | None:
        shown = self._shown_of_chosen()
        return None if shown is None else shown.results.reports.get(self._position_in_view(shown.choice))

    def _position_in_view(self, choice: StackChoice) -> Position:
        return tuple(choice.index_in_view(axis, self._viewer) for axis in choice.stack.outer_axes)

    def _show_surface(self) -> None:
        """Measure the heights in view where the section on them is open and they have not been measured yet."""
        shown = self._shown_of_chosen()
        self.surface_figures.setVisible(shown is not None)
        if shown is None or not self.height_section.isExpanded():
            self._measured = None
            return
        choice = shown.choice
        wanted = self._position_in_view(choice), HeightScale.of(choice), self.height_controls.view()
        if self._measured is None or self._measured[0] is not shown or self._measured[1:] != wanted:
            self._measured = (shown, *wanted)
            self.surface_figures.show_report(surface_in_view(shown.results, choice.stack, *wanted))

    def _view_moved(self) -> None:
        if self._closed or self._shown is None or self._shown.choice.layer not in self._viewer.layers:
            return
        if len(self._shown.results.reports) > 1:
            self._show_sharpness()
            self._show_surface()
        else:
            self._mark_slice()

    def _mark_slice(self) -> None:
        if self._shown is not None:
            choice = self._shown.choice
            self.sharpness_view.plot.set_slice_in_view(choice.index_in_view(choice.focus_axis, self._viewer))

    def _go_to_slice(self, k: int) -> None:
        if self._shown is not None:
            self._shown.choice.go_to_slice(k, self._viewer)

    def _take_theme(self) -> None:
        from napari.utils.theme import get_theme

        theme = get_theme(self._viewer.theme)
        colours = (colour.as_hex() for colour in (theme.background, theme.text, theme.current))
        self.sharpness_view.plot.set_colours(*colours)


def _reset_choices(choice: ComboBox) -> bool:
    """Read the choices anew, keeping what was chosen; return whether it is gone."""
    before = choice.value
    with choice.changed.blocked():
        choice.reset_choices()
        # magicgui takes the first choice when the chosen one is renamed.
        if before is not None and before in choice.choices:
            choice.value = before
    return bool(choice.value != before)
