"""Files opened lazily from the menu of a real viewer: layers in µm with the names of their channels."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile

import napari_focus_stack

pytestmark = pytest.mark.usefixtures("window_libraries")

PIXELS = np.random.default_rng(0).integers(0, 4000, (5, 2, 60, 80)).astype(np.uint16)


@pytest.fixture
def cells(tmp_path):
    path = tmp_path / "cells.ome.tif"
    metadata = {"axes": "ZCYX", "Channel": {"Name": ["DNA", "actin"]}}
    metadata |= {"PhysicalSizeZ": 2.0, "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}
    tifffile.imwrite(path, PIXELS, metadata=metadata)
    return path


def commands():
    from npe2 import PluginManifest

    return PluginManifest.from_file(Path(napari_focus_stack.__file__).with_name("napari.yaml")).contributions


def test_a_file_chosen_in_the_menu_becomes_lazy_layers_in_um(make_napari_viewer, qtbot, monkeypatch, cells):
    from npe2 import PluginManager

    viewer = make_napari_viewer()
    (item, _) = commands().menus["napari/file/io_utilities"]
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getOpenFileName", lambda *_: (str(cells), ""))
    PluginManager.instance().commands.get(item.command)()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20000)
    assert [layer.name for layer in viewer.layers] == ["cells DNA", "cells actin"]
    for c, layer in enumerate(viewer.layers):
        assert isinstance(layer.data, da.Array)
        assert (tuple(layer.scale), layer.axis_labels) == ((2.0, 0.5, 0.25), ("z", "y", "x"))
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
        np.testing.assert_array_equal(np.asarray(layer.data), PIXELS[:, c])


def test_a_folder_chosen_in_the_menu_is_one_stack(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    from npe2 import PluginManager

    viewer = make_napari_viewer()
    for k in (2, 10, 1):
        tifffile.imwrite(tmp_path / f"z{k}.tif", np.full((8, 9), k, np.uint8))
    (_, item) = commands().menus["napari/file/io_utilities"]
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path))
    PluginManager.instance().commands.get(item.command)()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=20000)
    assert np.asarray(viewer.layers[0].data)[:, 0, 0].tolist() == [1, 2, 10]


def test_what_holds_no_stack_is_told_in_a_sentence(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    from napari_focus_stack.napari_plugin.opening import open_lazily

    told = []
    monkeypatch.setattr("napari.utils.notifications.show_error", told.append)
    viewer = make_napari_viewer()
    tifffile.imwrite(tmp_path / "flat.tif", PIXELS[0, 0])
    open_lazily(viewer, tmp_path / "flat.tif")
    qtbot.waitUntil(lambda: bool(told), timeout=20000)
    assert "at least 2 slices" in told[0] and not viewer.layers


def test_nothing_chosen_is_nothing_done(make_napari_viewer, monkeypatch):
    from napari_focus_stack.napari_plugin.opening import choose_folder

    viewer = make_napari_viewer()
    monkeypatch.setattr("qtpy.QtWidgets.QFileDialog.getExistingDirectory", lambda *_: "")
    choose_folder()
    assert not viewer.layers
