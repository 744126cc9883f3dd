"""A run in tiles for a layer: what it needs, which tile comes next, and its results in files that fill up meanwhile."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import FocusStackOptions
from .layers import LayerStack, StackView
from .worker import RunProgress

if TYPE_CHECKING:
    from ..auto_choices import Chosen
    from ..io.tile_files import Adjust, TileFiles
    from ..pipeline import Outcome, Progress
    from ..result import Part
    from ..sharpness import SharpnessReport
    from ..tiled import Tile, TiledRun

# Half of what is free, and no more than this: beyond it tiles overlap little less.
_MOST_BYTES = 4_000_000_000
# As large as a tile is made where parts of slices can be read: the first one should be there soon.
TILE_PX = 2048
# Beginning of the names of our folders; the machine and the number of the process follow.
_PREFIX = "napari-focus-stack-tiles-"
# The window reads a piece at a time, for longer than a file takes to be replaced; and while it waits, it stands still.
_WRITE_PAUSES_S = (0.02, 0.08, 0.4)
_READ_PAUSES_S = (0.001, 0.004, 0.015)


@dataclass(frozen=True)
class TileProgress(RunProgress):
    """How far a run in tiles is.

    Attributes
    ----------
    words : str
        What it is at.
    files : TileFiles or None
        What it writes to, once that is there.
    written : Tile or None
        The tile that was just written.
    """

    words: str = ""
    files: TileFiles | None = None
    written: Tile | None = None

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, eq=False)
class TilesDone:
    """What is told of a run in tiles; its pixels are in files."""

    files: TileFiles
    sharpness: SharpnessReport
    chosen: Mapping[str, Chosen]
    warnings: tuple[str, ...]


@dataclass
class ViewFirst:
    """Which tile comes next: those in view first, from the middle of the view outwards.

    Attributes
    ----------
    rows, columns : tuple of float
        What the canvas shows, in px of a slice; may change at any time.

    Examples
    --------
    >>> from napari_focus_stack.tiled import TilePlan
    >>> tiles = list(TilePlan((300, 300), (100, 100), 10, 1.0))
    >>> ViewFirst((210.0, 290.0), (150.0, 290.0)).next_of(tiles).number
    8
    """

    rows: tuple[float, float] = (0.0, 0.0)
    columns: tuple[float, float] = (0.0, 0.0)

    def next_of(self, tiles: Sequence[Tile]) -> Tile:
        """Return the tile to fuse now."""
        return min(tiles, key=self._rank)

    def shows(self, tile: Tile) -> bool:
        """Return whether any of a tile is in view."""
        return all(
            seen[0] < core[1] and core[0] < seen[1]
            for seen, core in zip((self.rows, self.columns), (tile.y, tile.x), strict=True)
        )

    def _rank(self, tile: Tile) -> tuple[bool, float, int]:
        middle = ((seen[0] + seen[1]) / 2 for seen in (self.rows, self.columns))
        away = (at - (core[0] + core[1]) / 2 for at, core in zip(middle, (tile.y, tile.x), strict=True))
        return not self.shows(tile), sum(d * d for d in away), tile.number


class ResultFolder:
    """A folder for results, gone when nothing refers to it any more, or at the end of the program."""

    def __init__(self) -> None:
        home = _cache()
        _sweep(home)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_own_prefix()}{os.getpid()}-", dir=home))
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove it now."""
        self._remove()

    def check_room(self, nbytes: int) -> None:
        """Refuse a run whose results do not fit.

        Raises
        ------
        InputError
        """
        free = shutil.disk_usage(self.path).free
        if nbytes > free:
            raise InputError(
                f"results in tiles need about {nbytes / 1e9:.1f} GB in {self.path.parent}, "
                f"but {free / 1e9:.1f} GB are free there; make room."
            )


def _cache() -> Path:
    """Return the user's folder for what can be made again: one for temporary files may lie in memory."""
    try:
        from platformdirs import user_cache_dir  # napari needs it, too

        path = Path(user_cache_dir("napari-focus-stack"))
        path.mkdir(parents=True, exist_ok=True)
    except (ImportError, OSError):
        path = Path(tempfile.gettempdir())
    return path


def _own_prefix() -> str:
    # A home may be shared by many machines, each with processes of its own that are at work in it.
    return f"{_PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', platform.node())}-"


def _sweep(home: Path) -> None:
    """Remove what processes of this machine left behind that were killed."""
    import psutil

    for path in home.glob(f"{_own_prefix()}*"):
        number = path.name.removeprefix(_own_prefix()).partition("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)


class LazyLevel:
    """One level of a result in files, shaped as its layer: read where it is looked at.

    Parameters
    ----------
    array : zarr array
        Shape (y, x) or (c, y, x).
    shape : tuple of int
        Of the layer: axes of length 1 around y and x, and channels last.
    plane : tuple of int
        Which of its axes are y and x.
    folder : ResultFolder
        Kept as long as this is.
    """

    def __init__(self, array: Any, shape: tuple[int, ...], plane: tuple[int, int], folder: ResultFolder) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(array.dtype), len(shape)
        self._array, self._plane, self._folder = array, plane, folder

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyLevel:
        """Return itself: a layer that is duplicated keeps the files, too."""
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, where: Any) -> npt.NDArray[Any]:
        index = where if isinstance(where, tuple) else (where,)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            index = (*index[:at], *[slice(None)] * (self.ndim - len(index) + 1), *index[at + 1 :])
        index = (*index, *[slice(None)] * (self.ndim - len(index)))
        # Whole numbers as parts of length 1 first: then every axis is where it was.
        parts = [
            part if isinstance(part, slice) else slice(k := range(n)[int(part)], k + 1)
            for part, n in zip(index, self.shape, strict=True)
        ]
        y, x = self._plane
        pixels = _patiently(lambda: np.asarray(self._array[(..., parts[y], parts[x])]), _READ_PAUSES_S)
        if pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)[..., parts[-1]]
        lengths = [len(range(n)[part]) for part, n in zip(parts, self.shape, strict=True)]
        return pixels.reshape(lengths)[tuple(slice(None) if isinstance(part, slice) else 0 for part in index)]


def _patiently(work: Callable[[], Outcome], pauses_s: Sequence[float]) -> Outcome:
    """Do again what Windows refuses while the other thread is at the same file: no file is replaced that is open."""
    for pause_s in pauses_s:
        try:
            return work()
        except PermissionError:
            time.sleep(pause_s)
    return work()


@dataclass(eq=False)
class GrowingResults:
    """The results of a run under way as its layers show them: pyramids whose pixels come tile by tile.

    Attributes
    ----------
    levels : dict of str to list of array-like
        The last of a list lies in memory: `refresh` reads it anew.
    """

    levels: dict[str, list[Any]] = field(default_factory=dict)
    _coarsest: dict[str, LazyLevel] = field(default_factory=dict)

    @classmethod
    def of(cls, files: TileFiles, stack: LayerStack, folder: ResultFolder) -> GrowingResults:
        """Return what the files of a run have by now."""
        from ..io.zarr_image import open_array

        found = cls()
        y, x = stack.result_plane_axes
        for name, path in files.images.items():
            levels: list[Any] = []
            while (path / str(len(levels))).exists():
                array = open_array(path / str(len(levels)))
                shape = list(stack.result_array(bool, colour=name == "image" and array.ndim == 3).shape)
                shape[y], shape[x] = array.shape[-2:]
                levels.append(LazyLevel(array, tuple(shape), (y, x), folder))
            found._coarsest[name] = levels[-1]
            # napari keeps what it once read of the coarsest level.
            found.levels[name] = [*levels[:-1], np.array(levels[-1])]
        return found

    def refresh(self) -> None:
        """Read the coarsest levels anew."""
        for name, level in self._coarsest.items():
            self.levels[name][-1][...] = level[...]


def tile_memory() -> int:
    """Return how many bytes a run in tiles may use here."""
    from ..machine import free_memory

    return min(free_memory() // 2, _MOST_BYTES)


def tile_bytes(stack: LayerStack, options: FocusStackOptions) -> int:
    """Return about how many bytes a run in tiles needs, the program itself included.

    Raises
    ------
    InputError
        If not even a small tile fits.
    """
    from ..tiled import plan_for
    from ..tiled.readers import read_whole

    view = stack.at((0,) * len(stack.outer_axes))
    side = None if read_whole(view) else (TILE_PX, TILE_PX)
    plan = plan_for(view.shape, view.dtype, options, memory=tile_memory(), rgb=stack.rgb, tile=side)
    return min(plan.peak_bytes, tile_memory())


def fuse_in_tiles(
    stack: LayerStack,
    options: FocusStackOptions,
    fields: Sequence[str],
    folder: ResultFolder,
    order: ViewFirst,
    adjust: Adjust | None = None,
) -> Generator[TileProgress, None, TilesDone]:
    """Fuse the only z-stack of a layer tile by tile into files, giving control back after every slice.

    Parameters
    ----------
    stack : LayerStack
    options : FocusStackOptions
    fields : sequence of str
        Results that are wanted: "image", "index", "height", "confidence".
    folder : ResultFolder
    order : ViewFirst
    adjust : callable, optional
        Makes of heights and confidence the heights to keep.

    Raises
    ------
    InputError
        If the options cannot run in tiles, or there is no room.
    """
    from ..io.tile_files import TileFiles

    view = stack.at((0,) * len(stack.outer_axes))
    run = yield from _planned(view, stack.rgb, options)
    files = TileFiles(run, {name: folder.path / f"{name}.ome.zarr" for name in fields}, folder.path / "scratch")
    folder.check_room(files.nbytes)
    files.create(2)
    left, parts = list(run.plan), {}
    count, slices = len(left), len(view)
    total = count * slices + (count * (2 * files.rounds + 1) if files.fills_heights else 0)

    def progress(done: int, words: str, written: Tile | None = None) -> TileProgress:
        return TileProgress(done, total, 1, 1, words, files, written)

    yield progress(0, f"tile 1/{count}")
    while left:
        tile = order.next_of(left)
        left.remove(tile)
        part = yield from _fused(run, view, tile, count - len(left), progress)
        whole = files.without_unfilled(tile, part)
        parts[tile.number] = _patiently(partial(files.write_part, tile, whole), _WRITE_PAUSES_S)
        yield progress((count - len(left)) * slices, f"tile {count - len(left)}/{count} is done", tile)
    if files.fills_heights:
        done = count * slices
        for step, written in _filled(files, order, adjust):
            done += 1
            yield progress(done, f"heights {step}/{total - count * slices}", written)
    in_order = [parts[tile.number] for tile in run.plan]
    warnings = tuple(dict.fromkeys(text for part in in_order for text in part.warnings))
    shutil.rmtree(files.scratch, ignore_errors=True)
    return TilesDone(files, run.sharpness(in_order), run.decisions.chosen, warnings)


def _planned(view: StackView, rgb: bool, options: FocusStackOptions) -> Generator[TileProgress, None, TiledRun]:
    from ..tiled import tiled_run_steps

    steps = tiled_run_steps(view, rgb, memory=tile_memory(), most_px=TILE_PX, options=options)
    return (
        yield from _telling(
            steps, lambda step: TileProgress(step.done, step.total, 1, 1, f"looking at slice {step.done}/{step.total}")
        )
    )


def _fused(
    run: TiledRun, view: StackView, tile: Tile, number: int, progress: Callable[[int, str], TileProgress]
) -> Generator[TileProgress, None, Part]:
    from ..tiled import reader_of

    before, count = (number - 1) * len(view), len(run.plan)
    return (
        yield from _telling(
            run.fuse_steps(reader_of(view).near(*tile.window), tile),
            lambda step: progress(before + step.done, f"tile {number}/{count} · slice {step.done}/{step.total}"),
        )
    )


def _telling(
    steps: Generator[Progress, None, Outcome], tell: Callable[[Progress], TileProgress]
) -> Generator[TileProgress, None, Outcome]:
    """Yield what `tell` makes of every step; return what the steps come to."""
    try:
        while True:
            yield tell(next(steps))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        steps.close()


def _filled(
    files: TileFiles, order: ViewFirst, adjust: Adjust | None
) -> Generator[tuple[int, Tile | None], None, None]:
    """Fill all heights, telling how many steps are done and which tile was written."""
    from ..tiled import solved_grid

    tiles, done = list(files.run.plan), 0
    for turn in range(files.rounds):
        cells = []
        for tile in tiles:
            cells.append(files.coarse_cells(tile, turn))
            done += 1
            yield done, None
        grid = solved_grid(files.run, cells)
        for tile in tiles:
            files.write_refined(tile, turn, files.refined(tile, turn, grid))
            done += 1
            yield done, None
    while tiles:
        tile = order.next_of(tiles)
        tiles.remove(tile)
        _patiently(partial(files.write_maps, tile, files.maps(tile, adjust)), _WRITE_PAUSES_S)
        done += 1
        yield done, tile
