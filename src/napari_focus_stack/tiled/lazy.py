"""The results of a run in tiles as dask arrays: one chunk for each tile, computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from ..options import FocusStackOptions
from ..result import FocusStackResult, Part
from ..sharpness import SharpnessReport
from .decisions import Decisions
from .heights import coarse_of, maps_of, pieces_seen, refined_of, solved_grid
from .plan import Tile, TilePlan
from .readers import Reader, reader_of
from .run import TiledRun
from .setup import DEFAULT_MEMORY, tiled_run

if TYPE_CHECKING:
    import dask.array as da

_NOTHING: npt.NDArray[Any] = np.empty((0, 0))


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


def lazy_focus_stack(stack: Any, rgb: bool | None, options: FocusStackOptions) -> FocusStackResult:
    """Return what `focus_stack` does of a dask array: the same record, of dask arrays."""
    run = tiled_run(stack, rgb, options=options)
    found = lazy_result(run, reader_of(stack))
    return FocusStackResult(
        image=found.image,
        index=found.index,
        height=found.height,
        confidence=found.confidence,
        sharpness=_LazySharpness(found),
        noise=run.decisions.noise,
        options=options,
        transparent=run.decisions.mean_transparent,
        chosen=run.decisions.chosen,
    )


class _LazySharpness(SharpnessReport):
    """The report of an image in tiles, computed when it is first looked at."""

    def __init__(self, result: TiledResult) -> None:
        object.__setattr__(self, "_result", result)

    def __getattr__(self, name: str) -> Any:
        names = [field.name for field in fields(SharpnessReport)]
        if name not in names:
            raise AttributeError(name)
        report = self.__dict__["_result"].sharpness()
        for one in names:
            object.__setattr__(self, one, getattr(report, one))
        return getattr(report, name)


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

    def pieces(tile: Tile, everywhere: list[Any]) -> tuple[list[Any], list[Any]]:
        return [unfilled[n] for n in near[tile.number]], [everywhere[n] for n in near[tile.number] if everywhere]

    near = [[other.number for other, _, _ in pieces_seen(run, tile)] for tile in tiles]
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
        [(_item, key, "index") for key in maps]
        if run.filling.tells_index
        else [(_field, key, "index") for key in parts]
    )

    def array(name: str, dtype: Any, tasks: list[Any], *more: int) -> da.Array:
        return _array(f"{name}-{mark}", graph, run.plan, np.dtype(dtype), tasks, more)

    return TiledResult(
        image=array("image", run.dtype, [(_field, key, "image") for key in parts], *run.shape[3:]),
        index=array("index", np.uint16, of_index),
        height=array("height", np.float32, [(_item, key, "height") for key in maps]),
        confidence=array("confidence", np.float32, [(_item, key, "confidence") for key in maps]),
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


def _item(maps: dict[str, Any], name: str) -> Any:
    return maps[name]


def _coarse_task(run: TiledRun, tile: Tile, unfilled: list[Any], everywhere: list[Any]) -> Any:
    return coarse_of(run, tile, *_gathered(run, tile, unfilled, everywhere))


def _refine_task(run: TiledRun, tile: Tile, unfilled: list[Any], everywhere: list[Any], grid: Any) -> Any:
    return refined_of(run, tile, *_gathered(run, tile, unfilled, everywhere), grid)


def _maps_task(run: TiledRun, tile: Tile, unfilled: list[Any], everywhere: list[Any]) -> Any:
    heights, filled = _gathered(run, tile, unfilled, everywhere)
    if filled is None:
        raise AssertionError("heights are filled before their maps are made")
    return maps_of(run, tile, heights, filled)


def _gathered(
    run: TiledRun, tile: Tile, unfilled: list[Any], everywhere: list[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return the map window of a tile from the pieces of the tiles near it."""
    shape = [w.stop - w.start for w in run.map_window(tile)]
    whole = np.empty((run.filling.planes, *shape), np.float32)
    filled = np.empty(shape, np.float32) if everywhere else None
    for i, (_, to, at) in enumerate(pieces_seen(run, tile)):
        whole[(slice(None), *to)] = unfilled[i][(slice(None), *at)]
        if filled is not None:
            filled[to] = everywhere[i][at]
    return whole, filled
