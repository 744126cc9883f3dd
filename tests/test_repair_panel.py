"""Retouching, other channels and the relief, in a real viewer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_focus_stack import focus_stack
from napari_focus_stack.by_map import fuse_by_map
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, RUN_MS, names

SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}
DISC = (80, 90)


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (160, 190), slices=8)


@pytest.fixture
def layer(viewer, panel, run, scene):
    layer = viewer.add_image(scene.stack, name="bumps", **SIZED)
    panel.live_box.value = False
    run(panel)
    return layer


@pytest.fixture
def painted(viewer, panel, layer, qtbot):
    """Paint a blot of slice 6, and wait for the image to follow."""

    def settle():
        qtbot.waitUntil(lambda: not panel.retouch.busy, timeout=RUN_MS)

    panel.retouch.expand()
    viewer.dims.set_point(0, 7 + 2 * 6)
    panel.retouch.start_button.click()
    strokes = viewer.layers["bumps retouch"]
    strokes.brush_size = 20
    strokes.paint(DISC, strokes.selected_label)
    settle()
    return strokes, settle


def test_stroke_takes_the_slice_in_view_and_the_image_follows(viewer, panel, painted, layer, scene):
    strokes, _settle = painted
    fused, index = viewer.layers["bumps fused"], viewer.layers["bumps focus index"]
    original = focus_stack(scene.stack)
    assert viewer.layers.selection.active is strokes
    assert strokes.mode == "paint"
    np.testing.assert_allclose(strokes.data_to_world((5, 5)), layer.data_to_world((0, 5, 5))[1:])
    blot = strokes.data > 0
    assert set(np.unique(strokes.data)) == {0, 7}
    assert (index.data[blot] == 6).all()
    np.testing.assert_array_equal(index.data[~blot], original.index[~blot])
    # Within the stroke it is the slice, beyond the blend it is what was fused.
    inner = np.s_[76:85, 86:95]
    slice_6, was = scene.stack[6].astype(float), original.image.astype(float)
    assert np.abs(fused.data[inner] - slice_6[inner]).mean() < 0.2 * np.abs(was[inner] - slice_6[inner]).mean()
    np.testing.assert_array_equal(fused.data[:30], original.image[:30])
    told = json.loads(json.dumps(fused.metadata[PLUGIN]))
    assert (told["retouched_slices"], told["retouched_px"]) == ([6], int(blot.sum()))
    assert "takes slice 6" in panel.retouch.told.text()
    # The result itself stays as it was fused.
    np.testing.assert_array_equal(panel._result.shown.results.image, original.image)
    # Another slice in view is another colour of the brush.
    viewer.dims.set_point(0, 7 + 2 * 1)
    assert strokes.selected_label == 2


def test_undo_redo_and_deleting_the_strokes_reach_the_image(viewer, panel, painted, scene):
    _strokes, settle = painted
    fused = viewer.layers["bumps fused"]
    with_stroke = fused.data.copy()
    panel.retouch.undo_button.click()
    settle()
    np.testing.assert_array_equal(fused.data, focus_stack(scene.stack).image)
    panel.retouch.redo_button.click()
    settle()
    np.testing.assert_array_equal(fused.data, with_stroke)
    # The slice in view is seen meanwhile, if wanted.
    panel.retouch.slice_box.setChecked(True)
    assert not fused.visible
    assert viewer.layers["bumps retouch"].visible
    panel.retouch.slice_box.setChecked(False)
    assert fused.visible
    assert not viewer.layers["bumps focus index"].visible
    # Without its strokes the image is as it was fused.
    viewer.layers.remove("bumps retouch")
    np.testing.assert_array_equal(fused.data, focus_stack(scene.stack).image)
    assert "retouched_px" not in fused.metadata[PLUGIN]
    assert not panel.retouch.undo_button.isEnabled()


def test_strokes_are_kept_through_another_run(viewer, panel, painted, run, scene):
    strokes, settle = painted
    before = strokes.data.copy()
    panel.option_rows.widgets["z_preference"].value = 0.4
    run(panel)
    settle()
    np.testing.assert_array_equal(strokes.data, before)
    again = focus_stack(scene.stack, z_preference=0.4).image
    fused = viewer.layers["bumps fused"].data
    inner = np.s_[76:85, 86:95]
    slice_6 = scene.stack[6].astype(float)
    assert np.abs(fused[inner] - slice_6[inner]).mean() < 0.2 * np.abs(again[inner] - slice_6[inner]).mean()
    np.testing.assert_array_equal(fused[:30], again[:30])


@pytest.mark.parametrize("when", ["just painted", "under way", "undone under way", "a new result"])
def test_strokes_reach_the_image_when_the_panel_closes_at_once(viewer, run, qtbot, scene, when):
    viewer.add_image(scene.stack, name="bumps", **SIZED)

    def fused_when_closed():
        """Close the panel without any time to follow; return the image then, and as it is with time to follow."""
        dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
        panel.live_box.value = False
        run(panel)
        viewer.dims.set_point(0, 7 + 2 * 6)
        panel.retouch.start_button.click()
        strokes, fused = viewer.layers["bumps retouch"], viewer.layers["bumps fused"]
        strokes.brush_size = 20

        def paint(place):
            strokes.paint(place, strokes.selected_label)

        def settle():
            qtbot.waitUntil(lambda: not panel.retouch.busy, timeout=RUN_MS)

        for place in (DISC, (40, 50)):
            paint(place)
            settle()
        with_both = fused.data.copy()
        if when == "a new result":
            # As it is between the turns in which a run is shown.
            panel._result.show_layer("image")
            panel.retouch._applied.clear()
        else:
            strokes.undo()
            settle()
            assert (fused.data != with_both).any()
            paint((40, 50))
        if "under way" in when:
            panel.retouch._follow()
            assert panel.retouch._latest.busy
        if when == "undone under way":
            strokes.undo()
            strokes.redo()
        viewer.window.remove_dock_widget(dock)
        return fused.data, with_both

    now, with_both = fused_when_closed()
    np.testing.assert_array_equal(now, with_both)
    blot = viewer.layers["bumps retouch"].data > 0
    assert (viewer.layers["bumps focus index"].data[blot] == 6).all()
    assert viewer.layers["bumps fused"].metadata[PLUGIN]["retouched_px"] == blot.sum()


def test_saved_strokes_that_are_opened_again_are_taken_up(viewer, panel, painted, tmp_path, scene):
    strokes, settle = painted
    with_stroke = viewer.layers["bumps fused"].data.copy()
    strokes.save(str(tmp_path / "strokes.tif"))
    viewer.layers.remove(strokes)
    (opened,) = viewer.open(str(tmp_path / "strokes.tif"), layer_type="labels")
    viewer.layers.selection.active = opened
    panel.retouch.start_button.click()
    settle()
    assert "bumps retouch" not in names(viewer)
    np.testing.assert_array_equal(viewer.layers["bumps fused"].data, with_stroke)


def test_strokes_of_a_time_series_are_of_their_time(viewer, panel, run, qtbot, scene):
    series = np.stack([scene.stack, scene.stack[::-1]])
    viewer.add_image(series, name="series")
    run(panel)
    viewer.dims.set_point(0, 1)
    panel.retouch.start_button.click()
    strokes = viewer.layers["series retouch"]
    strokes.paint((1, 0, *DISC), 3)
    qtbot.waitUntil(lambda: not panel.retouch.busy, timeout=RUN_MS)
    fused = viewer.layers["series fused"].data
    np.testing.assert_array_equal(fused[0, 0], focus_stack(series[0]).image)
    assert (fused[1, 0] != focus_stack(series[1]).image).any()


# ---- other channels --------------------------------------------------------------------------------


def test_map_is_applied_to_another_channel(viewer, panel, layer, wait_end, scene):
    viewer.add_image(np.zeros((7, 160, 190), np.uint8), name="another size")
    panel.stack_choice.value = layer
    assert not panel.others.apply_button.isEnabled()
    assert "No other layer has slices of this number and size" in panel.others.told.text()
    dim = (scene.stack // 16).astype(np.uint8)
    other = viewer.add_image(dim, name="red", colormap="red", contrast_limits=(0, 255), **SIZED)
    panel.stack_choice.value = layer
    assert [panel.others.choice.itemText(row) for row in range(panel.others.choice.count())] == ["red"]
    panel.others.apply_button.click()
    wait_end(panel)
    made = viewer.layers["red fused by bumps"]
    np.testing.assert_array_equal(made.data, fuse_by_map(dim, focus_stack(scene.stack).height))
    assert (made.colormap.name, made.contrast_limits) == ("red", [0, 255])
    np.testing.assert_allclose(made.data_to_world((9, 9)), other.data_to_world((0, 9, 9))[1:])
    assert made.metadata[PLUGIN]["map_of"] == "bumps"
    # Again: in place.
    before = list(viewer.layers)
    panel.others.apply_button.click()
    wait_end(panel)
    assert list(viewer.layers) == before
    assert panel.stack_choice.value is layer


def test_map_of_one_time_is_applied_to_the_others(viewer, panel, run, wait_end, scene):
    series = np.stack([scene.stack, scene.stack[::-1]])
    viewer.add_image(series, name="series")
    run(panel)
    viewer.dims.set_point(0, 1)
    panel.others.apply_button.click()
    wait_end(panel)
    made = viewer.layers["series fused by the map in view"]
    height = focus_stack(series[1]).height
    for t in range(2):
        np.testing.assert_array_equal(made.data[t, 0], fuse_by_map(series[t], height))


# ---- the relief ------------------------------------------------------------------------------------


@pytest.fixture
def relief(viewer, panel, layer, qtbot):
    panel.relief.expand()
    panel.relief.button.click()
    qtbot.waitUntil(lambda: not panel.relief.busy and viewer.dims.ndisplay == 3, timeout=RUN_MS)
    return viewer.layers["bumps relief"]


def test_relief_is_the_height_map_under_the_fused_image(viewer, panel, relief, layer, scene):
    result = focus_stack(scene.stack)
    vertices = relief.vertices
    y, x = vertices[:, 1].astype(int), vertices[:, 2].astype(int)
    np.testing.assert_array_equal(vertices[:, 0], result.height[y, x])
    assert relief.texture.shape == (160, 190, 3)
    shade = np.asarray(relief.texture, float)[..., 0]
    assert np.corrcoef(shade.ravel(), result.image.ravel())[0, 1] > 0.99
    # Seen from the front and above.
    camera = getattr(viewer, "scene", viewer).camera
    look, up = np.array(camera.view_direction), np.array(camera.up_direction)
    # Later slices come towards the camera, and rise in the picture.
    assert np.sign(relief.scale[0]) * look[0] < -0.5
    assert np.sign(relief.scale[0]) * up[0] > 0.5
    assert look[1] < -0.5
    # From this side z comes towards the camera, as it does in napari's picture of a slice.
    assert (str(camera.orientation[0]) == "towards") == (look[0] < 0)
    # True to scale, and where the stack lies.
    assert np.abs(relief.scale).tolist() == [2, 0.5, 0.25]
    np.testing.assert_allclose(relief.data_to_world((0, 5, 9))[1:], layer.data_to_world((0, 5, 9))[1:])
    assert [layer.name for layer in viewer.layers if layer.visible] == ["bumps relief"]
    panel.relief.exaggeration.setValue(35)
    assert abs(relief.scale[0]) == 7
    assert panel.relief.times.text() == "× 3.5"
    before = relief.scale[0]
    panel.relief.turn_box.setChecked(True)
    assert relief.scale[0] == -before


def test_one_click_leads_back(viewer, panel, layer, qtbot):
    before = viewer.dims.point, viewer.dims.range, viewer.layers.selection.active, list(viewer.layers)
    panel.relief.button.click()
    qtbot.waitUntil(lambda: not panel.relief.busy and viewer.dims.ndisplay == 3, timeout=RUN_MS)
    assert panel.relief.button.text() == "Back to &2-D"
    panel.relief.button.click()
    assert viewer.dims.ndisplay == 2
    assert [layer.name for layer in viewer.layers if layer.visible] == ["bumps", "bumps fused"]
    assert panel.relief.button.text() == "Show in &3-D"
    assert (viewer.dims.point, viewer.dims.range, viewer.layers.selection.active, list(viewer.layers)) == before


def test_relief_follows_another_result(viewer, panel, relief, run, qtbot, scene):
    panel.option_rows.widgets["height_smoothing_px"].value = 20
    run(panel)
    qtbot.waitUntil(lambda: not panel.relief.busy, timeout=RUN_MS)
    (now,) = (layer for layer in viewer.layers if layer.name == "bumps relief")
    smooth = focus_stack(scene.stack, height_smoothing_px=20).height
    np.testing.assert_array_equal(now.vertices[:, 0].reshape(160, 190), smooth)
