"""How surely the peak of a smooth focus measure tells a height.

Neighbours of a smooth measure agree whether they tell the height or not; what
tells is that the peak stands above noise, and above the measure's own mean along z.
"""

from __future__ import annotations

import numpy as np

from ..pyramid import FloatImage, expand, reduce

# Peak in units of the noise: what noise alone reaches in the smoothed measure, and what it does not.
_NOISE, _CLEAR = np.float32(1.125), np.float32(1.375)

# Rise of the peak above the mean, as a share of the peak, that is enough.
_RISE = np.float32(1 / 3)


class Prominence:
    """Largest value and mean of a measure over the slices, held at half its size.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of the measure.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        half = (shape[0] + 1) // 2, (shape[1] + 1) // 2
        self._largest, self._mean = (np.zeros(half, np.float32) for _ in range(2))
        self._count = 0

    def add(self, measure: FloatImage) -> None:
        """Take in the measure of the next slice, 1 in pure noise."""
        half = reduce(measure)
        self._count += 1
        self._mean += (half - self._mean) * np.float32(1 / self._count)
        np.maximum(self._largest, half, out=self._largest)

    def evidence(self) -> FloatImage:
        """Return how far the peak tells the height, 0 to 1, at the size of the measure.

        The share of heights within one slice of the truth is at least that, at two noises.
        """
        above_noise = (self._largest - _NOISE) / (_CLEAR - _NOISE)
        above_mean = (1 - self._mean / np.maximum(self._largest, np.float32(1e-6))) / _RISE
        return expand(np.clip(above_noise, 0, 1) * np.clip(above_mean, 0, 1), self._shape)
