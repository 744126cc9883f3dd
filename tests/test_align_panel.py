"""Alignment in the panel: what is fused, the curves, and the aligned stack as a layer."""

import numpy as np
import pytest
import tifffile

from napari_focus_stack import Alignment, estimate_alignment, focus_stack
from napari_focus_stack.alignment.record import SliceAlignment
from napari_focus_stack.recipe import as_command
from napari_focus_stack.synthetic import Motion, make_scene
from windows import RUN_MS

pytestmark = pytest.mark.usefixtures("window_libraries")

SLICES = 6


@pytest.fixture(scope="module")
def moving():
    return make_scene("bumps", (96, 128), SLICES, motion=Motion.drift(SLICES, shift_px=1.5, zoom=0.004))


@pytest.fixture
def stack(viewer, moving):
    placed = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11)}
    return viewer.add_image(moving.stack, name="moving", **placed)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_a_stack_is_aligned_and_its_motion_shown(viewer, stack, panel, run, moving):
    panel.live_box.value = False
    panel.option_rows.widgets["align"].value = "similarity"
    run(panel)
    expected = focus_stack(moving.stack, align="similarity")
    np.testing.assert_array_equal(viewer.layers["moving fused"].data, expected.image)
    assert panel.alignment.told.text() == f"{expected.alignment.reason.capitalize()}."
    curve = panel.alignment.curves["shift along x"]
    np.testing.assert_allclose(curve.yData, expected.alignment.shifts_px[:, 1])


@pytest.fixture
def cropped(panel, run, stack, moving):
    """Fuse with the crop; return what the core gives."""
    panel.live_box.value = False
    panel.option_rows.widgets["align"].value = "similarity"
    panel.option_rows.widgets["crop"].value = True
    panel.height_box.value = True
    run(panel)
    return focus_stack(moving.stack, align="similarity", crop=True)


def test_a_cropped_result_lies_where_it_was_in_the_stack(viewer, stack, cropped):
    assert cropped.origin != (0, 0)
    for name, pixels in (("fused", cropped.image), ("focus index", cropped.index)):
        layer = viewer.layers[f"moving {name}"]
        np.testing.assert_array_equal(layer.data, pixels)
        np.testing.assert_allclose(layer.data_to_world((0, 0)), stack.data_to_world((0, *cropped.origin))[1:])
    np.testing.assert_array_equal(np.isnan(viewer.layers["moving height"].data), np.isnan(cropped.height))


def test_without_the_crop_the_same_layers_show_all_again(viewer, stack, panel, run, cropped):
    fused = viewer.layers["moving fused"]
    panel.option_rows.widgets["crop"].value = False
    run(panel)
    assert viewer.layers["moving fused"] is fused
    assert fused.data.shape == stack.data.shape[1:]
    np.testing.assert_allclose(fused.data_to_world((0, 0)), stack.data_to_world((0, 0, 0))[1:])


def test_a_cropped_result_is_retouched_where_the_brush_went(viewer, stack, panel, cropped, qtbot):
    panel.retouch.start_button.click()
    strokes = panel.strokes()
    assert strokes.data.shape == stack.data.shape[1:]
    y, x = (first + 20 for first in cropped.origin)
    strokes.data[y : y + 9, x : x + 9] = 1
    strokes.refresh()
    strokes.events.data()
    qtbot.waitUntil(lambda: not panel.retouch.busy, timeout=RUN_MS)
    index = viewer.layers["moving focus index"].data
    assert not index[20:29, 20:29].any()
    changed = index != cropped.index
    changed[20:29, 20:29] = False
    assert not changed.any()


def test_lines_and_relief_of_a_cropped_result_belong_to_it(viewer, stack, panel, cropped, wait_end, qtbot):
    panel.heights_seen.line_button.click()
    lines = viewer.layers["moving profile"]
    (y, x), width = cropped.origin, cropped.image.shape[1]
    lines.add_lines(np.array([[y + 10.0, x], [y + 10.0, x + width - 1]]))
    qtbot.waitUntil(lambda: not panel.heights_seen.busy and panel.heights_seen.profile is not None, timeout=RUN_MS)
    known = panel.heights_seen.profile.height
    height = panel.shown_layer("height").data[10]
    np.testing.assert_allclose([known[0], known[-1]], [height[0], height[-1]], atol=1e-3)
    panel.relief.button.click()
    qtbot.waitUntil(lambda: not panel.relief.busy, timeout=RUN_MS)
    relief = viewer.layers["moving relief"]
    fused = viewer.layers["moving fused"]
    np.testing.assert_allclose(relief.translate[1:], fused.translate)


def test_contours_follow_a_crop_of_the_same_size_elsewhere(viewer, stack, panel, run, tmp_path, qtbot):
    panel.live_box.value = False
    panel.option_rows.widgets["crop"].value = True
    for shift in (4.0, -4.0):
        moved, still = (SliceAlignment(((1.0, 0.0, y), (0.0, 1.0, 0.0))) for y in (shift, 0.0))
        Alignment("shift", stack.data.shape[1:], 1, (moved, *[still] * (SLICES - 1))).save(tmp_path / "moved.json")
        panel.alignment.load(tmp_path / "moved.json")
        run(panel)
        panel.heights_seen.contour_box.setChecked(True)
        qtbot.waitUntil(lambda: not panel.heights_seen.busy, timeout=RUN_MS)
        (contours,) = (layer for layer in viewer.layers if "contours" in layer.name)
        np.testing.assert_allclose(contours.translate, viewer.layers["moving fused"].translate)
    assert viewer.layers["moving fused"].data.shape == (92, 128)


def test_the_aligned_stack_is_a_lazy_layer_of_the_common_area(viewer, stack, panel, moving, wait_end):
    panel.option_rows.widgets["crop"].value = True
    panel.alignment.add_button.click()
    wait_end(panel)
    added = viewer.layers["moving aligned"]
    alignment = estimate_alignment(moving.stack, "similarity")
    rows, columns = alignment.common_window()
    assert added.data.shape == (SLICES, rows.stop - rows.start, columns.stop - columns.start)
    assert type(added.data).__module__.startswith("dask")
    middle = moving.stack[SLICES // 2][rows, columns]
    np.testing.assert_array_equal(np.asarray(added.data[SLICES // 2]), middle)
    # The same thing lies at the same place of the world.
    there = stack.data_to_world((0, rows.start, columns.start))
    np.testing.assert_allclose(added.data_to_world((0, 0, 0)), there)
    assert "moving aligned" in [title for title, _ in panel.stack_rows._layers(None)]


def test_time_series_and_their_order_of_axes_are_kept(viewer, panel, moving, wait_end):
    series = np.stack([moving.stack, moving.stack[:, ::-1]], axis=1)
    layer = viewer.add_image(series, name="series", axis_labels=("z", "t", "y", "x"))
    panel.stack_choice.value = layer
    panel.alignment.add_button.click()
    wait_end(panel)
    added = viewer.layers["series aligned"]
    assert added.data.shape == series.shape
    np.testing.assert_array_equal(np.asarray(added.data[SLICES // 2]), series[SLICES // 2])


def test_live_does_not_estimate_again(viewer, stack, panel, run, wait_end, monkeypatch):
    panel.option_rows.widgets["align"].value = "shift"
    run(panel)
    monkeypatch.setattr(
        "napari_focus_stack.alignment.aligner.AlignmentEstimator.add", lambda *_: pytest.fail("estimated again")
    )
    before = np.array(viewer.layers["moving fused"].data)
    panel.option_rows.widgets["denoise"].value = 0.5
    wait_end(panel)
    assert (np.asarray(viewer.layers["moving fused"].data) != before).any()


def test_where_slices_lie_is_saved_and_loaded_in_place_of_an_estimate(
    viewer, stack, panel, run, wait_end, moving, tmp_path
):
    from qtpy.QtWidgets import QApplication

    section, file = panel.alignment, tmp_path / "moved.json"
    assert not section.save_button.isEnabled()
    panel.option_rows.widgets["align"].value = "similarity"
    run(panel)
    section.save(tmp_path / "moved")
    assert panel.status_line.text() == "Saved where the slices lie as moved.json."
    alignment = Alignment.load(file)
    assert alignment == estimate_alignment(moving.stack, "similarity")
    panel.option_rows.widgets["align"].value = "none"
    wait_end(panel)
    plain = focus_stack(moving.stack).image
    np.testing.assert_array_equal(viewer.layers["moving fused"].data, plain)
    # Live follows the file, which stands in place of what is chosen at Align.
    section.load(file)
    wait_end(panel)
    aligned = focus_stack(moving.stack, alignment=alignment).image
    assert (aligned != plain).any()
    np.testing.assert_array_equal(viewer.layers["moving fused"].data, aligned)
    assert section.given_told.text() == "The slices lie as moved.json says."
    panel.recipes.command_button.click()
    assert f"--alignment {file}" in QApplication.clipboard().text()
    section.drop_button.click()
    wait_end(panel)
    np.testing.assert_array_equal(viewer.layers["moving fused"].data, plain)
    assert section.given_told.isHidden()
    assert "--alignment" not in as_command(panel.recipes.recipe())


def test_a_file_that_does_not_fit_is_refused_in_a_sentence(viewer, stack, panel, moving, tmp_path):
    (tmp_path / "note.json").write_text("{}")
    panel.alignment.load(tmp_path / "note.json")
    assert "holds no alignment" in panel.status_line.text()
    estimate_alignment(moving.stack[:3], "shift").save(tmp_path / "three.json")
    panel.alignment.load(tmp_path / "three.json")
    assert "the alignment is of 3 slices, but the stack has 6" in panel.status_line.text()
    assert panel.given_alignment() is None


def test_the_crop_is_told_and_files_hold_no_more(viewer, stack, panel, run, moving, tmp_path, qtbot):
    panel.live_box.value = False
    panel.option_rows.widgets["align"].value = "similarity"
    panel.option_rows.widgets["crop"].value = True
    run(panel)
    expected = focus_stack(moving.stack, align="similarity", crop=True)
    (y, x), (h, w) = expected.origin, expected.image.shape
    assert f"Cropped to {h} × {w} px from y {y}, x {x}" in panel.alignment.told.text()
    panel.recipes.save(tmp_path / "result.tif")
    qtbot.waitUntil(lambda: not panel.recipes.busy, timeout=RUN_MS)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "result.tif"), expected.image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "result index.tif"), expected.index)
