"""The sample stacks: scenes with known truth, with the size of their pixels."""

from __future__ import annotations

from typing import Any

# Small enough to be made in a second or two, for the window waits meanwhile.
_SHAPE = (320, 384)
_SLICES = 12

LayerTuple = tuple[Any, dict[str, Any], str]


def bead_stack() -> list[LayerTuple]:
    """Return fluorescent beads and filaments on a dark ground, as napari layer data."""
    return [_sample("beads")]


def colour_stack() -> list[LayerTuple]:
    """Return coloured sand in reflected light, as napari layer data."""
    return [_sample("colour")]


def _sample(name: str) -> LayerTuple:
    from ..synthetic import SCENES, make_scene

    scene = make_scene(name, _SHAPE, _SLICES)
    keywords = {
        "name": SCENES[name].title,
        "rgb": scene.rgb,
        "scale": (scene.z_step_um, scene.pixel_size_um, scene.pixel_size_um),
        "units": ("micrometer",) * 3,
        "axis_labels": ("z", "y", "x"),
        "metadata": {"scene": name, "seed": scene.seed},
    }
    return scene.stack, keywords, "image"
