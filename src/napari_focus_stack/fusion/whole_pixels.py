"""Stacks of two or three slices, such as photographs: takes pixels whole where one slice clearly wins.

Rebuilding a pyramid costs a little everywhere, and with few slices most pixels
have one clear winner. It lifted photographs from rank 17 to rank 1 or 2 of 34.
With more slices neighbours are alike, no slice is the one, and at jumps of depth
whole pixels lost up to 0.7 dB.

Where the winner changes, the one slice is veiled by the blur of the other: there
the pyramid is better. So it is where another slice has clearly more detail within
a few px: a bead beside a strong texture. And where blur spreads widely, noise and
compression make islands in which the blurred slice wins by little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..islands import Regions, taken_from_around
from ..kernels import kernel, run_bands
from ..pyramid import FloatImage, blur5, expand, expanded_rows, reduce, size_of
from .accumulator import FusionSetting
from .value_range import ValueRange

MOST_SLICES = 3

# In noise deviations: three slices may be neighbours, whose mean is quieter than the winner.
_ALIKE = {2: 0.0, 3: 4.0}

# Leads within a few px, two noise deviations added. A bead leads by this somewhere, an island does not.
_UNSURE, _BEAD_LEAD = np.float32(2), np.float32(1.6)

# As another slice leads by this there, the share of the winner's pixel goes from 1 to 0.
_DOUBT_FROM, _DOUBT_TO = np.float32(1.3), np.float32(1.9)

# Of the picture: smaller regions may be islands, and their rims are no seams. Blown-out highlights have rims of
# blur around them, where the pyramid is worse.
_SMALL_REGION = 0.003

# At half size, in px, so that a part of an image decides as all of it does: a small region is no longer than this along
# an axis, and takes after larger ones that are no further away.
_LONGEST_PX, _FARTHEST_PX = 112, 64

# Means around an island are taken in cells two to the power of this wide, smoothed so often.
_CELL_LEVELS, _CELL_PASSES = 4, 2

# How far around a pixel lies what decides which slice wins there, and what its share in the image is made of then, in
# px at half size.
_WINNER_REACH, _SEAM_REACH = 28, 5

# The share given up where the winner changes, as a multiple of how much of the surroundings does.
_SEAM = np.float32(1.5)


@dataclass(frozen=True, eq=False)
class Decision:
    """What is taken whole, at half size.

    Attributes
    ----------
    share : float32 array
        Of a pixel of one slice in the image, 0 to 1; the rest is the pyramid's.
    islands : bool array
        Where it is not the winner's pixel but the other one of two slices.
    """

    share: FloatImage
    islands: npt.NDArray[np.bool_]


class WholePixels:
    """The largest and second largest fine magnitude so far, at half size, and the winner's own pixels.

    Also its magnitude within a few px, and the largest of the others there.
    """

    def __init__(self, setting: FusionSetting) -> None:
        self._setting = setting
        shapes = setting.analysis.shapes
        self._best, self._second, self._near, self._near_other = (np.zeros(shapes[1], np.float32) for _ in range(4))
        self._winner = np.zeros(shapes[1], np.uint8)
        self._own = np.zeros((*shapes[0], setting.channels), setting.dtype)
        self._count = 0

    def add(self, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in a slice, contiguous, of shape (y, x, c), that was analysed last."""
        self._count += 1
        if self._count > MOST_SLICES:
            return
        near = blur5(analysis.fine_magnitude)
        fine = blur5(near)
        if analysis.valid is not None:
            near *= analysis.valid[1]
            fine *= analysis.valid[1]
        once = reduce(fine)
        wide = expand(expand(blur5(reduce(once)), size_of(once)), size_of(fine))
        magnitude = np.sqrt(np.maximum(fine * wide, 0))
        bits = np.dtype(f"u{image.itemsize}")
        h, w, c = image.shape
        run_bands(
            _keep_band,
            *magnitude.shape,
            magnitude,
            near,
            self._best,
            self._second,
            self._near,
            self._near_other,
            self._winner,
            self._count - 1,
            image.reshape(h, w * c).view(bits),
            self._own.reshape(h, w * c).view(bits),
            c,
        )

    def decided(self) -> Decision | None:
        """Return which slice is taken, and how whole; None with too many slices."""
        if self._count > MOST_SLICES:
            return None
        # Visible noise blurs the ranking: above 1 % of the range the winner has to win by more.
        handicap = np.float32(2 * max(100 * self._setting.noise.relative - 1, 0) + _ALIKE.get(self._count, 0))
        share = np.clip((_lead(self._best, self._second, handicap) - np.float32(1.02)) / np.float32(0.08), 0, 1)
        near, other = self._near, self._near_other
        regions = Regions(self._winner)
        smallest_px = self._setting.whole.number(
            "whole pixels: smallest region", lambda: self._winner.size * _SMALL_REGION
        )
        small = regions.smaller_than(smallest_px, _LONGEST_PX)
        broad = taken_from_around(self._winner, small, _FARTHEST_PX)
        islands = np.zeros(small.shape, bool)
        # Of three slices it is not known which would come second.
        if self._count == 2:
            islands = (broad != self._winner) & ~regions.holding(_lead(near, other, _UNSURE) > _BEAD_LEAD)
            for k in range(2):
                _copy_means(share, ~small & (broad == k), to=islands & (broad == k))
            near, other = np.where(islands, other, near), np.where(islands, near, other)
        doubt = (_lead(other, near, _UNSURE) - _DOUBT_FROM) / (_DOUBT_TO - _DOUBT_FROM)
        share = share * np.clip(1 - doubt, 0, 1) * np.maximum(1 - _SEAM * blur5(_changes(broad)), 0)
        # A slice's own pixel brings its own noise back.
        return Decision((share * (1 - self._setting.denoise)).astype(np.float32), islands)

    def mixed(
        self, image: FloatImage, decision: Decision, slices: ValueRange, rows: slice, channel: int
    ) -> npt.NDArray[Any]:
        """Return rows of a rebuilt, scaled channel moved by the share to the pixels taken, in the stack's dtype."""
        scaling = self._setting.analysis.scaling
        own = self._own[rows, :, channel]
        if decision.islands.any():
            y, x = np.arange(rows.start, rows.stop) // 2, np.arange(own.shape[1]) // 2
            own = np.where(decision.islands[y][:, x], slices.other(own, rows, channel), own)
        difference = (scaling.to_kernel(own) - image).astype(np.float32)
        known = np.isfinite(difference)
        full = expanded_rows(decision.share, self._setting.shape, rows)
        gray = scaling.to_gray_levels(image + full * np.where(known, difference, 0), self._setting.dtype)
        return np.where(known & (full >= 1), own, gray)


def reach_px() -> int:
    """Return how far around a pixel lies what decides about it, in px of the image."""
    cell = 1 << _CELL_LEVELS
    # Reduced, smoothed, and taken from the nearest cell.
    mean = 2 * (cell - 1) + 2 * cell * _CELL_PASSES + cell // 2
    return 2 * (_WINNER_REACH + _LONGEST_PX + 1 + max(mean, _FARTHEST_PX) + _SEAM_REACH)


def _copy_means(share: FloatImage, where: npt.NDArray[np.bool_], to: npt.NDArray[np.bool_]) -> None:
    """Copy the mean that a share has nearby, where something is, to other pixels."""
    y, x = np.nonzero(to)
    if not y.size:
        return
    weight = where.astype(np.float32)
    total = share * weight
    for _ in range(_CELL_LEVELS):
        total, weight = reduce(total), reduce(weight)
    for _ in range(_CELL_PASSES):
        total, weight = blur5(total), blur5(weight)
    half = (1 << _CELL_LEVELS) // 2
    cells = tuple(np.minimum((i + half) >> _CELL_LEVELS, n - 1) for i, n in zip((y, x), total.shape, strict=True))
    share[y, x] = total[cells] / weight[cells]


def _lead(first: FloatImage, second: FloatImage, handicap: np.float32) -> FloatImage:
    return np.asarray((first + handicap) / np.maximum(second + handicap, np.float32(1e-6)), np.float32)


def _changes(winner: npt.NDArray[np.uint8]) -> FloatImage:
    """Return 1 beside a change of the winning slice, 0 elsewhere."""
    beside = np.zeros(winner.shape, np.float32)
    down, right = winner[1:] != winner[:-1], winner[:, 1:] != winner[:, :-1]
    beside[1:][down] = beside[:-1][down] = 1
    beside[:, 1:][right] = beside[:, :-1][right] = 1
    return beside


@kernel
def _keep_band(  # type: ignore[no-untyped-def]
    magnitude, near, best, second, near_best, near_other, winner, k, image, own, channels, first, last
):
    """Update the two largest magnitudes and, where this slice has the largest, its own 2 x 2 pixels."""
    h = image.shape[0]
    width = image.shape[1]
    for j in range(first, last):
        for i in range(magnitude.shape[1]):
            m = magnitude[j, i]
            old = best[j, i]
            better = m > old or k == 0
            second[j, i] = np.float32(0) if k == 0 else (old if better else max(second[j, i], m))
            best[j, i] = m if better else old
            behind = near_best[j, i] if better else near[j, i]
            near_other[j, i] = np.float32(0) if k == 0 else max(near_other[j, i], behind)
            if better:
                near_best[j, i] = near[j, i]
                winner[j, i] = k
                for y in range(2 * j, min(2 * j + 2, h)):
                    for x in range(2 * i * channels, min(2 * (i + 1) * channels, width)):
                        own[y, x] = image[y, x]
