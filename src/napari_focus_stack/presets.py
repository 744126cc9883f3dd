"""Presets: options that suit one kind of picture, set together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .options import FocusStackOptions

DEFAULT = "auto"


@dataclass(frozen=True)
class Preset:
    """One preset: its name for people, a sentence on what it is for, and the options it changes."""

    title: str
    help: str
    changes: Mapping[str, Any]

    @property
    def options(self) -> FocusStackOptions:
        """The defaults with these changes."""
        return FocusStackOptions.of(None, **self.changes)


PRESETS: dict[str, Preset] = {
    DEFAULT: Preset("Automatic", "The defaults: the stack itself tells what kind of specimen it shows.", {}),
    "bright-field": Preset(
        "Bright field, clear specimen",
        "Light passes through the specimen: contrast that comes from being out of focus does not count.",
        {"light": "transparent"},
    ),
    "fluorescence": Preset(
        "Fluorescence",
        "Light from all heights adds up; noise is removed from the dark ground.",
        {"light": "glowing", "denoise": 0.3},
    ),
    "reflected-light": Preset("Reflected light", "An opaque surface: contrast shows focus.", {"light": "opaque"}),
    "macro": Preset(
        "Macro photograph",
        "Slices are aligned, for the camera may move, and rims of near things before far ones are mended.",
        {"align": "auto", "light": "opaque", "mend_rims": True},
    ),
}


def preset_of(options: FocusStackOptions, ignoring: tuple[str, ...] = ("sharpness_measure",)) -> str | None:
    """Return the name of the preset with these options, or None. Options that change no picture do not count.

    Examples
    --------
    >>> preset_of(FocusStackOptions(light="opaque", sharpness_measure="brenner"))
    'reflected-light'
    >>> preset_of(FocusStackOptions(denoise=0.7)) is None
    True
    """
    for name, preset in PRESETS.items():
        same = {option: getattr(options, option) for option in ignoring}
        if FocusStackOptions.of(preset.options, **same) == options:
            return name
    return None
