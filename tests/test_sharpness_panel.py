"""The curve, the table of measures and the focus at the pointer, in a real viewer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_focus_stack import NoiseModel, estimate_noise, focus_stack, sharpness
from napari_focus_stack.errors import InputError
from napari_focus_stack.focus_curve import focus_curve
from napari_focus_stack.measure_table import measure_all_steps
from napari_focus_stack.sharpness import SHARPNESS_MEASURES
from napari_focus_stack.synthetic import make_scene
from windows import RUN_MS

SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


@pytest.fixture
def layer(viewer, panel, run, scene):
    layer = viewer.add_image(scene.stack, name="bumps", **SIZED)
    run(panel)
    return layer


# ---- the core --------------------------------------------------------------------------------------


def test_table_has_every_measure_of_every_slice(scene):
    result = focus_stack(scene.stack)
    steps = measure_all_steps(scene.stack, result.image, result.noise, known=result.sharpness)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            table = end.value
            break
    assert list(table.reports) == list(SHARPNESS_MEASURES)
    assert table.reports["focus"] is result.sharpness
    for k, image in enumerate(scene.stack):
        assert table.reports["brenner"].per_slice[k] == sharpness(image, "brenner")
    rows = [row.split(",") for row in table.as_csv().splitlines()]
    assert rows[0] == ["slice", *SHARPNESS_MEASURES]
    assert float(rows[3][2]) == sharpness(scene.stack[2], "gradient")
    assert float(rows[-2][2]) == sharpness(result.image, "gradient")


def test_focus_of_a_pixel_peaks_where_the_scene_is_in_focus(scene):
    noise = estimate_noise([image[..., np.newaxis] for image in scene.stack])
    off = []
    for y in range(4, 60, 8):
        for x in range(4, 92, 8):
            curve = focus_curve(scene.stack, y, x, noise)
            assert len(curve.focus) == 6
            if scene.textured[y, x]:
                off.append(abs(curve.peak - scene.height[y, x]))
    assert np.mean(np.array(off) < 1) > 0.9


def test_focus_of_noise_alone_is_one():
    rng = np.random.default_rng(1)
    stack = rng.normal(100, 4, (3, 64, 64)).astype(np.float32)
    noise = NoiseModel((0.0,), (16.0,), (80.0,), (120.0,))
    values = [focus_curve(stack, y, x, noise).focus for y in range(8, 60, 8) for x in range(8, 60, 8)]
    assert np.mean(values) == pytest.approx(1, abs=0.1)


def test_pixel_outside_is_refused(scene):
    with pytest.raises(InputError, match="within 64 x 96 px, got \\(64, 3\\)"):
        focus_curve(scene.stack, 64, 3, NoiseModel((0.0,), (1.0,), (0.0,), (9.0,)))


# ---- the curve -------------------------------------------------------------------------------------


def test_level_of_the_fused_image_is_in_the_picture(panel, layer):
    plot, report = panel.sharpness_view.plot, panel._result.shown.results.reports[()]
    assert plot.level.value() == report.fused
    low, high = plot.view_box.viewRange()[1]
    assert low < min(report.per_slice)
    assert high > report.fused > max(report.per_slice)


def test_dragging_the_line_moves_the_slider(viewer, panel, layer, qtbot):
    from qtpy.QtCore import QPointF, Qt

    plot = panel.sharpness_view.plot
    plot.grab()  # which lays it out, shown or not
    viewer.dims.set_point(0, 7 + 2 * 1)
    assert plot.line.value() == 1

    def dragged(to):
        start = plot.view_box.mapViewToScene(QPointF(plot.line.value(), 0))
        end = plot.view_box.mapViewToScene(QPointF(to, 0))
        pressed = plot.line.mapFromScene(start)
        event = SimpleNamespace(
            button=lambda: Qt.MouseButton.LeftButton,
            isStart=lambda: True,
            isFinish=lambda: True,
            buttonDownPos=lambda: pressed,
            pos=lambda: plot.line.mapFromScene(end),
            accept=lambda: None,
        )
        plot.line.mouseDragEvent(event)

    dragged(4.2)
    assert layer.world_to_data(viewer.dims.point)[0] == 4
    assert plot.line.value() == 4


# ---- the table -------------------------------------------------------------------------------------


def test_all_measures_are_told_and_copied(viewer, panel, layer, qtbot, wait_end):
    from qtpy.QtWidgets import QApplication

    section = panel.measures
    section.expand()
    assert section.table.rowCount() == 1
    section.copy_button.click()
    assert QApplication.clipboard().text().splitlines()[0] == "slice,focus"
    section.measure_button.click()
    wait_end(panel)
    assert section.table.rowCount() == len(SHARPNESS_MEASURES)
    fused = viewer.layers["bumps fused"].data
    shown = {section.table.item(row, 0).text(): section.table.item(row, 3).text() for row in range(6)}
    assert float(shown["Average gradient"]) == pytest.approx(sharpness(fused, "gradient"), rel=0.01)
    section.copy_button.click()
    rows = [row.split(",") for row in QApplication.clipboard().text().splitlines()]
    assert float(rows[1][2]) == sharpness(layer.data[0], "gradient")
    # A row that is chosen is the curve that is seen.
    section.table.selectRow(list(SHARPNESS_MEASURES).index("brenner"))
    _, values = panel.sharpness_view.plot.curve.getData()
    np.testing.assert_allclose(values, [sharpness(image, "brenner") for image in layer.data])
    # Another result has not been measured yet.
    panel.option_rows.widgets["denoise"].value = 0.5
    wait_end(panel)
    assert section.table.rowCount() == 1


# ---- the pointer -----------------------------------------------------------------------------------


def point_at(viewer, layer, y, x, callbacks):
    world = layer.data_to_world((0, y, x))
    for callback in list(callbacks):
        callback(viewer, SimpleNamespace(position=tuple(world)))


def test_pointer_shows_the_focus_of_its_pixel_and_double_click_goes_there(viewer, panel, layer, qtbot, scene):
    section = panel.cursor
    y, x = map(int, np.argwhere(scene.textured & (np.abs(scene.height - 4) < 0.2))[50])
    before = list(viewer.mouse_double_click_callbacks)
    point_at(viewer, layer, y, x, viewer.mouse_move_callbacks)
    qtbot.wait(80)
    assert section.plot.isHidden()
    section.expand()
    point_at(viewer, layer, y, x, viewer.mouse_move_callbacks)
    qtbot.waitUntil(lambda: not section.plot.isHidden(), timeout=RUN_MS)
    _, values = section.plot.curve.getData()
    assert np.argmax(values) == 4
    assert abs(section.plot.peak.value() - scene.height[y, x]) < 0.5
    assert section.told.text().startswith(f"y {y}, x {x}: sharpest in slice 4; height ")
    assert "µm, confidence" in section.told.text()
    point_at(viewer, layer, y, x, viewer.mouse_double_click_callbacks)
    assert layer.world_to_data(viewer.dims.point)[0] == 4
    assert section.plot.line.value() == 4
    # Beside the picture nothing happens; folded away, napari's own double click is back.
    point_at(viewer, layer, -9, x, viewer.mouse_double_click_callbacks)
    section.collapse()
    assert list(viewer.mouse_double_click_callbacks) == before


def test_closed_panel_leaves_the_pointer_alone(viewer, panel, layer, qtbot):
    before = len(viewer.mouse_move_callbacks)
    panel.cursor.expand()
    assert len(viewer.mouse_move_callbacks) == before + 1
    viewer.window.remove_dock_widget(panel.native)
    assert len(viewer.mouse_move_callbacks) == before
    assert panel.cursor._double_clicked not in viewer.mouse_double_click_callbacks
    panel.native.deleteLater()
    qtbot.wait(50)
