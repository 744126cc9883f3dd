"""Whether what changes from slice to slice is a move of the picture."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_focus_stack.analysis import SliceAnalysis
from napari_focus_stack.noise import NoiseModel
from napari_focus_stack.scaling import Scaling
from napari_focus_stack.transparent.drift import Drift

SIZE, NOISE = 192, 20.0


def texture(seed=0):
    rng = np.random.default_rng(seed)
    return sum(gaussian_filter(rng.standard_normal((SIZE, SIZE)), s) * 4000 * s for s in (1, 4, 12)) + 30000


def moved(image, shift_px, zoom=1.0):
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return map_coordinates(image, [y * zoom + SIZE / 2 + shift_px, x * zoom + SIZE / 2 - shift_px], mode="reflect")


def share_of(slices):
    noise = NoiseModel((0.0,), (NOISE**2,), (0.0,), (65535.0,))
    scaling = Scaling.of(np.dtype(np.float32), noise)
    analysis = SliceAnalysis((SIZE, SIZE), 1, 4, noise, scaling, [0])
    drift = Drift(analysis)
    rng = np.random.default_rng(1)
    for image in slices:
        analysis.load((image + NOISE * rng.standard_normal(image.shape)).astype(np.float32)[..., None])
        drift.add(analysis)
    return drift.share()


@pytest.mark.parametrize("shift_px", [0.5, 2, 6])
def test_a_picture_that_shifts_is_a_move(shift_px):
    assert share_of([moved(texture(), shift_px * k) for k in range(6)]) > 0.7


def test_a_picture_that_breathes_is_a_move():
    assert share_of([moved(texture(), 0, 1 + 0.01 * k) for k in range(6)]) > 0.7


def test_blur_is_none():
    assert share_of([gaussian_filter(texture(), abs(k - 3) + 0.1) for k in range(7)]) < 0.1


def test_noise_alone_and_unlike_pictures_are_none():
    assert share_of([texture()] * 6) < 0.1
    assert share_of([texture(seed) for seed in range(4)]) < 0.1
