"""Contours, colour scale and profiles: the core, and the section in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_focus_stack import InputError, focus_stack
from napari_focus_stack.profile import contour_interval, height_bands, height_profile
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, RUN_MS

SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}


@pytest.fixture(scope="module")
def scene():
    return make_scene("plane", (64, 96), slices=6)


# ---- the core --------------------------------------------------------------------------------------


def test_profile_of_a_plane_is_a_straight_line_over_the_way_gone():
    y, x = np.mgrid[:40, :60].astype(np.float32)
    plane = 3 * y - 2 * x
    profile = height_profile(plane, [(5, 10), (35, 50), (35, 20)], (2.0, 0.5))
    np.testing.assert_allclose(profile.height, 3 * profile.places[:, 0] - 2 * profile.places[:, 1], atol=1e-3)
    assert profile.length == pytest.approx(np.hypot(60, 20) + 15, rel=0.01)
    assert profile.span == pytest.approx(70, rel=1e-3)
    assert len(profile.height) == 50 + 30 + 1


def test_unknown_heights_and_the_world_outside_are_unknown_on_the_line():
    height = np.ones((20, 20), np.float32)
    height[:, 10:12] = np.nan
    profile = height_profile(height, [(5, 0), (5, 30)])
    assert np.isnan(profile.height[[10, 11, 25]]).all()
    assert (profile.height[[2, 15]] == 1).all()
    assert profile.span == 0
    assert np.isnan(height_profile(height, [(30, 30), (40, 30)]).span)


@pytest.mark.parametrize("points", [[(1, 1)], [(1, 1), (1, 1)], [1, 2, 3]])
def test_line_without_length_is_refused(points):
    with pytest.raises(InputError, match="two different points"):
        height_profile(np.zeros((9, 9), np.float32), points)


@pytest.mark.parametrize("span", [1e-6, 0.37, 5, 12345])
def test_interval_is_round_and_gives_some_ten_contours(span):
    interval = contour_interval(2, 2 + span)
    assert 6 <= span / interval <= 16
    assert f"{interval:e}"[0] in "125"
    assert float(f"{interval:.0e}") == interval


def test_bands_part_at_whole_multiples_of_the_interval():
    height = np.linspace(-1.3, 2.2, 400, dtype=np.float32).reshape(4, 100)
    bands = height_bands(height, 0.5)
    assert bands.min() == 1
    edges = np.flatnonzero(np.diff(bands.ravel().astype(int)))
    np.testing.assert_allclose(height.ravel()[edges], np.arange(-1, 2.1, 0.5), atol=0.01)


@pytest.mark.parametrize(("interval", "told"), [(0, "above 0"), (1e-6, "take a larger one")])
def test_interval_without_sense_is_refused(interval, told):
    with pytest.raises(InputError, match=told):
        height_bands(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4), interval)


# ---- in the viewer ---------------------------------------------------------------------------------


@pytest.fixture
def section(viewer, panel, run, qtbot, scene):
    viewer.add_image(scene.stack, name="sheet", **SIZED)
    run(panel)
    panel.heights_seen.expand()
    return panel.heights_seen


def settle(section, qtbot):
    qtbot.waitUntil(lambda: not section.busy, timeout=RUN_MS)


def test_profile_follows_the_line_that_is_drawn(viewer, panel, section, qtbot, scene):
    from qtpy.QtWidgets import QApplication

    assert section.plot.isHidden()
    section.line_button.click()
    lines = viewer.layers["sheet profile"]
    assert (viewer.layers.selection.active, lines.mode) == (lines, "add_line")
    lines.add_lines([np.array([[32, 10], [32, 90]])])
    settle(section, qtbot)
    height = 2 * focus_stack(scene.stack).height
    distance, values = section.plot.curve.getData()
    np.testing.assert_allclose(values, height[32, 10:91], rtol=1e-4)
    assert distance[-1] == pytest.approx(80 * 0.25)
    assert section.told.text() == f"Line of 20 µm: heights span {np.ptp(height[32, 10:91]):.4g} µm."
    # Moved, it is another profile; levelled, it is flat.
    lines.data = [np.array([[5, 20], [60, 20]])]
    settle(section, qtbot)
    _, values = section.plot.curve.getData()
    np.testing.assert_allclose(values, height[5:61, 20], rtol=1e-4)
    panel.height_controls.level.value = "plane"
    settle(section, qtbot)
    _, flat = section.plot.curve.getData()
    assert np.ptp(flat) < 0.3 * np.ptp(values)
    section.copy_button.click()
    rows = QApplication.clipboard().text().splitlines()
    assert rows[0] == "distance (µm),height (µm),y (px),x (px)"
    assert len(rows) == 57
    assert [float(number) for number in rows[1].split(",")[2:]] == [5, 20]
    viewer.layers.remove(lines)
    assert section.plot.isHidden()


def test_contours_are_lines_of_equal_height(viewer, panel, section, qtbot, scene):
    section.interval.setValue(2)
    section.contour_box.setChecked(True)
    settle(section, qtbot)
    contours = viewer.layers["sheet contours every 2 µm"]
    assert contours.contour == 1
    np.testing.assert_array_equal(contours.data, height_bands(2 * focus_stack(scene.stack).height, 2))
    np.testing.assert_allclose(contours.data_to_world((0, 9)), (-3, 11 + 9 * 0.25))
    assert contours.metadata[PLUGIN]["unit"] == "µm"
    section.interval.setValue(0.001)
    section.interval.editingFinished.emit()
    settle(section, qtbot)
    assert "take a larger one" in panel.status_line.text()
    section.contour_box.setChecked(False)
    assert contours not in viewer.layers


def test_colour_scale_is_in_the_picture(viewer, panel, section):
    section.scale_box.setChecked(True)
    height = viewer.layers["sheet height (µm)"]
    assert height.visible
    if hasattr(height, "colorbar"):
        assert height.colorbar.visible
        section.scale_box.setChecked(False)
        assert not height.colorbar.visible


def test_large_maps_are_levelled_and_measured_in_a_thread_to_the_same(viewer, panel, run, wait_end, scene, monkeypatch):
    from napari_focus_stack.napari_plugin import host

    viewer.add_image(scene.stack, name="sheet", **SIZED)
    panel.height_box.value = True
    panel.height_section.expand()
    run(panel)
    panel.height_controls.level.value = "plane"
    height, figures = viewer.layers["sheet height (µm)"], panel.surface_figures
    at_once = height.data.copy(), figures.levelled["Sq"].text(), figures.raw["Sz"].text()
    panel.height_controls.level.value = "none"
    monkeypatch.setattr(host, "_SMALL_PX", 0)
    panel.height_controls.level.value = "paraboloid"
    panel.height_controls.level.value = "plane"
    assert panel.busy
    wait_end(panel)
    np.testing.assert_array_equal(height.data, at_once[0])
    assert (figures.levelled["Sq"].text(), figures.raw["Sz"].text()) == at_once[1:]
