"""Writes a run as flags, as a command, and as a Python script."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError
from .options import AUTO, OPTION_SPECS, FocusStackOptions
from .surface import DEFAULT_TRUST


@dataclass(frozen=True)
class Recipe:
    """What is needed to do a run again.

    Attributes
    ----------
    options : FocusStackOptions
    files : tuple of str
        Where the stack was read from; empty if it lies in a viewer alone.
    layer : str
        Name of its layer.
    rgb : bool
    focus_axis : int
    position : tuple of int
        Along the axes that are neither focus nor picture.
    ndim : int
        Axes of the layer, colour not counted.
    height : bool
        Whether heights are wanted.
    z_step_um : float or None
        Distance between slices; None where heights are in slices.
    level, trust, masked
        As the heights are shown.
    alignment : str
        File that tells where the slices lie; empty where that is estimated, or nothing is aligned.
    strokes : bool
        Whether the result was retouched, which no text repeats.
    """

    options: FocusStackOptions
    files: tuple[str, ...] = ()
    layer: str = ""
    rgb: bool = False
    focus_axis: int = 0
    position: tuple[int, ...] = ()
    ndim: int = 3
    height: bool = False
    z_step_um: float | None = None
    level: str = "none"
    trust: float = DEFAULT_TRUST
    masked: bool = False
    alignment: str = ""
    strokes: bool = False

    @property
    def from_files(self) -> bool:
        """Whether the files alone are the stack, axes in order."""
        return bool(self.files) and self.ndim == 3 and self.focus_axis == 0


def changed_options(options: FocusStackOptions) -> dict[str, Any]:
    """Return the options that differ from the defaults."""
    return {
        name: getattr(options, name) for name, spec in OPTION_SPECS.items() if getattr(options, name) != spec.default
    }


def as_flags(options: FocusStackOptions) -> list[str]:
    """Return the options that differ from the defaults as flags of the command line.

    Examples
    --------
    >>> as_flags(FocusStackOptions(method="log", noise=(0.5, 20), fill_height=False))
    ['--method', 'log', '--noise', '0.5,20', '--no-fill-height']
    """
    flags: list[str] = []
    for name, value in changed_options(options).items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif isinstance(value, tuple):
            flags += [f"--{dashed}", ",".join(f"{number:.10g}" for number in value)]
        else:
            flags += [f"--{dashed}", f"{value:.10g}" if isinstance(value, float) else str(value)]
    return flags


def options_from_flags(text: str) -> FocusStackOptions:
    """Return the options that flags of the command line name; the others have their defaults.

    Raises
    ------
    InputError
        If a flag is not known, lacks its value, or its value is refused.

    Examples
    --------
    >>> options_from_flags("--denoise 0.5 --levels 4").denoise
    0.5
    """
    words = _words(text)
    changes: dict[str, Any] = {}
    while words:
        flag = words.pop(0)
        name = flag.removeprefix("--").replace("-", "_")
        off = name.removeprefix("no_")
        if not flag.startswith("--") or (name not in OPTION_SPECS and off not in OPTION_SPECS):
            raise InputError(f"no option is called {flag!r}; options are {', '.join(OPTION_SPECS)}.")
        if name not in OPTION_SPECS or OPTION_SPECS[name].kind == "switch":
            changes[off if name not in OPTION_SPECS else name] = name in OPTION_SPECS
            continue
        if not words:
            raise InputError(f"{flag} needs a value, got none.")
        changes[name] = _value(name, words.pop(0))
    return FocusStackOptions.of(None, **changes)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"flags of the command line are expected, got {text!r} ({error}).") from None


def _value(name: str, text: str) -> Any:
    kind = OPTION_SPECS[name].kind
    if kind == "choice" or text in (AUTO, "all"):
        return text
    parts: list[Any] = []
    for part in text.split(","):
        number: Any = part
        for reader in (float, int):
            with contextlib.suppress(ValueError):
                number = reader(part)
        parts.append(number)
    return tuple(parts) if kind == "noise" else parts[0] if len(parts) == 1 else text


def as_command(recipe: Recipe) -> str:
    """Return the command that does a run again.

    A stack that lies in a viewer alone has to be saved first: the command names ``stack.tif``.
    """
    words: list[str] = ["napari-focus-stack", "fuse", *(recipe.files or ("stack.tif",)), "-o", "fused.tif"]
    words += ["--index", "index.tif"]
    if recipe.height:
        words += ["--height", "height.tif"]
        if recipe.z_step_um is not None:
            words += ["--height-unit", "um", "--z-step", f"{recipe.z_step_um:.10g}"]
        if recipe.level != "none":
            words += ["--level", recipe.level]
        if recipe.level != "none" or recipe.masked:
            words += ["--trust", f"{recipe.trust:g}"]
        if recipe.masked:
            words += ["--mask"]
    if recipe.alignment:
        words += ["--alignment", recipe.alignment]
    return shlex.join([*words, *as_flags(recipe.options)])


def as_python(recipe: Recipe) -> str:
    """Return the script that does a run again; in napari's console where the stack lies in the viewer alone."""
    given = "".join(f", {name}={value!r}" for name, value in changed_options(recipe.options).items())
    if recipe.alignment:
        given += f", alignment=Alignment.load({recipe.alignment!r})"
    names = [
        *(["Alignment"] if recipe.alignment else []),
        "focus_stack",
        *(["level_height", "trusted_pixels"] if recipe.height and _formed(recipe) else []),
    ]
    lines = [f"from napari_focus_stack import {', '.join(names)}"]
    if recipe.from_files:
        lines += [
            "from napari_focus_stack.io import read_stack, write_image",
            "",
            f"with read_stack({list(recipe.files)!r}) as stack:",
            f"    result = focus_stack(stack, rgb=stack.rgb{given})",
            'write_image("fused.tif", result.image, rgb=stack.rgb, pixel_size=stack.pixel_size)',
        ]
    else:
        lines += ["", *_from_viewer(recipe), f"result = focus_stack(stack, rgb={recipe.rgb}{given})"]
    if recipe.height:
        lines += _heights(recipe)
    if recipe.strokes:
        lines += ["# The strokes of the retouch layer are not part of this script."]
    return "\n".join(lines) + "\n"


def _formed(recipe: Recipe) -> bool:
    return recipe.level != "none" or recipe.masked


def _from_viewer(recipe: Recipe) -> Sequence[str]:
    lines = ["# In napari's console, where the viewer is known.", f"pixels = viewer.layers[{recipe.layer!r}].data"]
    outer = iter(recipe.position)
    planes = [axis for axis in range(recipe.ndim) if axis != recipe.focus_axis][-2:]
    index = [":" if axis == recipe.focus_axis or axis in planes else str(next(outer)) for axis in range(recipe.ndim)]
    kept = [axis for axis in range(recipe.ndim) if index[axis] == ":"]
    where = "" if len(kept) == recipe.ndim else f"[{', '.join(index)}]"
    if kept[0] == recipe.focus_axis:
        return [*lines, f"stack = pixels{where}"]
    return ["import numpy as np", *lines, f"stack = np.moveaxis(pixels{where}, {kept.index(recipe.focus_axis)}, 0)"]


def _heights(recipe: Recipe) -> Sequence[str]:
    step = "" if recipe.z_step_um in (None, 1) else f"{recipe.z_step_um:.10g} * "
    if not _formed(recipe):
        return [f"height = {step}result.height"]
    lines = [
        f"trusted = trusted_pixels(result.height, result.confidence, {recipe.trust:g})",
        f"height = {step}level_height(result.height, trusted, {recipe.level!r})",
    ]
    return [*lines, 'height[~trusted] = float("nan")'] if recipe.masked else lines
