"""How the detail of a fine band changes along z: mean squares, smoothed, at a quarter of the size."""

from __future__ import annotations

import numpy as np

from ..analysis import SliceAnalysis
from ..kernels import kernel, row_function, run_bands
from ..pyramid import FloatImage, blur5, expand_row, reduce

# This many 5-tap means at a quarter of the size: a standard deviation of 8 px.
_SMOOTHINGS = 4


class BandChange:
    """Mean squares of the detail of one Laplacian level and of its change from slice to slice.

    Parameters
    ----------
    analysis : SliceAnalysis
        Of at least 2 levels.
    level : int
        0, of which every fourth row is enough, or 1.

    Attributes
    ----------
    detail : float32 array
        Detail of the slice loaded last, mean of the deciding channels; every fourth row for level 0.
    square : float32 array, shape (y / 4, x / 4)
        Its mean square, smoothed.
    """

    def __init__(self, analysis: SliceAnalysis, level: int) -> None:
        self._level = level
        self._quarter = analysis.shapes[2]
        height, width = analysis.shapes[level]
        self.detail = np.zeros((height if level else self._quarter[0], width), np.float32)
        self.square = np.zeros(self._quarter, np.float32)

    def add(self, analysis: SliceAnalysis) -> tuple[FloatImage, FloatImage]:
        """Take in the slice that was loaded last.

        Returns
        -------
        middle, change : float32 arrays, shape (y / 4, x / 4)
            Smoothed mean squares of the mean of its detail and the one before, and of their difference.
        """
        square, change = (self._fine_squares if self._level == 0 else self._squares)(analysis)
        square, change = smoothed(square), smoothed(change)
        # Of a and b: ((a + b) / 2)^2 = (a^2 + b^2) / 2 - (a - b)^2 / 4.
        middle = np.float32(0.5) * (self.square + square) - np.float32(0.25) * change
        self.square[...] = square
        return middle, change

    def _squares(self, analysis: SliceAnalysis) -> tuple[FloatImage, FloatImage]:
        squares = np.empty_like(self.detail)
        fine = analysis.gaussians[self._level - 1]
        band = fine, analysis.gaussians[self._level], analysis.deciding
        run_bands(_change_band, *squares.shape, *band, self.detail, squares)
        change = reduce(squares)
        np.multiply(self.detail, self.detail, out=squares)
        return reduce(squares), change

    def _fine_squares(self, analysis: SliceAnalysis) -> tuple[FloatImage, FloatImage]:
        square, change = (np.empty(self._quarter, np.float32) for _ in range(2))
        band = analysis.finest, analysis.gaussians[0], analysis.deciding
        run_bands(_fine_change_band, *self._quarter, *band, self.detail, square, change)
        return square, change


def smoothed(image: FloatImage) -> FloatImage:
    """Return a (y, x) image, which is overwritten, smoothed by a standard deviation of 2 px."""
    spare = np.empty_like(image)
    for _ in range(_SMOOTHINGS // 2):
        blur5(blur5(image, spare), image)
    return image


@row_function
def detail_row(fine, coarse, deciding, y, line, row, out):  # type: ignore[no-untyped-def]
    """Write row y of a Laplacian level, the mean of the deciding channels."""
    w = out.shape[0]
    share = np.float32(1) / np.float32(len(deciding))
    out[:] = 0
    for c in deciding:
        expand_row(coarse[c], y, fine.shape[1], line, row)
        source = fine[c, y]
        for x in range(w):
            out[x] += (np.float32(source[x]) - row[x]) * share


@kernel
def _change_band(fine, coarse, deciding, detail, change, first, last):  # type: ignore[no-untyped-def]
    """Write the squared change of detail; keep the new detail."""
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    for y in range(first, last):
        detail_row(fine, coarse, deciding, y, line, row, new)
        old = detail[y]
        out = change[y]
        for x in range(w):
            step = new[x] - old[x]
            out[x] = step * step
            old[x] = new[x]


@row_function
def _pool(row, means):  # type: ignore[no-untyped-def]
    """Write the means of four elements around every fourth; fewer at the ends."""
    w = row.shape[0]
    whole = (w - 2) // 4
    for i in range(1, whole + 1):
        at = 4 * i - 2
        means[i] = np.float32(0.25) * (row[at] + row[at + 1] + row[at + 2] + row[at + 3])
    means[0] = row[:2].mean()
    for i in range(max(whole + 1, 1), means.shape[0]):
        means[i] = row[4 * i - 2 :].mean()


@kernel
def _fine_change_band(fine, coarse, deciding, detail, square, change, first, last):  # type: ignore[no-untyped-def]
    """Write the mean squares of detail and of its change in every fourth row, four columns pooled; keep these rows."""
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    for j in range(first, last):
        detail_row(fine, coarse, deciding, 4 * j, line, row, new)
        old = detail[j]
        for x in range(w):
            step = new[x] - old[x]
            row[x] = step * step
            old[x] = new[x]
            new[x] *= new[x]
        _pool(new, square[j])
        _pool(row, change[j])
