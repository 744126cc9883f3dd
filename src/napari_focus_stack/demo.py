"""The demonstration: a sample stack, fused, and shown in napari where there is a display."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .io import PixelSize, StackSource

if TYPE_CHECKING:
    from .result import FocusStackResult

PLUGIN = "napari-focus-stack"


def demo_stack(scene_name: str) -> StackSource:
    """Return a synthetic stack as if it came from files.

    Raises
    ------
    InputError
        If there is no such scene.
    """
    from .synthetic import make_scene

    scene = make_scene(scene_name)
    slices = scene.stack
    return StackSource(
        slices.__getitem__,
        [f"{scene_name} slice {k}" for k in range(len(slices))],
        slices.shape[1:],
        slices.dtype,
        rgb=scene.rgb,
        pixel_size=PixelSize(scene.z_step_um, scene.pixel_size_um, scene.pixel_size_um),
        files=(),
    )


def missing_display() -> str | None:
    """Say why napari cannot open a window here; None if it can."""
    from importlib.util import find_spec

    if find_spec("napari") is None:
        return "napari is not installed; to see the result in it: pip install 'napari-focus-stack[all]'"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display here, so napari was not opened."
    return None


def show_demo(stack: StackSource, result: FocusStackResult) -> str:
    """Open napari with the stack, the results and the panel; return what to tell the user.

    It comes back when the window is closed.
    """
    reason = missing_display()
    if reason is not None:
        return reason
    import napari

    size = stack.pixel_size
    scale = (size.z_um or 1.0, size.y_um or 1.0, size.x_um or 1.0)
    unit = "\u00b5m" if size.x_um else "pixel"
    flat: dict[str, Any] = {"scale": scale[1:], "units": (unit,) * 2}
    viewer = napari.Viewer()
    viewer.add_image(np.stack(list(stack)), name="z-stack", rgb=stack.rgb, scale=scale, units=(unit,) * 3)
    # Without a z step heights stay in slices.
    height, heights_in = (result.height * scale[0], unit) if size.z_um else (result.height, "slices")
    viewer.add_image(height, name=f"height ({heights_in})", colormap="viridis", visible=False, **flat)
    viewer.add_image(result.image, name="fused", rgb=stack.rgb, **flat)
    viewer.window.add_plugin_dock_widget(PLUGIN)
    napari.run()
    return "napari was closed."
