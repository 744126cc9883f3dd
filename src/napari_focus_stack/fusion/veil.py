"""Opaque specimens: removes the blur beside depth edges that the mean of all slices contradicts.

The blur of a near rim veils what lies behind it in every slice that has the far
side in focus, and no choice among slices takes it away. The mean of all slices
is nearly the sharp image under one blur (`sweep`), at such rims too: what a rim
hides and what it adds nearly balance. On slopes that holds less well, so only
what stands out by far from the usual misfit is corrected. No height is asked,
and the order of the slices does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..pyramid import FloatImage, blur5, expand, laplacian_pyramid, reconstruct, reduce, size_of
from ..sampling import sample
from .sweep import Ratio, SliceMean, SweepFilter, measured_growth

# With fewer the filter depends too much on the height.
_LEAST_SLICES = 8

# Of noise, and of the usual misfit. At 3 of the latter a step gained 0.1 dB more, and bumps lost 0.6.
_NOISE_FACTOR = np.float32(1.5)
_SPREAD_FACTOR = 6.0

# Between the quartiles of a normal distribution, in standard deviations.
_QUARTILES = 1.35

# Reductions of the half-size image that make what lies around: some 16 px.
_AROUND = 4


def lift_veils(image: FloatImage, mean: SliceMean, move: Callable[[FloatImage, int, FloatImage], None]) -> None:
    """Correct a fused image in place; few slices are left alone.

    Parameters
    ----------
    image : float32 array, shape (c, y, x)
        Scaled.
    mean : SliceMean
    move : callable
        ``move(plane, channel, correction)`` adds a correction at half size to a plane.
    """
    if mean.count < _LEAST_SLICES:
        return
    for c, plane in enumerate(image):
        move(plane, c, _correction(c, reduce(plane), mean))


def _correction(c: int, sharp: FloatImage, slice_mean: SliceMean) -> FloatImage:
    mean = slice_mean.of(c)
    number = slice_mean.whole.number
    middle = np.float32(number(f"veil: middle of channel {c}", lambda: float(np.median(sample(mean)))))
    growth = number(
        f"veil: growth of channel {c}",
        lambda: measured_growth(reduce(mean) - middle, reduce(sharp) - middle, None, slice_mean.count),
    )
    through = SweepFilter.of(slice_mean.count, 2 * growth).at_any_height()
    sweep = slice_mean.sweep(2 * growth)
    levels = slice_mean.levels
    expected = laplacian_pyramid(sweep.seen(sharp - middle, None, through), levels)
    seen = laplacian_pyramid(mean - middle, levels)
    for level in range(levels):
        # The ends of the stack weaken the mean by what depends on the height: the same all around.
        expected[level] *= _ratio_around(seen[level], expected[level], max(_AROUND - level, 1))
        noise = slice_mean.noise_variance(c, level, mean)
        misfit = number(
            f"veil: misfit of channel {c}, level {level}", partial(_misfit, seen[level], expected[level], noise)
        )
        seen[level] -= expected[level]
        possible = blur5(expected[level] ** 2)
        energy = np.maximum(blur5(seen[level] ** 2), np.float32(1e-30))
        variance = _NOISE_FACTOR * noise + np.float32(misfit) * possible
        # More than all that is expected is no veil, but a hot pixel, which blur does not change.
        seen[level] *= np.maximum(1 - variance / energy, 0) * np.minimum(possible / energy, 1)
        mean = reduce(mean)
    seen[-1][...] = 0
    return sweep.undone(reconstruct(seen), through)


def _misfit(seen: FloatImage, expected: FloatImage, noise: FloatImage) -> float:
    """Return the square of the usual misfit, as a share of what is expected, of which noise is no part."""
    ratio = Ratio.of(seen, expected)
    return _SPREAD_FACTOR**2 * max(ratio.spread**2 - _spread_of_noise(noise, ratio) ** 2, 0)


def _ratio_around(seen: FloatImage, expected: FloatImage, reductions: int) -> FloatImage:
    """Return the ratio of two levels that fits best around every pixel, 1 where nothing is expected."""
    product, square = _around(seen * expected, reductions), _around(expected**2, reductions)
    return np.divide(product, square, out=np.ones_like(square), where=square > 0)


def _around(image: FloatImage, reductions: int) -> FloatImage:
    if reductions == 0 or min(image.shape) < 2:
        return image
    return expand(_around(reduce(image), reductions - 1), size_of(image))


def _spread_of_noise(variance: FloatImage, ratio: Ratio) -> float:
    return _QUARTILES * float(np.sqrt(variance.mean())) / max(ratio.strength, 1e-30)
