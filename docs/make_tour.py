"""Make the pictures of docs/panel.md: open napari with a sample stack, use each section, photograph the window.

xvfb-run -a -s "-screen 0 1400x1000x24" python docs/make_tour.py [FOLDER]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

SIZE = (1150, 820)
COLOURS = 192


def wait(done: Callable[[], bool] = lambda: False, seconds: float = 1.0) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    while not done() and time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class Tour:
    """A window with the panel over a fused sample, and a camera."""

    def __init__(self, folder: Path) -> None:
        # Neither read nor write the settings of who runs this.
        os.environ["NAPARI_CONFIG"] = ""
        import napari

        self.folder = folder
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = "dark"
        self.viewer.window.resize(*SIZE)
        (self.layer,) = self.viewer.open_sample("napari-focus-stack", "colour")
        _, self.panel = self.viewer.window.add_plugin_dock_widget("napari-focus-stack", "Focus stacking")
        wait(seconds=3)
        self.panel.fuse_button.native.click()
        self.settle()

    def settle(self) -> None:
        parts = (self.panel, self.panel.retouch, self.panel.relief, self.panel.heights_seen)
        wait(lambda: not any(part.busy for part in parts), 60)
        wait()

    def photograph(self, name: str, section: Any) -> None:
        from qtpy.QtWidgets import QScrollArea

        self.settle()
        area = self.panel.native.findChild(QScrollArea)
        area.ensureWidgetVisible(section, 0, 0)
        wait(seconds=0.5)
        shot = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
        shot.quantize(COLOURS, dither=Image.Dither.NONE).save(self.folder / f"panel-{name}.png", optimize=True)
        if hasattr(section, "collapse"):
            section.collapse()


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images")
    tour = Tour(folder)
    viewer, panel = tour.viewer, tour.panel
    panel.measures.expand()
    panel.measures.measure_button.click()
    tour.photograph("sharpness", panel.measures)
    panel.cursor.expand()
    world = tour.layer.data_to_world((0, 150, 190))
    for callback in list(viewer.mouse_move_callbacks):
        callback(viewer, SimpleNamespace(position=tuple(world)))
    tour.photograph("pointer", panel.cursor)
    panel.retouch.expand()
    panel.retouch.start_button.click()
    strokes = viewer.layers.selection.active
    strokes.brush_size = 24
    for x in np.linspace(90, 290, 60):
        strokes.paint((160 + 40 * np.sin(x / 30), x), strokes.selected_label)
    tour.photograph("retouch", panel.retouch)
    viewer.layers.remove(strokes)
    panel.heights_seen.expand()
    panel.heights_seen.scale_box.setChecked(True)
    panel.heights_seen.contour_box.setChecked(True)
    panel.heights_seen.line_button.click()
    viewer.layers.selection.active.add_lines([np.array([[40, 30], [280, 350]])])
    tour.photograph("profile", panel.heights_seen)
    panel.relief.expand()
    panel.relief.exaggeration.setValue(15)
    panel.relief.button.click()
    tour.photograph("relief", panel.relief)
    viewer.close()


if __name__ == "__main__":
    main()
