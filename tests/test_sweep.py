"""The mean of the slices is the sharp image through a known filter."""

import numpy as np
import pytest

from napari_focus_stack.fusion.sweep import _MOST_FREQUENCY, FocalSweep, SweepFilter, _blur_filter, measured_growth
from napari_focus_stack.synthetic import Lens, Surface, glowing_slices


def spots(shape, seed):
    rng = np.random.default_rng(seed)
    light = np.zeros(shape, np.float32)
    y, x = np.indices(shape)
    for cy, cx in rng.uniform(0, shape, (12, 2)):
        light += 0.4 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8).astype(np.float32)
    return light


@pytest.mark.parametrize("height", [0.0, 2.5, 7.0, 11.0])
def test_seen_is_the_mean_of_the_slices_at_any_height(height):
    light = spots((90, 131), 0)
    heights = np.full_like(light, height)
    mean = np.mean(list(glowing_slices([Surface(light, heights)], 0, 12, Lens(1.2))), axis=0)
    # The rim of the filter is softer than that of the lens: a somewhat smaller radius blurs as much.
    seen = FocalSweep(light.shape).seen(light, heights, SweepFilter.of(12, 0.94 * 1.2))
    assert np.abs(seen - mean).max() < 0.03 * mean.max()


def test_without_blur_the_mean_is_the_image():
    light = spots((40, 57), 1)
    seen = FocalSweep(light.shape).seen(light, np.full_like(light, 3), SweepFilter.of(9, 0))
    np.testing.assert_allclose(seen, light, atol=1e-5)


def test_undone_gives_back_what_is_coarser_than_the_least_that_passes():
    light = spots((96, 128), 2)
    height = np.full_like(light, 7)
    sweep, through = FocalSweep(light.shape), SweepFilter.of(15, 0.7)
    undone = sweep.undone(sweep.seen(light, height, through), through)
    assert np.abs(undone - light).max() < 0.15 * light.max()


def test_growth_is_the_same_with_any_number_of_threads_and_known_within_a_tenth(monkeypatch):
    light = spots((300, 1201), 3)
    height = np.full_like(light, 4)
    mean = FocalSweep(light.shape).seen(light, height, SweepFilter.of(9, 0.8))
    growths = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", threads)
        growths += [measured_growth(mean, light, height, 9)]
    assert growths[0] == growths[1]
    assert growths[0] == pytest.approx(0.8, rel=0.1)


def test_filtered_images_have_the_same_bits_with_any_number_of_threads(monkeypatch):
    # 400 x 400 px with what is mirrored around: transforms of this size have other last bits in two threads.
    light = spots((304, 304), 5)
    seen = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", threads)
        seen.append(FocalSweep(light.shape).seen(light, None, SweepFilter.of(9, 0.8).at_any_height()))
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_a_part_of_an_image_is_filtered_as_in_the_whole_but_for_its_rim():
    light = spots((400, 600), 4)
    through = SweepFilter.of(9, 0.8).at_any_height()
    whole = FocalSweep(light.shape).seen(light, None, through)
    part = FocalSweep((300, 300), (True, False, False, False)).seen(light[:300, 200:500], None, through)
    np.testing.assert_allclose(part[:250, 50:-50], whole[:250, 250:450], atol=2e-3)


@pytest.mark.parametrize("growth_px", [0.3, 1.0, 2.5])
def test_light_is_conserved_at_every_height(growth_px):
    through = SweepFilter.of(20, growth_px)
    np.testing.assert_allclose(through.of_height.T @ through.of_frequency[:, 0], 1, atol=0.01)


@pytest.mark.parametrize("growth_px", [0.1, 0.4, 2.0])
@pytest.mark.parametrize("slices", [20, 150])
def test_the_filter_at_a_slice_is_the_mean_of_all_blurs_around_it(slices, growth_px):
    """From some heights of a deep stack as from all of them."""
    through = SweepFilter.of(slices, growth_px)
    cycles, all_cycles = (np.linspace(0, _MOST_FREQUENCY, n) for n in (256, through.of_frequency.shape[1]))
    kept = _blur_filter(2 * np.pi * growth_px * np.outer(np.arange(slices), cycles))
    for height in (0, slices // 3, slices - 1):
        mean = kept[np.abs(np.arange(slices) - height)].mean(axis=0)
        found = np.interp(cycles, all_cycles, through.of_height[:, 16 * height] @ through.of_frequency)
        assert np.abs(found - mean).max() < 0.02
