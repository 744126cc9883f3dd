"""Opaque specimens: removes the blur beside depth edges that the mean of all slices contradicts.

The blur of a near rim veils what lies behind it in every slice that has the far
side in focus, and no choice among slices takes it away. The mean of all slices
is nearly the sharp image under one blur (`sweep`), at such rims too: what a rim
hides and what it adds nearly balance. On slopes that holds less well, so only
what stands out by far from the usual misfit is corrected. No height is asked,
and the order of the slices does not matter. Done block by block, so that tiles
give the pixels of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..kernels import run_strips
from ..pyramid import FloatImage, expand, expanded_rows, reconstruct, reduce, size_of
from .blocks import Block
from .comparison import Comparison, Move, Pyramid
from .sweep import FocalSweep, SliceMean, SweepFilter, measured_growth

# With fewer the filter depends too much on the height.
LEAST_SLICES = 8

# Of the usual misfit. At 3 a step gained 0.1 dB more, and bumps lost 0.6.
_SPREAD_FACTOR = 6.0

# Between the quartiles of a normal distribution, in standard deviations.
_QUARTILES = 1.35

_TINY = np.float32(1e-30)

# Reductions of the half-size image that make what lies around: some 16 px.
_AROUND = 4


def lift_veils(image: FloatImage, mean: SliceMean, move: Move) -> None:
    """Correct a fused image in place; few slices are left alone.

    Parameters
    ----------
    image : float32 array, shape (c, y, x)
        Scaled.
    mean : SliceMean
    move : callable
        ``move(plane, channel, block, correction)`` adds a correction of a block's window, at half size, to a plane.
    """
    if mean.count < LEAST_SLICES:
        return
    for c, plane in enumerate(image):
        _Veils(c, reduce(plane), mean).correct(plane, move)


class _Veils(Comparison):
    name = "veil"

    def __init__(self, channel: int, sharp: FloatImage, mean: SliceMean) -> None:
        super().__init__(channel, sharp, mean)
        growth = self._number("growth", self._growth)
        self._through = SweepFilter.of(mean.count, 2 * growth).at_any_height()
        self._misfit = [
            self._number("misfit", partial(self._misfit_of, level), f", level {level}") for level in range(mean.levels)
        ]

    def _growth(self) -> float:
        mean = reduce(self.mean.of(self.channel))
        return measured_growth(mean - self._ground, reduce(self._sharp) - self._ground, None, self.mean.count)

    def _misfit_of(self, level: int) -> float:
        """Return the square of the usual misfit, as a share of what is expected, of which noise is no part."""
        ratio = self._ratio(level)
        variance = self.mean.noise_variance(self.channel, level, self._sampled).mean()
        noise = _QUARTILES * float(np.sqrt(variance)) / max(ratio.strength, 1e-30)
        return _SPREAD_FACTOR**2 * max(ratio.spread**2 - noise**2, 0)

    def _expected(self, sweep: FocalSweep, number: int, sharp: FloatImage) -> FloatImage:
        return sweep.seen(sharp, None, self._through)

    def _both(self, number: int) -> tuple[Pyramid, Pyramid]:
        expected, seen = super()._both(number)
        for level, (one, other) in enumerate(zip(expected[:-1], seen[:-1], strict=True)):
            # The ends of the stack weaken the mean by what depends on the height: the same all around.
            _fit_around(one, other, max(_AROUND - level, 1))
        return expected, seen

    def _differences(self, block: Block, expected: Pyramid, seen: Pyramid) -> FloatImage:
        mean = self.mean.of(self.channel, block.window)
        for level, misfit in enumerate(self._misfit):
            # More than all that is expected is no veil, but a hot pixel, which blur does not change.
            seen[level] = self._kept(level, seen[level], expected[level], mean, misfit, no_more=True)
            mean = reduce(mean)
        seen[-1][...] = 0
        return reconstruct(seen)


def _fit_around(expected: FloatImage, seen: FloatImage, reductions: int) -> None:
    """Multiply what is expected by its ratio to what is seen that fits best around every pixel."""
    product, square = _less_around(seen * expected, reductions), _less_around(expected**2, reductions)

    def fit(rows: slice) -> None:
        ratio = product(rows)
        ratio /= np.maximum(square(rows), _TINY)
        expected[rows] *= ratio

    run_strips(fit, *expected.shape)


def _less_around(image: FloatImage, reductions: int) -> Callable[[slice], FloatImage]:
    """Return what gives some rows of `_around`."""
    if reductions == 0 or min(image.shape) < 2:
        return image.__getitem__
    return partial(expanded_rows, _around(reduce(image), reductions - 1), size_of(image))


def _around(image: FloatImage, reductions: int) -> FloatImage:
    if reductions == 0 or min(image.shape) < 2:
        return image
    return expand(_around(reduce(image), reductions - 1), size_of(image))
