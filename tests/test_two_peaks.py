import numpy as np
import pytest

from napari_focus_stack import FocusStacker, FocusStackOptions
from napari_focus_stack.occlusion.two_peaks import TwoPeaks, halves, twice


def plain_peaks(focus, stack, gap):
    """Return indices and pixels of both peaks, cell by cell."""
    shape = focus[0].shape
    best, second, previous = (np.zeros(shape, np.float32) for _ in range(3))
    index, second_index = (np.zeros(shape, int) for _ in range(2))
    first_pixels, second_pixels = np.zeros_like(stack[0]), np.zeros_like(stack[0])
    for k, (f, image) in enumerate(zip(focus, stack, strict=True)):
        held = np.floor(np.sqrt(f) * 16).clip(0, 65535)
        climbs, apart = f > best, k - index >= gap
        follows = climbs & apart
        rises = ~climbs & apart & (f > (second / 16) ** 2) & (f > previous)

        def wide(mask, like=image):
            return twice(mask, like.shape)[..., np.newaxis]

        second_pixels = np.where(wide(follows), first_pixels, np.where(wide(rises), image, second_pixels))
        first_pixels = np.where(wide(climbs), image, first_pixels)
        second = np.where(follows, np.floor(np.sqrt(best) * 16), np.where(rises, held, second))
        second_index = np.where(follows, index, np.where(rises, k, second_index))
        best, index = np.where(climbs, f, best), np.where(climbs, k, index)
        previous = f
    return index, second_index, first_pixels, second_pixels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(9, 12), (16, 31), (33, 20)])
def test_two_peaks_are_those_of_the_plain_way(shape, channels, monkeypatch):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 60000, (12, *shape, channels)).astype(np.uint16)
    focus, kept = [], []
    add = TwoPeaks.add

    def watched(self, image, analysis):
        finest, next_finest = halves(analysis)
        focus.append(np.float32(0.5) * (finest + next_finest))
        add(self, image, analysis)
        kept[:] = [self]

    monkeypatch.setattr(TwoPeaks, "add", watched)
    stacker = FocusStacker(stack.shape, FocusStackOptions(mend_rims=True), rgb=channels == 3)
    for image in stack:
        stacker.add(image)
    _, second_index, first_pixels, second_pixels = plain_peaks(focus, stack, kept[0].gap)
    # A stack of noise has peaks everywhere, and no two of a kind.
    assert (second_index > 0).mean() > 0.5
    np.testing.assert_array_equal(kept[0].second_index, second_index)
    np.testing.assert_array_equal(kept[0].first_pixels, first_pixels)
    np.testing.assert_array_equal(kept[0].second_pixels, second_pixels)


def test_peaks_of_a_dense_stack_are_further_apart():
    gaps = [TwoPeaks((16, 16), (8, 8), slices, 1, np.dtype(np.uint8)).gap for slices in (0, 10, 40, 300)]
    assert gaps == [3, 3, 6, 43]
