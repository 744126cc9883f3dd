"""Images larger than memory: decided once for the whole, fused tile by tile, lazily, with dask.

1. What depends on the whole image (noise, kind of light, depth of focus) is taken from a
   sample of it; from all of it, where that fits the memory budget (`decide`).
2. Every tile is fused by the same code as an image in memory, given these numbers. It sees
   as much around itself as decides about its pixels, so that they come out the same.
3. Heights that are filled from far away are solved on a coarse grid of the whole image,
   then in tiles (`filling`).

Nothing here distributes: dask's own schedulers run the tiles, one at a time in every process,
since a tile uses all cores and its memory is what the plan promises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from .chosen import Chosen
from .errors import InputError
from .filling import COARSE_LEVELS, HeightFilling, solved
from .fusion import FUSION_METHODS
from .noise import NoiseModel, estimate_noise
from .options import FocusStackOptions
from .pipeline import memory_needed, read_ahead, slices_for_noise, stack_noise
from .result import Part
from .run import chosen_levels, whole_sharpness
from .sharpness import SharpnessReport
from .slices import SliceKind, Slices
from .stacker import FocusStacker
from .sweep import LEAST_SLICES
from .tiles import BASE_BYTES, Tile, TilePlan, plan_tiles
from .whole import Number, Whole

if TYPE_CHECKING:
    import dask.array as da

DEFAULT_MEMORY = "2 GB"

# What a tile sees beyond its core, in pixels of the coarsest level: every level's energies are smoothed twice, the
# base follows those of the level before it, and the rebuilt image goes through all of them.
_FUSION_REACH = 8

# In px, where levels are few: heights and whole pixels; the measures of transparent specimens; light that adds.
_HEIGHT_REACH_PX, _PHASE_REACH_PX, _SWEEP_REACH_PX = 64, 256, 320

# A sample is made of so many patches along y and x, of so many px, blended over some px.
_PATCHES, _PATCH_PX, _BLEND_PX = 4, 512, 32

# A run in memory needs so much less for every pixel of a slice, by its own bytes, where it is surely opaque.
_PHASE_BYTES_PX, _PHASE_SLICES = 14.0, 3

_NOTHING: npt.NDArray[Any] = np.empty((0, 0))

_one_tile = threading.Lock()


class Reader(Protocol):
    """Reads parts of slices; goes to other processes."""

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`, shape (y, x) or (y, x, c)."""

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return a reader that need not know more than a part of every slice."""


class ArrayReader:
    """Reads an array of shape (z, y, x) or (z, y, x, c) that can be sliced: NumPy, memmap, zarr."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._array[k, rows, columns])

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class SliceReader:
    """Reads a sequence of slices, each of them whole."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._slices[k])[rows, columns]

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class PartReader:
    """Reads a stack that gives parts of its slices itself, as those in files do."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._stack.part(k, rows, columns))

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class DaskReader:
    """Reads a dask array in the thread that asks, which may be a worker's.

    No record of dataclass: dask would look into it, and compute the array before the task.
    """

    def __init__(self, array: Any, origin: tuple[int, int] = (0, 0)) -> None:
        self._array, self._origin = array, origin

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._part(k, rows, columns).compute(scheduler="synchronous"))

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return a reader whose graph is no larger than it need be."""
        import dask

        (part,) = dask.optimize(self._part(slice(None), rows, columns))
        return DaskReader(part, (rows.start, columns.start))

    def _part(self, k: int | slice, rows: slice, columns: slice) -> Any:
        top, left = self._origin
        return self._array[k, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def reader_of(stack: Any) -> Reader:
    """Return the reader of a stack."""
    if hasattr(stack, "read") and hasattr(stack, "near"):
        return stack
    if hasattr(stack, "part"):
        return PartReader(stack)
    if hasattr(stack, "dask"):
        return DaskReader(stack)
    if hasattr(stack, "shape") and hasattr(stack, "dtype") and hasattr(stack, "ndim"):
        return ArrayReader(stack)
    return SliceReader(stack)


class _Window:
    """A part of all slices, as a stack."""

    def __init__(self, reader: Reader, rows: slice, columns: slice, like: SliceKind, slices: int) -> None:
        self.shape = (slices, rows.stop - rows.start, columns.stop - columns.start, *like.shape[2:])
        self.dtype = like.dtype
        self._reader, self._rows, self._columns = reader, rows, columns

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        return self._reader.read(k, self._rows, self._columns)


class _Sample:
    """Patches of all slices, evenly spread over the image and blended into a smaller one."""

    def __init__(self, reader: Reader, like: SliceKind, slices: int) -> None:
        self._reader = reader
        self._starts = [_patch_starts(n) for n in like.shape[:2]]
        self._sides = [_PATCH_PX if len(s) > 1 else n for s, n in zip(self._starts, like.shape[:2], strict=True)]
        y, x = (len(s) * side - (len(s) - 1) * _BLEND_PX for s, side in zip(self._starts, self._sides, strict=True))
        self.shape = (slices, y, x, *like.shape[2:])
        self.dtype = like.dtype

    def patches(self, k: int) -> list[npt.NDArray[Any]]:
        """Return the patches of a slice, as they are."""
        return [self._reader.read(k, rows, columns) for rows, columns in self._places()]

    def _places(self) -> list[tuple[slice, slice]]:
        rows, columns = (
            [slice(start, start + side) for start in starts]
            for starts, side in zip(self._starts, self._sides, strict=True)
        )
        return [(y, x) for y in rows for x in columns]

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        total = np.zeros(self.shape[1:], np.float64)
        y, x = (_ramps(len(s), side) for s, side in zip(self._starts, self._sides, strict=True))
        places = [(row, column) for row in y for column in x]
        for patch, ((top, down), (left, across)) in zip(self.patches(k), places, strict=True):
            weight = down[:, None] * across
            shares = weight.reshape(*weight.shape, *[1] * (patch.ndim - 2))
            total[top : top + len(down), left : left + len(across)] += shares * patch
        if self.dtype.kind != "f":
            total = np.rint(total)
        return total.astype(self.dtype)


def _patch_starts(size: int) -> list[int]:
    if size <= _PATCHES * _PATCH_PX:
        return [0]
    return [round(i * (size - _PATCH_PX) / (_PATCHES - 1)) for i in range(_PATCHES)]


def _ramps(count: int, side: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Return where every patch begins in the sample, and its share of every pixel."""
    ramp = (np.arange(_BLEND_PX) + 0.5) / _BLEND_PX
    found = []
    for i in range(count):
        share = np.ones(side)
        if i > 0:
            share[:_BLEND_PX] = ramp
        if i < count - 1:
            share[-_BLEND_PX:] = ramp[::-1]
        found.append((i * (side - _BLEND_PX), share))
    return found


@dataclass(frozen=True)
class Decisions:
    """What is decided once for a whole image; plain numbers that go into files and to other machines.

    Attributes
    ----------
    noise : NoiseModel
    numbers : mapping of str to float or tuple of float
        Of `whole.Whole`.
    chosen : mapping of str to Chosen
        What "auto" chose.
    """

    noise: NoiseModel
    numbers: Mapping[str, Number]
    chosen: Mapping[str, Chosen] = field(default_factory=dict)

    @property
    def transparent(self) -> float:
        """How far any of the specimen is a transparent one, 0 to 1."""
        return self._number("phase: largest share")

    def filling(self, options: FocusStackOptions, slices: int) -> HeightFilling:
        """Return how heights are filled."""
        transparent = self._number("phase: smallest share") > 0.5
        stained = transparent and self._number("phase: stain") > 0.5
        name = "height" if not transparent else "contrast" if stained else "change"
        return HeightFilling(
            slices=slices,
            depth_of_focus=self._number(f"{name}: depth of focus"),
            transparent=transparent,
            mixed=not transparent and self.transparent > 0.5,
            of_change=transparent and not stained,
            fill=options.fill_height,
            smoothing_px=options.height_smoothing_px,
        )

    def _number(self, name: str) -> float:
        number = self.numbers.get(name, 0.0)
        return number if isinstance(number, (int, float)) else number[0]


def decide(stack: Any, rgb: bool | None, options: FocusStackOptions, memory: int) -> Decisions:
    """Take from a stack what tiles cannot know by themselves.

    From all of it where a run in memory fits the budget: tiles then give the pixels of that run.
    Else from 16 patches of 512 x 512 px, evenly spread and blended into one image.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c)
    rgb : bool or None
    options : FocusStackOptions
    memory : int
        In bytes.
    """
    slices = Slices(stack, rgb)
    kind, count = slices.kind, len(slices)
    height, width = kind.shape[:2]
    options = replace(options, levels=chosen_levels(options, height, width))
    if BASE_BYTES + memory_needed((count, *kind.shape), kind.dtype, options) <= memory:
        noise = stack_noise(slices)
    else:
        sample = _Sample(reader_of(stack), kind, count)
        patches = [patch for k in slices_for_noise(slices) for patch in sample.patches(k)]
        colours = [kind_of_patch(patch, kind).checked(patch)[..., : kind.channels] for patch in patches]
        noise = estimate_noise([colour for colour in colours if np.isfinite(colour).any()] or colours)
        slices = Slices(sample, rgb)
    stacker = FocusStacker((count, *slices.kind.shape), options, noise, rgb=rgb, whole=Whole())
    for _, image in read_ahead(slices):
        stacker.add(image)
        del image
    result = stacker.result()
    numbers = dict(stacker.whole.taken)
    if slices.kind.shape != kind.shape and "whole pixels: smallest region" in numbers:
        area = slices.kind.shape[0] * slices.kind.shape[1]
        smallest = float(numbers["whole pixels: smallest region"])  # type: ignore[arg-type]
        numbers["whole pixels: smallest region"] = smallest * height * width / area
    return Decisions(result.noise, numbers, result.chosen)


def kind_of_patch(patch: npt.NDArray[Any], like: SliceKind) -> SliceKind:
    """Return the kind of a part of a slice."""
    kind = SliceKind(patch.shape, patch.dtype, like.alpha or None)
    kind.channels, kind.alpha = like.channels, like.alpha
    return kind


@dataclass(frozen=True, eq=False)
class TiledRun:
    """One image to be fused in tiles: all that a tile's worker has to know, small and plain.

    Attributes
    ----------
    shape : tuple of int
        Of the stack.
    dtype : numpy.dtype
    rgb : bool or None
    options : FocusStackOptions
        As the user gave them.
    decisions : Decisions
    plan : TilePlan
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rgb: bool | None
    options: FocusStackOptions
    decisions: Decisions
    plan: TilePlan

    @property
    def kind(self) -> SliceKind:
        """The kind of the slices."""
        return SliceKind(self.shape[1:], self.dtype, self.rgb)

    @property
    def filling(self) -> HeightFilling:
        """How heights are filled."""
        return self.decisions.filling(self.options, self.shape[0])

    @property
    def map_shape(self) -> tuple[int, int]:
        """(y, x) of the unfilled map."""
        scale = self.filling.scale
        return -(-self.shape[1] // scale), -(-self.shape[2] // scale)

    def fuse(self, reader: Reader, tile: Tile) -> Part:
        """Return one tile."""
        rows, columns = tile.window
        height, width = self.shape[1:3]
        # The whole image's count: a tile may be smaller than its own would be.
        options = replace(self.options, levels=chosen_levels(self.options, height, width))
        whole = Whole(
            given=self.decisions.numbers,
            origin=(rows.start, columns.start),
            cut=(rows.start > 0, rows.stop < height, columns.start > 0, columns.stop < width),
            core=tile.core_in_window,
        )
        with _one_tile:
            slices = Slices(_Window(reader, rows, columns, self.kind, self.shape[0]), self.rgb)
            shape = (len(slices), *slices.kind.shape)
            stacker = FocusStacker(shape, options, self.decisions.noise, rgb=self.rgb, whole=whole)
            for _, image in read_ahead(slices):
                stacker.add(image)
                del image
            return stacker.part()

    def map_window(self, tile: Tile) -> tuple[slice, slice]:
        """Return the part of the unfilled map that a tile's heights need."""
        cell = 1 << COARSE_LEVELS
        reach = -(-self.filling.reach_px // cell) * cell
        bounds = zip(self.map_core(tile), self.map_shape, strict=True)
        y, x = (slice(max(core.start - reach, 0), min(core.stop + reach, n)) for core, n in bounds)
        return y, x

    def map_core(self, tile: Tile) -> tuple[slice, slice]:
        """Return a tile's own part of the unfilled map."""
        scale = self.filling.scale
        y, x = (slice(start // scale, -(-stop // scale)) for start, stop in (tile.y, tile.x))
        return y, x

    def sharpness(self, parts: list[Part]) -> SharpnessReport:
        """Return the report of the whole image from those of all tiles, in their order."""
        areas = [tile.area_px for tile in self.plan]
        return whole_sharpness(self.options, self.decisions.noise, self.kind, parts, areas)


def coarse_of(
    run: TiledRun, tile: Tile, unfilled: npt.NDArray[np.float32], everywhere: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a tile's own coarse cells: values and how far they are known."""
    values, trusts = run.filling.coarse_cells(unfilled, everywhere)
    window, core = run.map_window(tile), run.map_core(tile)
    y, x = (
        slice(c.start - w.start >> COARSE_LEVELS, -(-(c.stop - w.start) >> COARSE_LEVELS))
        for w, c in zip(window, core, strict=True)
    )
    return values[y, x].copy(), trusts[y, x].copy()


def solved_grid(
    run: TiledRun, cells: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
) -> npt.NDArray[np.float32] | None:
    """Return the coarse cells of the whole image, solved, from those of all tiles in their order."""
    rows, columns = run.plan.counts
    values, trusts = (
        np.block([[cells[columns * i + j][which] for j in range(columns)] for i in range(rows)]) for which in (0, 1)
    )
    return solved(np.ascontiguousarray(values), np.ascontiguousarray(trusts))


def refined_of(
    run: TiledRun,
    tile: Tile,
    unfilled: npt.NDArray[np.float32],
    everywhere: npt.NDArray[np.float32] | None,
    grid: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float32]:
    """Return the heights of a tile's own pixels after one more round."""
    window = run.map_window(tile)
    coarse = None
    if grid is not None:
        y, x = (slice(w.start >> COARSE_LEVELS, -(-w.stop >> COARSE_LEVELS)) for w in window)
        coarse = np.ascontiguousarray(grid[y, x])
    return _own(run.filling.refined(unfilled, everywhere, coarse), window, run.map_core(tile)).copy()


def maps_of(
    run: TiledRun, tile: Tile, unfilled: npt.NDArray[np.float32], everywhere: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return index, height and confidence of a tile's own pixels."""
    scale = run.filling.scale
    window = run.map_window(tile)
    y, x = (slice(w.start * scale, min(w.stop * scale, n)) for w, n in zip(window, run.shape[1:3], strict=True))
    maps = run.filling.maps(unfilled, everywhere, (y.stop - y.start, x.stop - x.start))
    index, height, confidence = (
        _own(one, (y, x), tile.core).copy() for one in (maps.index, maps.height, maps.confidence)
    )
    return index, height, confidence


def _own(map_of_window: npt.NDArray[Any], window: tuple[slice, slice], core: tuple[slice, slice]) -> npt.NDArray[Any]:
    y, x = (slice(c.start - w.start, c.stop - w.start) for w, c in zip(window, core, strict=True))
    return map_of_window[y, x]


def reach_px(options: FocusStackOptions, levels: int, slices: int, transparent: bool) -> int:
    """Return how far around a pixel lies what decides about it, in px of the image."""
    reach = max(_FUSION_REACH << levels, _HEIGHT_REACH_PX)
    if transparent:
        reach = max(reach, _PHASE_REACH_PX)
    if slices >= LEAST_SLICES and options.method == "laplacian":
        reach = max(reach, _SWEEP_REACH_PX)
    return reach + int(np.ceil(options.halo_radius_px))


def plan_for(
    shape: tuple[int, ...],
    dtype: Any,
    options: FocusStackOptions,
    *,
    memory: int,
    rgb: bool | None = None,
    transparent: bool = True,
    chunk: tuple[int, int] | None = None,
    tile: tuple[int, int] | None = None,
) -> TilePlan:
    """Return how a stack is cut into tiles; nothing is read.

    Parameters
    ----------
    shape, dtype
        Of the stack.
    options : FocusStackOptions
    memory : int
        Bytes a process may use.
    rgb : bool or None
    transparent : bool
        Whether the specimen may be a transparent one; else less memory is needed.
    chunk, tile : tuple of int, optional
        (y, x) of the chunks it is stored in, and of the tiles the user wants.

    Raises
    ------
    InputError
        If not even a small tile fits the memory.
    """
    kind = SliceKind(tuple(shape[1:]), dtype, rgb)
    height, width = kind.shape[:2]
    levels = chosen_levels(options, height, width)
    side = 1024
    needed = memory_needed((shape[0], side, side, *kind.shape[2:]), dtype, options) / side**2
    if not transparent:
        needed -= _PHASE_BYTES_PX + _PHASE_SLICES * kind.channels * kind.dtype.itemsize
    return plan_tiles(
        (height, width),
        halo=reach_px(options, levels, shape[0], transparent),
        align=max(1 << levels, (4 if transparent else 2) << COARSE_LEVELS),
        bytes_per_px=needed,
        memory=memory,
        chunk=chunk,
        side=tile,
    )


def tiled_run(
    stack: Any,
    rgb: bool | None = None,
    *,
    memory: int | str = DEFAULT_MEMORY,
    tile: int | tuple[int, int] | None = None,
    decisions: Decisions | None = None,
    options: FocusStackOptions | None = None,
) -> TiledRun:
    """Decide and plan; parameters are those of `focus_stack_tiled`."""
    options = options or FocusStackOptions()
    slices = Slices(stack, rgb)
    budget = bytes_of(memory)
    _check_options(options, len(slices))
    decisions = decisions or decide(stack, rgb, options, budget)
    plan = plan_for(
        (len(slices), *slices.kind.shape),
        slices.kind.dtype,
        options,
        memory=budget,
        rgb=rgb,
        transparent=decisions.transparent > 0,
        chunk=_chunk_of(stack),
        tile=(tile, tile) if isinstance(tile, int) else tile,
    )
    return TiledRun((len(slices), *slices.kind.shape), slices.kind.dtype, rgb, options, decisions, plan)


def _check_options(options: FocusStackOptions, slices: int) -> None:
    method = FUSION_METHODS[options.method]
    if method.visits != 1:
        able = [name for name, other in FUSION_METHODS.items() if other.visits == 1]
        raise InputError(
            f"method {options.method!r} needs the whole image at once, so it cannot run in tiles; "
            f"choose one of {', '.join(able)}."
        )
    if options.mend_rims:
        raise InputError("mend_rims needs the whole image at once, so it cannot run in tiles; leave it out.")
    if options.aligns:
        raise InputError("slices are aligned whole, which cannot run in tiles; align the stack first.")


def bytes_of(memory: int | str) -> int:
    """Return a number of bytes, from a text such as "2 GB" too.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> bytes_of("1.5 GB")
    1500000000
    """
    from dask.utils import parse_bytes

    try:
        count = int(parse_bytes(memory))
    except (ValueError, TypeError):
        count = 0
    if count <= 0:
        raise InputError(f"memory must be a number of bytes or a text such as '2 GB', got {memory!r}.")
    return count


def _chunk_of(stack: Any) -> tuple[int, int] | None:
    chunk = getattr(stack, "chunksize", None) or getattr(stack, "chunks", None)
    if not isinstance(chunk, tuple) or len(chunk) < 3 or not all(isinstance(n, int) and n > 0 for n in chunk):
        return None
    y, x = chunk[1:3]
    # Slices stored whole cannot be read in parts: their size says nothing.
    return (y, x) if (y, x) != tuple(stack.shape[1:3]) else None


@dataclass(frozen=True, eq=False)
class TiledResult:
    """What `focus_stack_tiled` gives: dask arrays, one chunk for each tile.

    Attributes
    ----------
    image, index, height, confidence : dask array
        As of `FocusStackResult`.
    run : TiledRun
        With what was decided and planned.
    """

    image: da.Array
    index: da.Array
    height: da.Array
    confidence: da.Array
    run: TiledRun
    _graph: Mapping[Any, Any]
    _parts: list[Any]

    @property
    def plan(self) -> TilePlan:
        """How the image is cut."""
        return self.run.plan

    def sharpness(self) -> SharpnessReport:
        """Compute the sharpness of every slice and of the fused image: as much work as the image."""
        from dask.base import compute_as_if_collection
        from dask.delayed import Delayed

        names = [f"sharpness-{key[0]}-{key[1]}" for key in self._parts]
        own = {name: (_without_pixels, key) for name, key in zip(names, self._parts, strict=True)}
        parts = compute_as_if_collection(Delayed, {**self._graph, **own}, names)
        return self.run.sharpness(list(parts))


def _without_pixels(part: Part) -> Part:
    return replace(part, image=_NOTHING, index=_NOTHING, unfilled=_NOTHING)


def focus_stack_tiled(
    stack: Any,
    rgb: bool | None = None,
    *,
    memory: int | str = DEFAULT_MEMORY,
    tile: int | tuple[int, int] | None = None,
    decisions: Decisions | None = None,
    **options: Any,
) -> TiledResult:
    """Fuse a z-stack that may be larger than memory, lazily and tile by tile.

    What "auto" leaves to the stack is decided at once, from a sample of it; the rest
    runs when a result is computed, on whatever scheduler dask uses then: threads, or a
    `dask.distributed.Client`.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c)
        A dask or zarr array, a memmap, NumPy, or a `StackSource`. Only read in parts.
    rgb : bool or None
        As of `focus_stack`.
    memory : int or str
        What a process may use, in bytes or as "2 GB". Tiles are made as large as fits.
    tile : int or tuple of int, optional
        Side of a tile in px, instead; rounded up to what the pyramid needs.
    decisions : Decisions, optional
        Of an earlier run, ``result.run.decisions``; nothing is read then.
    **options
        Fields of `FocusStackOptions`.

    Returns
    -------
    TiledResult

    Raises
    ------
    InputError
        If the stack, an option or the memory is refused.

    Examples
    --------
    >>> import dask.array as da
    >>> rng = np.random.default_rng(0)
    >>> stack = rng.integers(0, 255, (3, 300, 200), np.uint8)
    >>> result = focus_stack_tiled(da.from_array(stack, chunks=(1, 100, 100)), tile=128, levels=2)
    >>> result.image.shape, result.plan.counts
    ((300, 200), (3, 2))
    >>> from napari_focus_stack import focus_stack
    >>> whole = focus_stack(stack, levels=2)
    >>> bool((result.height.compute() == whole.height).all())
    True
    """
    run = tiled_run(stack, rgb, memory=memory, tile=tile, decisions=decisions, options=FocusStackOptions.of(**options))
    return lazy_result(run, reader_of(stack))


def lazy_result(run: TiledRun, reader: Reader) -> TiledResult:
    """Return the dask arrays of a run."""
    from dask.base import tokenize

    # Tasks are written down by hand: dask.delayed took minutes over a hundred that share their inputs.
    mark = f"focus-stack-{tokenize(run.shape, run.options, run.plan)}-{uuid4().hex[:8]}"
    tiles = list(run.plan)
    graph: dict[Any, Any] = {}

    def task(name: str, tile: Tile, function: Callable[..., Any], *inputs: Any) -> tuple[str, int]:
        key = f"{name}-{mark}", tile.number
        graph[key] = (function, *inputs)
        return key

    def pieces(tile: Tile, everywhere: list[Any]) -> tuple[list[int], list[Any], list[Any]]:
        return (
            near[tile.number],
            [unfilled[n] for n in near[tile.number]],
            [everywhere[n] for n in near[tile.number] if everywhere],
        )

    near = [tiles_near(run, tiles, tile) for tile in tiles]
    parts = [task("fuse", tile, run.fuse, reader.near(*tile.window), tile) for tile in tiles]
    unfilled = [task("unfilled", tile, _field, part, "unfilled") for tile, part in zip(tiles, parts, strict=True)]
    everywhere: list[Any] = []
    for turn in range(run.filling.rounds):
        inputs = [pieces(tile, everywhere) for tile in tiles]
        cells = [task(f"coarse-{turn}", tile, _coarse_task, run, tile, *inputs[tile.number]) for tile in tiles]
        grid = f"grid-{turn}-{mark}"
        graph[grid] = (solved_grid, run, cells)
        everywhere = [task(f"fill-{turn}", tile, _refine_task, run, tile, *inputs[tile.number], grid) for tile in tiles]
    maps = [task("maps", tile, _maps_task, run, tile, *pieces(tile, everywhere)) for tile in tiles]
    # Of an opaque specimen the height need not be known for the index.
    of_index = (
        [(_item, key, 0) for key in maps] if run.filling.transparent else [(_field, key, "index") for key in parts]
    )

    def array(name: str, dtype: Any, tasks: list[Any], *more: int) -> da.Array:
        return _array(f"{name}-{mark}", graph, run.plan, np.dtype(dtype), tasks, more)

    return TiledResult(
        image=array("image", run.dtype, [(_field, key, "image") for key in parts], *run.shape[3:]),
        index=array("index", np.uint16, of_index),
        height=array("height", np.float32, [(_item, key, 1) for key in maps]),
        confidence=array("confidence", np.float32, [(_item, key, 2) for key in maps]),
        run=run,
        _graph=graph,
        _parts=parts,
    )


def _array(
    name: str, graph: dict[Any, Any], plan: TilePlan, dtype: np.dtype[Any], tasks: list[Any], more: tuple[int, ...]
) -> da.Array:
    """Return the dask array whose chunks are made by tasks, one for each tile; `more` are axes behind y and x."""
    import dask.array as da

    rows, columns = plan.counts
    chunks = tuple(tuple(b - a for a, b in pairwise(edges)) for edges in plan.edges)
    own = {(name, i, j, *[0] * len(more)): tasks[columns * i + j] for i in range(rows) for j in range(columns)}
    return da.Array(graph | own, name, (*chunks, *[(n,) for n in more]), dtype)


def _field(part: Part, name: str) -> Any:
    return getattr(part, name)


def _item(maps: tuple[Any, ...], number: int) -> Any:
    return maps[number]


def _coarse_task(run: TiledRun, tile: Tile, near: list[int], unfilled: list[Any], everywhere: list[Any]) -> Any:
    return coarse_of(run, tile, *_gathered(run, tile, near, unfilled, everywhere))


def _refine_task(
    run: TiledRun, tile: Tile, near: list[int], unfilled: list[Any], everywhere: list[Any], grid: Any
) -> Any:
    return refined_of(run, tile, *_gathered(run, tile, near, unfilled, everywhere), grid)


def _maps_task(run: TiledRun, tile: Tile, near: list[int], unfilled: list[Any], everywhere: list[Any]) -> Any:
    heights, filled = _gathered(run, tile, near, unfilled, everywhere)
    if filled is None:
        raise AssertionError("heights are filled before their maps are made")
    return maps_of(run, tile, heights, filled)


def tiles_near(run: TiledRun, tiles: list[Tile], tile: Tile) -> list[int]:
    """Return the numbers of the tiles whose pixels the heights of a tile need."""
    window = run.map_window(tile)
    return [
        other.number
        for other in tiles
        if all(w.start < c.stop and c.start < w.stop for w, c in zip(window, run.map_core(other), strict=True))
    ]


def _gathered(
    run: TiledRun, tile: Tile, near: list[int], unfilled: list[Any], everywhere: list[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return the map window of a tile from the pieces of the tiles near it."""
    window = run.map_window(tile)
    shape = [w.stop - w.start for w in window]
    whole = np.empty((run.filling.planes, *shape), np.float32)
    filled = np.empty(shape, np.float32) if everywhere else None
    tiles = {other.number: other for other in run.plan}
    for i, number in enumerate(near):
        core = run.map_core(tiles[number])
        to, at = zip(*(_common(w, c) for w, c in zip(window, core, strict=True)), strict=True)
        whole[:, to[0], to[1]] = unfilled[i][:, at[0], at[1]]
        if filled is not None:
            filled[to] = everywhere[i][at]
    return whole, filled


def _common(window: slice, core: slice) -> tuple[slice, slice]:
    """Return where what two ranges share lies in either."""
    start, stop = max(window.start, core.start), min(window.stop, core.stop)
    return slice(start - window.start, stop - window.start), slice(start - core.start, stop - core.start)
