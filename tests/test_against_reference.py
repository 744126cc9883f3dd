"""The compiled streaming method and the plain one in float64 are the same method."""

import numpy as np
import pytest

import reference_numpy as reference
from napari_focus_stack import estimate_noise, focus_stack
from napari_focus_stack.pyramid import noise_gains
from napari_focus_stack.synthetic import make_scene


def both(stack, rgb=False, **options):
    noise = estimate_noise(list(stack))
    lines = reference.Noise(*(np.array(v) for v in (noise.gain, noise.offset, noise.low, noise.high)))
    expected = reference.fuse(stack, rgb, noise=lines, **options)
    # The reference knows nothing of transparent specimens.
    return focus_stack(stack, rgb, noise=noise, light="opaque", **options), expected


def scene(name, noise="low", slices=7):
    # Sizes that no level of the pyramid divides evenly.
    made = make_scene(name, shape=(203, 166), slices=slices, noise=noise)
    return np.asarray(made.stack), made.rgb


@pytest.mark.parametrize("slices", [3, 7])
@pytest.mark.parametrize("noise", ["low", "high"])
@pytest.mark.parametrize("name", ["plane", "step", "beads", "colour", "cells"])
def test_same_pixels_index_height_and_confidence(name, noise, slices):
    result, expected = both(*scene(name, noise, slices))
    # One gray level is what rounding float32 instead of float64 may do; where whole pixels are taken, and two slices
    # tie, a little more.
    difference = np.abs(result.image.astype(float) - expected.image.astype(float))
    assert difference.max() <= (8 if slices == 3 else 1)
    assert (difference > 1).mean() < 2e-4
    assert (difference > 0).mean() < 0.01
    # Two slices as sharp as each other to seven digits: either may win, and the map around follows.
    assert (result.index != expected.index).mean() < 3e-4
    assert np.isclose(result.confidence[::2, ::2], expected.confidence_half, atol=2e-3).mean() > 0.99
    assert np.isclose(result.height[::2, ::2], expected.height_half, atol=2e-3).mean() > 0.99


@pytest.mark.parametrize("noise", ["low", "high"])
@pytest.mark.parametrize("name", ["plane", "step", "beads", "colour"])
def test_same_pixels_of_pairs(name, noise):
    result, expected = both(*scene(name, noise, slices=2))
    difference = np.abs(result.image.astype(float) - expected.image.astype(float))
    # Of two slices that tie, float64 may choose the other.
    assert (difference > 1).mean() < 1e-4


@pytest.mark.parametrize(
    "options", [{"levels": 1}, {"levels": 2}, {"z_preference": 0.5}, {"z_preference": -0.5}], ids=str
)
def test_same_pixels_whatever_the_options(options):
    result, expected = both(*scene("bumps"), **options)
    assert np.abs(result.image.astype(float) - expected.image.astype(float)).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint64"])
def test_same_pixels_in_wide_dtypes(dtype):
    stack, _ = scene("bumps")
    result, expected = both(stack.astype(dtype))
    assert np.allclose(result.image, expected.image, rtol=0, atol=max(1, 5e-6 * np.ptp(stack)))


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 2, 5), (2, 1, 40), (5, 33, 17), (3, 64, 65), (4, 31, 90)], ids=str)
def test_same_pixels_in_tiny_and_odd_sizes(shape):
    stack = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    result, expected = both(stack)
    assert np.abs(result.image.astype(int) - expected.image.astype(int)).max() <= 1
    assert np.array_equal(result.index, expected.index)


def test_noise_gains_agree():
    assert np.allclose(reference.noise_gains(6), noise_gains(6), rtol=1e-9)
