"""What the panel keeps between two starts of napari: the settings of the manifest, seen under Preferences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from ..options import FocusStackOptions
from ..recipe import as_flags, options_from_flags

_PLUGIN = "napari-focus-stack"


@dataclass(frozen=True)
class Remembered:
    """What is kept: the switches of the panel and the options of a run."""

    live: bool = True
    height: bool = False
    confidence: bool = False
    options: FocusStackOptions = field(default_factory=FocusStackOptions)


def recall() -> Remembered:
    """Return what was kept; the defaults where nothing was, or where it is not understood any more."""
    settings = plugin_settings()
    if settings is None:
        return Remembered()
    try:
        options = options_from_flags(settings.options)
    except InputError:
        options = FocusStackOptions()
    return Remembered(settings.live, settings.height, settings.confidence, options)


def keep(now: Remembered) -> None:
    """Keep what is set for the next start; napari writes it to its folder of settings."""
    settings = plugin_settings()
    if settings is None:
        return
    flags = " ".join(as_flags(now.options))
    for name, value in (
        ("live", now.live),
        ("height", now.height),
        ("confidence", now.confidence),
        ("options", flags),
    ):
        if getattr(settings, name) != value:
            setattr(settings, name, value)


def plugin_settings() -> Any:
    """Return the settings of the manifest; None where napari, before 0.9, knows none of plugins."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(_PLUGIN).panel
    except (ImportError, KeyError, AttributeError):
        return None
