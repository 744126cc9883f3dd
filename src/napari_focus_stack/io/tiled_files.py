"""Fuse a stack tile by tile into OME-Zarr: every tile is written where it belongs as soon as it is done.

What is not finished lies in folders with hidden names beside the results, among it a
journal of the tiles that are done; an interrupted run goes on from there. The results get
their names when all of them are whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tiled
from ..auto_choices import Chosen
from ..errors import InputError
from ..machine import check_memory
from ..noise import NoiseModel
from ..options import FocusStackOptions
from ..result import Part
from ..tiled import Decisions, TiledRun, TilePlan
from .heights import HeightSettings
from .report import plain
from .source import PixelSize
from .tile_files import MAPS, Adjust, TileFiles
from .workers import HereWorkers, Job, Workers
from .writing import put_in_place
from .zarr_image import DEFAULT_FORMAT

if TYPE_CHECKING:
    from ..sharpness import SharpnessReport

Report = Callable[[int, int], None]

_JOURNAL, _PLAN = "journal.jsonl", "plan.json"


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

    def files(self, run: TiledRun, workers: Workers) -> TileFiles:
        """Return the files of a run."""
        images = {name: self.part(name) for name, _ in self.finals}
        return TileFiles(run, images, self.scratch, levels=isinstance(workers, HereWorkers))

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
    channels: Sequence[str] = (),
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
    channels : sequence of str
        Names of the channels, where these are no colour.
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
        files = folders.files(_planned_before(plan_file, asked, stack, rgb, options), workers)
    else:
        run = tiled.tiled_run(stack, rgb, memory=memory, tile=tile, options=options)
        if isinstance(workers, HereWorkers):
            check_memory(run.plan.peak_bytes, "a tile of this size", "choose a smaller one, or close other programs")
        files = folders.files(run, workers)
        folders.clear()
        files.create(zarr_format)
        # Last: a folder with a plan is one that a run can go on in.
        text = json.dumps({"asked": asked, "decisions": plain(run.decisions), "plan": asdict(run.plan)})
        _write_whole(plan_file, text)
    try:
        heights, pixel_size = heights or HeightSettings(), pixel_size or PixelSize()
        return _run_all(files, reader, folders, heights, pixel_size, tuple(channels), workers, progress)
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


def _run_all(
    files: TileFiles,
    reader: tiled.Reader,
    folders: Folders,
    heights: HeightSettings,
    pixel_size: PixelSize,
    channels: tuple[str, ...],
    workers: Workers,
    progress: Report | None,
) -> TiledOutcome:
    run = files.run
    tiles = list(run.plan)
    total, done = len(tiles) * (1 + (2 * files.rounds + 1 if files.fills_heights else 0)), 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    parts, journal = _journalled(files.scratch / _JOURNAL)
    resumed = len(parts)
    left = [tile for tile in tiles if tile.number not in parts]
    done = resumed
    jobs = [
        Job(partial(files.fused, reader.near(*tile.window), tile), partial(files.write_part, tile)) for tile in left
    ]
    with closing(workers.run(jobs)) as answers:  # type: ignore[type-var]
        for number, part in answers:
            tile = left[number]
            parts[tile.number] = part
            journal(tile.number, part)
            step()
    if files.fills_heights:
        _fill_heights(files, partial(heights.height_map, pixel_size=pixel_size), workers, step)
    facts = {"options": plain(run.options), "noise": plain(run.decisions.noise)}
    for name in files.images:
        text = heights.describe(pixel_size) if name == "height" else _MEANING[name]
        own = {"description": text, "z_step_um": pixel_size.z_um}
        if name == "height":
            own["unit"] = heights.unit
        title = dict(folders.finals)[name].name.split(".")[0]
        rgb = name == "image" and bool(run.rgb)
        labels = channels if name == "image" else ()
        files.image(name).finish(pixel_size, name=title, rgb=rgb, channels=labels, facts=plain({**own, **facts}))
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


def _fill_heights(files: TileFiles, adjust: Adjust, workers: Workers, step: Callable[[], None]) -> None:
    tiles = list(files.run.plan)

    def answers(jobs: list[Job]) -> dict[int, Any]:
        found = {}
        with closing(workers.run(jobs)) as running:  # type: ignore[type-var]
            for number, answer in running:
                found[number] = answer
                step()
        return found

    for turn in range(files.rounds):
        cells = answers([Job(partial(files.coarse_cells, tile, turn), small=True) for tile in tiles])
        grid = tiled.solved_grid(files.run, [cells[tile.number] for tile in tiles])
        answers(
            [
                Job(partial(files.refined, tile, turn, grid), partial(files.write_refined, tile, turn), small=True)
                for tile in tiles
            ]
        )
    answers([Job(partial(files.maps, tile, adjust), partial(files.write_maps, tile)) for tile in tiles])
