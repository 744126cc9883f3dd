"""Presets, reset, what is kept between starts, a run as code and files: in a real viewer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

import napari_focus_stack
from napari_focus_stack import FocusStackOptions
from napari_focus_stack.napari_plugin import remembered
from napari_focus_stack.napari_plugin.remembered import Remembered
from napari_focus_stack.presets import PRESETS
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, RUN_MS

SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


def copied():
    from qtpy.QtWidgets import QApplication

    return QApplication.clipboard().text()


def test_preset_sets_its_options_and_is_left_by_a_change(panel):
    rows = panel.option_rows
    for name, preset in PRESETS.items():
        rows.widgets["denoise"].value = 0.9
        assert panel.preset_choice.value is None
        panel.preset_choice.value = name
        assert rows.options() == preset.options
        assert panel.preset_choice.value == name
        rows.widgets["levels"].value = 2
        assert panel.preset_choice.value is None
        assert panel.preset_choice.native.currentText() == "Custom"
        panel.reset_button.native.click()
        assert rows.options() == FocusStackOptions()
        assert panel.preset_choice.value == "auto"


def test_preset_runs_live_once(viewer, panel, run, wait_end, scene, monkeypatch):
    viewer.add_image(scene.stack, name="bumps")
    run(panel)
    runs = []
    start = panel._runs._runner.start
    monkeypatch.setattr(panel._runs._runner, "start", lambda *some: (runs.append(some[1]), start(*some)))
    panel.preset_choice.value = "fluorescence"
    wait_end(panel)
    assert runs == [PRESETS["fluorescence"].options]
    assert viewer.layers["bumps fused"].metadata[PLUGIN]["options"]["light"] == "glowing"


def test_what_is_set_is_there_at_the_next_start(viewer, panel, run, scene, qtbot):
    viewer.add_image(scene.stack)
    panel.option_rows.widgets["noise"].value = "0.5, 20"
    panel.option_rows.widgets["denoise"].value = 0.4
    panel.confidence_box.value = True
    panel.live_box.value = False
    run(panel)
    viewer.window.remove_dock_widget(panel.native)
    panel.native.deleteLater()
    qtbot.wait(50)
    again = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")[1]
    assert again.option_rows.options() == FocusStackOptions(noise=(0.5, 20), denoise=0.4)
    assert (again.live_box.value, again.height_box.value, again.confidence_box.value) == (False, False, True)


def test_settings_are_napari_s_own_and_survive_what_is_not_understood(make_napari_viewer, tmp_path, monkeypatch):
    settings = pytest.importorskip("napari.settings")
    if not hasattr(settings, "get_plugin_settings"):
        pytest.skip("this napari keeps no settings of plugins")
    make_napari_viewer()
    settings._PLUGIN_SETTINGS.clear()
    try:
        settings.get_plugin_settings(path_dir=tmp_path)
        assert remembered.recall() == Remembered()
        kept = Remembered(False, True, True, FocusStackOptions(method="log", fill_height=False))
        remembered.keep(kept)
        settings._PLUGIN_SETTINGS.clear()
        settings.get_plugin_settings(path_dir=tmp_path)
        assert remembered.recall() == kept
        settings.get_plugin_settings(PLUGIN).panel.options = "--of-another-version 3"
        assert remembered.recall() == Remembered(False, True, True)
    finally:
        settings._PLUGIN_SETTINGS.clear()


def test_run_is_copied_as_code_that_gives_the_same(viewer, panel, run, scene, tmp_path):
    path = tmp_path / "a stack.tif"
    tifffile.imwrite(path, scene.stack)
    viewer.open(str(path))
    panel.option_rows.widgets["denoise"].value = 0.5
    run(panel)
    # Not what is set now, but what the result was made with.
    panel.live_box.value = False
    panel.option_rows.widgets["denoise"].value = 1
    panel.recipes.command_button.click()
    assert copied() == f"napari-focus-stack fuse '{path}' -o fused.tif --index index.tif --denoise 0.5"
    panel.recipes.python_button.click()
    script = copied().replace('"fused.tif"', repr(str(tmp_path / "fused.tif")))
    names = {}
    exec(script, names)
    np.testing.assert_array_equal(names["result"].image, viewer.layers["a stack fused"].data)
    assert "as Python" in panel.status_line.text()


def test_stack_of_the_viewer_alone_is_copied_for_its_console(viewer, panel, run, scene):
    viewer.add_image(np.stack([scene.stack, scene.stack[::-1]]), name="series")
    run(panel)
    viewer.dims.set_point(0, 1)
    panel.recipes.python_button.click()
    names = {"viewer": viewer}
    exec(copied(), names)
    np.testing.assert_array_equal(names["result"].image, viewer.layers["series fused"].data[1, 0])
    panel.recipes.command_button.click()
    assert "save it as stack.tif first" in panel.status_line.text()


def test_saved_results_tell_how_they_came_about(viewer, panel, run, qtbot, scene, tmp_path):
    viewer.add_image(scene.stack, name="bumps", **SIZED)
    panel.height_box.value = True
    run(panel)
    panel.retouch.start_button.click()
    viewer.layers["bumps retouch"].paint((30, 40), 3)
    qtbot.waitUntil(lambda: not panel.retouch.busy, timeout=RUN_MS)
    panel.recipes.save(tmp_path / "result.tif")
    qtbot.waitUntil(lambda: not panel.recipes.busy, timeout=RUN_MS)
    names = ["result.tif", "result index.tif", "result height.tif", "result retouch.tif", "result report.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert panel.status_line.text().startswith("Saved result.tif, ")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "result.tif"), viewer.layers["bumps fused"].data)
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "result height.tif"), viewer.layers["bumps height (µm)"].data
    )
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "result retouch.tif"), viewer.layers["bumps retouch"].data)
    with tifffile.TiffFile(tmp_path / "result.tif") as file:
        image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    told = json.loads(image["Description"])
    assert told["version"] == napari_focus_stack.__version__
    assert FocusStackOptions(**told["options"]) == FocusStackOptions()
    assert told["retouched_slices"] == [2]
    assert (image["Pixels"]["PhysicalSizeY"], image["Pixels"]["PhysicalSizeX"]) == (0.5, 0.25)
    report = json.loads((tmp_path / "result report.json").read_text(encoding="utf-8"))
    assert len(report["sharpness"]["per_slice"]) == 6


def test_result_that_no_file_holds_is_refused_in_a_sentence(viewer, panel, run, scene, tmp_path):
    viewer.add_image(np.stack([scene.stack] * 2), name="series")
    run(panel)
    panel.recipes.save(tmp_path / "series.tif")
    assert "Files hold one stack, this result has 2" in panel.status_line.text()
    assert list(tmp_path.iterdir()) == []


def test_result_of_a_series_of_one_is_saved(viewer, panel, run, qtbot, scene, tmp_path):
    """Files of microscopes often have a time axis of length 1."""
    viewer.add_image(scene.stack[np.newaxis], name="series")
    run(panel)
    panel.recipes.save(tmp_path / "one.tif")
    qtbot.waitUntil(lambda: not panel.recipes.busy, timeout=RUN_MS)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "one.tif"), viewer.layers["series fused"].data[0, 0])
    report = json.loads((tmp_path / "one report.json").read_text(encoding="utf-8"))
    assert len(report["sharpness"]["per_slice"]) == 6
