"""Live: a quick look at what is in view, then the whole; the last change wins."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from napari_focus_stack import FocusStackOptions, focus_stack
from napari_focus_stack.napari_plugin import pace, quick_looks
from napari_focus_stack.napari_plugin.layers import LayerStack
from napari_focus_stack.napari_plugin.preview import InView, averaged, plan_preview
from napari_focus_stack.synthetic import make_scene
from windows import RUN_MS, HeldStack, names

pytestmark = pytest.mark.usefixtures("window_libraries")

SEEN = (slice(80, 160), slice(100, 200))
NOISE, SLICES = 5, 6


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (256, 320), slices=SLICES)


@pytest.fixture
def fused(viewer, panel, run, scene, qtbot, monkeypatch):
    """Fuse a stack that can be held, and look at a part of the result at full resolution."""
    monkeypatch.setattr(quick_looks, "_WHOLE_AT_ONCE_S", 0)
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="bumps", contrast_limits=(0, 65535), scale=(2, 0.5, 0.5))
    held.let(NOISE + SLICES)
    run(panel)
    layer = viewer.layers["bumps fused"]
    viewer.layers["bumps focus index"].visible = True
    # What the canvas sets when it is drawn, which a window that is not shown never is.
    layer.corner_pixels = np.array([[part.start for part in SEEN], [part.stop - 1 for part in SEEN]])
    layer.scale_factor = 0.5
    panel._runs._quick_looks.seconds_per_value = 1e-9
    return layer, held


def change(panel, qtbot, held, method="log"):
    """Change an option and let the quick look end, the whole not begin."""
    panel.option_rows.widgets["method"].value = method
    held.let(SLICES)
    qtbot.waitUntil(lambda: panel._runs._runner.running and not panel._runs._runner.previewing, timeout=RUN_MS)


def test_quick_look_is_of_what_is_in_view_and_the_whole_follows(viewer, panel, fused, qtbot, wait_end, scene):
    layer, held = fused
    index = viewer.layers["bumps focus index"]
    before, index_before = layer.data.copy(), index.data.copy()
    change(panel, qtbot, held)
    expected = focus_stack(scene.stack, method="log")
    np.testing.assert_array_equal(layer.data[SEEN], expected.image[SEEN])
    assert (index.data[SEEN] == expected.index[SEEN]).mean() > 0.95
    assert (layer.data != before).any()
    outside = np.s_[: SEEN[0].start - 16]
    np.testing.assert_array_equal(layer.data[outside], before[outside])
    np.testing.assert_array_equal(index.data[outside], index_before[outside])
    held.let(100)
    wait_end(panel)
    np.testing.assert_array_equal(layer.data, expected.image)
    assert names(viewer) == ["bumps", "bumps fused", "bumps focus index"]


def test_cancelled_after_the_quick_look_all_is_as_before(viewer, panel, fused, qtbot, wait_end):
    layer, held = fused
    before, index_before = layer.data.copy(), viewer.layers["bumps focus index"].data.copy()
    change(panel, qtbot, held)
    assert (layer.data != before).any()
    panel.cancel_button.native.click()
    held.let(100)
    wait_end(panel)
    np.testing.assert_array_equal(layer.data, before)
    np.testing.assert_array_equal(viewer.layers["bumps focus index"].data, index_before)
    assert "Out of date" in panel.status_line.text()


@pytest.mark.parametrize(("readying", "factor"), [(True, 1), (False, 2)])
def test_what_was_compiled_once_makes_no_later_quick_look_coarse(
    viewer, panel, fused, run, qtbot, wait_end, monkeypatch, readying, factor
):
    _layer, held = fused
    plans = []
    show = panel._runs._quick_looks.show
    monkeypatch.setattr(panel._runs._quick_looks, "show", lambda look, o: (plans.append(look.plan), show(look, o)))
    # A run, and the quick look at another method, that take a second.
    read = HeldStack.__getitem__
    monkeypatch.setattr(HeldStack, "__getitem__", lambda stack, k: (time.sleep(1 / SLICES), read(stack, k))[1])
    if readying:
        monkeypatch.setattr(pace, "kernels_ready", itertools.count().__next__)
    held.let(1000)
    run(panel)
    panel.option_rows.widgets["method"].value = "log"
    wait_end(panel)
    panel._runs._quick_looks._maker.forget()
    panel.option_rows.widgets["denoise"].value = 0.3
    wait_end(panel)
    assert len(plans) == 2
    for plan in plans:
        assert (plan.factor > 1) is (factor > 1)


def test_change_taken_back_shows_the_result_again(panel, fused, qtbot, wait_end):
    layer, held = fused
    before = layer.data.copy()
    change(panel, qtbot, held)
    panel.option_rows.widgets["method"].value = "laplacian"
    held.let(100)
    wait_end(panel)
    np.testing.assert_array_equal(layer.data, before)
    assert panel.status_line.isHidden()


def test_a_slider_that_is_dragged_shows_quick_looks_and_ends_with_the_last(panel, fused, qtbot, wait_end, scene):
    layer, held = fused
    looks = []
    layer.events.set_data.connect(lambda: looks.append(layer.data[SEEN].copy()))
    held.let(1000)
    for step in range(12):
        panel.option_rows.widgets["z_preference"].value = -0.4 + step / 20
        qtbot.wait(50)
    meanwhile = len(looks)
    wait_end(panel)
    assert meanwhile > 1
    np.testing.assert_array_equal(layer.data, focus_stack(scene.stack, z_preference=0.15).image)


def test_quick_look_at_aligned_slices_is_aligned(viewer, panel, run, wait_end, scene, monkeypatch):
    monkeypatch.setattr(quick_looks, "_WHOLE_AT_ONCE_S", 0)
    shaken = np.stack([np.roll(image, 3 * k, axis=1) for k, image in enumerate(scene.stack)])
    viewer.add_image(shaken, name="shaken", scale=(2, 0.5, 0.5))
    panel.option_rows.widgets["align"].value = "shift"
    run(panel)
    known = panel._result.shown.results.alignments[()]
    assert np.ptp(known.shifts_px[:, 1]) > 10
    layer = viewer.layers["shaken fused"]
    viewer.layers["shaken focus index"].visible = True
    layer.corner_pixels = np.array([[part.start for part in SEEN], [part.stop - 1 for part in SEEN]])
    layer.scale_factor, panel._runs._quick_looks.seconds_per_value = 0.5, 1e-9
    looks = []
    paste = panel._runs._quick_looks._pasted.paste
    monkeypatch.setattr(
        panel._runs._quick_looks._pasted, "paste", lambda *some: (paste(*some), looks.append(layer.data[SEEN].copy()))
    )
    panel.option_rows.widgets["method"].value = "log"
    wait_end(panel)
    expected = focus_stack(shaken, method="log", align="shift", alignment=known).image
    np.testing.assert_array_equal(layer.data, expected)
    assert len(looks) == 1
    np.testing.assert_array_equal(looks[0], expected[SEEN])


# ---- what is planned -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    class Results:
        chosen = {}

    return Results()


@pytest.mark.parametrize(("zoomed_out", "cost", "factor"), [(1, 1e-9, 1), (3.2, 1e-9, 3), (1, 1e-6, 3)])
def test_quick_look_is_no_finer_than_the_screen_nor_dearer_than_a_blink(results, zoomed_out, cost, factor):
    stack = LayerStack(np.zeros((4, 500, 700), np.uint16), 0, False)
    seen = InView((100, 300), (200, 600), zoomed_out)
    options = FocusStackOptions(levels=5, height_smoothing_px=12, noise=(0.5, 64))
    plan = plan_preview(stack, (), seen, options, results, ("image",), cost)
    assert plan.factor >= factor
    assert plan.rows.start <= 100
    assert plan.rows.stop >= 300
    assert plan.columns.start <= 200
    assert plan.columns.stop >= 600
    values = 4 * (plan.rows.stop - plan.rows.start) * (plan.columns.stop - plan.columns.start) / plan.factor**2
    assert values * cost <= 0.121
    assert plan.options.height_smoothing_px == pytest.approx(12 / plan.factor)
    assert plan.options.noise[1] == pytest.approx(64 / plan.factor**2)
    assert plan.options.levels == max(5 - round(np.log2(plan.factor)), 1)


def test_averaging_keeps_the_mean_and_the_kind_of_pixels():
    image = np.random.default_rng(0).integers(0, 65535, (30, 41, 3)).astype(np.uint16)
    small = averaged(image, 4)
    assert (small.shape, small.dtype) == ((7, 10, 3), np.uint16)
    assert small[2, 3, 1] == round(image[8:12, 12:16, 1].mean())


def test_window_answers_between_layers_and_figures_of_a_result(viewer, panel, run, wait_end, scene, monkeypatch):
    from qtpy.QtCore import QTimer

    viewer.add_image(scene.stack, name="bumps")
    run(panel)
    seen = []

    def note(what):
        seen.append(what)
        QTimer.singleShot(0, lambda: seen.append("answered"))

    viewer.layers["bumps fused"].events.data.connect(lambda: note("image"))
    viewer.layers["bumps focus index"].events.data.connect(lambda: note("index"))
    monkeypatch.setattr(panel.sharpness_view, "show_report", lambda report: note("figures"))
    panel.option_rows.widgets["denoise"].value = 0.5
    wait_end(panel)
    assert seen[: seen.index("figures")] == ["image", "answered", "index", "answered"]
    assert seen.count("figures") == 1


def test_out_of_date_is_told_only_where_no_run_is_about_to_start(viewer, panel, run, wait_end, scene):
    viewer.add_image(scene.stack)
    run(panel)
    panel.option_rows.widgets["denoise"].value = 0.5
    assert panel.status_line.isHidden()
    panel.live_box.value = False
    wait_end(panel)
    assert "Out of date" in panel.status_line.text()
