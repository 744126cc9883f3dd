"""The panel at work: its parts put together, and what they tell each other and the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from ..errors import InputError
from ..options import FocusStackOptions
from .collector import put_off_full_collection
from .figures import FiguresInView
from .heights import HeightView
from .host import Shown
from .in_tiles import TiledRuns
from .layers import METADATA_KEY, Position, StackChoice
from .panel import FocusStackPanel
from .remembered import Remembered, keep, recall
from .results import ResultLayers
from .running import PanelRuns
from .showing import ResultOnShow
from .warm import warm_up
from .worker import Job, StackResults, describe_run

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ..alignment.record import Alignment
    from .samples import LayerTuple
    from .tiled_run import TilesDone

_SEEN_MS = 200
_NO_STACK = "No image layer has a z axis: open a z-stack to fuse it."
_OUTDATED = "Out of date: an option was changed since this result."
# Events of a layer that make another stack of it, and those that change what is told of the stack.
_OTHER_PIXELS = frozenset({"data", "axis_labels"})
_OTHER_SCALE = frozenset({"scale", "units"})


def _check_napari(viewer: Viewer) -> None:
    """Refuse a napari without units of the world, as before 0.7; no requirement keeps it away."""
    if not hasattr(viewer.layers.events, "renamed"):
        from napari import __version__

        raise RuntimeError(f"Focus stacking needs napari 0.8 or newer; this is napari {__version__}.")


class FocusStackWidget(FocusStackPanel):
    """The dock widget "Focus stacking".

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Injected by napari, by this name.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        _check_napari(napari_viewer)
        put_off_full_collection()
        self.viewer = napari_viewer
        self.closed = False
        super().__init__(napari_viewer)
        maps = {"height": self.height_box, "confidence": self.confidence_box}
        self._result = ResultOnShow(
            napari_viewer, self.native, maps, self.height_controls.view, self.heights_seen.refresh
        )
        self._tiles = TiledRuns(napari_viewer, self.result_layers)
        self._runs = PanelRuns(self, self, self._tiles, self._show_results, self._refresh)
        self._figures = FiguresInView(self, self)
        for section in self.sections:
            section.attach(self)
        self._recall()
        self._connect_rows()
        self._connect_viewer()
        self.stack_rows.choose_active_layer()
        self._stack_changed()
        self._take_theme()
        # Not before it is seen: threads take turns, and opening it would take twice as long.
        self._warming = QTimer(self.native)
        self._warming.setSingleShot(True)
        self._warming.timeout.connect(warm_up)
        self._warming.start(_SEEN_MS)

    def _connect_rows(self) -> None:
        self.stack_choice.changed.connect(self._stack_changed)
        self.axis_choice.changed.connect(self._refresh)
        self.sample_button.changed.connect(self._open_sample)
        for widget in (*self.option_rows.widgets.values(), self.live_box):
            widget.changed.connect(self._option_changed)
        self.height_box.changed.connect(self._result.show_maps)
        self.confidence_box.changed.connect(self._result.show_maps)
        self.height_box.changed.connect(self._refresh)
        self.confidence_box.changed.connect(self._refresh)
        for control in (self.height_controls.level, self.height_controls.trust, self.height_controls.mask):
            control.changed.connect(self._result.level_anew)
            control.changed.connect(self._figures.show_surface)
        self.height_section.toggled.connect(self._figures.show_surface)
        self.fuse_button.changed.connect(self.fuse)
        self.tiles_button.changed.connect(self.fuse_in_tiles)
        self.cancel_button.changed.connect(self.cancel)
        self.sharpness_view.plot.slice_clicked.connect(self._go_to_slice)
        self.measures.report_chosen.connect(self.sharpness_view.show_report)
        for box in (self.live_box, self.height_box, self.confidence_box):
            box.changed.connect(self._keep)
        self.closing.closed.connect(self._keep)
        self.closing.closed.connect(self._result.finish)
        self.closing.closed.connect(self.retouch.finish)
        self.closing.closed.connect(self.shut_down)
        self.native.destroyed.connect(self.shut_down)

    def _connect_viewer(self) -> None:
        # napari holds these bound methods weakly.
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.changed, layers.reordered, layers.renamed):
            event.connect(self._layers_changed)
        layers.connect(self._layer_changed)
        self.viewer.dims.events.point.connect(self._view_moved)
        self.viewer.events.theme.connect(self._take_theme)

    def _leave_viewer(self) -> None:
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.changed, layers.reordered, layers.renamed):
            event.disconnect(self._layers_changed)
        layers.disconnect(self._layer_changed)
        self.viewer.dims.events.point.disconnect(self._view_moved)
        self.viewer.events.theme.disconnect(self._take_theme)

    # ---- the stack -----------------------------------------------------------------------------

    def chosen(self) -> StackChoice | None:
        """Return the stack and axis that are chosen."""
        return self.stack_rows.chosen()

    def _layers_changed(self) -> None:
        if self.closed:
            return
        self._runs.layers_changed()
        if self._result.forget_removed():
            self._runs.stack_is_gone()
        self._tiles.forget_removed()
        if self.stack_rows.offer_layers():
            self._stack_changed()
        else:
            self._refresh()

    def _layer_changed(self, event: Any) -> None:
        """Follow a layer whose pixels, axes or scale were changed; the list passes on what its layers emit."""
        if event.type not in _OTHER_PIXELS | _OTHER_SCALE:
            return
        layer = event.sources[0]
        if METADATA_KEY in getattr(layer, "metadata", {}):
            return
        if event.type in _OTHER_PIXELS:
            self._layers_changed()
        elif layer is self.stack_choice.value:
            self.stack_rows.tell_scale()

    def _stack_changed(self) -> None:
        layer = self.stack_choice.value
        self.stack_rows.offer_axes()
        self.option_rows.set_channels(layer is not None and bool(layer.rgb))
        self.say("")
        self._refresh()

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
        return self._runs.busy or self._result.busy or self._figures.busy

    def fuse(self) -> None:
        """Fuse the chosen stack with the options as they are set; in tiles where it is large and loaded lazily."""
        chosen = self.chosen()
        if chosen is not None and self._tiles.suits(chosen, self._options_for_tiles()):
            self.fuse_in_tiles()
        else:
            self._runs.fuse()

    def fuse_in_tiles(self) -> None:
        """Fuse the chosen stack tile by tile, what is in view first, into files that layers show meanwhile."""
        self._runs.fuse_in_tiles(self._maps_wanted(), self._keep_tiles)

    def _keep_tiles(self, done: TilesDone) -> None:
        shown = self._tiles.keep(done)
        if shown is not None:
            self._result.give_way(shown.choice)
            self._runs.stack_is_gone()
            self._keep()

    def _maps_wanted(self) -> list[str]:
        boxes = {"height": self.height_box, "confidence": self.confidence_box}
        return [name for name, box in boxes.items() if box.value]

    def _options_for_tiles(self) -> FocusStackOptions | None:
        # Slices are aligned whole.
        return self.options() if self.given_alignment() is None else None

    def cancel(self) -> None:
        """Stop the run at the next slice; nothing is added."""
        self._runs.cancel()

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
        return self._runs.start_job(job, on_end)

    def shut_down(self) -> None:
        """Stop what is running, and take no more part in the viewer: the panel was closed."""
        if self.closed:
            return
        self.closed = True
        self._runs.shut_down()
        self._result.shut_down()
        self._figures.shut_down()
        self._tiles.shut_down()
        for section in self.sections:
            section.shut_down()
        self._leave_viewer()

    def _show_results(self, choice: StackChoice, results: StackResults) -> None:
        self._keep()
        self._tiles.forget(choice)
        self._result.show(choice, results, self._refresh)

    # ---- options -------------------------------------------------------------------------------

    def options(self) -> FocusStackOptions | None:
        """Return the options as set, or None while what is typed is refused."""
        try:
            return self.option_rows.options()
        except InputError:
            return None

    def given_alignment(self) -> Alignment | None:
        """Return where the slices of the chosen stack lie, in place of what is estimated; None without."""
        given = self.alignment.given()
        return None if given is None else given[1]

    def alignment_file(self) -> Path | None:
        """Return the file that the given alignment was read from."""
        given = self.alignment.given()
        return None if given is None else given[0]

    def alignment_changed(self) -> None:
        """Take note that another alignment is given, or none any more."""
        self._runs.option_changed()
        self._refresh()

    def _option_changed(self) -> None:
        self.kind_row.follow_options()
        self._runs.option_changed()
        self._refresh()

    def _recall(self) -> None:
        """Set what was kept when the panel was closed last."""
        kept = recall()
        self.live_box.value, self.height_box.value = kept.live, kept.height
        self.confidence_box.value = kept.confidence
        self.option_rows.set_options(kept.options)
        self.kind_row.follow_options()

    def _keep(self) -> None:
        """Keep what is set for the next start of napari."""
        options = self.options()
        if options is not None:
            keep(Remembered(self.live_box.value, self.height_box.value, self.confidence_box.value, options))

    # ---- what is shown -------------------------------------------------------------------------

    @property
    def result_layers(self) -> ResultLayers:
        """The layers of results."""
        return self._result.layers

    def shown_of_chosen(self) -> Shown | None:
        """Return the result on show if it is of the stack and the axis that are chosen now."""
        return self._result.of(self.chosen())

    def told_of_chosen(self) -> Shown | None:
        """Return the same, be it one in tiles, whose pixels lie in files: for its figures."""
        return self.shown_of_chosen() or self._tiles.shown_of(self.chosen())

    def shown_layer(self, field: str) -> Image | None:
        """Return the layer of one result of the chosen stack, if it is there."""
        shown = self.shown_of_chosen()
        return None if shown is None else self.result_layers.get(shown.choice.key, field)

    def want_height(self) -> Image | None:
        """Return the layer of heights, added if it was not there; None without a result."""
        if self.shown_of_chosen() is not None:
            self.height_box.value = True
        return self.shown_layer("height")

    def height_view(self) -> HeightView:
        """Return how heights are levelled and masked."""
        return self.height_controls.view()

    def strokes(self) -> Labels | None:
        """Return the strokes of retouching on the chosen stack, if there are any."""
        return self.retouch.strokes()

    def position_in_view(self, choice: StackChoice) -> Position:
        """Return where the sliders stand along the axes that are neither focus nor picture."""
        return tuple(choice.index_in_view(axis, self.viewer) for axis in choice.stack.outer_axes)

    def _described(self, chosen: StackChoice) -> str:
        tiled = self._tiles.bytes_where_it_suits(chosen, self._options_for_tiles())
        return describe_run(chosen.stack, self.options(), tiled)

    def _refresh(self) -> None:
        chosen, running = self.chosen(), self._runs.running
        self.description.setText(_NO_STACK if chosen is None else self._described(chosen))
        self.sample_button.visible = chosen is None
        self.fuse_button.enabled = chosen is not None and not running
        self.tiles_button.visible = self._tiles.offered(chosen, self._options_for_tiles())
        self.tiles_button.enabled = not running
        self.cancel_button.enabled = running
        self.progress_bar.visible = self._runs.bar_is_wanted
        # With Live, a run that mends it is about to start: rows that come and go move all below them.
        outdated = self._runs.outdated and not self._runs.busy
        outdated_tiles = self._tiles.outdated(chosen, self.options(), self._maps_wanted())
        if outdated or (outdated_tiles and not running):
            self.say(_OUTDATED)
        elif self.status_line.text() == _OUTDATED:
            self.say("")
        self._figures.refresh()
        for section in self.sections:
            section.refresh()

    def _view_moved(self) -> None:
        told = None if self.closed else self.told_of_chosen() or self._result.shown
        if told is None or not told.choice.is_there(self.viewer):
            return
        self._figures.view_moved()
        for section in self.sections:
            section.view_moved()

    def _go_to_slice(self, k: int) -> None:
        shown = self.told_of_chosen()
        if shown is not None:
            shown.choice.go_to_slice(k, self.viewer)

    def _take_theme(self) -> None:
        from napari.utils.theme import get_theme

        theme = get_theme(self.viewer.theme)
        colours = [colour.as_hex() for colour in (theme.background, theme.text, theme.current)]
        self.sharpness_view.plot.set_colours(*colours)
        for section in self.sections:
            section.set_colours(*colours)
