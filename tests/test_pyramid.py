import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_focus_stack.pyramid import (
    add_expanded,
    blur5,
    expand,
    gaussian_pyramid,
    laplacian_pyramid,
    level_count,
    level_shapes,
    noise_gains,
    push_pull,
    reconstruct,
    reduce,
)

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def image_of(shape, seed=0):
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(shape=SIZES, levels=st.integers(0, 8))
def test_reconstruction_gives_the_image_back(shape, levels):
    image = image_of(shape)
    assert np.allclose(reconstruct(laplacian_pyramid(image, levels)), image, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(shape=SIZES)
def test_constants_stay_constant(shape):
    flat = np.full(shape, 7, np.float32)
    assert np.allclose(blur5(flat), 7)
    assert np.allclose(reduce(flat), 7)
    assert np.allclose(expand(reduce(flat), shape), 7)


def test_a_ramp_is_reduced_to_its_even_pixels_inside():
    ramp = np.arange(20, dtype=np.float32) + np.zeros((9, 1), np.float32)
    assert np.allclose(reduce(ramp)[:, 1:-1], ramp[:5, 2:-2:2])


def test_an_impulse_shows_the_kernel():
    impulse = np.zeros((9, 9), np.float32)
    impulse[4, 4] = 256
    taps = np.array([1, 4, 6, 4, 1])
    assert np.array_equal(blur5(impulse)[2:7, 2:7], np.outer(taps, taps))
    coarse = np.zeros((5, 5), np.float32)
    coarse[2, 2] = 64
    assert np.array_equal(expand(coarse, (9, 9))[2:7, 2:7], np.outer(taps, taps))


def test_edges_are_mirrored_without_repeating_the_edge_pixel():
    row = np.array([[1, 2, 4, 8, 16, 32]], np.float32)
    mirrored = np.pad(row[0], 2, mode="reflect")
    assert np.allclose(blur5(row)[0], np.convolve(mirrored, np.array([1, 4, 6, 4, 1]) / 16, "valid"))


@pytest.mark.parametrize("rows", [700, 701])
def test_bands_do_not_show(rows, monkeypatch):
    image = image_of((rows, 512))
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "1")
    one = laplacian_pyramid(image, 3)
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "5")
    for a, b in zip(one, laplacian_pyramid(image, 3), strict=True):
        assert np.array_equal(a, b)


def test_noise_gains_are_the_variances_that_white_noise_gets():
    noise = np.random.default_rng(1).normal(0, 1, (2048, 2048))
    measured = [float(np.var(level)) for level in laplacian_pyramid(noise, 5)[:-1]]
    assert np.allclose(measured, noise_gains(5), rtol=0.04)


def test_noise_gains_of_more_levels_begin_with_those_of_fewer():
    assert np.allclose(noise_gains(8)[:4], noise_gains(4), rtol=1e-6)
    assert len(noise_gains(8)) == 8


@pytest.mark.parametrize(
    ("size", "levels"), [((16, 16), 1), ((31, 900), 1), ((32, 32), 2), ((4000, 4000), 6), ((1, 1), 1)]
)
def test_level_count_keeps_8_px(size, levels):
    assert level_count(*size) == levels


def test_level_shapes_are_those_of_the_pyramid():
    pyramid = gaussian_pyramid(image_of((37, 50)), 5)
    assert [p.shape for p in pyramid] == level_shapes(37, 50, 5)


def test_add_expanded_adds():
    image, coarse = image_of((11, 8)), image_of((6, 4), 1)
    total = image.copy()
    add_expanded(total, coarse)
    assert np.allclose(total, image + expand(coarse, (11, 8)))


def test_push_pull_keeps_trusted_pixels_and_fills_a_hole_from_its_rim():
    image = np.full((40, 50), 5, np.float32)
    weight = np.ones_like(image)
    image[10:30, 10:40] = 1000
    weight[10:30, 10:40] = 0
    assert np.allclose(push_pull(image, weight), 5, atol=1e-4)


def test_push_pull_without_any_trust_changes_nothing():
    image = image_of((7, 9))
    assert np.array_equal(push_pull(image, np.zeros_like(image)), image)
