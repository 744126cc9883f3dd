"""The panel in a real viewer: what its user sees after each step."""

from __future__ import annotations

import json
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import napari_focus_stack
from napari_focus_stack import (
    FocusStackOptions,
    focus_stack,
    level_height,
    measure_surface,
    pipeline,
    trusted_pixels,
)
from napari_focus_stack.options import OPTION_SPECS
from napari_focus_stack.surface import SURFACE_FORMS
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, RUN_MS, HeldStack, names

pytestmark = pytest.mark.usefixtures("window_libraries")

SIZED = {"scale": (2.0, 0.5, 0.25), "translate": (7, -3, 11), "units": ("um", "um", "um")}


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


def picture(viewer):
    """Return all that a user sees of the viewer's state."""
    layers = [(layer.name, layer.visible, tuple(layer.scale)) for layer in viewer.layers]
    camera = getattr(viewer, "scene", viewer).camera
    return layers, viewer.layers.selection.active, viewer.dims.point, viewer.dims.range, camera.center, camera.zoom


def error_of(fused, truth):
    return float(np.abs(np.asarray(fused, float) - truth).mean())


# ---- what a run gives ------------------------------------------------------------------------------


def test_fuse_gives_the_sharp_image_and_its_index_over_the_stack(viewer, panel, run, scene):
    look = {"colormap": "green", "gamma": 0.8, "contrast_limits": (9, 60000)}
    source = viewer.add_image(scene.stack, name="bumps", **look, **SIZED)
    run(panel)
    assert names(viewer) == ["bumps", "bumps fused", "bumps focus index"]
    fused, index = viewer.layers[1:]
    # The picture is the scene's, sharper than any slice of it.
    assert error_of(fused.data, scene.truth) < 0.7 * min(error_of(image, scene.truth) for image in scene.stack)
    right = np.abs(index.data - scene.height) < 1
    assert right[scene.textured].mean() > 0.9
    # It lies where the stack lies, and looks like it.
    for layer in (fused, index):
        for corner in ((0, 0), (63, 0), (0, 95), (63, 95)):
            np.testing.assert_allclose(layer.data_to_world(corner), source.data_to_world((0, *corner))[1:])
        assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    assert (fused.colormap.name, fused.gamma, fused.contrast_limits) == ("green", 0.8, [9, 60000])
    assert (index.colormap.name, index.contrast_limits) == ("viridis", [0, 5])
    assert viewer.layers.selection.active == fused


def test_result_is_the_cores(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps")
    panel.height_box.value = panel.confidence_box.value = True
    run(panel)
    expected = focus_stack(scene.stack)
    np.testing.assert_array_equal(viewer.layers["bumps fused"].data, expected.image)
    np.testing.assert_array_equal(viewer.layers["bumps focus index"].data, expected.index)
    np.testing.assert_array_equal(viewer.layers["bumps height"].data, expected.height)
    np.testing.assert_array_equal(viewer.layers["bumps confidence"].data, expected.confidence)


def test_input_is_never_written(viewer, panel, run, scene):
    pixels = scene.stack.copy()
    pixels.flags.writeable = False
    source = viewer.add_image(pixels, name="stack", metadata={"mine": 1}, **SIZED)
    before = pixels.tobytes(), source.data is pixels, dict(source.metadata), tuple(source.scale), source.visible
    run(panel)
    after = pixels.tobytes(), source.data is pixels, dict(source.metadata), tuple(source.scale), source.visible
    assert before == after


def test_result_tells_how_it_came_about(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps")
    panel.option_rows.widgets["denoise"].value = 0.5
    run(panel)
    told = json.loads(json.dumps(viewer.layers["bumps fused"].metadata[PLUGIN]))
    assert told["source"] == "bumps"
    assert told["version"] == napari_focus_stack.__version__
    assert FocusStackOptions(**told["options"]) == FocusStackOptions(denoise=0.5)
    assert len(told["sharpness"]["per_slice"]) == 6
    assert told["chosen"]["levels"] == focus_stack(scene.stack).chosen["levels"].value


def test_panel_tells_what_auto_chose(viewer, panel, run, wait_end, scene):
    assert panel.chosen_line.isHidden()
    viewer.add_image(scene.stack, name="bumps")
    run(panel)
    assert panel.chosen_line.text().startswith("Auto: 3 levels · noise 1.")
    assert panel.chosen_line.text().endswith("opaque specimen")
    panel.option_rows.widgets["levels"].value = 2
    wait_end(panel)
    assert "levels" not in panel.chosen_line.text()
    viewer.layers.remove("bumps")
    assert panel.chosen_line.isHidden()


@pytest.mark.parametrize("kind", ["dask", "zarr", "multiscale"])
def test_lazy_and_multiscale_layers_give_the_same(viewer, panel, run, scene, kind):
    if kind == "dask":
        import dask.array

        source = viewer.add_image(dask.array.from_array(scene.stack, chunks=(1, 32, 96)))
    elif kind == "zarr":
        import zarr

        source = viewer.add_image(zarr.array(scene.stack, chunks=(1, 32, 96)))
    else:
        source = viewer.add_image([scene.stack, scene.stack[:, ::2, ::2]], multiscale=True)
    run(panel)
    fused = viewer.layers[1]
    np.testing.assert_array_equal(fused.data, focus_stack(scene.stack).image)
    np.testing.assert_array_equal(fused.data_to_world((63, 95)), source.data_to_world((0, 63, 95))[1:])
    assert not fused.multiscale


@pytest.mark.parametrize("channels", [3, 4])
def test_rgb_stays_rgb(viewer, panel, run, channels):
    stack = make_scene("colour", (48, 64), slices=4).stack
    if channels == 4:
        stack = np.concatenate([stack, np.full((*stack.shape[:3], 1), 255, np.uint8)], -1)
    viewer.add_image(stack, rgb=True, name="ore", **SIZED)
    assert "RGB" in panel.description.text()
    run(panel)
    fused, index = viewer.layers[1:]
    assert fused.rgb
    assert not index.rgb
    np.testing.assert_array_equal(fused.data, focus_stack(stack, rgb=True).image)


def test_time_series_keeps_its_sliders_and_fuses_every_time(viewer, panel, run, scene):
    series = np.stack([scene.stack, scene.stack[::-1], scene.stack // 2])
    source = viewer.add_image(
        series,
        name="series",
        scale=(30, 2, 0.5, 0.5),
        translate=(0, 5, 1, 1),
        axis_labels=("t", "z", "y", "x"),
        units=("s", "um", "um", "um"),
    )
    assert "3 stacks of 6×64×96" in panel.description.text()
    before = viewer.dims.range, viewer.dims.nsteps, viewer.dims.point, viewer.dims.axis_labels
    run(panel)
    assert (viewer.dims.range, viewer.dims.nsteps, viewer.dims.point, viewer.dims.axis_labels) == before
    fused = viewer.layers["series fused"]
    assert fused.data.shape == (3, 1, 64, 96)
    for t in range(3):
        np.testing.assert_array_equal(fused.data[t, 0], focus_stack(series[t]).image)
        # The one plane of time t is seen from every slice of time t, and from no other time.
        for k in range(6):
            seen = fused.world_to_data(source.data_to_world((t, k, 0, 0)))
            np.testing.assert_array_equal(np.round(seen).astype(int), (t, 0, 0, 0))
    # The figures are those of the time in view.
    shown = []
    for t in (0, 2):
        viewer.dims.set_point(0, 30 * t)
        shown.append(panel.sharpness_view.figures["best slice"].text())
        assert shown[-1].endswith(f"slice {focus_stack(series[t]).sharpness.best_source}")


def test_tilted_stack_is_fused_with_a_warning(viewer, panel, run, scene):
    with pytest.warns(UserWarning, match="Non-orthogonal slicing"):
        viewer.add_image(scene.stack, rotate=(20, 0, 0))
    with pytest.warns(UserWarning, match="Non-orthogonal slicing"):
        run(panel)
    assert not panel.warning_lines.isHidden()
    assert panel.warning_lines.text().count("left out") == 1


def test_every_warning_is_shown_once_in_the_panel_and_in_the_command_lines_summary(
    viewer, panel, run, scene, tmp_path, capsys
):
    from napari_focus_stack.cli import main

    holed = scene.stack.astype(np.float32) - scene.stack.mean(dtype=np.float32)
    holed[2, 5, 5] = np.nan
    options = {"method": "log", "denoise": 0.5, "z_preference": 0.1}
    told = focus_stack(holed, **options).warnings
    assert len(told) == 3
    viewer.add_image(np.stack([holed, holed]), name="series", contrast_limits=(-99, 99))
    for name, value in options.items():
        panel.option_rows.widgets[name].value = value
    for _ in range(2):
        run(panel)
        shown = panel.warning_lines.text().splitlines()
        assert [line for line in shown if "left out" not in line or "NaN" in line] == list(told)
    tifffile.imwrite(tmp_path / "s.tif", holed, photometric="minisblack")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with pytest.raises(SystemExit):
        main(["fuse", str(tmp_path / "s.tif"), "-o", str(tmp_path / "f.tif"), *flags])
    err = capsys.readouterr().err
    assert [line.removeprefix("napari-focus-stack: warning: ") for line in err.splitlines()] == list(told)


# ---- running again ---------------------------------------------------------------------------------


def test_fusing_again_updates_our_layers_in_place(viewer, panel, run, scene):
    source = viewer.add_image(scene.stack, name="bumps")
    stranger = viewer.add_image(np.zeros((64, 96)), name="bumps focus index [1]")
    panel.live_box.value = False
    run(panel)
    before = list(viewer.layers)
    fused = viewer.layers["bumps fused"]
    fused.contrast_limits = (3, 4)
    first = fused.data.copy()
    panel.option_rows.widgets["method"].value = "height"
    source.scale = (4, 2, 2)
    run(panel)
    assert list(viewer.layers) == before
    assert (fused.data != first).any()
    np.testing.assert_array_equal(fused.data, focus_stack(scene.stack, method="height").image)
    assert fused.contrast_limits == [3, 4]
    assert tuple(fused.scale) == (2, 2)
    assert fused.metadata[PLUGIN]["options"]["method"] == "height"
    assert not stranger.data.any()


def test_deleted_result_is_added_anew(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps")
    run(panel)
    viewer.layers.remove("bumps fused")
    run(panel)
    assert sorted(names(viewer)) == ["bumps", "bumps focus index", "bumps fused"]


def test_another_stack_gets_layers_of_its_own(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="a")
    run(panel)
    of_a = viewer.layers["a fused"].data.copy()
    b = viewer.add_image(scene.stack[::-1] // 2, name="b")
    assert not panel.sharpness_view.isHidden()
    panel.stack_choice.value = b
    assert panel.sharpness_view.isHidden()
    run(panel)
    assert names(viewer) == ["a", "a fused", "a focus index", "b", "b fused", "b focus index"]
    np.testing.assert_array_equal(viewer.layers["a fused"].data, of_a)


def test_what_is_told_is_told_of_the_chosen_stack(viewer, panel, run, scene):
    holed = scene.stack.astype(np.float32)
    holed[2, 5, 5] = np.nan
    a = viewer.add_image(holed, name="a")
    b = viewer.add_image(scene.stack > 0, name="b")
    run(panel)
    for _ in range(2):
        assert "NaN" in panel.warning_lines.text()
        assert not panel.sharpness_view.isHidden()
        panel.stack_choice.value = b
        assert panel.warning_lines.isHidden()
        assert panel.sharpness_view.isHidden()
        panel.stack_choice.value = a
    viewer.layers.remove(a)
    assert panel.stack_choice.value is b
    assert panel.warning_lines.isHidden()


def test_boxes_add_and_take_away_the_maps(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps", **SIZED)
    run(panel)
    panel.height_box.value = True
    height = viewer.layers["bumps height (µm)"]
    # A slice is 2 µm high.
    assert np.abs(height.data - 2 * scene.height)[scene.textured].mean() < 1
    assert height.contrast_limits == [0, 10]
    assert tuple(height.scale) == (0.5, 0.25)
    panel.confidence_box.value = True
    assert viewer.layers["bumps confidence"].contrast_limits == [0, 1]
    panel.height_box.value = False
    assert names(viewer) == ["bumps", "bumps fused", "bumps focus index", "bumps confidence"]


# ---- the height map --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patchy():
    return make_scene("weak-texture", (96, 128), slices=8)


@pytest.fixture
def no_more_runs(monkeypatch):
    """Let no run start from now on."""

    def forbid(panel):
        def start(*_):
            raise AssertionError("a run was started")

        monkeypatch.setattr(panel._runs._runner, "start", start)

    return forbid


def test_figures_are_those_of_the_surface_in_its_unit(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps", scale=(2000, 0.5, 0.25), units=("nm", "um", "um"))
    panel.height_section.expand()
    assert panel.surface_figures.isHidden()
    run(panel)
    figures = panel.surface_figures
    assert not figures.isHidden()
    result = focus_stack(scene.stack)
    report = measure_surface(result.height, result.confidence, z_step=2000, pixel_size=(500, 250))
    for labels, parameters in ((figures.raw, report.raw), (figures.levelled, report.levelled)):
        assert {name: label.text() for name, label in labels.items()} == {
            name: f"{getattr(parameters, name):.4g}" for name in ("Sa", "Sq", "Sz")
        }
    assert (figures.unit.text(), figures.levelled_title.text()) == ("nm", "plane removed")
    assert figures.tilt.text() == f"{report.tilt_deg:.3g}°, rises towards {report.tilt_direction_deg:.0f}°"
    assert figures.trusted.text() == f"{100 * report.trusted_share:.1f} %"
    # And they are those of the scene: 2000 nm a slice.
    true = measure_surface(scene.height, result.confidence).levelled
    assert float(figures.levelled["Sq"].text()) == pytest.approx(2000 * true.Sq, rel=0.12)


def test_without_a_unit_of_length_heights_are_in_slices(viewer, panel, run, scene):
    viewer.add_image(scene.stack, name="bumps", scale=(2, 1, 1))
    panel.height_section.expand()
    panel.height_box.value = True
    run(panel)
    height = viewer.layers["bumps height"]
    np.testing.assert_array_equal(height.data, focus_stack(scene.stack).height)
    assert height.metadata[PLUGIN]["unit"] == "slices"
    assert panel.surface_figures.unit.text() == "slices"
    assert panel.surface_figures.tilt.text().endswith("slices per px")


def test_mask_and_trust_act_on_the_height_layer_without_fusing(viewer, panel, run, patchy, no_more_runs):
    viewer.add_image(patchy.stack, name="patchy", **SIZED)
    panel.height_box.value = True
    panel.height_section.expand()
    run(panel)
    no_more_runs(panel)
    height, before = viewer.layers["patchy height (µm)"], list(viewer.layers)
    result = focus_stack(patchy.stack)
    np.testing.assert_array_equal(height.data, 2 * result.height)
    height.contrast_limits = (3, 9)
    shown = []
    for trust in (0.5, 0.9, 0.2):
        panel.height_controls.trust.value = trust
        panel.height_controls.mask.value = True
        expected = np.where(result.confidence >= trust, 2 * result.height, np.nan)
        np.testing.assert_array_equal(height.data, expected)
        assert panel.surface_figures.trusted.text() == f"{100 * np.isfinite(expected).mean():.1f} %"
        report = measure_surface(result.height, result.confidence, z_step=2, trust=trust)
        assert panel.surface_figures.raw["Sq"].text() == f"{report.raw.Sq:.4g}"
        assert (height.metadata[PLUGIN]["trust"], height.metadata[PLUGIN]["masked"]) == (trust, True)
        shown.append(np.isnan(height.data).mean())
    assert 0 < shown[2] < shown[0] < shown[1] < 1
    panel.height_controls.mask.value = False
    np.testing.assert_array_equal(height.data, 2 * result.height)
    assert height.contrast_limits == [3, 9]
    assert list(viewer.layers) == before
    assert viewer.layers["patchy height (µm)"] is height


def test_level_takes_the_tilt_out_of_the_height_layer(viewer, panel, run, no_more_runs):
    tilted = make_scene("plane", (96, 128), slices=8)
    viewer.add_image(tilted.stack, name="sheet", **SIZED)
    panel.height_box.value = True
    panel.height_section.expand()
    run(panel)
    no_more_runs(panel)
    height = viewer.layers["sheet height (µm)"]
    measured = height.data.copy()
    assert measured[8:-8, 8:-8].std() > 2
    panel.height_controls.level.value = "plane"
    assert height.data[8:-8, 8:-8].std() < 0.3
    assert height.contrast_limits == pytest.approx([height.data.min(), height.data.max()])
    told = json.loads(json.dumps(height.metadata[PLUGIN]))
    assert (told["unit"], told["zero"], told["level"]) == ("µm", "fitted plane", "plane")
    # What is taken out is a plane: it has no second differences.
    assert np.abs(np.diff(measured - height.data, 2, axis=0)).max() < 1e-4
    panel.height_controls.level.value = "none"
    np.testing.assert_array_equal(height.data, measured)
    assert height.contrast_limits == [0, 14]
    assert height.metadata[PLUGIN]["zero"] == "first slice"


def test_level_and_figures_of_a_time_series_are_of_each_time(viewer, panel, run):
    scenes = [make_scene(name, (64, 96), slices=6) for name in ("plane", "bumps")]
    series = np.stack([scene.stack for scene in scenes])
    units = {"scale": (30, 2, 0.5, 0.5), "units": ("s", "um", "um", "um"), "axis_labels": ("t", "z", "y", "x")}
    viewer.add_image(series, name="series", **units)
    panel.height_box.value = True
    panel.height_section.expand()
    panel.height_controls.level.value = "paraboloid"
    run(panel)
    for t, scene in enumerate(scenes):
        viewer.dims.set_point(0, 30 * t)
        result = focus_stack(scene.stack)
        report = measure_surface(result.height, result.confidence, z_step=2, form="paraboloid")
        assert panel.surface_figures.levelled["Sa"].text() == f"{report.levelled.Sa:.4g}"
        trusted = trusted_pixels(result.height, result.confidence)
        expected = 2 * level_height(result.height, trusted, "paraboloid")
        np.testing.assert_allclose(viewer.layers["series height (µm)"].data[t, 0], expected, atol=1e-4)


def test_heights_follow_a_new_unit_when_fused_again(viewer, panel, run, scene):
    source = viewer.add_image(scene.stack, name="bumps")
    panel.height_box.value = True
    run(panel)
    height = viewer.layers["bumps height"]
    source.scale, source.units = (3, 1, 1), ("um", "um", "um")
    run(panel)
    assert height.name == "bumps height (µm)"
    assert height.contrast_limits == [0, 15]
    np.testing.assert_array_equal(height.data, np.float32(3) * focus_stack(scene.stack).height)


def test_nothing_is_measured_while_the_section_is_folded(viewer, panel, run, scene, monkeypatch):
    from napari_focus_stack.napari_plugin import heights

    calls = []
    measure = heights.measure_surface
    monkeypatch.setattr(heights, "measure_surface", lambda *a, **k: (calls.append(1), measure(*a, **k))[1])
    viewer.add_image(scene.stack)
    run(panel)
    panel.height_controls.trust.value = 0.7
    assert not calls
    panel.height_section.expand()
    viewer.dims.set_point(0, 3)
    assert len(calls) == 1
    panel.height_controls.trust.value = 0.4
    assert len(calls) == 2


def test_the_height_section_fits_a_narrow_dock(viewer, panel, run, scene):
    viewer.add_image(scene.stack, **SIZED)
    panel.height_section.expand()
    run(panel)
    for form in SURFACE_FORMS:
        panel.height_controls.level.value = form
        assert panel.height_section.minimumSizeHint().width() < 290


# ---- options and live ------------------------------------------------------------------------------


def test_options_that_the_method_ignores_are_greyed(panel):
    rows = panel.option_rows.widgets
    assert rows["denoise"].enabled
    for method, greyed in (("log", True), ("laplacian", False)):
        rows["method"].value = method
        assert [rows[name].enabled for name in ("denoise", "z_preference")] == [not greyed] * 2
        assert rows["levels"].enabled


def test_every_option_with_a_choice_has_a_row_and_starts_at_its_default(panel):
    rows = panel.option_rows
    assert rows.options() == FocusStackOptions()
    for name, spec in OPTION_SPECS.items():
        assert (name in rows.widgets) == (spec.kind != "choice" or len(spec.choices) > 1)
    for name, widget in rows.widgets.items():
        spec = OPTION_SPECS[name]
        assert widget.label == spec.label
        assert widget.tooltip == spec.help
        assert panel.more_options.isAncestorOf(widget.native) == spec.advanced


def test_every_choice_of_every_option_can_be_made(panel):
    rows = panel.option_rows
    for name, spec in OPTION_SPECS.items():
        widget = rows.widgets.get(name)
        if widget is None:
            continue
        for value in spec.choices:
            widget.value = value
            assert getattr(rows.options(), name) == value
        if spec.kind == "number":
            for value in (spec.low, spec.high):
                widget.value = value
                assert getattr(rows.options(), name) == value


def test_noise_is_typed_as_two_numbers(viewer, panel, run, scene):
    noise = panel.option_rows.widgets["noise"]
    noise.value = "0.5, 20"
    assert panel.option_rows.options().noise == (0.5, 20.0)
    viewer.add_image(scene.stack)
    noise.value = "a lot"
    panel.fuse()
    assert "noise must be" in panel.status_line.text()
    assert panel.fuse_button.enabled
    noise.value = "auto"
    run(panel)
    assert len(viewer.layers) == 3


def test_colour_stack_offers_its_channels(viewer, panel):
    channel = panel.option_rows.widgets["reference_channel"]
    viewer.add_image(np.zeros((3, 16, 16), np.uint8), name="gray")
    assert channel.choices == ("all",)
    viewer.add_image(np.zeros((3, 16, 16, 3), np.uint8), rgb=True, name="colour")
    panel.stack_choice.value = viewer.layers["colour"]
    assert channel.choices == ("all", 0, 1, 2)
    channel.value = 1
    assert panel.option_rows.options().reference_channel == 1


def test_changed_option_marks_the_result_and_waits_for_fuse(viewer, panel, run, scene):
    viewer.add_image(scene.stack)
    panel.live_box.value = False
    run(panel)
    denoise = panel.option_rows.widgets["denoise"]
    denoise.value = 1
    assert "Out of date" in panel.status_line.text()
    denoise.value = 0
    assert panel.status_line.isHidden()
    denoise.value = 1
    run(panel)
    assert panel.status_line.isHidden()


def test_live_fuses_once_with_the_last_of_quick_changes(viewer, panel, run, wait_end, scene, monkeypatch):
    viewer.add_image(scene.stack, name="bumps")
    run(panel)
    runs = []
    start = panel._runs._runner.start
    monkeypatch.setattr(
        panel._runs._runner, "start", lambda stack, options, *more: (runs.append(options), start(stack, options, *more))
    )
    for value in (0.1, 0.2, 0.3, 0.9):
        panel.option_rows.widgets["denoise"].value = value
    wait_end(panel)
    assert [options.denoise for options in runs] == [0.9]
    expected = focus_stack(scene.stack, denoise=0.9).image
    np.testing.assert_array_equal(viewer.layers["bumps fused"].data, expected)


def test_live_change_during_a_run_starts_over_and_never_runs_two(viewer, panel, qtbot, wait_end, scene, monkeypatch):
    at_once, most = 0, 0
    steps = pipeline.focus_stack_steps

    def counted(*args, **keywords):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return (yield from steps(*args, **keywords))
        finally:
            at_once -= 1

    monkeypatch.setattr(pipeline, "focus_stack_steps", counted)
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="bumps", contrast_limits=(0, 65535))
    panel.fuse()
    held.let(7)
    qtbot.waitUntil(lambda: held.reads == 7)
    panel.option_rows.widgets["denoise"].value = 0.9
    qtbot.waitUntil(lambda: panel._runs._again, timeout=RUN_MS)
    held.let(100)
    wait_end(panel)
    assert most == 1
    assert names(viewer) == ["bumps", "bumps fused", "bumps focus index"]
    assert viewer.layers["bumps fused"].metadata[PLUGIN]["options"]["denoise"] == 0.9


# ---- leaving off -----------------------------------------------------------------------------------


@pytest.fixture
def half_way(viewer, panel, qtbot, scene):
    """Bring a run to its half; return the stack that holds it there."""
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="bumps", contrast_limits=(0, 65535))
    before = picture(viewer)
    panel.fuse()
    held.let(5 + 3)  # five to estimate the noise
    qtbot.waitUntil(lambda: panel.progress_bar.value == 3, timeout=RUN_MS)
    assert panel.progress_bar.native.text() == "slice 3/6"
    assert panel.cancel_button.enabled
    return held, before


def test_cancel_half_way_leaves_the_viewer_as_it_was(viewer, panel, half_way, wait_end, run):
    held, before = half_way
    panel.cancel_button.native.click()
    held.let(100)
    wait_end(panel)
    assert picture(viewer) == before
    assert held.reads < 5 + 6
    assert "nothing was added" in panel.status_line.text()
    assert not panel.cancel_button.enabled
    run(panel)
    assert len(viewer.layers) == 3


def test_window_is_live_during_a_run(viewer, panel, half_way, qtbot, wait_end):
    held, _ = half_way
    viewer.dims.set_point(0, 5)
    assert viewer.dims.current_step[0] == 5
    viewer.layers["bumps"].name = "renamed"
    held.let(100)
    wait_end(panel)
    assert names(viewer) == ["renamed", "renamed fused", "renamed focus index"]


def test_the_bar_is_not_drawn_for_every_slice(viewer, panel, run):
    viewer.add_image(np.random.default_rng(0).integers(0, 4000, (200, 32, 32)).astype(np.uint16), name="thin")
    drawn = []
    panel.progress_bar.native.valueChanged.connect(drawn.append)
    began = time.perf_counter()
    run(panel)
    assert len(drawn) <= 10 * (time.perf_counter() - began) + 2


def test_removing_the_stack_during_a_run_adds_nothing(viewer, panel, half_way, wait_end):
    held, _ = half_way
    viewer.layers.clear()
    held.let(100)
    wait_end(panel)
    assert names(viewer) == []
    assert not panel.fuse_button.enabled


def test_replacing_the_pixels_during_a_run_adds_nothing(viewer, panel, half_way, wait_end, run, scene):
    held, _ = half_way
    other = make_scene("bumps", (40, 48), slices=4, seed=1).stack
    viewer.layers["bumps"].data = other
    assert "4×40×48" in panel.description.text()
    held.let(100)
    wait_end(panel)
    assert names(viewer) == ["bumps"]
    assert "nothing was added" in panel.status_line.text()
    run(panel)
    np.testing.assert_array_equal(viewer.layers["bumps fused"].data, focus_stack(other).image)


def test_a_result_is_not_told_of_pixels_that_were_replaced(viewer, panel, run, scene):
    layer = viewer.add_image(scene.stack, name="bumps")
    run(panel)
    assert not panel.sharpness_view.isHidden()
    layer.data = scene.stack[:, ::-1].copy()
    assert panel.sharpness_view.isHidden()
    assert panel.shown_of_chosen() is None
    layer.data = np.stack([scene.stack] * 2)
    assert panel.description.text().startswith("2 stacks of 6×64×96")
    assert panel.axis_choice.native.currentText() == "axis 1 · 6 slices"


def test_a_stack_stays_chosen_when_it_is_given_the_name_of_another(viewer, panel, scene):
    chosen = viewer.add_image(scene.stack, name="one")
    viewer.add_image(scene.stack[:3], name="other")
    panel.stack_choice.value = chosen
    chosen.name = "other"
    assert panel.stack_choice.value is chosen
    assert panel.stack_choice.native.currentText() == chosen.name == "other [1]"


def test_closing_the_dock_during_a_run_adds_nothing(viewer, panel, half_way, workers, qtbot):
    held, before = half_way
    viewer.window.remove_dock_widget(panel.native)
    held.let(100)
    workers()
    assert picture(viewer) == before
    # A closed panel takes no more part in the viewer.
    viewer.add_image(np.zeros((3, 16, 16)))
    assert panel.stack_choice.choices == (viewer.layers["bumps"],)
    panel.fuse()
    assert not panel._runs._runner.running
    panel.native.deleteLater()
    qtbot.wait(50)


def test_closing_the_viewer_during_a_run_raises_nothing(viewer, panel, half_way, workers):
    held, _ = half_way
    viewer.close()
    held.let(100)
    workers()
    assert names(viewer) == []


def test_closed_panel_is_freed(viewer, run, scene):
    import gc
    import weakref

    viewer.add_image(scene.stack)
    dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
    run(panel)
    gone = weakref.ref(panel)
    viewer.window.remove_dock_widget(dock)
    del dock, panel
    gc.collect()
    assert gone() is None


# ---- no stack, bad stack ---------------------------------------------------------------------------


def test_without_a_stack_fuse_is_off_and_the_sample_is_offered(viewer, panel, qtbot):
    viewer.add_image(np.zeros((16, 16)), name="flat")
    assert not panel.fuse_button.enabled
    assert "open a z-stack" in panel.description.text()
    assert not panel.sample_button.native.isHidden()
    panel.sample_button.native.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=RUN_MS)
    assert panel.stack_choice.value == viewer.layers[1]
    assert panel.fuse_button.enabled
    assert panel.sample_button.native.isHidden()


def broken_by(error):
    def steps(*args, **keywords):
        raise error
        yield

    return steps


@pytest.mark.parametrize("error", [None, KeyError("lost"), RuntimeError("lost")], ids=["bad input", "bug", "Qt's trap"])
def test_error_is_one_sentence_and_the_panel_goes_on(viewer, panel, run, scene, monkeypatch, error):
    from napari.utils.notifications import notification_manager

    nothing = np.full(scene.stack.shape, np.nan, np.float32)
    viewer.add_image(nothing if error is None else scene.stack, name="bad", contrast_limits=(0, 1))
    notification_manager.records.clear()
    with monkeypatch.context() as patch:
        if error is not None:
            patch.setattr(pipeline, "focus_stack_steps", broken_by(error))
        run(panel)
    assert names(viewer) == ["bad"]
    (notification,) = notification_manager.records
    assert notification.message == panel.status_line.text()
    assert ("NaN" if error is None else "lost") in notification.message
    assert "\n" not in notification.message
    viewer.layers["bad"].data = scene.stack
    run(panel)
    assert len(viewer.layers) == 3


def test_layer_list_and_choice_go_together(viewer, panel, scene):
    a = viewer.add_image(scene.stack, name="a")
    viewer.add_image(scene.stack, name="b")
    b = viewer.layers["b"]
    panel.stack_choice.value = b
    b.name = "renamed"
    assert panel.stack_choice.value == b
    assert panel.stack_choice.native.currentText() == "renamed"
    viewer.layers.move(1, 0)
    assert panel.stack_choice.value == b
    viewer.layers.remove(b)
    assert panel.stack_choice.value == a


def test_focus_axis_may_be_chosen(viewer, panel, run, scene):
    viewer.add_image(np.moveaxis(scene.stack, 0, 2), name="turned")
    assert panel.axis_choice.value == 0
    panel.axis_choice.value = 2
    assert panel.description.text().startswith("6×64×96 uint16")
    run(panel)
    fused = viewer.layers["turned fused"]
    np.testing.assert_array_equal(fused.data[..., 0], focus_stack(scene.stack).image)


# ---- the curve -------------------------------------------------------------------------------------


def test_curve_and_figures_are_the_reports(viewer, panel, run, scene):
    viewer.add_image(scene.stack)
    assert panel.sharpness_view.isHidden()
    run(panel)
    report = focus_stack(scene.stack).sharpness
    slices, values = panel.sharpness_view.plot.curve.getData()
    np.testing.assert_array_equal(slices, range(6))
    np.testing.assert_allclose(values, report.per_slice)
    figures = {name: label.text() for name, label in panel.sharpness_view.figures.items()}
    assert figures["mean of sources"] == f"{report.mean_of_sources:.4g}"
    assert figures["fused"] == f"{report.fused:.4g}"
    assert figures["gain"] == f"× {report.fused / report.mean_of_sources:.3g}"
    assert figures["best slice"].endswith(f"slice {int(np.argmax(report.per_slice))}")


@pytest.mark.parametrize("outer", [(), (2,)])
def test_click_on_the_curve_goes_to_the_slice_and_back(viewer, panel, run, scene, outer, qtbot):
    from qtpy.QtCore import QPointF, Qt

    stack = np.broadcast_to(scene.stack, (*outer, *scene.stack.shape))
    layer = viewer.add_image(stack, name="bumps", scale=(*outer, 2, 0.5, 0.5), translate=(*outer, 7, 0, 0))
    run(panel)
    plot = panel.sharpness_view.plot
    plot.grab()  # which lays it out, shown or not
    height = plot.view_box.viewRect().center().y()
    where = plot.mapFromScene(plot.view_box.mapViewToScene(QPointF(4.2, height)))
    qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert layer.world_to_data(viewer.dims.point)[-3] == 4
    assert plot.line.value() == 4
    viewer.dims.set_point(len(outer), layer.data_to_world((*outer, 1, 0, 0))[-3])
    assert plot.line.value() == 1


def test_a_napari_that_is_too_old_is_refused_in_a_sentence():
    from napari_focus_stack.napari_plugin.widget import FocusStackWidget

    old = SimpleNamespace(layers=SimpleNamespace(events=SimpleNamespace()))
    with pytest.raises(RuntimeError, match=r"needs napari 0\.8 or newer; this is napari \d"):
        FocusStackWidget(old)


def test_panel_opens_without_waiting_for_the_kernels(make_napari_viewer, workers, monkeypatch, qtbot):
    release, began = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert release.wait(60)

    monkeypatch.setattr("napari_focus_stack.warming.warm_up_apart", slow)
    viewer = make_napari_viewer(strict_qt="raise")
    viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
    qtbot.waitUntil(began.is_set, timeout=RUN_MS)
    release.set()
    (warming,) = (thread for thread in threading.enumerate() if thread.name == "focus-stack-warm-up")
    warming.join(60)
    assert not warming.is_alive()
    assert {"pandas", "dask.array"} <= set(sys.modules)


def test_maps_that_come_later_leave_the_selection_alone(viewer, panel, run, wait_end, scene, monkeypatch):
    from napari_focus_stack.napari_plugin import host

    # Every height map is levelled in a thread, as large ones are.
    monkeypatch.setattr(host, "_SMALL_PX", 0)
    viewer.add_image(scene.stack, name="bumps")
    panel.height_box.value = True
    run(panel)
    assert names(viewer) == ["bumps", "bumps fused", "bumps focus index", "bumps height"]
    assert viewer.layers.selection.active == viewer.layers["bumps fused"]
    panel.retouch.start_button.click()
    panel.confidence_box.value = True
    wait_end(panel)
    assert viewer.layers.selection.active == viewer.layers["bumps retouch"]
    assert viewer.layers["bumps retouch"].mode == "paint"
