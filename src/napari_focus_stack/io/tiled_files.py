"""Fuse a stack tile by tile into OME-Zarr: every tile is written where it belongs as soon as it is done.

What is not finished lies in folders with hidden names beside the results, among it a
journal of the tiles that are done; an interrupted run goes on from there. The results get
their names when all of them are whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import tiled
from ..chosen import Chosen
from ..errors import InputError
from ..filling import PLANES
from ..noise import NoiseModel
from ..options import FocusStackOptions
from ..result import Part
from ..tiled import Decisions, Tile, TiledRun, TilePlan
from .heights import HeightSettings
from .reading import read_stack
from .report import plain
from .source import PixelSize, StackSource
from .writing import put_in_place
from .zarr_image import DEFAULT_FORMAT, ZarrImage, chunk_side, make_array, open_array

if TYPE_CHECKING:
    from ..sharpness import SharpnessReport

Report = Callable[[int, int], None]

_JOURNAL, _PLAN = "journal.jsonl", "plan.json"
MAPS = ("image", "index", "height", "confidence")


class Workers(Protocol):
    """What runs jobs: functions of plain arguments that other processes can be given."""

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job, as they end; a job is a function and its arguments."""


class HereWorkers:
    """Runs one job after the other; each uses all cores."""

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        for number, (function, *arguments) in enumerate(jobs):
            yield number, function(*arguments)


class ClusterWorkers:
    """Runs jobs on a cluster of dask.distributed; a job whose worker dies is given to another one.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        from distributed import as_completed

        futures = [self._client.submit(*job, pure=False) for job in jobs]
        numbers = {future.key: number for number, future in enumerate(futures)}
        try:
            for future in as_completed(futures):
                yield numbers[future.key], future.result()
        finally:
            self._client.cancel(futures)


class FileReader:
    """Reads parts of the slices that files hold; opens them anew in every process.

    Parameters
    ----------
    inputs : sequence of str
        As of `read_stack`.
    """

    def __init__(self, inputs: Sequence[str | Path]) -> None:
        self._inputs = tuple(str(Path(entry).absolute()) if Path(entry).exists() else str(entry) for entry in inputs)

    def read(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Return a part of slice `k`."""
        return _opened(self._inputs).part(k, rows, columns)

    def near(self, rows: slice, columns: slice) -> FileReader:
        """Return itself."""
        return self


@lru_cache(maxsize=4)
def _opened(inputs: tuple[str, ...]) -> StackSource:
    return read_stack(inputs)


@dataclass(frozen=True)
class Folders:
    """Where a run keeps what is not finished: one hidden folder beside each result.

    Attributes
    ----------
    finals : tuple of (str, Path)
        Name of the result, image first, and where it will be.
    """

    finals: tuple[tuple[str, Path], ...]

    def part(self, name: str) -> Path:
        """Return the folder a result is written to."""
        path = dict(self.finals)[name]
        return path.with_name(f".{path.name}.part")

    @property
    def scratch(self) -> Path:
        """What is needed during the run only, beside the first result."""
        _, path = self.finals[0]
        return path.with_name(f".{path.name}.run")

    def clear(self) -> None:
        """Remove all that is not finished."""
        for name, _ in self.finals:
            shutil.rmtree(self.part(name), ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def rename(self) -> None:
        """Give the results their names; those of an earlier run are replaced."""
        for name, path in self.finals:
            put_in_place(self.part(name), path)
        shutil.rmtree(self.scratch, ignore_errors=True)


@dataclass(frozen=True)
class TiledOutcome:
    """What is told of a run whose pixels are in files.

    Attributes
    ----------
    sharpness : SharpnessReport
    run : TiledRun
    warnings : tuple of str
    resumed : int
        Tiles that an earlier run had done.
    """

    sharpness: SharpnessReport
    run: TiledRun
    warnings: tuple[str, ...]
    resumed: int


def fuse_into_zarr(
    stack: Any,
    reader: tiled.Reader,
    outputs: Mapping[str, Path],
    *,
    rgb: bool | None,
    options: FocusStackOptions,
    memory: int | str = tiled.DEFAULT_MEMORY,
    tile: int | tuple[int, int] | None = None,
    resume: bool = False,
    identity: Any = None,
    pixel_size: PixelSize | None = None,
    heights: HeightSettings | None = None,
    zarr_format: int = DEFAULT_FORMAT,
    workers: Workers | None = None,
    progress: Report | None = None,
) -> TiledOutcome:
    """Fuse a stack into OME-Zarr folders, tile by tile.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c)
        What the decisions are taken from.
    reader : Reader
        Reads the same in the processes of the workers.
    outputs : mapping of str to Path
        Of "image", "index", "height", "confidence"; the image is always among them.
    rgb, options, memory, tile
        As of `tiled.focus_stack_tiled`.
    resume : bool
        Whether to go on where an interrupted run of the same stack and options stopped.
    identity : object
        What tells the stack from others, for `resume`; its files and their times.
    pixel_size : PixelSize, optional
    heights : HeightSettings, optional
        Unit and mask of the height map.
    zarr_format : int
        2 for OME-Zarr 0.4, 3 for 0.5.
    workers : Workers, optional
        None runs one tile after the other here.
    progress : callable or None
        Called as ``progress(done, total)``.

    Raises
    ------
    InputError
        If something is refused, or there is nothing to resume.
    """
    workers = workers or HereWorkers()
    folders = Folders(tuple((name, Path(outputs[name]).absolute()) for name in MAPS if name in outputs))
    asked = plain(
        {"identity": identity, "options": options, "zarr": zarr_format, "outputs": folders.finals, "tile": tile}
    )
    plan_file = folders.scratch / _PLAN
    if resume and plan_file.is_file():
        run = _planned_before(plan_file, asked, stack, rgb, options)
    else:
        run = tiled.tiled_run(stack, rgb, memory=memory, tile=tile, options=options)
        folders.clear()
        _create(run, folders, zarr_format)
        # Last: a folder with a plan is one that a run can go on in.
        text = json.dumps({"asked": asked, "decisions": plain(run.decisions), "plan": asdict(run.plan)})
        _write_whole(plan_file, text)
    try:
        return _run_all(run, reader, folders, heights or HeightSettings(), pixel_size or PixelSize(), workers, progress)
    except OSError as error:
        raise InputError(
            f"the results could not be written ({error.strerror or error}); make room, and go on with --resume."
        ) from error


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _planned_before(path: Path, asked: Any, stack: Any, rgb: bool | None, options: FocusStackOptions) -> TiledRun:
    known = json.loads(path.read_text(encoding="utf-8"))
    if known["asked"] != json.loads(json.dumps(asked)):
        different = [key for key in asked if known["asked"].get(key) != json.loads(json.dumps(asked[key]))]
        raise InputError(
            f"the interrupted run beside the output was of another {' and '.join(different)}; "
            "give the same inputs, options and outputs, or start anew without --resume."
        )
    decided, plan = known["decisions"], known["plan"]
    decisions = Decisions(
        NoiseModel(**{key: tuple(value) for key, value in decided["noise"].items()}),
        {key: tuple(value) if isinstance(value, list) else value for key, value in decided["numbers"].items()},
        {key: Chosen(_tuples(value["value"]), value["words"]) for key, value in decided["chosen"].items()},
    )
    tile_plan = TilePlan(tuple(plan["shape"]), tuple(plan["side"]), plan["halo"], plan["bytes_per_px"])
    return TiledRun(tuple(stack.shape), np.dtype(stack.dtype), rgb, options, decisions, tile_plan)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _create(run: TiledRun, folders: Folders, zarr_format: int) -> None:
    shape = run.shape[1:3]
    names = [name for name, _ in folders.finals]
    for name in names:
        image = _image(run, folders, name)
        front = run.shape[3:] if name == "image" else ()
        dtype = {"image": run.dtype, "index": np.uint16}.get(name, np.float32)
        image.create((*front, *shape), dtype, run.plan.side, zarr_format)
    folders.scratch.mkdir(parents=True, exist_ok=True)
    if _needs_heights(run, names):
        scale = run.filling.scale
        chunks = tuple(chunk_side(side // scale, n) for side, n in zip(run.plan.side, run.map_shape, strict=True))
        make_array(
            folders.scratch / "unfilled", (PLANES, *run.map_shape), np.float32, (1, *chunks), 2, compressed=False
        )
        for turn in range(run.filling.rounds):
            make_array(folders.scratch / f"filled-{turn}", run.map_shape, np.float32, chunks, 2, compressed=False)


def _needs_heights(run: TiledRun, names: Iterable[str]) -> bool:
    return bool({"height", "confidence"} & set(names)) or (run.filling.transparent and "index" in names)


def _image(run: TiledRun, folders: Folders, name: str) -> ZarrImage:
    axes = "cyx" if name == "image" and len(run.shape) == 4 else "yx"
    return ZarrImage(folders.part(name), axes, nearest=name == "index")


def _run_all(
    run: TiledRun,
    reader: tiled.Reader,
    folders: Folders,
    heights: HeightSettings,
    pixel_size: PixelSize,
    workers: Workers,
    progress: Report | None,
) -> TiledOutcome:
    names = tuple(name for name, _ in folders.finals)
    tiles = list(run.plan)
    filled = _needs_heights(run, names)
    turns = 2 * run.filling.rounds + 1 if filled else 0
    total, done = len(tiles) * (1 + turns), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    parts, journal = _journalled(folders.scratch / _JOURNAL)
    resumed = len(parts)
    left = [tile for tile in tiles if tile.number not in parts]
    done = resumed
    jobs = [(_fuse_tile, run, reader.near(*tile.window), tile, folders, filled) for tile in left]
    with closing(workers.run(jobs)) as answers:  # type: ignore[type-var]
        for number, part in answers:
            tile = left[number]
            parts[tile.number] = part
            journal(tile.number, part)
            step()
    if filled:
        _fill_heights(run, folders, heights, pixel_size, workers, step)
    facts = {"options": plain(run.options), "noise": plain(run.decisions.noise)}
    for name in names:
        text = heights.describe(pixel_size) if name == "height" else _MEANING[name]
        own = {"description": text, "z_step_um": pixel_size.z_um}
        if name == "height":
            own["unit"] = heights.unit
        title = dict(folders.finals)[name].name.split(".")[0]
        rgb = name == "image" and bool(run.rgb)
        _image(run, folders, name).finish(pixel_size, name=title, rgb=rgb, facts=plain({**own, **facts}))
    folders.rename()
    in_order = [parts[tile.number] for tile in tiles]
    warnings = tuple(dict.fromkeys(text for part in in_order for text in part.warnings))
    return TiledOutcome(run.sharpness(in_order), run, warnings, resumed)


_MEANING = {
    "image": "All-in-focus image",
    "index": "Focus-index map: the sharpest slice at each pixel, counted from 0",
    "confidence": "Confidence of the height map, from 0 to 1",
}


def _journalled(path: Path) -> tuple[dict[int, Part], Callable[[int, Part], None]]:
    """Return what tiles told that are done, and what notes one more."""
    known: dict[int, Part] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # cut short by the interruption
            nothing: np.ndarray[Any, Any] = np.empty((0, 0))
            pairs = tuple(tuple(pair) for pair in entry["per_slice"])
            known[entry["tile"]] = Part(
                nothing, nothing, nothing, pairs, tuple(entry["fused"]), tuple(entry["warnings"])
            )

    def note(number: int, part: Part) -> None:
        entry = {"tile": number, "per_slice": part.per_slice, "fused": part.fused, "warnings": part.warnings}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(entry)) + "\n")

    return known, note


def _fuse_tile(run: TiledRun, reader: tiled.Reader, tile: Tile, folders: Folders, heights: bool) -> Part:
    """Fuse one tile, write it, and return what is told of it, without pixels."""
    part = run.fuse(reader, tile)
    names = [name for name, _ in folders.finals]
    pixels = np.moveaxis(part.image, -1, 0) if part.image.ndim == 3 else part.image
    _image(run, folders, "image").write((..., *tile.core), pixels)
    if "index" in names and not run.filling.transparent:
        _image(run, folders, "index").write(tile.core, part.index)
    if heights:
        open_array(folders.scratch / "unfilled")[(slice(None), *run.map_core(tile))] = part.unfilled
    nothing: np.ndarray[Any, Any] = np.empty((0, 0))
    return replace(part, image=nothing, index=nothing, unfilled=nothing)


def _fill_heights(
    run: TiledRun,
    folders: Folders,
    heights: HeightSettings,
    pixel_size: PixelSize,
    workers: Workers,
    step: Callable[[], None],
) -> None:
    tiles = list(run.plan)

    def answers(jobs: list[tuple[Any, ...]]) -> dict[int, Any]:
        found = {}
        with closing(workers.run(jobs)) as running:  # type: ignore[type-var]
            for number, answer in running:
                found[number] = answer
                step()
        return found

    for turn in range(run.filling.rounds):
        cells = answers([(_coarse_cells, run, tile, folders.scratch, turn) for tile in tiles])
        grid = tiled.solved_grid(run, [cells[tile.number] for tile in tiles])
        answers([(_refine, run, tile, folders.scratch, turn, grid) for tile in tiles])
    answers([(_write_maps, run, tile, folders, heights, pixel_size) for tile in tiles])


def _seen(run: TiledRun, tile: Tile, scratch: Path, turn: int) -> tuple[Any, Any]:
    window = run.map_window(tile)
    unfilled = np.asarray(open_array(scratch / "unfilled")[(slice(None), *window)])
    return unfilled, np.asarray(open_array(scratch / f"filled-{turn - 1}")[window]) if turn else None


def _coarse_cells(run: TiledRun, tile: Tile, scratch: Path, turn: int) -> Any:
    return tiled.coarse_of(run, tile, *_seen(run, tile, scratch, turn))


def _refine(run: TiledRun, tile: Tile, scratch: Path, turn: int, grid: Any) -> None:
    filled = tiled.refined_of(run, tile, *_seen(run, tile, scratch, turn), grid)
    open_array(scratch / f"filled-{turn}")[run.map_core(tile)] = filled


def _write_maps(run: TiledRun, tile: Tile, folders: Folders, heights: HeightSettings, pixel_size: PixelSize) -> None:
    seen = _seen(run, tile, folders.scratch, run.filling.rounds)
    index, height, confidence = tiled.maps_of(run, tile, *seen)
    height = heights.height_map(height, confidence, pixel_size)
    maps: dict[str, np.ndarray[Any, Any]] = {"height": height, "confidence": confidence}
    if run.filling.transparent:
        maps["index"] = index
    for name, _ in folders.finals:
        if name in maps:
            _image(run, folders, name).write(tile.core, maps[name])
