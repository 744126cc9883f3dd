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

from ..kernels import run_strips
from ..pyramid import FloatImage, blur5, expand, expanded_rows, laplacian_pyramid, reconstruct, reduce, size_of
from ..sampling import sample
from .sweep import Ratio, SliceMean, SweepFilter, measured_growth

# With fewer the filter depends too much on the height.
LEAST_SLICES = 8

# Of noise, and of the usual misfit. At 3 of the latter a step gained 0.1 dB more, and bumps lost 0.6.
_NOISE_FACTOR = np.float32(1.5)
_SPREAD_FACTOR = 6.0

# Between the quartiles of a normal distribution, in standard deviations.
_QUARTILES = 1.35

# Reductions of the half-size image that make what lies around: some 16 px.
_AROUND = 4

# Coarsest pixel there, in px.
VEIL_GRID_PX = 2 << _AROUND


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
    if mean.count < LEAST_SLICES:
        return
    for c, plane in enumerate(image):
        move(plane, c, _correction(c, reduce(plane), mean))


def _correction(c: int, sharp: FloatImage, slice_mean: SliceMean) -> FloatImage:
    mean = slice_mean.of(c)
    number = slice_mean.whole.number
    middle = np.float32(number(f"veil: middle of channel {c}", lambda: float(np.median(sample(mean)))))

    def own_growth(sharp: FloatImage) -> float:
        return measured_growth(reduce(mean) - middle, reduce(sharp) - middle, None, slice_mean.count)

    growth = number(f"veil: growth of channel {c}", partial(own_growth, sharp))
    through = SweepFilter.of(slice_mean.count, 2 * growth).at_any_height()
    sweep = slice_mean.sweep(2 * growth)
    levels = slice_mean.levels
    sharp -= middle
    spectra = sweep.spectra(sharp)
    # What is not needed any more makes room where memory is shortest.
    del sharp
    filtered = sweep.seen_alike(spectra, through)
    del spectra
    expected = laplacian_pyramid(filtered, levels)
    del filtered
    seen = laplacian_pyramid(mean - middle, levels)
    for level in range(levels):
        # The ends of the stack weaken the mean by what depends on the height: the same all around.
        _fit_around(expected[level], seen[level], max(_AROUND - level, 1))
        noise = _noise_variance(c, level, mean, slice_mean)
        misfit = number(
            f"veil: misfit of channel {c}, level {level}", partial(_misfit, seen[level], expected[level], noise)
        )
        seen[level] -= expected[level]
        _keep_veils(seen[level], expected[level], noise, np.float32(misfit))
        mean = reduce(mean)
    seen[-1][...] = 0
    return sweep.undone(reconstruct(seen), through)


def _noise_variance(c: int, level: int, mean: FloatImage, slice_mean: SliceMean) -> FloatImage:
    out = np.empty_like(mean)

    def fill(rows: slice) -> None:
        out[rows] = slice_mean.noise_variance(c, level, mean[rows])

    run_strips(fill, *mean.shape)
    return out


def _misfit(seen: FloatImage, expected: FloatImage, noise: FloatImage) -> float:
    """Return the square of the usual misfit, as a share of what is expected, of which noise is no part."""
    ratio = Ratio.of(seen, expected)
    return _SPREAD_FACTOR**2 * max(ratio.spread**2 - _spread_of_noise(noise, ratio) ** 2, 0)


def _fit_around(expected: FloatImage, seen: FloatImage, reductions: int) -> None:
    """Multiply what is expected by its ratio to what is seen that fits best around every pixel; 1 where it is 0."""
    product, square = _less_around(seen * expected, reductions), _less_around(expected**2, reductions)

    def fit(rows: slice) -> None:
        above, below = product(rows), square(rows)
        expected[rows] *= np.divide(above, below, out=np.ones_like(below), where=below > 0)

    run_strips(fit, *expected.shape)


def _keep_veils(seen: FloatImage, expected: FloatImage, noise: FloatImage, misfit: np.float32) -> None:
    """Keep of a difference, in place, what neither noise nor the usual misfit explains; `noise` is used up."""
    possible, energy = blur5(expected**2), blur5(seen**2)

    def keep(rows: slice) -> None:
        variance, most, total = noise[rows], possible[rows], energy[rows]
        variance *= _NOISE_FACTOR
        variance += misfit * most
        np.maximum(total, np.float32(1e-30), out=total)
        variance /= total
        np.subtract(1, variance, out=variance)
        np.maximum(variance, 0, out=variance)
        # More than all that is expected is no veil, but a hot pixel, which blur does not change.
        most /= total
        variance *= np.minimum(most, 1, out=most)
        seen[rows] *= variance

    run_strips(keep, *seen.shape)


def _less_around(image: FloatImage, reductions: int) -> Callable[[slice], FloatImage]:
    """Return what gives some rows of `_around`."""
    if reductions == 0 or min(image.shape) < 2:
        return image.__getitem__
    return partial(expanded_rows, _around(reduce(image), reductions - 1), size_of(image))


def _around(image: FloatImage, reductions: int) -> FloatImage:
    if reductions == 0 or min(image.shape) < 2:
        return image
    return expand(_around(reduce(image), reductions - 1), size_of(image))


def _spread_of_noise(variance: FloatImage, ratio: Ratio) -> float:
    return _QUARTILES * float(np.sqrt(variance.mean())) / max(ratio.strength, 1e-30)
