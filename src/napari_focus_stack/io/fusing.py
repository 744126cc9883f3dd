"""From files to files: fuse a stack and write what was asked for, or measure its slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .files import IMAGE_ENDINGS
from .heights import HeightSettings
from .report import write_report
from .source import PixelSize, StackSource
from .writing import check_output, staged_outputs, write_image

if TYPE_CHECKING:
    from ..alignment import Alignment
    from ..options import FocusStackOptions
    from ..stacker import FocusStackResult

Report = Callable[[int, int], None]


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
    return run_to_end(focus_stack_steps(stack, rgb, options=options, alignment=alignment), progress)


def write_results(
    outputs: Mapping[str, Path],
    result: FocusStackResult,
    *,
    stack: StackSource,
    seconds: float,
    heights: HeightSettings | None = None,
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
                description=_description(name, stack.pixel_size, heights),
            )


def _description(name: str, pixel_size: PixelSize, heights: HeightSettings) -> str:
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
