"""Options that belong together for one kind of picture: a start for people, no more than a user may set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .options import FocusStackOptions

DEFAULT = "auto"


@dataclass(frozen=True)
class Preset:
    """One start: what it is called, what for, and what it changes of the defaults."""

    title: str
    help: str
    changes: Mapping[str, Any]

    @property
    def options(self) -> FocusStackOptions:
        """The defaults with these changes."""
        return FocusStackOptions.of(None, **self.changes)


PRESETS: dict[str, Preset] = {
    DEFAULT: Preset("Automatic", "The defaults: what the specimen is, is told from the stack.", {}),
    "bright-field": Preset(
        "Bright field, clear specimen",
        "Light passes through: contrast out of focus is not taken for sharpness.",
        {"light": "transparent"},
    ),
    "fluorescence": Preset(
        "Fluorescence",
        "Light of all heights adds; noise is taken out of the dark.",
        {"light": "glowing", "denoise": 0.3},
    ),
    "reflected-light": Preset("Reflected light", "An opaque surface: contrast is sharpness.", {"light": "opaque"}),
    "macro": Preset(
        "Macro photograph",
        "A camera that moves and breathes, near things before far ones: slices are aligned, rims are mended.",
        {"align": "auto", "light": "opaque", "mend_rims": True},
    ),
}


def preset_of(options: FocusStackOptions, ignoring: tuple[str, ...] = ("sharpness_measure",)) -> str | None:
    """Return the name of the preset that options are, whatever those that change no picture say; None if of none.

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
