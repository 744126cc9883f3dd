"""The panel by keyboard, in a narrow dock, in every theme, and gone when it is closed."""

from __future__ import annotations

import gc
import itertools
import re

import numpy as np
import pytest

from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN

NARROW_PX = 300
SAME_ROW_PX = 6


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


@pytest.fixture
def opened(viewer, panel, run, scene):
    """Open every section over a result."""
    viewer.add_image(scene.stack, name="bumps", scale=(2, 0.5, 0.5), units=("um",) * 3)
    panel.height_box.value = True
    run(panel)
    for section in (panel.more_options, panel.height_section, *panel.sections):
        section.expand()
    return panel


def column_of(panel):
    from qtpy.QtWidgets import QScrollArea

    return panel.native.findChild(QScrollArea).widget()


def laid_out(panel, width):
    """Return the column as a dock of this width lays it out."""
    panel.native.resize(width, 2000)
    panel.native.grab()
    return column_of(panel)


def test_in_a_narrow_dock_tab_goes_from_top_to_bottom_and_every_stop_has_a_name(opened):
    from napari_focus_stack.napari_plugin.keyboard import tab_stops

    assert opened.native.minimumSizeHint().width() <= NARROW_PX
    column = laid_out(opened, 320)
    stops = list(tab_stops(column))
    assert len(stops) > 40
    for before, after in itertools.pairwise(stops):
        following = before.nextInFocusChain()
        while following not in stops:
            following = following.nextInFocusChain()
        assert following is after

    tops = {stop: stop.mapTo(column, stop.rect().center()).y() for stop in stops if stop.isVisibleTo(column)}
    upwards = [
        (before, after) for before, after in itertools.pairwise(tops) if tops[after] < tops[before] - SAME_ROW_PX
    ]
    assert upwards == []
    for stop in stops:
        text = stop.text() if hasattr(stop, "text") else ""
        assert stop.accessibleName() or text, stop


def test_space_on_fuse_fuses(viewer, panel, wait_end, qtbot, scene):
    from qtpy.QtCore import Qt

    viewer.add_image(scene.stack, name="bumps")
    qtbot.keyClick(panel.fuse_button.native, Qt.Key.Key_Space)
    wait_end(panel)
    assert "bumps fused" in viewer.layers


def test_letters_are_unique_and_curves_readable_in_every_theme(viewer, opened):
    from qtpy.QtGui import QColor
    from qtpy.QtWidgets import QAbstractButton, QLabel, QMenuBar

    def marked(text):
        found = re.search(r"&(\w)", text)
        return [found.group(1).lower()] if found else []

    column = column_of(opened)
    widgets = [*column.findChildren(QAbstractButton), *column.findChildren(QLabel)]
    letters = [letter for widget in widgets for letter in marked(widget.text())]
    assert len(letters) > 12
    assert len(set(letters)) == len(letters)
    menus = viewer.window._qt_window.findChild(QMenuBar)
    assert not set(letters) & {letter for action in menus.actions() for letter in marked(action.text())}

    for theme, plot in itertools.product(
        ["dark", "light"], (opened.sharpness_view.plot, opened.cursor.plot, opened.heights_seen.plot)
    ):
        viewer.theme = theme
        background = plot.backgroundBrush().color()
        pen = QColor(plot.curve.opts["pen"].color())
        # WCAG 2.1 asks for a contrast of 3 for pictures.
        light, dark = sorted((luminance(pen), luminance(background)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5
        assert luminance(background) > 0.5 if theme == "light" else luminance(background) < 0.1


def luminance(colour):
    parts = np.array([colour.redF(), colour.greenF(), colour.blueF()])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_nothing_leaks_when_the_panel_is_opened_and_closed_many_times(viewer, wait_end, qtbot, workers, scene):
    from qtpy.QtWidgets import QApplication

    from napari_focus_stack.napari_plugin.widget import FocusStackWidget

    viewer.add_image(scene.stack[:3, :32, :32], name="bumps")
    layers = viewer.layers.events

    def alive():
        gc.collect()
        return {id(item) for item in gc.get_objects() if type(item) is FocusStackWidget}

    before = alive()

    def connected():
        emitters = (layers.inserted, layers.removed, layers.reordered, layers.renamed, viewer.dims.events.point)
        emitters += (viewer.events.theme,)
        mouse = viewer.mouse_move_callbacks, viewer.mouse_double_click_callbacks
        return [len(emitter.callbacks) for emitter in emitters], [len(callbacks) for callbacks in mouse]

    def settled():
        qtbot.wait(30)
        # napari forgets what is gone when it next tells of something.
        viewer.layers[0].name = "renamed" if viewer.layers[0].name == "bumps" else "bumps"
        layers.reordered()
        gc.collect()
        return len(QApplication.allWidgets()), connected()

    counts = []
    for turn in range(20):
        dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
        panel.cursor.expand()
        panel.fuse_button.native.click()
        wait_end(panel)
        viewer.dims.set_point(0, turn % 3)
        viewer.window.remove_dock_widget(dock)
        del dock, panel
        while len(viewer.layers) > 1:
            viewer.layers.pop()
        workers()
        if turn in (2, 19):
            counts.append(settled())
    assert counts[0] == counts[1]
    assert alive() <= before
