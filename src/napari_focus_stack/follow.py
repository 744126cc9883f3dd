"""The fused image of a transparent specimen: every pixel a mean of the slices around one common focus.

All levels of the pyramid follow one decision, since only the change of contrast
along z is honest there; and a decision as smooth as that needs no pyramid.
"""

from __future__ import annotations

import numpy as np

from .accumulator import FusionSetting
from .analysis import SliceAnalysis
from .kernels import kernel, run_bands, strips
from .pyramid import FloatImage, expand, expand_row, expanded_rows

# Weights are this power of the focus measure, over its first value and a common scale.
_POWER = 24

# Where the bulk of the largest ratios is brought, and limits that keep powers, times intensities, within float32.
_BULK = 3.0
_LEAST, _MOST = 0.04, 12.0

# The measure in pure noise is 1. Below this it is not evidence, and more slices are averaged.
_FLOOR = np.float32(4)


class FollowingMean:
    """Running mean of the slices, weighted by a smooth focus measure that lies half way between them."""

    def __init__(self, setting: FusionSetting) -> None:
        self._shapes = setting.analysis.shapes
        # Whole numbers of few bits are kept as such.
        kept = setting.dtype if setting.analysis.scaling.is_identity else np.dtype(np.float32)
        self._previous = np.zeros((setting.channels, *self._shapes[0]), kept)
        self._sum = np.zeros((setting.channels, *self._shapes[0]), np.float32)
        self._weight = np.zeros(self._shapes[2], np.float32)
        self._reference = np.zeros((0, 0), np.float32)
        self._scale = 1.0

    def add(self, focus: FloatImage | None, preference: float, analysis: SliceAnalysis) -> None:
        """Take in the slice that was analysed last; `focus` as of `PhaseTracker`."""
        weight = np.zeros((0, 0), np.float32)
        keep = 1.0
        if focus is not None:
            strength = _FLOOR + np.float32(preference**2) * focus
            if self._reference.size == 0:
                self._reference = strength
            ratio = strength / self._reference
            scale = min(self._scale, _BULK / float(np.percentile(ratio, 99)))
            keep = (scale / self._scale) ** _POWER
            self._scale = scale
            weight = np.asarray(np.clip(ratio * np.float32(scale), _LEAST, _MOST) ** _POWER, np.float32)
            self._weight = self._weight * np.float32(keep) + weight
            weight = expand(weight, self._shapes[1])
        run_bands(_gather_band, *self._shapes[0], analysis.planes, self._previous, weight, np.float32(keep), self._sum)

    def blend_into(self, image: FloatImage, share: float) -> None:
        """Move a scaled image of shape (c, y, x) to the mean by a share, in place."""
        half = expand(self._weight, self._shapes[1])
        run_bands(_blend_band, *self._shapes[0], self._sum, half, share, image)


def _blend_band(total: FloatImage, half_weight: FloatImage, share: float, image: FloatImage, *band: int) -> None:
    size = (image.shape[1], image.shape[2])
    for rows in strips(*band):
        mean = total[:, rows] / expanded_rows(half_weight, size, rows)
        if share >= 1:
            image[:, rows] = mean
        else:
            image[:, rows] += np.float32(share) * (mean - image[:, rows])


@kernel
def _gather_band(planes, previous, weight, keep, total, first, last):  # type: ignore[no-untyped-def]
    """Add the weighted mean of two slices; `weight` has half the size, and is empty for the first slice."""
    channels, h, w = planes.shape
    line = np.empty(weight.shape[1], np.float32)
    row = np.empty(w, np.float32)
    for y in range(first, last):
        if weight.shape[0] > 0:
            expand_row(weight, y, h, line, row)
            for c in range(channels):
                a, b, out = planes[c, y], previous[c, y], total[c, y]
                for x in range(w):
                    out[x] = out[x] * keep + row[x] * np.float32(0.5) * (a[x] + np.float32(b[x]))
        for c in range(channels):
            for x in range(w):
                previous[c, y, x] = planes[c, y, x]
