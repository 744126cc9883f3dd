"""The panel's runs in tiles: what is offered, the layers that fill up, and what is told of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import FocusStackOptions
from ..surface import trusted_pixels
from .heights import HeightScale, HeightView
from .host import Shown
from .layers import METADATA_KEY, StackChoice
from .placement import place_results
from .results import RESULT_KINDS, ResultLayers, look_of, provenance, title_of
from .tiled_run import GrowingResults, ResultFolder, TileProgress, TilesDone, ViewFirst, fuse_in_tiles, tile_bytes
from .worker import StackResults, run_bytes

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ..pyramid import FloatImage
    from .worker import Job

# Lazy layers with planes of more px are fused in tiles unasked; with more than these, tiles are offered.
LARGE_PX, OFFERED_PX = 1 << 24, 1 << 22


@dataclass
class _Run:
    choice: StackChoice
    options: FocusStackOptions
    folder: ResultFolder
    order: ViewFirst
    selected: Any
    height_view: HeightView
    growing: GrowingResults | None = None


class TiledRuns:
    """Runs in tiles, one at a time, and their layers.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    layers : ResultLayers
        Where results go once they are whole.
    """

    def __init__(self, viewer: Viewer, layers: ResultLayers) -> None:
        self._viewer, self._layers = viewer, layers
        self._run: _Run | None = None
        self._filling: dict[str, Image] = {}
        self._shown: Shown | None = None
        # Versions of napari before 0.9 have the camera in the viewer itself.
        self._camera = getattr(viewer, "scene", viewer).camera
        self._camera.events.connect(self._view_moved)

    # ---- what is offered -----------------------------------------------------------------------

    def able(self, choice: StackChoice | None, options: FocusStackOptions | None) -> bool:
        """Return whether a stack can be fused in tiles with these options; not one that cannot be fused at all."""
        from ..tiled import check_options

        if choice is None or options is None or choice.stack.position_count != 1:
            return False
        try:
            check_options(options)
            run_bytes(choice.stack, options)  # refuses pixels that no run takes
        except InputError:
            return False
        return True

    def offered(self, choice: StackChoice | None, options: FocusStackOptions | None) -> bool:
        """Return whether tiles are of use: the stack is large, or would not fit."""
        if choice is None or not self.able(choice, options):
            return False
        return _plane_px(choice) > OFFERED_PX or not fits(choice, options)

    def suits(self, choice: StackChoice, options: FocusStackOptions | None) -> bool:
        """Return whether a stack is fused in tiles without being asked: large, and loaded lazily."""
        lazy = not isinstance(choice.stack.pixels, np.ndarray) or isinstance(choice.stack.pixels, np.memmap)
        return lazy and _plane_px(choice) > LARGE_PX and self.able(choice, options)

    def bytes_where_it_suits(self, choice: StackChoice, options: FocusStackOptions | None) -> int | None:
        """Return about what a run needs that is in tiles without being asked; None where it is not."""
        if options is None or not self.suits(choice, options):
            return None
        with suppress(InputError):  # no tile fits, which the run will say
            return tile_bytes(choice.stack, options)
        return None

    # ---- a run ---------------------------------------------------------------------------------

    def job(self, choice: StackChoice, options: FocusStackOptions, maps: list[str], height_view: HeightView) -> Job:
        """Return the work of a run, which begins now.

        Parameters
        ----------
        choice : StackChoice
        options : FocusStackOptions
        maps : list of str
            "height" and "confidence", those that are wanted.
        height_view : HeightView
            Of it only the mask: heights are levelled on the whole map.
        """
        run = _Run(choice, options, ResultFolder(), ViewFirst(), self._viewer.layers.selection.active, height_view)
        self._run = run
        self._view_moved()
        adjust = partial(_in_unit, step=HeightScale.of(choice).step, trust=height_view.trust, mask=height_view.masked)
        fields = ["image", "index", *maps]
        return partial(fuse_in_tiles, choice.stack, options, fields, run.folder, run.order, adjust)

    def follow(self, progress: TileProgress) -> None:
        """Show what is there by now."""
        run = self._run
        if run is None or progress.files is None:
            return
        if run.growing is None:
            run.growing = GrowingResults.of(progress.files, run.choice.stack, run.folder)
            self._add_layers(run, run.growing)
        if progress.written is None:
            return
        run.growing.refresh()
        for layer in self._filling.values():
            if layer in self._viewer.layers and layer.visible:
                layer.refresh(extent=False)

    def _add_layers(self, run: _Run, growing: GrowingResults) -> None:
        source = run.choice.layer
        placement = place_results(source, run.choice.focus_axis)
        scale = HeightScale.of(run.choice)
        for name, levels in growing.levels.items():
            kind = RESULT_KINDS[name]
            look = look_of(kind, source, len(run.choice.stack.at((0,) * len(run.choice.stack.outer_axes))))
            if name == "height":
                look["contrast_limits"] = tuple(sorted(limit * scale.step for limit in look["contrast_limits"]))
            # So that no other panel takes it for a stack.
            metadata = {METADATA_KEY: {"result": kind.title, "source": source.name}}
            keywords = {**look, **placement.keywords, "name": f"{source.name} {kind.title}", "metadata": metadata}
            multiscale = len(levels) > 1
            self._filling[name] = self._viewer.add_image(
                levels if multiscale else levels[0], multiscale=multiscale, **keywords
            )

        if "image" in self._filling:
            self._viewer.layers.selection.active = self._filling["image"]

    def discard(self) -> None:
        """Take back what was added: the run was cancelled, or failed, and writes no more."""
        self._take_layers_away()
        run, self._run = self._run, None
        if run is not None:
            run.folder.remove()

    def _take_layers_away(self) -> None:
        filling, self._filling = self._filling, {}
        for layer in filling.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        if filling and self._run is not None and self._run.selected in self._viewer.layers:
            self._viewer.layers.selection.active = self._run.selected

    def keep(self, done: TilesDone) -> Shown | None:
        """Keep the layers of a run that is done; those of the run before it are removed."""
        run, self._run = self._run, None
        filling, self._filling = self._filling, {}
        if run is None or run.growing is None:
            return None
        run.growing.refresh()
        choice, scale = run.choice, HeightScale.of(run.choice)
        results = _results(run, run.growing, done)
        for name, layer in filling.items():
            facts = provenance(results, choice.layer, RESULT_KINDS[name])
            if name == "height":
                facts |= {"unit": scale.unit, "zero": "first slice", "masked": run.height_view.masked}
            self._layers.remove(choice.key, name)
            if layer in self._viewer.layers:
                layer.metadata = {**layer.metadata, METADATA_KEY: facts}
                layer.name = f"{choice.layer.name} {title_of(facts)}"
                layer.refresh(extent=False)
                self._layers.adopt(choice.key, name, layer)
        warnings = [place_results(choice.layer, choice.focus_axis).dropped, *done.warnings]
        if run.height_view.level != "none" and "height" in filling:
            warnings.append("Heights of a run in tiles are not levelled: a form is fitted to the whole map.")
        self._shown = Shown(choice, results, tuple(warnings))
        return self._shown

    # ---- what is on show -----------------------------------------------------------------------

    def shown_of(self, choice: StackChoice | None) -> Shown | None:
        """Return the result in tiles of a stack, if it is on show."""
        shown = self._shown
        if choice is None or shown is None or shown.choice.key != choice.key:
            return None
        return shown if self._layers.get(choice.key, "image") is not None else None

    def forget(self, choice: StackChoice) -> None:
        """Another result of this stack is shown now."""
        if self._shown is not None and self._shown.choice.key == choice.key:
            self._shown = None

    def forget_removed(self) -> None:
        """Let go of a result whose layer the user has deleted, so that its files go, too."""
        if self._shown is not None and self.shown_of(self._shown.choice) is None:
            self._shown = None

    def outdated(self, choice: StackChoice | None, options: FocusStackOptions | None, maps: list[str]) -> bool:
        """Return whether the result in tiles of a stack is of other options, or lacks a map that is wanted."""
        shown = self.shown_of(choice)
        if shown is None:
            return False
        return options != shown.results.options or any(not getattr(shown.results, name).size for name in maps)

    def shut_down(self) -> None:
        """Take no more part in the viewer."""
        self._camera.events.disconnect(self._view_moved)
        # The files stay until the run has noticed.
        self._take_layers_away()

    def _view_moved(self) -> None:
        if self._run is not None:
            seen = part_in_view(self._run.choice)
            if seen is not None:
                self._run.order.rows, self._run.order.columns = seen


Part = tuple[tuple[float, float], tuple[float, float]]


def part_in_view(choice: StackChoice) -> Part | None:
    """Return which rows and columns of a stack the canvas shows, in px of a slice; None in 3-D."""
    layer = choice.layer
    y, x = choice.stack.plane_axes
    corners = np.asarray(layer.corner_pixels, float)
    if layer.multiscale:
        corners = corners * layer.downsample_factors[layer.data_level]
    if (corners[1, [y, x]] <= corners[0, [y, x]]).any():
        return None
    rows, columns = ((float(corners[0, axis]), float(corners[1, axis]) + 1) for axis in (y, x))
    return rows, columns


def fits(choice: StackChoice, options: FocusStackOptions | None) -> bool:
    """Return whether there is memory for a run that holds its results."""
    from ..machine import free_memory_lately

    return run_bytes(choice.stack, options) <= free_memory_lately()


def check_fits(choice: StackChoice, options: FocusStackOptions, *, offered: bool) -> None:
    """Refuse a run that does not fit.

    Raises
    ------
    InputError
        With what it needs, and what to do instead.
    """
    from ..machine import check_memory

    instead = "press “Fuse in tiles”, which needs less" if offered else "close other programs, or crop the stack"
    height, width = (choice.stack.pixels.shape[axis] for axis in choice.stack.plane_axes)
    check_memory(run_bytes(choice.stack, options), f"A run with slices of {height} x {width} px", instead)


def _plane_px(choice: StackChoice) -> int:
    return int(np.prod([choice.stack.pixels.shape[axis] for axis in choice.stack.plane_axes], dtype=np.int64))


def _in_unit(height: FloatImage, confidence: FloatImage, *, step: float, trust: float, mask: bool) -> FloatImage:
    height = height * np.float32(step)
    if mask:
        height[~trusted_pixels(height, confidence, trust)] = np.nan
    return height


def _results(run: _Run, growing: GrowingResults, done: TilesDone) -> StackResults:
    stack = run.choice.stack
    position = (0,) * len(stack.outer_axes)
    nothing: npt.NDArray[Any] = np.empty(0)
    image, index, height, confidence = (
        growing.levels[name][0] if name in growing.levels else nothing for name in RESULT_KINDS
    )
    return StackResults(
        image,
        index,
        height,
        confidence,
        {position: done.sharpness},
        {position: done.chosen},
        {position: done.files.run.decisions.noise},
        done.warnings,
        run.options,
        len(stack.at(position)),
        stack.focus_axis,
    )
