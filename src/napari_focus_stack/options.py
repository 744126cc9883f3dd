"""Every option of a run, written once: default, unit, limits, choices and help.

The panel, the command line, the tests and the documentation read them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from .alignment.aligner import ALIGN_MODELS
from .alignment.brightness import BRIGHTNESS_MODELS
from .errors import InputError
from .fusion import FUSION_METHODS
from .sharpness import SHARPNESS_MEASURES

AUTO = "auto"

Kind = Literal["choice", "integer", "number", "switch", "noise", "channel"]


@dataclass(frozen=True)
class OptionSpec:
    """What a user may enter for one option.

    Attributes
    ----------
    name : str
        Field of `FocusStackOptions`; with dashes, the flag of the command line.
    kind : str
        "choice", "integer", "number", "switch", "noise" ("auto" or gain and
        offset) or "channel" ("all" or a number from 0).
    label, help : str
        Short name in the panel; one sentence that says what it does to the picture.
    default : object
    choices : mapping of str to str
        Value and title of every choice; empty unless `kind` is "choice".
    low, high : float or None
        Limits, both included.
    unit : str
    auto : bool
        Whether "auto" is allowed beside a number.
    advanced : bool
        Folded away in the panel.
    """

    name: str
    kind: Kind
    label: str
    help: str
    default: Any
    choices: Mapping[str, str]
    low: float | None
    high: float | None
    unit: str
    auto: bool
    advanced: bool


def _option(
    kind: Kind,
    default: Any,
    label: str,
    help: str,  # noqa: A002 - the word every command line uses
    *,
    choices: Mapping[str, str] | None = None,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    auto: bool = False,
    advanced: bool = True,
) -> Any:
    metadata = {
        "kind": kind,
        "label": label,
        "help": help,
        "choices": choices or {},
        "low": low,
        "high": high,
        "unit": unit,
        "auto": auto,
        "advanced": advanced,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FocusStackOptions:
    """The options of one run; checked when made.

    Raises
    ------
    InputError
        If a value is unknown or out of its limits.

    Examples
    --------
    >>> FocusStackOptions(levels=4).levels
    4
    >>> FocusStackOptions(levels=9)
    Traceback (most recent call last):
        ...
    napari_focus_stack.errors.InputError: levels must be 'auto' or a whole number from 1 to 8, got 9.
    """

    method: str = _option(
        "choice",
        "laplacian",
        "Method",
        "How the slices become one image.",
        choices={name: method.title for name, method in FUSION_METHODS.items()},
        advanced=False,
    )
    align: str = _option(
        "choice",
        "none",
        "Align",
        "Puts slices that moved back in place before they are fused; 'auto' does so only where it helps.",
        choices={name: model.title for name, model in ALIGN_MODELS.items()},
    )
    match_brightness: str = _option(
        "choice",
        "off",
        "Match brightness",
        "Makes all slices as bright as the middle one, in every channel, if they differ by more than 2 %.",
        choices=BRIGHTNESS_MODELS,
    )
    crop: bool = _option(
        "switch",
        False,
        "Crop",
        "Cuts off the border that some aligned slices do not cover. Otherwise it comes from the slices that cover it.",
    )
    levels: int | str = _option(
        "integer",
        AUTO,
        "Levels",
        "How many sizes of detail are compared between slices, from fine to coarse.",
        low=1,
        high=8,
        auto=True,
        advanced=False,
    )
    noise: tuple[float, float] | str = _option(
        "noise",
        AUTO,
        "Noise",
        "Noise of the camera: variance = gain x intensity + offset, in gray levels. 'auto' measures it in the stack.",
        low=0,
        auto=True,
    )
    light: str = _option(
        "choice",
        "auto",
        "Light",
        "What the specimen does to light, which decides how focus is found. 'auto' tells it from the stack.",
        choices={
            "auto": "Automatic",
            "opaque": "Opaque",
            "glowing": "Fluorescence",
            "transparent": "Transparent",
        },
    )
    denoise: float = _option(
        "number",
        0.0,
        "Denoise",
        "Removes noise from the fused image: 0 removes nothing, 1 all noise that is expected.",
        low=0,
        high=1,
        advanced=False,
    )
    z_preference: float = _option(
        "number",
        0.0,
        "Prefer z",
        "Prefers the first slices (negative) or the last (positive) where several show detail.",
        low=-0.5,
        high=0.5,
        advanced=False,
    )
    height_smoothing_px: float = _option(
        "number",
        0.0,
        "Height smoothing",
        "Smooths the height map over this many pixels. Jumps stay, and sure heights count most.",
        low=0,
        high=100,
        unit="px",
    )
    fill_height: bool = _option(
        "switch",
        True,
        "Fill height",
        "Fills the height map from its surroundings where there is no texture. Otherwise it is NaN there.",
    )
    halo_radius_px: float = _option(
        "number",
        0.0,
        "Halo radius",
        "Does not trust heights this close to a much brighter or sharper spot: its halo looks like focus.",
        low=0,
        high=100,
        unit="px",
    )
    mend_rims: bool = _option(
        "switch",
        False,
        "Mend rims",
        "Removes the blur of near things from what lies behind them, if the stack shows how. Needs more memory.",
    )
    reference_channel: int | str = _option(
        "channel",
        "all",
        "Reference channel",
        "One channel whose focus decides for all channels, or 'all': they decide together.",
        low=0,
    )
    sharpness_measure: str = _option(
        "choice",
        "focus",
        "Sharpness",
        "How sharpness is measured, for every slice and for the result. It does not change the image.",
        choices={name: measure.title for name, measure in SHARPNESS_MEASURES.items()},
        advanced=False,
    )

    def __post_init__(self) -> None:
        for spec in OPTION_SPECS.values():
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))

    @property
    def aligns(self) -> bool:
        """Whether slices are looked at once more, for where they lie or how bright they are."""
        return self.align != "none" or self.match_brightness != "off"

    @classmethod
    def of(cls, options: FocusStackOptions | None = None, /, **changes: Any) -> FocusStackOptions:
        """Return `options`, or the defaults, with some fields changed.

        Raises
        ------
        InputError
            If a name is no option or a value is refused.
        """
        unknown = [name for name in changes if name not in OPTION_SPECS]
        if unknown:
            raise InputError(f"no option is called {unknown[0]!r}; options are {', '.join(OPTION_SPECS)}.")
        return replace(options or cls(), **changes)


OPTION_SPECS: dict[str, OptionSpec] = {
    f.name: OptionSpec(name=f.name, default=f.default, **f.metadata) for f in fields(FocusStackOptions)
}


def _checked(spec: OptionSpec, value: Any) -> Any:
    if spec.auto and value == AUTO:
        return AUTO
    if spec.kind == "choice":
        return _checked_choice(spec, value)
    if spec.kind == "switch":
        if not isinstance(value, bool):
            raise InputError(f"{spec.name} must be true or false, got {value!r}.")
        return value
    if spec.kind == "channel" and value == "all":
        return value
    if spec.kind == "noise":
        return _checked_noise(value)
    return _checked_number(spec, value)


def _checked_choice(spec: OptionSpec, value: Any) -> str:
    if value not in spec.choices:
        raise InputError(f"unknown {spec.name} {value!r}; choose one of {', '.join(spec.choices)}.")
    return str(value)


def _checked_noise(value: Any) -> tuple[float, float]:
    try:
        gain, offset = (float(v) for v in value)
    except (TypeError, ValueError):
        gain = offset = float("nan")
    if not (0 <= gain < float("inf") and abs(offset) < float("inf")):
        raise InputError(f"noise must be 'auto' or two numbers, a gain of at least 0 and an offset, got {value!r}.")
    return gain, offset


def _checked_number(spec: OptionSpec, value: Any) -> int | float:
    whole = spec.kind in ("integer", "channel")
    low = spec.low if spec.low is not None else float("-inf")
    high = spec.high if spec.high is not None else float("inf")
    try:
        number = float(value)
        good = not isinstance(value, (bool, str)) and low <= number <= high and (not whole or number == int(number))
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise InputError(f"{spec.name} must be {_allowed(spec)}, got {value!r}.")
    return int(number) if whole else number


def _allowed(spec: OptionSpec) -> str:
    number = "a whole number" if spec.kind in ("integer", "channel") else "a number"
    limits = f"from {spec.low:g} to {spec.high:g}" if spec.high is not None else f"of at least {spec.low:g}"
    word = "'all' or " if spec.kind == "channel" else "'auto' or " if spec.auto else ""
    return f"{word}{number} {limits}"
