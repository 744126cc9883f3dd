"""The quick look before a live run: the part of the result that is in view, no finer than the canvas shows it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import FocusStackOptions
from .layers import LayerStack, Position, StackChoice, StackView
from .pace import Pace

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ..noise import NoiseModel
    from .worker import StackResults

# A picture within 0.3 s of the change: debouncing, a margin and drawing take the rest.
_SECONDS = 0.12
_MARGIN = 16
_HELD_BYTES = 1 << 26
_LEAST_PX = 16

MAPS = ("index", "height", "confidence")


@dataclass(frozen=True)
class PreviewPlan:
    """What to fuse for a quick look.

    Attributes
    ----------
    position : tuple of int
    rows, columns : slice
        The part in view, in px of a slice; whole numbers of `factor`.
    factor : int
        Pixels of a slice along each side that are averaged to one.
    options : FocusStackOptions
        In pixels of the quick look.
    fields : tuple of str
        The results that are seen.
    """

    position: Position
    rows: slice
    columns: slice
    factor: int
    options: FocusStackOptions
    fields: tuple[str, ...]

    @property
    def place(self) -> tuple[Any, ...]:
        """What tells the stack of one quick look from that of another."""
        parts = ((part.start, part.stop) for part in (self.rows, self.columns))
        return (self.position, *parts, self.factor)


@dataclass(frozen=True)
class Preview:
    """The pixels of a quick look, by result, at full size."""

    plan: PreviewPlan
    pixels: dict[str, npt.NDArray[Any]]
    seconds_per_value: float | None


@dataclass(frozen=True)
class InView:
    """The part of a slice that the canvas shows: rows, columns, and slice pixels to a pixel of the screen."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    px_per_screen_px: float

    @classmethod
    def of(cls, layer: Image, choice: StackChoice, viewer: Viewer) -> InView | None:
        """Return what the canvas shows of a result layer of `choice`; None if it is 3-D or hidden."""
        if viewer.dims.ndisplay != 2 or not layer.visible:
            return None
        stack = choice.stack
        y, x = stack.result_plane_axes
        corners = np.asarray(layer.corner_pixels)
        if (corners[1, [y, x]] <= corners[0, [y, x]]).any():
            return None
        world_px = abs(float(layer.scale[y])) * choice.world_per_unit(viewer, stack.plane_axes[0])
        rows, columns = ((int(corners[0, axis]), int(corners[1, axis]) + 1) for axis in (y, x))
        return cls(rows, columns, float(layer.scale_factor) / max(world_px, 1e-30))


def plan_preview(
    stack: LayerStack,
    position: Position,
    in_view: InView,
    options: FocusStackOptions,
    before: StackResults,
    fields: tuple[str, ...],
    seconds_per_value: float,
) -> PreviewPlan:
    """Return what to fuse for a picture in a blink.

    Parameters
    ----------
    stack, position
        What is shown.
    in_view : InView
    options : FocusStackOptions
        Those of the run to come.
    before : StackResults
        The result on show; it knows which kind of specimen "auto" found in the whole picture.
    fields : tuple of str
    seconds_per_value : float
        What the last run took for every value of the stack.
    """
    view = stack.at(position)
    height, width = view.shape[1:3]
    cost = view.shape[0] * int(np.prod(view.shape[3:])) * seconds_per_value
    most_px = max(_SECONDS / cost, _LEAST_PX**2)
    factor = max(int(in_view.px_per_screen_px), 1)
    while True:
        rows = _widened(in_view.rows, factor, height)
        columns = _widened(in_view.columns, factor, width)
        size = [(part.stop - part.start) // factor for part in (rows, columns)]
        if size[0] * size[1] <= most_px or min(size) <= _LEAST_PX:
            break
        factor += 1
    return PreviewPlan(position, rows, columns, factor, _coarser(options, factor, size, before, position), fields)


def _widened(seen: tuple[int, int], factor: int, length: int) -> slice:
    """Return the part seen with a margin, of whole coarse pixels."""
    first = max(seen[0] // factor - _MARGIN, 0)
    last = min(ceil(seen[1] / factor) + _MARGIN, max(length // factor, 1))
    short = min(2 * _LEAST_PX, max(length // factor, 1))
    if last - first < short:
        first = max(last - short, 0)
        last = first + short
    return slice(first * factor, min(last * factor, length))


def _coarser(
    options: FocusStackOptions, factor: int, size: list[int], before: StackResults, position: Position
) -> FocusStackOptions:
    """Return the options in pixels that are `factor` times as large."""
    changes: dict[str, Any] = {
        "height_smoothing_px": options.height_smoothing_px / factor,
        "halo_radius_px": options.halo_radius_px / factor,
        "mend_rims": False,
        # The slices are given as they lie already.
        "align": "none",
        "match_brightness": "off",
        "crop": False,
    }
    if not isinstance(options.levels, str):
        most = max(ceil(log2(max(*size, 2))), 1)
        changes["levels"] = min(max(options.levels - round(log2(factor)), 1), most)
    if not isinstance(options.noise, str):
        gain, offset = options.noise
        changes["noise"] = (gain / factor**2, offset / factor**2)
    found = before.chosen.get(position, {}).get("light")
    if options.light == "auto" and found is not None:
        changes["light"] = found.value
    return replace(options, **changes)


class PreviewStack:
    """The part of a z-stack in view, averaged; its slices are kept while they are few."""

    def __init__(self, view: StackView, plan: PreviewPlan) -> None:
        self._view, self._plan = view, plan
        size = ((part.stop - part.start) // plan.factor for part in (plan.rows, plan.columns))
        self.shape = (len(view), *size, *view.shape[3:])
        self.dtype = view.dtype
        self.noise: NoiseModel | None = None
        fits = int(np.prod(self.shape)) * self.dtype.itemsize <= _HELD_BYTES
        self._kept: dict[int, npt.NDArray[Any]] | None = {} if fits else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        if self._kept is not None and k in self._kept:
            return self._kept[k]
        part = averaged(self._view.part(k, self._plan.rows, self._plan.columns), self._plan.factor)
        if self._kept is not None:
            self._kept[k] = part
        return part


def averaged(image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    """Return the mean of every `factor` x `factor` pixels, in the dtype of the image; what is left over is cut off.

    Examples
    --------
    >>> averaged(np.array([[1, 3, 9], [5, 7, 9]], np.uint8), 2).tolist()
    [[4]]
    """
    if factor == 1:
        return np.ascontiguousarray(image)
    height, width = (n // factor for n in image.shape[:2])
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, *image.shape[2:])
    # Rows first: adding whole rows is several times as fast as the mean over both axes at once.
    mean = blocks.sum(axis=1, dtype=np.float32).sum(axis=2) / np.float32(factor**2)
    return (np.rint(mean) if image.dtype.kind in "ui" else mean).astype(image.dtype)


class PreviewMaker:
    """Makes quick looks, and keeps the pixels of the last one for the next."""

    def __init__(self) -> None:
        self._last: tuple[Any, PreviewStack] | None = None

    def forget(self) -> None:
        """Let go of the pixels that are kept."""
        self._last = None

    def steps(self, stack: LayerStack, plan: PreviewPlan) -> Generator[None, None, Preview | None]:
        """Fuse what `plan` says, giving control back after every slice; return it at full size.

        None where the core refuses the part in view, which need not be the whole stack's fault.
        """
        try:
            return (yield from self._steps(stack, plan))
        except InputError:
            return None

    def _steps(self, stack: LayerStack, plan: PreviewPlan) -> Generator[None, None, Preview]:
        from ..pipeline import focus_stack_steps, stack_noise
        from ..slices import Slices

        place = (id(stack.pixels), stack.focus_axis, plan.place, stack.alignments.get(plan.position))
        if self._last is None or self._last[0] != place:
            self._last = (place, PreviewStack(stack.at(plan.position), plan))
        small = self._last[1]
        if small.noise is None:
            small.noise = stack_noise(Slices(small, stack.rgb))
        pace = Pace()
        with closing(focus_stack_steps(small, stack.rgb, noise=small.noise, options=plan.options)) as steps:
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    result = end.value
                    break
                yield
        seconds_per_value = pace.seconds_per_value(small.shape)
        pixels = {field: _enlarged(getattr(result, field), plan.factor) for field in plan.fields}
        return Preview(plan, pixels, seconds_per_value)


def _enlarged(image: npt.NDArray[Any], factor: int) -> npt.NDArray[Any]:
    return image if factor == 1 else image.repeat(factor, axis=0).repeat(factor, axis=1)


class Pasted:
    """A quick look on show, over the pixels of the last result, which it keeps."""

    def __init__(self) -> None:
        self._covered: list[tuple[Image, npt.NDArray[Any], tuple[Any, ...], npt.NDArray[Any]]] = []

    def paste(self, preview: Preview, layers: dict[str, Image], stack: LayerStack) -> None:
        """Show a quick look in the layers of the results, in place of the last one."""
        self.lift(refresh=False)
        plan = preview.plan
        for field, layer in layers.items():
            if field in preview.pixels:
                pixels = preview.pixels[field]
                where = stack.result_index(plan.position)
                shown = layer.data[where]
                part = (
                    slice(plan.rows.start, plan.rows.start + pixels.shape[0]),
                    slice(plan.columns.start, plan.columns.start + pixels.shape[1]),
                )
                self._covered.append((layer, shown, part, shown[part].copy()))
                shown[part] = pixels
                _draw(layer)

    def lift(self, *, refresh: bool = True) -> None:
        """Show the last result again."""
        covered, self._covered = self._covered, []
        for layer, shown, part, pixels in covered:
            shown[part] = pixels
            if refresh:
                _draw(layer)

    def forget(self) -> None:
        """Let the layers have the next result: there is nothing to go back to."""
        self._covered = []


def _draw(layer: Image) -> None:
    # The thumbnail waits for the whole: it takes as long as all the rest.
    layer.refresh(extent=False, thumbnail=False, highlight=False)
