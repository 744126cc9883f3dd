"""How much of the change from slice to slice is a shift or a zoom of the whole picture.

Both turn contrast over, as phase does through focus: what was bright becomes dark
where an edge passes by. Slices that drift or breathe may not be taken for those of
a transparent specimen. A coarse level is looked at, which focus changes little and
in which a move of many pixels is still a small one.
"""

from __future__ import annotations

import numpy as np

from ..analysis import SliceAnalysis
from ..kernels import kernel_of_sums, run_bands
from ..pyramid import expand

_LEVEL = 3

# Noise that counts as change, as a share of it: where hardly anything changes, nothing is known.
_DOUBT = 0.1


class Drift:
    """Running sums of the squared change of one Laplacian level, and of what a move explains of it.

    Parameters
    ----------
    analysis : SliceAnalysis
        Of at least 2 levels.

    Notes
    -----
    To first order a move changes a picture by its gradient times the way: the change is fitted by
    the two gradients and the radial one, by least squares, every pair of slices by itself.

    References
    ----------
    Lucas & Kanade, An iterative image registration technique, IJCAI 674-679 (1981).
    """

    def __init__(self, analysis: SliceAnalysis) -> None:
        self._level = min(_LEVEL, analysis.levels - 1)
        self._before = np.zeros(analysis.shapes[self._level], np.float32)
        self._count = 0
        self._explained = self._change = self._noise = 0.0

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the slice that was loaded last."""
        height, width = self._before.shape
        sums = np.zeros((10, height))
        fine, coarse = analysis.gaussians[self._level - 1], analysis.gaussians[self._level]
        new = np.zeros_like(self._before)
        for c in analysis.deciding:
            new += (fine[c] - expand(coarse[c], (height, width))) * np.float32(1 / len(analysis.deciding))
        if self._count > 0:
            run_bands(_moments_band, height, width, new, self._before, sums)
            xx, xy, yy, xr, yr, rr, xd, yd, rd, dd = sums.sum(axis=1)
            fields, change = np.array([[xx, xy, xr], [xy, yy, yr], [xr, yr, rr]]), np.array([xd, yd, rd])
            noise = 2 * analysis.detail_variance(self._level)
            everywhere = noise * max(height - 2, 0) * max(width - 2, 0)
            # Three unknowns explain the noise of three values.
            self._explained += float(change @ np.linalg.lstsq(fields, change, rcond=None)[0]) - 3 * noise
            self._change += float(dd) - everywhere
            self._noise += everywhere
        self._before[...] = new
        self._count += 1

    def share(self) -> float:
        """Return the share of the change that is a move of the picture, 0 to 1."""
        change = max(self._change, 0.0) + _DOUBT * self._noise
        return float(np.clip(self._explained / max(change, 1e-30), 0, 1))


@kernel_of_sums
def _moments_band(new, old, sums, first, last):  # type: ignore[no-untyped-def]
    """Put the products of the three gradients and of the change, summed over a row."""
    h, w = new.shape
    for y in range(max(first, 1), min(last, h - 1)):
        from_middle = np.float32(2 * y / h - 1)
        xx = xy = yy = xr = yr = rr = xd = yd = rd = dd = np.float32(0)
        for x in range(1, w - 1):
            gx = new[y, x + 1] - new[y, x - 1] + (old[y, x + 1] - old[y, x - 1])
            gy = new[y + 1, x] - new[y - 1, x] + (old[y + 1, x] - old[y - 1, x])
            r = (np.float32(2) * np.float32(x) / np.float32(w) - np.float32(1)) * gx + from_middle * gy
            d = new[y, x] - old[y, x]
            xx += gx * gx
            xy += gx * gy
            yy += gy * gy
            xr += gx * r
            yr += gy * r
            rr += r * r
            xd += gx * d
            yd += gy * d
            rd += r * d
            dd += d * d
        sums[0, y], sums[1, y], sums[2, y], sums[3, y], sums[4, y] = xx, xy, yy, xr, yr
        sums[5, y], sums[6, y], sums[7, y], sums[8, y], sums[9, y] = rr, xd, yd, rd, dd
