import numpy as np
import pytest

from napari_focus_stack import InputError, estimate_noise


def noisy_ramp(gain, offset, dtype=np.uint16, seed=0, count=5):
    rng = np.random.default_rng(seed)
    truth = np.linspace(50, 4000, 512)[:, None] + np.zeros((512, 512))
    slices = rng.normal(truth, np.sqrt(gain * truth + offset), (count, 512, 512))
    return [s.round().clip(0, 65535).astype(dtype) for s in slices]


@pytest.mark.parametrize(("gain", "offset"), [(2, 100), (0.5, 10), (0, 400), (10, 0)])
def test_the_line_put_in_is_found(gain, offset):
    noise = estimate_noise(noisy_ramp(gain, offset))
    for intensity in (500, 2000, 3900):
        assert noise.variance(intensity) == pytest.approx(gain * intensity + offset, rel=0.08)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_the_range_is_that_of_percentiles(dtype):
    slices = [np.random.default_rng(k).integers(0, 250, (90, 70)).astype(dtype) for k in range(3)]
    noise = estimate_noise(slices)
    assert (noise.low[0], noise.high[0]) == pytest.approx(np.percentile(slices, (0.1, 99.9)))


def test_texture_is_not_taken_for_noise():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    texture = 1000 + 300 * np.sin(x / 2) * np.sin(y / 3) * (x > 200)
    slices = [np.rint(rng.normal(texture, 5)).astype(np.uint16) for _ in range(5)]
    assert estimate_noise(slices).variance(1000) ** 0.5 == pytest.approx(5, rel=0.15)


def test_a_large_offset_and_a_small_scale_move_the_line_with_them():
    slices = noisy_ramp(2, 100)
    plain = estimate_noise(slices)
    moved = estimate_noise([s * 1e-3 + 1e6 for s in slices])
    for gray in (500, 3000):
        assert moved.variance(gray * 1e-3 + 1e6) == pytest.approx(plain.variance(gray) * 1e-6, rel=0.01)


def test_holes_are_left_out():
    slices = [s.astype(np.float32) for s in noisy_ramp(2, 100)]
    whole = estimate_noise(slices)
    slices[0][3, 3] = np.nan
    slices[1][:] = np.inf
    assert estimate_noise(slices).variance(2000) == pytest.approx(whole.variance(2000), rel=0.05)


def test_every_channel_has_its_own_line():
    quiet, loud = noisy_ramp(0, 25), noisy_ramp(0, 400, seed=1)
    noise = estimate_noise([np.stack(pair, axis=-1) for pair in zip(quiet, loud, strict=True)])
    assert noise.variance(2000, 0) == pytest.approx(25, rel=0.1)
    assert noise.variance(2000, 1) == pytest.approx(400, rel=0.1)


def test_relative_noise_is_deviation_over_range():
    noise = estimate_noise(noisy_ramp(0, 400))
    assert noise.relative == pytest.approx(20 / (4000 - 50), rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (15, 15)])
def test_images_smaller_than_a_block_have_a_noise_too(shape):
    noise = estimate_noise([np.random.default_rng(k).normal(100, 5, shape) for k in range(5)])
    assert 0 <= noise.variance(100) < 400


def test_no_finite_pixel_is_refused():
    with pytest.raises(InputError, match="no finite pixel"):
        estimate_noise([np.full((20, 20), np.nan)])
