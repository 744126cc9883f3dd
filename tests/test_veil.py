"""Veils at jumps of depth are lifted, and all else stays."""

import numpy as np
import pytest

from napari_focus_stack import focus_stack
from napari_focus_stack.fusion.blocks import blocks_of
from napari_focus_stack.fusion.value_range import ValueRange
from napari_focus_stack.fusion.veil import lift_veils
from napari_focus_stack.scaling import Scaling
from napari_focus_stack.synthetic import make_scene


@pytest.fixture
def without(monkeypatch):
    def fuse(stack, rgb=None):
        with monkeypatch.context() as patch:
            patch.setattr("napari_focus_stack.fusion.laplacian.lift_veils", lambda *_: None)
            return focus_stack(stack, rgb).image

    return fuse


def decibels(image, truth):
    difference = (image.astype(float) - truth)[16:-16, 16:-16]
    return 10 * np.log10(np.ptp(truth) ** 2 / np.mean(difference**2))


@pytest.mark.parametrize(("noise", "gain_db"), [("low", 0.5), ("high", 0.1)])
def test_a_step_gains(noise, gain_db, without):
    scene = make_scene("step", (256, 256), 20, noise, 4)
    stack = np.asarray(scene.stack)
    assert decibels(focus_stack(stack).image, scene.truth) > decibels(without(stack), scene.truth) + gain_db


@pytest.mark.parametrize("noise", ["low", "high"])
@pytest.mark.parametrize("name", ["plane", "bumps", "weak-texture", "colour"])
def test_where_nothing_veils_hardly_anything_moves(name, noise, without):
    scene = make_scene(name, (192, 192), 16, noise, 4)
    stack = np.asarray(scene.stack)
    lifted = focus_stack(stack, scene.rgb).image
    # Bumps in so small a picture lose .005 to .08 dB at seeds 2 to 5, low noise.
    most_db = 0.1 if (name, noise) == ("bumps", "low") else 0.05
    assert decibels(lifted, scene.truth) > decibels(without(stack, scene.rgb), scene.truth) - most_db


def test_slices_that_are_all_alike_come_back_to_the_last_bit():
    image = np.asarray(make_scene("step", (96, 130), 3, "low", 0).stack)[1]
    for dtype in (np.uint16, np.float32, np.float64):
        np.testing.assert_array_equal(focus_stack([image.astype(dtype)] * 9).image, image.astype(dtype))


def test_the_order_of_the_slices_does_not_matter_to_the_correction():
    stack = np.asarray(make_scene("step", (128, 128), 12, "low", 1).stack)
    a = focus_stack(stack, noise=(5.0, 0.0)).image.astype(int)
    b = focus_stack(stack[::-1], noise=(5.0, 0.0)).image.astype(int)
    assert np.abs(a - b).max() <= 1


def test_few_slices_are_left_alone():
    class Few:
        count = 7

    moved = []
    lift_veils(np.ones((1, 20, 20), np.float32), Few(), lambda *correction: moved.append(correction))
    assert not moved


@pytest.mark.parametrize("name", ["bumps", "beads"])
def test_hot_pixels_are_no_veil(name, without):
    scene = make_scene(name, (192, 192), 12, "low", 4)
    stack = np.asarray(scene.stack).copy()
    y, x = np.random.default_rng(0).integers(0, 192, (2, 40))
    stack[:, y, x] = 65535
    kept = decibels(focus_stack(stack).image, scene.truth) - decibels(without(stack), scene.truth)
    assert kept > -0.05


def test_no_pixel_moves_by_more_than_its_range():
    stack = np.asarray(make_scene("beads", (128, 128), 12, "low", 4).stack)
    stack[:, 60:64, 60:64] = 40000
    assert (focus_stack(stack).image[60:64, 60:64] == 40000).all()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int8, np.float32])
def test_the_range_of_whole_numbers_does_not_overflow(dtype):
    low, high = (-120, 120) if dtype == np.float32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    extremes = ValueRange((1, 8, 9), np.dtype(dtype))
    for value in (low, high):
        extremes.add(np.full((1, 8, 9), value, dtype), holes=False)
    for sign in (1, -1):
        plane = np.zeros((8, 9), np.float32)
        correction = np.full((4, 5), sign * 1e6, np.float32)
        extremes.move(plane, 0, blocks_of((4, 5))[0], correction, Scaling(0.0, 1.0, 1 / 12))
        assert (plane == sign * (int(high) - int(low))).all()
