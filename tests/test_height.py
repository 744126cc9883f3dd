import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack import focus_stack
from napari_focus_stack.height.regularisation import fitted, settled, smoothed
from napari_focus_stack.synthetic import make_scene


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


def test_filling_goes_on_along_a_slope():
    y, x = np.mgrid[:96, :120].astype(np.float32)
    slope = 2 + 0.06 * x + 0.03 * y
    hole = np.hypot(y - 48, x - 60) < 18
    rng = np.random.default_rng(0)
    peaks = np.where(hole, rng.uniform(0, 19, slope.shape), slope).astype(np.float32)
    height = settled(peaks, np.where(hole, 0.5, 10).astype(np.float32), 1.0, 20).height
    assert np.abs(height - slope)[hole].max() < 0.35
    assert np.abs(height - slope)[hole].mean() < 0.12


def test_unfilled_heights_are_nan_where_nothing_tells_them():
    stack = np.random.default_rng(0).normal(1000, 30, (8, 64, 64)).astype(np.float32)
    result = focus_stack(stack, fill_height=False)
    assert (result.confidence[::2, ::2][np.isnan(result.height[::2, ::2])] < 0.3).all()
    assert (result.confidence[::2, ::2][np.isfinite(result.height[::2, ::2])] >= 0.05).all()
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


def two_terraces(noise=0.0, shape=(48, 48)):
    height = np.zeros(shape, np.float32)
    height[:, shape[1] // 2 :] = 9
    return height + np.random.default_rng(0).normal(0, noise, shape).astype(np.float32)


def test_an_edge_between_precise_heights_stays():
    height = two_terraces()
    everywhere = np.ones_like(height)
    np.testing.assert_allclose(settled(height, 10 * everywhere, 1.0, 20).height, height, atol=0.01)


def test_smoothing_calms_terraces_and_keeps_the_edge():
    rough, even = two_terraces(0.2), two_terraces()
    smooth = smoothed(rough, np.ones_like(rough), 4, 1.0)
    assert np.std(smooth - even) < 0.2 * np.std(rough - even)
    beside = np.s_[:, 22:26]
    assert np.abs(smooth - even)[beside].max() < 0.2


def test_smoothing_listens_to_the_confident_pixels():
    rng = np.random.default_rng(0)
    wrong = rng.random((40, 40)) < 0.3
    height = np.where(wrong, 2.6, 2).astype(np.float32)
    smooth = smoothed(height, np.where(wrong, 0.01, 1).astype(np.float32), 3, 1.0)
    assert np.abs(smooth - 2).max() < 0.1


@pytest.mark.parametrize("step", [1, 2])
def test_a_slope_stays_whatever_the_weights(step):
    y, x = np.mgrid[:31, :40].astype(np.float32)
    slope = 0.3 * y - 0.2 * x
    weight = np.random.default_rng(0).uniform(0.05, 1, slope.shape).astype(np.float32)
    np.testing.assert_allclose(fitted(slope, weight, 100, step)[6:-6, 6:-6], slope[6:-6, 6:-6], atol=0.05)


def test_a_strong_edge_does_not_pull_the_height_of_its_neighbours():
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(96, 96)), 0.8)
    near, far = 4000 * texture + 20000, 400 * texture + 20000
    planes = []
    for z in range(13):
        bright, faint = gaussian_filter(near, 1.2 * abs(z - 4)), gaussian_filter(far, 1.2 * abs(z - 8))
        planes.append(np.where(np.arange(96) < 48, bright, faint))
    height = focus_stack(np.rint(rng.normal(planes, 3)).astype(np.uint16)).height
    assert np.abs(height[8:-8, 8:44] - 4).mean() < 0.1
    assert np.abs(height[8:-8, 54:-8] - 8).mean() < 0.1


@pytest.mark.parametrize("noise", ["low", "high"])
def test_dense_stacks_are_more_precise_than_neighbours_can_tell(noise):
    scene = make_scene("bumps", (192, 192), 120, noise, 3, radius_px_per_slice=1.6 * 20 / 120)
    error = np.abs(focus_stack(scene.stack).height - scene.height)[16:-16, 16:-16]
    # A parabola through neighbours, cleaned by medians, gave 1.07 and 1.24.
    assert error.mean() < {"low": 0.55, "high": 1.0}[noise]


def test_confidence_tells_the_truth():
    confidence, right = [], []
    for name in ("plane", "bumps", "step", "weak-texture", "colour"):
        for noise in ("low", "high"):
            for seed in (8, 9):
                scene = make_scene(name, (144, 144), 20, noise, seed)
                result = focus_stack(scene.stack, rgb=scene.rgb)
                confidence.append(result.confidence[16:-16, 16:-16].ravel())
                right.append(np.abs(result.height - scene.height)[16:-16, 16:-16].ravel() <= 1)
    told, shown = np.concatenate(confidence), np.concatenate(right)
    bins = np.minimum((10 * told).astype(int), 9)
    for b in range(10):
        assert shown[bins == b].mean() >= told[bins == b].mean()
    assert np.mean(told[shown]) > 0.6
    assert np.mean(told[~shown]) < 0.3
