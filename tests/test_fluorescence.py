"""Fluorescence: lights add, and the fused image holds their sum."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack import focus_stack
from napari_focus_stack.synthetic import Camera, Lens, Surface, fractal, glowing_slices, make_scene, opaque_slices

CAMERA = Camera.of("low", "uint16")


def taken(slices):
    rng = np.random.default_rng(0)
    return np.stack([CAMERA.expose(image.astype(np.float32), rng) for image in slices])


def decibels(image, truth):
    difference = (image.astype(float) - truth)[16:-16, 16:-16]
    return 10 * np.log10(65535**2 / np.mean(difference**2))


def crossing_lines(size=128):
    """Two lines of light, 0.4 and 0.3 bright, 10 slices apart, that cross in the middle."""
    y, x = np.indices((size, size)) - size / 2
    along, across = (0.4 * np.exp(-(d**2) / 4.5) for d in (y, 0.5 * y - x))
    return [
        Surface(light.astype(np.float32), np.full((size, size), height, np.float32))
        for light, height in ((along, 4), (0.75 * across, 14))
    ]


@pytest.mark.parametrize(("noise", "gain_db"), [("low", 3.5), ("high", 1.0)])
def test_beads_gain_and_their_rings_fade(noise, gain_db):
    scene = make_scene("beads", (256, 256), 20, noise, 4)
    stack = np.asarray(scene.stack)
    glowing, opaque = focus_stack(stack), focus_stack(stack, light="opaque")
    assert decibels(glowing.image, scene.truth) > decibels(opaque.image, scene.truth) + gain_db
    np.testing.assert_array_equal(glowing.height, opaque.height)


def test_where_lines_cross_their_lights_add():
    sheets = crossing_lines()
    stack = taken(glowing_slices(sheets, 0.02, 20, Lens(1.6)))
    truth = CAMERA.gray_levels(0.02 + sheets[0].texture + sheets[1].texture)
    middle = slice(62, 67), slice(62, 67)

    def error(light):
        return np.abs(focus_stack(stack, light=light).image.astype(float) - truth)[middle].mean() / truth.max()

    assert error("opaque") > 0.15
    assert error("auto") < 0.5 * error("opaque")


@pytest.mark.parametrize("growth_px", [0.8, 1.6, 2.4])
def test_the_growth_of_blur_is_measured(growth_px, monkeypatch):
    from napari_focus_stack.fusion import fluorescence

    found = []
    measure = fluorescence.measured_growth
    monkeypatch.setattr(fluorescence, "measured_growth", lambda *a: found.append(measure(*a)) or found[-1])
    focus_stack(np.asarray(make_scene("beads", (256, 256), 20, "low", 5, radius_px_per_slice=growth_px).stack))
    # At a quarter of the size; the softer rim stands for a somewhat smaller radius.
    assert 4 * found[0] == pytest.approx(growth_px, rel=0.12)


def test_a_solid_thing_before_a_dark_ground_is_left_alone():
    y, x = np.indices((192, 192)) - 96
    inward = np.clip(1 - (np.hypot(y, x) / 60) ** 2, 0, 1)
    texture = np.clip(0.4 + 0.15 * fractal((192, 192), np.random.default_rng(0), 1.2, 30), 0.02, 0.9)
    ball = Surface(texture.astype(np.float32), (3 + 9 * np.sqrt(inward)).astype(np.float32), np.float32(inward > 0))
    wall = Surface(np.full((192, 192), 0.01, np.float32), np.zeros((192, 192), np.float32))
    stack = taken(opaque_slices([ball, wall], 14, Lens(1.6)))
    np.testing.assert_array_equal(focus_stack(stack).image, focus_stack(stack, light="opaque").image)


def test_a_confocal_stack_whose_blur_is_dark_is_left_alone():
    scene = make_scene("beads", (192, 192), 20, "none", 6)
    light = (scene.truth - scene.truth.min()) / 65535
    slices = (
        0.02 + gaussian_filter(light * np.exp(-((scene.height - k) ** 2) / 2), 0.5 + 0.1 * np.abs(k - 10))
        for k in range(20)
    )
    stack = taken(slices)
    np.testing.assert_array_equal(focus_stack(stack).image, focus_stack(stack, light="opaque").image)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
def test_any_dtype_gains_alike(dtype):
    scene = make_scene("beads", (192, 192), 16, "low", 4)
    stack = np.asarray(scene.stack)
    scale = 1 / 257 if dtype == np.uint8 else 1
    fused = focus_stack(np.rint(stack * scale).astype(dtype)).image / scale
    assert decibels(fused, scene.truth) > decibels(focus_stack(stack, light="opaque").image, scene.truth) + 2


def test_channels_are_corrected_each_by_itself():
    stack = np.asarray(make_scene("beads", (160, 160), 16, "low", 7).stack)
    pair = np.stack([stack, np.full_like(stack, 3000)], axis=-1)
    fused = focus_stack(pair, rgb=False, reference_channel=0).image
    alone = focus_stack(stack).image
    assert np.abs(fused[..., 0].astype(int) - alone).max() <= 1
    assert (fused[..., 1] == 3000).all()


def test_holes_leave_the_image_as_it_is():
    stack = np.asarray(make_scene("beads", (128, 128), 10, "low", 0).stack).astype(np.float32)
    stack[3, 20:24, 30:34] = np.nan
    np.testing.assert_array_equal(focus_stack(stack).image, focus_stack(stack, light="opaque").image)


@pytest.mark.parametrize("shape", [(1, 1), (9, 40), (64, 9), (65, 70)])
def test_small_and_blank_stacks_have_nothing_to_correct(shape):
    rng = np.random.default_rng(0)
    for stack in (np.zeros((6, *shape), np.uint8), rng.integers(0, 9, (6, *shape)).astype(np.uint8)):
        assert focus_stack(stack, light="glowing").image.shape == shape
    assert (focus_stack(np.full((6, *shape), 7, np.uint8), light="glowing").image == 7).all()


def test_the_user_may_say_so():
    # Discs too large for "auto" to be sure.
    y, x = np.indices((192, 192))
    texture = np.clip(0.3 + 0.1 * fractal((192, 192), np.random.default_rng(0), 1.2, 20), 0.05, 0.6)
    sheets = []
    for cy, cx, height in ((70, 70, 4), (100, 110, 14)):
        disc = np.clip(28 - np.hypot(y - cy, x - cx), 0, 1).astype(np.float32)
        sheets.append(Surface(texture.astype(np.float32) * disc, np.full_like(disc, height)))
    truth = CAMERA.gray_levels(0.02 + sheets[0].texture + sheets[1].texture)
    stack = taken(glowing_slices(sheets, 0.02, 18, Lens(1.2)))
    said = focus_stack(stack, light="glowing")
    assert decibels(said.image, truth) > decibels(focus_stack(stack, light="opaque").image, truth) + 2
