"""Make the pictures of the window: open napari with a sample stack, use each section, photograph it.

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

# Small enough to be read in a column of text.
SIZE = (1010, 700)
PANEL_PX = 310
MENU_SIZE = (760, 230)
COLOURS = 192


def wait(done: Callable[[], bool] = lambda: False, seconds: float = 1.0) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    while not done() and time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


class Tour:
    """A window with the panel over a sample, and a camera."""

    def __init__(self, folder: Path) -> None:
        # Neither read nor write the settings of who runs this.
        os.environ["NAPARI_CONFIG"] = ""
        import napari

        self.folder = folder
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = "dark"
        self.viewer.window.resize(*SIZE)
        wait()
        self._photograph_menu("step-1")
        (self.layer,) = self.viewer.open_sample("napari-focus-stack", "colour")
        _, self.panel = self.viewer.window.add_plugin_dock_widget("napari-focus-stack", "Focus stacking")
        self._narrow()
        wait(seconds=3)

    def _narrow(self) -> None:
        """Give the picture the room: the panel is as narrow as it may be."""
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QDockWidget

        window = self.panel.native.window()
        docks = [d for d in window.findChildren(QDockWidget) if d.isAncestorOf(self.panel.native)]
        wait()
        window.resizeDocks(docks, [PANEL_PX], Qt.Orientation.Horizontal)

    def fuse(self) -> None:
        self.panel.fuse_button.native.click()
        self.settle()

    def settle(self) -> None:
        parts = (self.panel, self.panel.retouch, self.panel.relief, self.panel.heights_seen)
        wait(lambda: not any(part.busy for part in parts), 60)
        wait()

    def photograph(self, name: str, section: Any = None, layers: bool = False) -> None:
        """Photograph canvas and panel, and napari's own docks on the left where `layers` are wanted."""
        from qtpy.QtWidgets import QMainWindow, QScrollArea

        self.settle()
        area = self.panel.native.findChild(QScrollArea)
        if section is None:
            area.verticalScrollBar().setValue(0)
        else:
            for _ in range(2):  # a section that has just been filled grows once more
                area.ensureWidgetVisible(section, 0, 24)
                wait(seconds=0.5)
        shot = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
        window = self.panel.native.window()
        assert isinstance(window, QMainWindow)
        canvas = window.centralWidget().geometry()
        self._save(shot if layers else shot.crop((canvas.left(), canvas.top(), shot.width, canvas.bottom())), name)
        if hasattr(section, "collapse"):
            section.collapse()

    def _photograph_menu(self, name: str) -> None:
        """Open File, Open Sample, Focus Stack as a user does, and photograph the screen."""
        from qtpy.QtCore import QPoint
        from qtpy.QtWidgets import QApplication

        menu, opened = self.viewer.window.file_menu, []
        menu.popup(QPoint(4, 24))
        for title in ("Open Sample", "Focus Stack"):
            wait(seconds=0.3)
            (action,) = [a for a in menu.actions() if a.text().replace("&", "") == title]
            menu.setActiveAction(action)
            opened.append(menu)
            at = menu.actionGeometry(action).topRight()
            menu = action.menu()
            menu.popup(opened[-1].mapToGlobal(at))
        menu.setActiveAction(menu.actions()[-1])
        wait(seconds=0.5)
        grabbed = QApplication.primaryScreen().grabWindow(0, 0, 0, *MENU_SIZE)
        path = self.folder / f"{name}.png"
        grabbed.save(str(path))
        for one in (menu, *reversed(opened)):
            one.close()
        self._save(Image.open(path).convert("RGB"), name)

    def _save(self, picture: Image.Image, name: str) -> None:
        few = picture.quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(self.folder / f"{name}.png", optimize=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images")
    folder.mkdir(parents=True, exist_ok=True)
    tour = Tour(folder)
    viewer, panel = tour.viewer, tour.panel
    viewer.dims.set_current_step(0, 3)
    tour.photograph("step-2", layers=True)
    tour.fuse()
    tour.photograph("step-3", layers=True)
    panel.measures.expand()
    panel.measures.measure_button.click()
    tour.photograph("panel-sharpness", panel.measures)
    panel.cursor.expand()
    world = tour.layer.data_to_world((0, 150, 190))
    for callback in list(viewer.mouse_move_callbacks):
        callback(viewer, SimpleNamespace(position=tuple(world)))
    tour.photograph("panel-pointer", panel.cursor)
    panel.retouch.expand()
    panel.retouch.start_button.click()
    strokes = viewer.layers.selection.active
    strokes.brush_size = 24
    for x in np.linspace(90, 290, 60):
        strokes.paint((160 + 40 * np.sin(x / 30), x), strokes.selected_label)
    tour.photograph("panel-retouch", panel.retouch, layers=True)
    viewer.layers.remove(strokes)
    panel.height_box.value = True
    tour.settle()
    panel.height_section.expand()
    viewer.layers[-1].visible = True
    tour.photograph("step-4", panel.height_section, layers=True)
    panel.height_section.collapse()
    panel.heights_seen.expand()
    panel.heights_seen.scale_box.setChecked(True)
    panel.heights_seen.contour_box.setChecked(True)
    panel.heights_seen.line_button.click()
    viewer.layers.selection.active.add_lines([np.array([[40, 30], [280, 350]])])
    tour.photograph("panel-profile", panel.heights_seen)
    panel.relief.expand()
    panel.relief.exaggeration.setValue(15)
    panel.relief.button.click()
    tour.photograph("panel-relief", panel.relief)
    viewer.close()


if __name__ == "__main__":
    main()
