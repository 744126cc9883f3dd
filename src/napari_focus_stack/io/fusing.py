"""From files to files: fuse a stack and write what was asked for, or measure its slices."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..kernels import load_compiler, thread_count
from .files import IMAGE_ENDINGS
from .heights import HeightSettings
from .only_run import only_run
from .report import write_report
from .source import PixelSize, StackSource
from .writing import TIFF_ENDINGS, check_output, staged_outputs, write_image
from .zarr_image import DEFAULT_FORMAT, ZARR_ENDINGS, ZARR_FORMATS

if TYPE_CHECKING:
    from ..alignment.record import Alignment
    from ..options import FocusStackOptions
    from ..result import FocusStackResult
    from ..tiled import Reader
    from .tiled_files import TiledOutcome
    from .workers import Workers

Report = Callable[[int, int], None]

# Decoded by all cores before the run, a stack of this size is visited as often as is of use.
_SMALL_BYTES = 1 << 28


@dataclass(frozen=True)
class MapKind:
    """What is known of one kind of result before the run: its dtype (None: the stack's) and meaning."""

    dtype: str | None
    description: str


# Field of the result, and what is written for it.
RESULT_IMAGES = {
    "image": MapKind(None, "All-in-focus image"),
    "index": MapKind("uint16", "Focus-index map: the sharpest slice at each pixel, counted from 0"),
    "height": MapKind("float32", "Height map"),
    "confidence": MapKind("float32", "Confidence of the height map, from 0 to 1"),
}


def check_outputs(
    wanted: Mapping[str, Path], stack: StackSource, heights: HeightSettings | None = None
) -> dict[str, Path]:
    """Refuse outputs that cannot be written, before the run.

    Parameters
    ----------
    wanted : mapping of str to Path
        Keys are those of `RESULT_IMAGES`, "report" and "alignment".
    stack : StackSource
    heights : HeightSettings, optional

    Returns
    -------
    dict of str to Path

    Raises
    ------
    InputError
        As `check_output` and `HeightSettings.check` do.
    """
    if heights is not None:
        heights.check(stack.pixel_size)
    checked: dict[str, Path] = {}
    for name, path in wanted.items():
        if name == "alignment" and path.suffix.lower() != ".json":
            raise InputError(f"an alignment is written as .json, got {path}; name it so.")
        kind = RESULT_IMAGES.get(name)
        dtype = (kind.dtype or stack.dtype) if kind else None
        channels = stack.shape[3] if name == "image" and stack.ndim == 4 else 1
        checked[name] = check_output(path, dtype, channels=channels, inputs=stack.files, others=tuple(checked.values()))
    return checked


def outputs_among_slices(outputs: Mapping[str, Path], stack: StackSource) -> list[str]:
    """Return a sentence of warning if a later run of the slices' folder would take an output for a slice."""
    folders = {file.parent.resolve() for file in stack.files} if len(stack.files) > 1 else set()
    names = [
        path.name
        for path in outputs.values()
        if path.suffix.lower() in IMAGE_ENDINGS and path.parent.resolve() in folders
    ]
    if not names:
        return []
    lie, for_slices = ("lies", "it for one") if len(names) == 1 else ("lie", "them for some")
    return [f"{', '.join(names)} {lie} among the slices: a run of that whole folder would take {for_slices} of them."]


def fuse_stack(
    stack: Any,
    rgb: bool,
    options: FocusStackOptions,
    progress: Report | None = None,
    alignment: Alignment | None = None,
) -> FocusStackResult:
    """Run the pipeline to its end; an exception, Ctrl-C included, closes it properly."""
    from ..machine import check_memory
    from ..pipeline import focus_stack_steps, memory_needed, run_to_end

    height, width = stack.shape[1:3]
    check_memory(memory_needed(stack.shape, stack.dtype, options), f"a run with slices of {height} x {width} px")
    if isinstance(stack, StackSource) and math.prod(stack.shape) * stack.dtype.itemsize <= _SMALL_BYTES:
        stack = stack.in_memory(thread_count(), load_compiler)
    return run_to_end(focus_stack_steps(stack, rgb, options=options, alignment=alignment), progress)


def write_results(
    outputs: Mapping[str, Path],
    result: FocusStackResult,
    *,
    stack: StackSource,
    seconds: float,
    heights: HeightSettings | None = None,
    zarr_format: int = DEFAULT_FORMAT,
) -> None:
    """Write the results asked for: all of them, or none if one fails."""
    heights = heights or HeightSettings()
    with staged_outputs(list(outputs.values())) as staged:
        for name, path in outputs.items():
            if name == "report":
                write_report(
                    staged[path],
                    names=stack.names,
                    sharpness=result.sharpness.as_dict(),
                    surface=heights.surface_report(result.height, result.confidence, stack.pixel_size),
                    pixel_size=stack.pixel_size,
                    heights=heights,
                    options=result.options,
                    chosen=result.chosen,
                    noise=result.noise,
                    warnings=result.warnings,
                    alignment=result.alignment,
                    origin=result.origin,
                    seconds=round(seconds, 3),
                    files={key: str(file) for key, file in outputs.items() if key != "report"},
                    **_named_channels(stack),
                )
                continue
            if name == "alignment":
                if result.alignment is not None:
                    staged[path].write_text(result.alignment.to_json(), encoding="utf-8")
                continue
            pixels = getattr(result, name)
            if name == "height":
                pixels = heights.height_map(pixels, result.confidence, stack.pixel_size)
            write_image(
                staged[path],
                pixels,
                rgb=stack.rgb and name == "image",
                pixel_size=stack.pixel_size,
                description=describe(name, stack.pixel_size, heights),
                zarr_format=zarr_format,
                nearest=name == "index",
                channels=stack.channels if name == "image" else (),
            )


def _named_channels(stack: StackSource) -> dict[str, Any]:
    return {"channels": stack.channels} if stack.channels else {}


@dataclass(frozen=True)
class TileSettings:
    """What a user chose for a run in tiles.

    Attributes
    ----------
    memory : str
        Bytes a process may use, as "4 GB"; "" for half of what this machine has.
    tile_px : int or None
        Side of a tile; None for as large as fits.
    scheduler : str
        "threads" for this process, or the address of a dask.distributed scheduler.
    resume : bool
        Whether to go on where an interrupted run stopped.
    zarr_format : int
        2 for OME-Zarr 0.4, 3 for 0.5.

    Raises
    ------
    InputError
        If one is refused.
    """

    memory: str = ""
    tile_px: int | None = None
    scheduler: str = "threads"
    resume: bool = False
    zarr_format: int = DEFAULT_FORMAT

    def __post_init__(self) -> None:
        if self.zarr_format not in ZARR_FORMATS:
            raise InputError(f"the version of Zarr must be 2 or 3, got {self.zarr_format}.")
        if self.scheduler != "threads" and "://" not in self.scheduler:
            raise InputError(
                f"the scheduler must be 'threads' or an address such as tcp://host:8786, got {self.scheduler!r}."
            )
        if self.tile_px is not None and self.tile_px < 1:
            raise InputError(f"the side of a tile must be above 0 px, got {self.tile_px}.")

    @property
    def memory_bytes(self) -> int:
        """What a process may use."""
        from ..machine import total_memory
        from ..tiled import bytes_of

        return bytes_of(self.memory) if self.memory else total_memory() // 2

    def wanted(self, stack: StackSource, options: FocusStackOptions, outputs: Mapping[str, Path]) -> bool:
        """Return whether a run goes in tiles: asked for, or because it would not fit.

        Raises
        ------
        InputError
            If it is asked for, but the outputs cannot be written in tiles.
        """
        from ..pipeline import memory_needed
        from ..tiled import BASE_BYTES

        asked = self.tile_px is not None or self.resume or self.scheduler != "threads"
        large = BASE_BYTES + memory_needed(stack.shape, stack.dtype, options) > self.memory_bytes
        others = [
            p for n, p in outputs.items() if n != "report" and p.suffix.lower() not in (*ZARR_ENDINGS, *TIFF_ENDINGS)
        ]
        if others and (asked or (large and self.memory)):
            raise InputError(f"a run in tiles writes .zarr and .tif, but {others[0]} is asked for; name it so.")
        return (asked or large) and not others


def fuse_in_tiles(
    stack: StackSource,
    inputs: Sequence[str],
    options: FocusStackOptions,
    outputs: Mapping[str, Path],
    settings: TileSettings,
    *,
    heights: HeightSettings | None = None,
    progress: Report | None = None,
) -> TiledOutcome:
    """Fuse a stack tile by tile and write the results asked for, the report too.

    Parameters
    ----------
    stack : StackSource
    inputs : sequence of str
        What `stack` was read from: other processes read it again.
    options : FocusStackOptions
    outputs : mapping of str to Path
        As `check_outputs` returned it: .zarr or .tif, and the report.
    settings : TileSettings
    heights : HeightSettings, optional
    progress : callable or None

    Raises
    ------
    InputError
        If something is refused that needs the whole image at once, or the scheduler does not answer.
    """
    from ..machine import check_memory
    from ..pipeline import memory_needed
    from ..tiled import BASE_BYTES, PartReader
    from .tiled_files import fuse_into_zarr
    from .tiled_tiff import write_tiled_tiff
    from .workers import ClusterWorkers, FileReader, HereWorkers

    heights = heights or HeightSettings()
    if heights.level != "none":
        raise InputError("a form is fitted to the whole height map, not in tiles; leave --level out.")
    # What is decided for all tiles is decided here, on any scheduler. The default is no share of what is free just
    # now: the same command would decide otherwise from day to day.
    needed = min(settings.memory_bytes, BASE_BYTES + memory_needed(stack.shape, stack.dtype, options))
    check_memory(needed, "a run in tiles", "close other programs, or let it use less (fuse --memory)")
    start = time.perf_counter()
    images = {name: path for name, path in outputs.items() if name != "report"}
    as_zarr = {
        name: path if path.suffix.lower() in ZARR_ENDINGS else path.with_name(f".{path.name}.zarr")
        for name, path in images.items()
    }
    with contextlib.ExitStack() as at_end:
        at_end.enter_context(only_run(as_zarr.values()))
        for path in set(as_zarr.values()) - set(outputs.values()):
            at_end.callback(shutil.rmtree, path, ignore_errors=True)
        workers: Workers = HereWorkers()
        reader: Reader = PartReader(stack)
        if settings.scheduler != "threads":
            workers = ClusterWorkers(at_end.enter_context(_client(settings.scheduler)))
            reader = FileReader(inputs, stack.files)
        outcome = fuse_into_zarr(
            stack,
            reader,
            as_zarr,
            rgb=stack.rgb,
            options=options,
            memory=settings.memory_bytes,
            tile=settings.tile_px,
            resume=settings.resume,
            identity=_identity(stack),
            pixel_size=stack.pixel_size,
            channels=stack.channels,
            heights=heights,
            zarr_format=settings.zarr_format,
            workers=workers,
            progress=progress,
        )
        others = [path for name, path in outputs.items() if as_zarr.get(name) != path]
        with staged_outputs(others) as staged:
            for name, path in images.items():
                if path in staged:
                    text = describe(name, stack.pixel_size, heights)
                    rgb = stack.rgb and name == "image"
                    write_tiled_tiff(
                        staged[path],
                        as_zarr[name],
                        rgb=rgb,
                        pixel_size=stack.pixel_size,
                        description=text,
                        channels=stack.channels if name == "image" else (),
                    )
            if "report" in outputs:
                write_report(
                    staged[outputs["report"]],
                    names=stack.names,
                    sharpness=outcome.sharpness.as_dict(),
                    pixel_size=stack.pixel_size,
                    heights=heights,
                    options=options,
                    chosen=outcome.run.decisions.chosen,
                    noise=outcome.run.decisions.noise,
                    warnings=outcome.warnings,
                    seconds=round(time.perf_counter() - start, 3),
                    tiles={
                        "counts": outcome.run.plan.counts,
                        "side_px": outcome.run.plan.side,
                        "halo_px": outcome.run.plan.halo,
                    },
                    files={key: str(file) for key, file in images.items()},
                    **_named_channels(stack),
                )
    return outcome


def _identity(stack: StackSource) -> list[Any]:
    """Return what tells a stack from others: its shape, and its files with their times."""
    files = [(str(file.resolve()), file.stat().st_mtime_ns) for file in stack.files]
    return [stack.shape, str(stack.dtype), files]


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "a cluster needs another package; install it with: pip install 'napari-focus-stack[distributed]'"
        ) from None
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no scheduler answers at {address} ({error or type(error).__name__}); start one.") from None


def describe(name: str, pixel_size: PixelSize, heights: HeightSettings) -> str:
    """Return what the numbers of a result mean."""
    if name == "height":
        return heights.describe(pixel_size)
    text = RESULT_IMAGES[name].description
    if name == "index" and pixel_size.z_um is not None:
        return f"{text}; one slice is {pixel_size.z_um:g} \u00b5m"
    return text


def measure_stack(stack: StackSource, measure: str, progress: Report | None = None) -> list[float]:
    """Return the sharpness of every slice, one noise model serving them all.

    Raises
    ------
    InputError
        If the measure is unknown or a slice cannot be read.
    """
    from ..pipeline import stack_noise
    from ..sharpness import sharpness
    from ..slices import Slices

    slices = Slices(stack, stack.rgb, fewest=1)
    noise = stack_noise(slices)
    values = []
    for k in range(len(stack)):
        values.append(sharpness(slices[k], measure, rgb=stack.rgb, noise=noise))
        if progress:
            progress(k + 1, len(stack))
    return values
