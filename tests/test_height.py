import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack import focus_stack
from napari_focus_stack.height import fill_height, smooth_height


def flat_scene(depth, slices=11, blur=1.2, noise=2.0, shape=(96, 96), seed=0):
    """A texture at one depth, blurred by a Gaussian that grows with the distance from focus."""
    rng = np.random.default_rng(seed)
    sharp = gaussian_filter(rng.normal(size=shape), 1.0) * 4000 + 5000
    stack = [gaussian_filter(sharp, blur * abs(z - depth)) for z in range(slices)]
    return np.clip(np.rint(rng.normal(stack, noise)), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("depth", [3.0, 4.3, 5.5, 7.8])
def test_the_depth_of_a_flat_texture_is_found_between_slices(depth):
    result = focus_stack(flat_scene(depth))
    inside = result.height[16:-16, 16:-16]
    assert abs(np.median(inside) - depth) < 0.12
    assert np.mean(result.confidence[16:-16, 16:-16]) > 0.9


def test_the_index_is_the_nearest_slice():
    result = focus_stack(flat_scene(4.3))
    assert result.index.dtype == np.uint16
    assert np.mean(result.index == 4) > 0.98


def test_peaks_at_the_ends_stay_there():
    first, last = focus_stack(flat_scene(0)), focus_stack(flat_scene(10))
    assert np.median(first.height) == 0
    assert np.median(last.height) == 10


def test_pure_noise_has_no_confidence():
    stack = np.random.default_rng(0).normal(1000, 30, (8, 128, 128)).astype(np.float32)
    assert np.mean(focus_stack(stack).confidence) < 0.02


def test_ground_without_texture_takes_its_neighbours_height():
    stack = flat_scene(4.0).astype(float)
    rng = np.random.default_rng(1)
    stack[:, 40:56, 40:56] = rng.normal(5000, 2, (11, 16, 16))
    filled = focus_stack(np.rint(stack).astype(np.uint16)).height
    assert np.abs(filled[44:52, 44:52] - 4).max() < 0.5


def test_unfilled_heights_are_nan_where_nothing_tells_them():
    stack = np.random.default_rng(0).normal(1000, 30, (8, 64, 64)).astype(np.float32)
    result = focus_stack(stack, fill_height=False)
    np.testing.assert_array_equal(np.isnan(result.height[::2, ::2]), result.confidence[::2, ::2] == 0)
    assert np.isnan(result.height).mean() > 0.9


def test_halo_radius_distrusts_the_ground_around_a_bright_spot():
    y, x = np.mgrid[:96, :96]
    spot = 20000 * np.exp(-((y - 48) ** 2 + (x - 48) ** 2) / 8)
    stack = np.stack([gaussian_filter(spot, 2.5 * abs(z - 5) + 0.1) for z in range(11)]) + 500
    stack = np.rint(np.random.default_rng(0).normal(stack, 10)).astype(np.uint16)
    ring = np.abs(np.hypot(y - 48, x - 48) - 14) < 4
    plain, wary = focus_stack(stack), focus_stack(stack, halo_radius_px=20)
    assert plain.confidence[ring].mean() > 0.2
    assert wary.confidence[ring].mean() < 0.1 * plain.confidence[ring].mean()
    assert wary.confidence[48, 48] == plain.confidence[48, 48]


def test_smoothing_calms_the_map_and_keeps_its_mean():
    stack = flat_scene(4.3, noise=150)
    rough, smooth = (focus_stack(stack, height_smoothing_px=s).height[16:-16, 16:-16] for s in (0, 10))
    assert smooth.std() < 0.6 * rough.std()
    assert smooth.mean() == pytest.approx(rough.mean(), abs=0.05)


def test_filling_keeps_an_edge_between_confident_heights():
    height = np.zeros((40, 40), np.float32)
    height[:, 20:] = 9
    np.testing.assert_array_equal(fill_height(height, np.ones_like(height)), height)


def test_smoothing_listens_to_the_confident_pixels():
    height = np.full((41, 41), 2, np.float32)
    confidence = np.ones_like(height)
    height[18:23, 18:23], confidence[18:23, 18:23] = 50, 0
    assert abs(float(smooth_height(height, confidence, 4)[20, 20]) - 2) < 0.1
