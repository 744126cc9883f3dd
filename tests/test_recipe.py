"""Options as flags, a run as a command and as a script: each gives what it says."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_focus_stack import FocusStackOptions, InputError, cli, focus_stack, level_height, trusted_pixels
from napari_focus_stack.options import OPTION_SPECS
from napari_focus_stack.presets import DEFAULT, PRESETS, preset_of
from napari_focus_stack.recipe import Recipe, as_command, as_flags, as_python, options_from_flags
from napari_focus_stack.synthetic import make_scene

VARIED = FocusStackOptions(
    method="laplacian-max", levels=3, noise=(0.25, 12.5), height_smoothing_px=2.5, fill_height=False, light="opaque"
)


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


def every_option():
    for name, spec in OPTION_SPECS.items():
        values = [*spec.choices]
        if spec.kind in ("number", "integer"):
            values = [spec.low, spec.high]
        elif spec.kind == "switch":
            values = [True, False]
        elif spec.kind == "noise":
            values = [(0.5, 20.0), (1e-9, -3.25)]
        elif spec.kind == "channel":
            values = [0, 2]
        yield from ((name, value) for value in [*values, spec.default])


@pytest.mark.parametrize(("name", "value"), list(every_option()))
def test_flags_give_the_options_back(name, value):
    options = FocusStackOptions.of(None, **{name: value})
    assert options_from_flags(shlex.join(as_flags(options))) == options


def test_defaults_need_no_flag():
    assert as_flags(FocusStackOptions()) == []
    assert options_from_flags("") == FocusStackOptions()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--denoise", "needs a value"),
        ("--nonsense 3", "no option is called '--nonsense'"),
        ("denoise 1", "no option is called 'denoise'"),
        ("--denoise lots", "denoise must be a number"),
        ("--method 'log", "flags of the command line are expected"),
    ],
)
def test_flags_that_are_not_understood_are_refused(text, told):
    with pytest.raises(InputError, match=told):
        options_from_flags(text)


@pytest.mark.parametrize("options", [FocusStackOptions(), VARIED], ids=["defaults", "varied"])
def test_command_and_script_do_the_run_again(tmp_path, monkeypatch, scene, options):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("my stack.tif", scene.stack, metadata={"axes": "ZYX"})
    recipe = Recipe(options, ("my stack.tif",), height=True, z_step_um=0.5, level="plane", trust=0.6, masked=True)
    expected = focus_stack(scene.stack, **{name: getattr(options, name) for name in OPTION_SPECS})
    trusted = trusted_pixels(expected.height, expected.confidence, 0.6)
    heights = np.where(trusted, 0.5 * level_height(expected.height, trusted, "plane"), np.nan)

    monkeypatch.setattr("sys.argv", shlex.split(as_command(recipe)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    np.testing.assert_array_equal(tifffile.imread("fused.tif"), expected.image)
    np.testing.assert_array_equal(tifffile.imread("index.tif"), expected.index)
    np.testing.assert_allclose(tifffile.imread("height.tif"), heights, atol=1e-5)

    names = {}
    exec(as_python(recipe), names)
    np.testing.assert_array_equal(names["result"].image, expected.image)
    np.testing.assert_array_equal(tifffile.imread("fused.tif"), expected.image)
    np.testing.assert_allclose(names["height"], heights, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_script_for_the_console_takes_the_axis_and_the_position_in_view(scene, axis):
    series = np.stack([scene.stack[:, :48], scene.stack[::-1, :48]], axis=1)  # z, t, y, x
    pixels = np.moveaxis(series, 0, axis)
    viewer = SimpleNamespace(layers={"it": SimpleNamespace(data=pixels)})
    names = {"viewer": viewer}
    exec(as_python(Recipe(VARIED, layer="it", focus_axis=axis, position=(1,), ndim=4)), names)
    np.testing.assert_array_equal(names["stack"], series[:, 1])
    assert names["result"].options == VARIED


def test_strokes_are_told_to_be_missing():
    assert "strokes" in as_python(Recipe(FocusStackOptions(), strokes=True))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_known_by_its_options(name):
    preset = PRESETS[name]
    assert preset_of(preset.options) == name
    assert preset_of(FocusStackOptions.of(preset.options, sharpness_measure="gradient")) == name
    assert preset_of(FocusStackOptions.of(preset.options, denoise=0.123)) is None
    assert (preset.options == FocusStackOptions()) == (name == DEFAULT)


def test_the_file_that_tells_where_slices_lie_is_part_of_a_run():
    recipe = Recipe(FocusStackOptions(crop=True), files=("z 1.tif",), alignment="my moved.json")
    assert as_command(recipe).endswith("--alignment 'my moved.json' --crop")
    assert "from napari_focus_stack import Alignment, focus_stack" in as_python(recipe)
    assert "crop=True, alignment=Alignment.load('my moved.json'))" in as_python(recipe)
