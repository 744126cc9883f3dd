"""The sample stacks, opened as a user opens them, and the manifest that offers them."""

from pathlib import Path

import numpy as np
import pytest

import napari_focus_stack

PLUGIN = "napari-focus-stack"
MANIFEST = Path(napari_focus_stack.__file__).with_name("napari.yaml")


@pytest.mark.parametrize(("key", "rgb"), [("beads", False), ("colour", True)])
def test_sample_opens_with_its_size_and_its_focus_in_the_stack(make_napari_viewer, key, rgb):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample(PLUGIN, key)
    assert layer.rgb == rgb
    assert layer.axis_labels == ("z", "y", "x")
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 3
    assert layer.scale[1] == layer.scale[2]
    assert 0 < layer.scale[1] < layer.scale[0]
    # Each slice is sharp somewhere else: that is what makes it a focus stack.
    gray = layer.data.mean(-1) if rgb else layer.data.astype(float)
    detail = np.stack([np.hypot(*np.gradient(image)) for image in gray])
    assert len(np.unique(detail.argmax(0))) == len(gray)


def test_manifest_names_the_scenes_as_they_name_themselves():
    from npe2 import PluginManifest

    from napari_focus_stack.synthetic import SCENES

    samples = PluginManifest.from_file(MANIFEST).contributions.sample_data
    assert {sample.key: sample.display_name for sample in samples} == {
        key: SCENES[key].title for key in ("beads", "colour")
    }


def test_root_manifest_is_the_one_in_the_package():
    root = MANIFEST.parents[2] / "napari.yaml"
    if root.is_file() and root.is_symlink():
        assert root.resolve() == MANIFEST.resolve()


def test_panel_is_in_the_project_menu():
    from npe2 import PluginManifest

    contributions = PluginManifest.from_file(MANIFEST).contributions
    panel = contributions.widgets[0].command
    assert [item.command for item in contributions.menus["napari/layers/project"]] == [panel]
