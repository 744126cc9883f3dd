"""Fuse many stacks, one after the other: one table of how it went, and one bad stack does not stop the rest."""

from __future__ import annotations

import csv
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .fusing import RESULT_IMAGES, TileSettings, check_outputs, describe, fuse_in_tiles, fuse_stack, write_results
from .heights import HeightSettings
from .only_run import only_run
from .positions import Positions
from .source import StackSource
from .writing import TIFF_ENDINGS, check_output, staged_outputs
from .zarr_image import ZARR_ENDINGS, ZarrImage

if TYPE_CHECKING:
    from ..options import FocusStackOptions
    from ..sharpness import SharpnessReport

Report = Callable[[int, int], None]

NAME = "{name}"
_COLUMNS = (
    "stack", "slices", "measure", "mean_of_slices", "sharpest_slice", "its_sharpness", "fused", "gain",
    "chosen", "seconds", "warnings", "error",
)  # fmt: skip


@dataclass
class BatchOutcome:
    """How a batch went.

    Attributes
    ----------
    rows : list of dict
        One for each stack, by the columns of the table.
    written : dict of str to Path
        Outputs; those with "{name}" in them are many.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    written: dict[str, Path] = field(default_factory=dict)

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The rows of the stacks that failed."""
        return [row for row in self.rows if row["error"]]


def fuse_batch(
    positions: Positions,
    options: FocusStackOptions,
    outputs: Mapping[str, Path],
    *,
    heights: HeightSettings | None = None,
    tiles: TileSettings | None = None,
    progress: Report | None = None,
) -> BatchOutcome:
    """Fuse all stacks and write the results asked for.

    Parameters
    ----------
    positions : Positions
    options : FocusStackOptions
    outputs : mapping of str to Path
        Of files of their own: paths with "{name}" in them. Of one file: one multi-dimensional .zarr or .tif each.
        "report" is the table, a .csv.
    heights, tiles : HeightSettings, TileSettings, optional
    progress : callable or None
        Called as ``progress(done, total)`` after every stack.

    Raises
    ------
    InputError
        If an output is refused, or no stack could be fused.
    """
    heights, tiles = heights or HeightSettings(), tiles or TileSettings()
    images = {name: Path(path) for name, path in outputs.items() if name != "report"}
    table = Path(outputs["report"]) if "report" in outputs else None
    if table is not None:
        check_output(table)
        if table.suffix.lower() != ".csv":
            raise InputError(f"the table of many stacks is a .csv, but {table} is asked for; name it so.")
    outcome = BatchOutcome(written=images | ({"report": table} if table else {}))
    with only_run(images.values() if positions.axes else ()):
        sink = (
            _OneFile(positions, images, heights, tiles)
            if positions.axes
            else _ManyFiles(positions, images, heights, tiles)
        )
        try:
            for i in range(len(positions)):
                outcome.rows.append(_row(positions, i, options, sink))
                if progress is not None:
                    progress(i + 1, len(positions))
            if len(outcome.failures) == len(positions):
                raise InputError(
                    f"none of {len(positions)} stacks could be fused; the first: {outcome.rows[0]['error']}"
                )
            sink.finish()
        finally:
            sink.close()
            if table is not None and outcome.rows:
                with staged_outputs([table]) as staged:
                    _write_table(staged[table], outcome.rows)
    return outcome


def _row(positions: Positions, i: int, options: FocusStackOptions, sink: _OneFile | _ManyFiles) -> dict[str, Any]:
    from ..auto_choices import in_words

    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row["stack"] = positions.names[i]
    start = time.perf_counter()
    try:
        with positions.open(i) as stack:
            row["slices"] = len(stack)
            sharpness, warnings, chosen = sink.fuse(i, stack, options)
    except (InputError, MemoryError) as error:
        row["error"] = " ".join(str(error).split()) or "there is not enough memory for slices of this size."
    else:
        row |= {
            "measure": sharpness.measure,
            "mean_of_slices": sharpness.mean_of_sources,
            "sharpest_slice": sharpness.best_source,
            "its_sharpness": sharpness.per_slice[sharpness.best_source],
            "fused": sharpness.fused,
            "gain": sharpness.gain if math.isfinite(sharpness.gain) else "",
            "chosen": in_words(chosen),
            "warnings": " ".join(warnings),
        }
    row["seconds"] = round(time.perf_counter() - start, 3)
    return row


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        table.writerows(rows)


Told = tuple["SharpnessReport", tuple[str, ...], Mapping[str, Any]]


class _ManyFiles:
    """Every stack has results of its own."""

    def __init__(
        self, positions: Positions, outputs: Mapping[str, Path], heights: HeightSettings, tiles: TileSettings
    ) -> None:
        for path in outputs.values():
            if NAME not in str(path):
                raise InputError(
                    f"{len(positions)} stacks are named, so {path} needs {NAME} in it for the name of each; "
                    f"such as {path.with_name(NAME + path.suffix)}."
                )
            folder = Path(str(path)).parent
            if NAME not in str(folder) and not folder.exists() and folder.parent.is_dir():
                folder.mkdir()
        if positions.in_one_file and tiles.scheduler != "threads":
            raise InputError("the images in one file are fused here, not on a cluster; leave --scheduler out.")
        self._names, self._outputs, self._heights, self._tiles = positions.names, outputs, heights, tiles

    def fuse(self, i: int, stack: StackSource, options: FocusStackOptions) -> Told:
        """Fuse one stack and write its results."""
        named = {name: Path(str(path).replace(NAME, self._names[i])) for name, path in self._outputs.items()}
        checked = check_outputs(named, stack, self._heights)
        start = time.perf_counter()
        if self._tiles.wanted(stack, options, checked):
            inputs = [str(stack.files[0].parent if len(stack.files) > 1 else stack.files[0])]
            done = fuse_in_tiles(stack, inputs, options, checked, self._tiles, heights=self._heights)
            return done.sharpness, done.warnings, done.run.decisions.chosen
        result = fuse_stack(stack, stack.rgb, options)
        seconds = time.perf_counter() - start
        version = self._tiles.zarr_format
        write_results(checked, result, stack=stack, seconds=seconds, heights=self._heights, zarr_format=version)
        return result.sharpness, result.warnings, result.chosen

    def finish(self) -> None:
        """Do nothing: everything is written."""

    def close(self) -> None:
        """Do nothing."""


class _OneFile:
    """All results of one kind go into one multi-dimensional image, whose places of bad stacks stay 0."""

    def __init__(
        self, positions: Positions, outputs: Mapping[str, Path], heights: HeightSettings, tiles: TileSettings
    ) -> None:
        for path in outputs.values():
            if path.suffix.lower() not in (*ZARR_ENDINGS, *TIFF_ENDINGS):
                raise InputError(f"many images go into one .zarr or .tif, but {path} is asked for; name it so.")
        self._positions, self._outputs, self._heights, self._tiles = positions, outputs, heights, tiles
        self._images: dict[str, ZarrImage] = {}
        self._like: StackSource | None = None

    def fuse(self, i: int, stack: StackSource, options: FocusStackOptions) -> Told:
        """Fuse one stack and write its results to their place."""
        if self._like is None:
            check_outputs(self._outputs, stack, self._heights)
            self._create(stack)
        result = fuse_stack(stack, stack.rgb, options)
        for name, image in self._images.items():
            pixels = getattr(result, name)
            if name == "height":
                pixels = self._heights.height_map(pixels, result.confidence, stack.pixel_size)
            pixels = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels
            image.write((*self._positions.place(i), ...), pixels)
        return result.sharpness, result.warnings, result.chosen

    def _create(self, stack: StackSource) -> None:
        self._like = stack
        for name, path in self._outputs.items():
            channels = stack.shape[3:] if name == "image" else ()
            axes = self._positions.axes.lower() + ("c" if channels else "") + "yx"
            image = ZarrImage(path.with_name(f".{path.name}.part"), axes, nearest=name == "index")
            dtype = RESULT_IMAGES[name].dtype or stack.dtype
            shutil.rmtree(image.path, ignore_errors=True)
            image.create(
                (*self._positions.shape, *channels, *stack.shape[1:3]), dtype, (1024, 1024), self._tiles.zarr_format
            )
            self._images[name] = image

    def finish(self) -> None:
        """Give all images their names."""
        from .tiled_tiff import write_tiled_tiff

        if self._like is None:
            return
        stack = self._like
        with staged_outputs(list(self._outputs.values())) as staged:
            for name, path in self._outputs.items():
                image, rgb = self._images[name], stack.rgb and name == "image"
                channels = stack.channels if name == "image" else ()
                text = describe(name, stack.pixel_size, self._heights)
                if path.suffix.lower() in ZARR_ENDINGS:
                    facts = {"description": text, "z_step_um": stack.pixel_size.z_um}
                    title = path.name.split(".")[0]
                    image.finish(stack.pixel_size, name=title, rgb=rgb, channels=channels, facts=facts)
                    image.path.rename(staged[path])
                else:
                    axes = image.axes.upper()
                    write_tiled_tiff(
                        staged[path],
                        image.path,
                        rgb=rgb,
                        pixel_size=stack.pixel_size,
                        description=text,
                        axes=axes,
                        channels=channels,
                    )

    def close(self) -> None:
        """Remove what is not finished."""
        for image in self._images.values():
            shutil.rmtree(image.path, ignore_errors=True)
