"""Large and lazily loaded layers in a real viewer: fused in tiles, into layers that fill up."""

from __future__ import annotations

import copy
import gc
import re

import dask.array as da
import numpy as np
import pytest

from napari_focus_stack import focus_stack
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, HeldStack, names

pytestmark = pytest.mark.usefixtures("window_libraries")

SHAPE, SLICES = (200, 600), 4
SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", SHAPE, slices=SLICES)


@pytest.fixture(scope="module")
def whole(scene):
    return focus_stack(scene.stack, levels=2)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch, tmp_path):
    """Let the tests' stacks count as large, and their files be seen."""
    monkeypatch.setattr("napari_focus_stack.napari_plugin.in_tiles.LARGE_PX", 1000)
    monkeypatch.setattr("napari_focus_stack.napari_plugin.tiled_run.TILE_PX", 128)
    monkeypatch.setattr("napari_focus_stack.napari_plugin.tiled_run._cache", lambda: tmp_path)


@pytest.fixture
def panel(panel):
    panel.option_rows.widgets["levels"].value = 2
    return panel


def lazily(scene):
    return da.from_array(scene.stack, chunks=(1, 80, 130))


def picture(viewer):
    """Return all that a user sees of the viewer's state."""
    layers = [(layer.name, layer.visible, tuple(layer.scale)) for layer in viewer.layers]
    camera = getattr(viewer, "scene", viewer).camera
    return layers, viewer.layers.selection.active, viewer.dims.point, viewer.dims.range, camera.center, camera.zoom


def finest(layer):
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def test_a_lazy_layer_is_fused_in_tiles_to_the_pixels_of_a_run_in_memory(viewer, panel, run, scene, whole):
    source = viewer.add_image(lazily(scene), name="slide", contrast_limits=(9, 60000), **SIZED)
    panel.height_box.value = panel.confidence_box.value = True
    run(panel)
    assert names(viewer) == ["slide", "slide fused", "slide focus index", "slide height (µm)", "slide confidence"]
    fused, index, height, confidence = viewer.layers[1:]
    assert fused.multiscale and not isinstance(fused.data[0], np.ndarray)
    np.testing.assert_array_equal(finest(fused), whole.image)
    np.testing.assert_array_equal(finest(index), whole.index)
    np.testing.assert_array_equal(finest(height), whole.height * np.float32(2))
    np.testing.assert_array_equal(finest(confidence), whole.confidence)
    for corner in ((0, 0), (199, 599)):
        np.testing.assert_allclose(fused.data_to_world(corner), source.data_to_world((0, *corner))[1:])
    assert (fused.contrast_limits, height.contrast_limits) == ([9, 60000], [0, 6])
    # The coarser level is the mean of the finer one.
    coarse, fine = fused.data[1], whole.image.astype(float)
    assert np.abs(coarse - fine.reshape(100, 2, 300, 2).mean((1, 3))).max() <= 0.5
    told = fused.metadata[PLUGIN]
    assert told["sharpness"]["fused"] == pytest.approx(whole.sharpness.fused, rel=1e-4)
    assert not panel.sharpness_view.isHidden() and panel.chosen_line.text().startswith("Auto:")


def test_layers_around_the_picture_are_kept(viewer, panel, run, scene, whole):
    """Axes of one position stay, and so does the focus axis where it is not the first."""
    viewer.add_image(da.from_array(scene.stack[np.newaxis], chunks=(1, 1, 80, 130)), name="slide")
    run(panel)
    assert finest(viewer.layers["slide fused"]).shape == (1, 1, *SHAPE)
    np.testing.assert_array_equal(finest(viewer.layers["slide fused"])[0, 0], whole.image)


def test_colour_too(viewer, panel, run, scene):
    colour = np.stack([scene.stack, scene.stack[:, ::-1], scene.stack[:, :, ::-1]], axis=-1) // 257
    viewer.add_image(da.from_array(colour.astype(np.uint8), chunks=(1, 80, 130, 3)), rgb=True, name="slide")
    run(panel)
    expected = focus_stack(colour.astype(np.uint8), levels=2).image
    np.testing.assert_array_equal(finest(viewer.layers["slide fused"]), expected)


def test_what_is_in_view_comes_first_and_is_seen_before_the_end(viewer, panel, qtbot, wait_end, scene, whole):
    held = HeldStack(scene.stack)
    source = viewer.add_image(held, name="slide", contrast_limits=(0, 65535))
    source.corner_pixels = np.array([[0, 140, 530], [0, 199, 599]])
    panel.fuse_button.native.click()
    held.let(20)
    qtbot.waitUntil(lambda: "slide fused" in names(viewer), timeout=60_000)
    level = viewer.layers["slide fused"].data[0]
    qtbot.waitUntil(lambda: bool(level[128:, 512:].any()), timeout=60_000)
    assert not level[:128, :128].any()
    np.testing.assert_array_equal(level[128:, 512:], whole.image[128:, 512:])
    held.let(10_000)
    wait_end(panel)
    np.testing.assert_array_equal(finest(viewer.layers["slide fused"]), whole.image)


def test_cancel_leaves_viewer_and_disk_as_they_were(viewer, panel, qtbot, wait_end, scene, tmp_path):
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="slide", contrast_limits=(0, 65535))
    before = picture(viewer)
    panel.fuse_button.native.click()
    held.let(60)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=60_000)
    assert list(tmp_path.iterdir())
    panel.cancel_button.native.click()
    held.let(10_000)
    wait_end(panel)
    assert picture(viewer) == before
    assert list(tmp_path.iterdir()) == []
    assert panel.status_line.text() == "Cancelled: nothing was added."


def test_closing_the_panel_ends_the_run_and_takes_its_layers_and_files_away(
    viewer, panel, qtbot, workers, scene, tmp_path
):
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="slide", contrast_limits=(0, 65535))
    panel.fuse_button.native.click()
    held.let(20)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=60_000)
    panel.shut_down()
    assert names(viewer) == ["slide"]
    held.let(10_000)
    workers()
    qtbot.waitUntil(lambda: not list(tmp_path.iterdir()), timeout=60_000)


def test_a_second_run_takes_the_place_of_the_first_and_files_go_with_the_layers(
    viewer, panel, run, scene, tmp_path, qtbot
):
    def left():
        # A window lets go of a layer in a turn of its own.
        gc.collect()
        return len(list(tmp_path.iterdir()))

    viewer.add_image(lazily(scene), name="slide")
    run(panel)
    panel.option_rows.widgets["denoise"].value = 0.5
    assert panel.status_line.text().startswith("Out of date")
    run(panel)
    assert names(viewer) == ["slide", "slide fused", "slide focus index"]
    np.testing.assert_array_equal(
        finest(viewer.layers["slide fused"]), focus_stack(scene.stack, levels=2, denoise=0.5).image
    )
    assert panel.status_line.text() == ""
    qtbot.waitUntil(lambda: left() == 1)
    copied = copy.deepcopy(viewer.layers["slide fused"].data[0])
    viewer.layers.clear()
    gc.collect()
    np.testing.assert_array_equal(copied, focus_stack(scene.stack, levels=2, denoise=0.5).image)
    del copied
    qtbot.waitUntil(lambda: left() == 0)


def test_a_run_that_would_not_fit_says_so_and_offers_tiles(viewer, panel, run, wait_end, scene, whole, monkeypatch):
    for module in ("in_tiles", "worker"):
        monkeypatch.setattr(f"napari_focus_stack.napari_plugin.{module}.run_bytes", lambda stack, options: 10**15)
    viewer.add_image(scene.stack, name="slide")
    assert "needs about 1000000.0 GB, but" in panel.description.text()
    assert not panel.tiles_button.native.isHidden()
    panel.fuse_button.native.click()
    assert names(viewer) == ["slide"]
    assert "press “Fuse in tiles”" in panel.status_line.text()
    panel.tiles_button.native.click()
    wait_end(panel)
    np.testing.assert_array_equal(finest(viewer.layers["slide fused"]), whole.image)


def test_what_is_told_is_the_memory_of_the_run_that_fuse_begins(viewer, panel):
    """In memory this slide would need 13 GB."""
    viewer.add_image(da.zeros((10, 15000, 15000), dtype=np.uint16, chunks=(1, 500, 500)), name="slide")
    told = re.fullmatch(r"10×15000×15000 uint16 · in tiles · needs about (\d+) MB", panel.description.text())
    assert told and int(told[1]) < 700
    panel.option_rows.widgets["method"].value = "decision-map"  # which needs the whole
    assert "in tiles" not in panel.description.text() and " GB" in panel.description.text()


def test_small_stacks_are_not_offered_tiles(viewer, panel, scene):
    viewer.add_image(scene.stack, name="slide")
    assert panel.tiles_button.native.isHidden()
    assert "but" not in panel.description.text()


def test_options_that_need_the_whole_are_run_whole(viewer, panel, run, scene):
    viewer.add_image(lazily(scene), name="slide")
    panel.option_rows.widgets["method"].value = "decision-map"
    run(panel)
    assert not viewer.layers["slide fused"].multiscale


def test_folders_of_runs_that_were_killed_go_but_not_those_of_other_machines(tmp_path, monkeypatch):
    """A home that machines share: the pixels of a run under way on another one were removed."""
    from napari_focus_stack.napari_plugin import tiled_run

    monkeypatch.setattr("platform.node", lambda: "here.lab")
    dead = 2**22 + 1  # no process has such a number
    for name in (f"here_lab-{dead}-a", f"there-{dead}-b"):
        (tmp_path / f"napari-focus-stack-tiles-{name}").mkdir()
    folder = tiled_run.ResultFolder()
    left = sorted(path.name.removeprefix("napari-focus-stack-tiles-") for path in tmp_path.iterdir())
    assert len(left) == 2
    assert left[0].startswith("here_lab-") and str(dead) not in left[0]
    assert left[1] == f"there-{dead}-b"
    folder.remove()
    assert len(list(tmp_path.iterdir())) == 1


class FailingArray:
    """Pixels that cannot be read the first times."""

    dtype = np.dtype(np.uint8)

    def __init__(self, error, times):
        self.error, self.times, self.reads = error, times, 0

    def __getitem__(self, where):
        self.reads += 1
        if self.reads <= self.times:
            raise self.error
        return np.full((4, 5), 7, np.uint8)


def test_a_chunk_that_is_just_being_replaced_is_read_a_moment_later():
    """Windows refuses it for so long."""
    from napari_focus_stack.napari_plugin.tiled_run import LazyLevel

    array = FailingArray(PermissionError(13, "in use"), 2)
    np.testing.assert_array_equal(LazyLevel(array, (4, 5), (0, 1), None)[...], np.full((4, 5), 7))


def test_the_window_does_not_wait_for_what_cannot_be_read(monkeypatch):
    from napari_focus_stack.napari_plugin import tiled_run

    pauses = []
    monkeypatch.setattr(tiled_run.time, "sleep", pauses.append)
    spoiled = FailingArray(RuntimeError("error during blosc decompression"), 9)
    with pytest.raises(RuntimeError, match="blosc"):
        tiled_run.LazyLevel(spoiled, (4, 5), (0, 1), None)[...]
    assert spoiled.reads == 1 and not pauses
    forbidden = FailingArray(PermissionError(13, "not yours"), 9)
    with pytest.raises(PermissionError):
        tiled_run.LazyLevel(forbidden, (4, 5), (0, 1), None)[...]
    assert sum(pauses) <= 0.05


def test_a_file_that_the_window_is_reading_is_written_a_moment_later(viewer, panel, run, scene, whole, monkeypatch):
    """Windows replaces no file that is open elsewhere."""
    from napari_focus_stack.io.tile_files import TileFiles

    write, calls = TileFiles.write_part, []

    def held(self, tile, part):
        calls.append(tile.number)
        if len(calls) in (1, 4):
            raise PermissionError(13, "Access is denied")
        return write(self, tile, part)

    monkeypatch.setattr(TileFiles, "write_part", held)
    viewer.add_image(lazily(scene), name="slide")
    run(panel)
    np.testing.assert_array_equal(finest(viewer.layers["slide fused"]), whole.image)
    assert len(calls) == len(set(calls)) + 2
