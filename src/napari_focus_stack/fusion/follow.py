"""The fused image of a transparent specimen: every pixel a mean of the slices around one common focus.

All levels of the pyramid follow one decision, since coarse contrast is not
honest there; and a decision as smooth as that needs no pyramid. Two such means
are kept, since only the whole stack tells which of them is right: one follows
the change of contrast along z, for phase, and one contrast itself, for stain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..kernels import kernel, run_bands, strips
from ..pyramid import FloatImage, expand, expand_row, expanded_rows, size_of
from ..transparent.phase import PhaseTracker, at_half_size
from .accumulator import FusionSetting

# The measure in pure noise is 1. Below this it is not evidence, and more slices are averaged.
_FLOOR = np.float32(4)


class FollowingMean:
    """Running means of the slices, weighted by a smooth focus measure."""

    def __init__(self, setting: FusionSetting) -> None:
        self._shapes = setting.analysis.shapes
        whole = setting.analysis.scaling.is_identity
        size = (setting.channels, *self._shapes[0])
        self._previous = np.zeros(size, setting.dtype if whole else np.float32)
        # Whole numbers of 8 bits are kept with 8 more behind the point, those of 16 as they are.
        self._unit = 256 if whole and setting.dtype.itemsize == 1 else 1
        kept = np.dtype(f"{setting.dtype.kind}2" if whole else np.float32)
        self._of_pairs, self._of_slices = (np.zeros(size, kept) for _ in range(2))
        self._change, self._contrast = (_RunningWeight(self._shapes[2]) for _ in range(2))

    def add(self, phase: PhaseTracker, preference: float, analysis: SliceAnalysis) -> None:
        """Take in the slice that was analysed last; `phase` knows it already."""
        shares = [np.zeros((0, 0), np.float32)] * 2
        for i, (weight, focus) in enumerate(((self._change, phase.change_focus), (self._contrast, phase.contrast))):
            if focus is not None:
                strength = np.float32(preference**2) * focus
                strength += _FLOOR
                shares[i] = expand(weight.share_of(strength), self._shapes[1])
        run_bands(
            _gather_band,
            *self._shapes[0],
            analysis.finest,
            self._previous,
            *shares,
            np.float32(self._unit),
            self._of_pairs.dtype.kind != "f",
            self._of_pairs,
            self._of_slices,
        )

    def blend_into(self, image: FloatImage, share: FloatImage, stain: float) -> None:
        """Move an image to the means, in place.

        Parameters
        ----------
        image : float32 array, shape (c, y, x)
            Scaled.
        share : float32 array, shape (y / 8, x / 8)
            How far every pixel is moved, 0 to 1.
        stain : float
            Share of the mean that follows contrast; the other one follows its change.
        """
        mean = self._of_pairs, self._of_slices, np.float32(stain), np.float32(1 / self._unit)
        everywhere = bool(share.min() >= 1)
        half = share if everywhere else at_half_size(share, self._shapes)
        run_bands(_blend_band, *self._shapes[0], *mean, half, everywhere, image)


class _RunningWeight:
    """Sum of the weights so far, over the largest of them."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._largest, self._total = (np.zeros(shape, np.float32) for _ in range(2))

    def share_of(self, strength: FloatImage) -> FloatImage:
        """Return what share of the mean a slice of this strength makes, and count it in; the strength is used up."""
        largest = np.maximum(self._largest, strength)
        # In place: what lives long should not lie between what does not, and there is little room.
        self._largest /= largest
        self._total *= _to_the_24th(self._largest)
        strength /= largest
        weight = _to_the_24th(strength)
        self._total += weight
        self._largest[...] = largest
        weight /= self._total
        return weight


def _to_the_24th(ratio: FloatImage) -> FloatImage:
    """Return a power of a ratio, which is used up."""
    # Below 0.05 the power is 0 for float32's purposes, and above it there are no denormals.
    np.maximum(ratio, np.float32(0.05), out=ratio)
    for _ in range(3):
        ratio *= ratio
    power: FloatImage = ratio * ratio
    power *= ratio
    return power


def _blend_band(
    of_pairs: npt.NDArray[Any],
    of_slices: npt.NDArray[Any],
    stain: np.float32,
    scale: np.float32,
    share: FloatImage,
    everywhere: bool,
    image: FloatImage,
    *band: int,
) -> None:
    for rows in strips(*band):
        mean = (1 - stain) * scale * of_pairs[:, rows] + stain * scale * of_slices[:, rows]
        if everywhere:
            image[:, rows] = mean
        else:
            image[:, rows] += expanded_rows(share, size_of(image[0]), rows) * (mean - image[:, rows])


@kernel
def _gather_band(  # type: ignore[no-untyped-def]
    planes, previous, share_of_pair, share_of_slice, unit, whole, of_pairs, of_slices, first, last
):
    """Move one mean to this slice, the other to its mean with the one before; shares have half the size.

    A share that is empty leaves its mean alone. `whole` rounds.
    """
    channels, h, w = planes.shape
    line = np.empty((w + 1) // 2, np.float32)
    pair_row = np.zeros(w, np.float32)
    slice_row = np.zeros(w, np.float32)
    half_unit = np.float32(0.5) * unit
    for y in range(first, last):
        if share_of_pair.shape[0] > 0:
            expand_row(share_of_pair, y, h, line, pair_row)
        if share_of_slice.shape[0] > 0:
            expand_row(share_of_slice, y, h, line, slice_row)
        for c in range(channels):
            new, old, pairs, slices = planes[c, y], previous[c, y], of_pairs[c, y], of_slices[c, y]
            if whole:
                for x in range(w):
                    p, s = np.float32(pairs[x]), np.float32(slices[x])
                    number = np.float32(new[x])
                    p += pair_row[x] * (half_unit * (number + np.float32(old[x])) - p)
                    s += slice_row[x] * (unit * number - s)
                    pairs[x] = np.int32(np.floor(p + np.float32(0.5)))
                    slices[x] = np.int32(np.floor(s + np.float32(0.5)))
                    old[x] = np.int32(number)
            else:
                for x in range(w):
                    pairs[x] += pair_row[x] * (half_unit * (new[x] + old[x]) - pairs[x])
                    slices[x] += slice_row[x] * (unit * new[x] - slices[x])
                    old[x] = new[x]
