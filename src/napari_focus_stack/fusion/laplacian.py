"""The default method: a noise-normalised, softly weighted Laplacian pyramid.

Every pixel of every level is the mean of the slices' Laplacians, weighted by
the 64th power of their energy in units of the noise (plus a floor of 16 noise
deviations, so that where there is only noise the slices are averaged). The
rebuilt image stays within the range of the slices at every pixel. One visit to
each slice, in any order.

References
----------
Burt & Adelson 1983 (pyramid); Burt & Kolczynski, Enhanced image capture through
fusion, ICCV 173-182 (1993) (salience-weighted fusion).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..kernels import kernel, multiply_add, row_function, run_rows, run_together, strips
from ..pyramid import FloatImage, blur5, expand, expand_row, reduce, size_of, with_detail
from .accumulator import FusionSetting
from .blocks import Block
from .fluorescence import GlowingLight
from .follow import FollowingMean
from .strength import LEAST_VALID, strength
from .sweep import LEAST_SLICES, SliceMean
from .value_range import ValueRange
from .veil import lift_veils
from .whole_pixels import MOST_SLICES, Decision, WholePixels

# With fewer the fused image is not corrected after the mean of the slices.
LEVELS_FOR_MEAN = 3

# Stands for the validity of a slice all of whose pixels are known.
_EVERYWHERE = np.empty((0, 0), np.bool_)

# (A / larger A)^64 is taken by six squarings; below 0.3 the power is 0 for float32's purposes.
_LEAST_RATIO = np.float32(0.3)

# (1 + u)^(1/64) = 1 + u (c0 + c1 u + ...) for u from 0 to 1, to float32's last bit: a Chebyshev interpolation.
_ROOT = tuple(map(np.float32, (0.015624858, -0.0076800836, 0.0049588488, -0.003177868, 0.0015185275, -0.0003550741)))


class LaplacianFusion:
    """Running weighted mean of every pyramid level, and running extremes of every pixel.

    Attributes
    ----------
    added_light : bool
        Whether the last image was corrected as one whose light adds.
    """

    def __init__(self, setting: FusionSetting) -> None:
        self.setting = setting
        self.added_light = False
        shapes = setting.analysis.shapes
        channels = setting.channels
        self._mean = [np.zeros((channels, *s), np.float32) for s in shapes]
        # (sum of A^64)^(1/64): all that the next slice needs to know its share of the mean.
        self._total = [np.zeros(s, np.float32) for s in shapes]
        denoising = setting.denoise > 0
        self._squares = [np.zeros(s if denoising else (0, 0), np.float32) for s in shapes]
        self._range = ValueRange((channels, *shapes[0]), setting.dtype)
        # A stream of unknown length may turn out to be short.
        self._whole = WholePixels(setting) if setting.slices <= MOST_SLICES else None
        self._following = FollowingMean(setting) if setting.phase is not None else None
        enough = setting.analysis.levels >= LEVELS_FOR_MEAN and not 0 < setting.slices < LEAST_SLICES
        self._slice_mean = SliceMean(setting.analysis, setting.whole) if enough else None

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in slice k, a contiguous array of shape (y, x, c), colour channels only."""
        run_together(*self.parts_of_adding(k, image, analysis))

    def parts_of_adding(
        self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return what `add` does as two jobs of like length that may be done at the same time."""
        return lambda: self._add_finest(k, image, analysis), lambda: self._add_coarser(k, analysis)

    def _add_finest(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in what is at full size, and of whole slices."""
        if self.setting.surely_transparent:
            self._range.add(self._planes_of(image, analysis), analysis.holes)
            return
        self._mix_finest(image, strength(analysis, 0, self._preference(k)), analysis)
        if self._whole is not None:
            self._whole.add(image, analysis)
        if self._slice_mean is not None:
            self._slice_mean.add(analysis)

    def _add_coarser(self, k: int, analysis: SliceAnalysis) -> None:
        """Take in the levels above the finest."""
        if self.setting.surely_transparent:
            return
        preference = self._preference(k)
        for level in range(1, analysis.levels):
            last = strength(analysis, level, preference)
            self._mix(level, last, analysis)
        # The base is decided by the last level; that of level 0 has half its size already.
        base = strength(analysis, 0, preference) if analysis.levels == 1 else reduce(last)
        self._mix(analysis.levels, base, analysis)

    def follow(self, k: int, analysis: SliceAnalysis) -> None:
        """Take in slice k for transparent specimens, once `FusionSetting.phase` knows it.

        `add` may run at the same time.
        """
        if self._following is not None and self.setting.phase is not None:
            self._following.add(self.setting.phase, self._preference(k), analysis)

    def _preference(self, k: int) -> float:
        last = max(self.setting.slices - 1, 1)
        return float(np.exp(self.setting.z_preference * k / last))

    def _mix_finest(self, image: npt.NDArray[Any], strengths: FloatImage, analysis: SliceAnalysis) -> None:
        """Update the mean of level 0, and the extremes of its pixels."""
        self._range.rows = analysis.rows[0]
        extremes = self._range.to_extend(analysis.finest)
        if extremes is None:
            self._range.add(self._planes_of(image, analysis), analysis.holes)
            # Of one dtype for all stacks that are looked at in floats.
            nothing = np.empty((0, 0, 0), analysis.finest.dtype)
            extremes = nothing, nothing
        run_rows(
            _mix_finest_band,
            analysis.rows[0],
            self.setting.shape[1],
            analysis.finest,
            analysis.gaussians[0],
            strengths,
            analysis.valid[0] if analysis.valid is not None else _EVERYWHERE,
            self._mean[0],
            self._total[0],
            self._squares[0],
            *extremes,
        )

    def _planes_of(self, image: npt.NDArray[Any], analysis: SliceAnalysis) -> npt.NDArray[Any]:
        """Return a slice in its own numbers, shape (c, y, x)."""
        return analysis.finest if analysis.scaling.is_identity else np.moveaxis(image, -1, 0)

    def _mix(self, level: int, strengths: FloatImage, analysis: SliceAnalysis) -> None:
        """Update the mean of a level above the finest."""
        fine = analysis.gaussians[level - 1]
        coarse = analysis.gaussians[level] if level < analysis.levels else fine[:, :0, :0].copy()
        means = self._mean[level], self._total[level], self._squares[level]
        run_rows(_mix_band, analysis.rows[level], fine.shape[2], fine, coarse, strengths, *means)

    def image(self) -> npt.NDArray[Any]:
        """Return the fused image of the slices so far, shape (y, x, c), in the stack's dtype."""
        phase = self.setting.phase
        transparent = phase.share() if phase is not None else np.zeros((1, 1), np.float32)
        opaque = phase is None or phase.largest_share() == 0
        rebuilt = self.setting.analysis.room_for_planes()
        compose = self._compose
        self.added_light = False
        if transparent.min() < 1:
            self._rebuild(rebuilt)
            if self._slice_mean is not None and self._slice_mean.usable():
                # Only the planes, which are the rebuilt image, are needed.
                self.setting.analysis.release()
                self._range.hold(rebuilt, self.setting.analysis.scaling)
                self.added_light = opaque and self._corrected_glow(rebuilt, self._slice_mean)
                if self.added_light:
                    compose = self._as_rebuilt
                else:
                    lift_veils(rebuilt, self._slice_mean, self._move)
        if self._following is not None and phase is not None and not opaque:
            self._following.blend_into(rebuilt, transparent, phase.stain())
        # Rows that are not worked on are black.
        out = np.zeros((*self.setting.shape, self.setting.channels), self.setting.dtype)
        whole = self._whole.decided() if self._whole is not None and opaque else None
        run_rows(_compose_band, self.setting.analysis.rows[0], out.shape[1], rebuilt, whole, compose, out)
        return out

    def _corrected_glow(self, rebuilt: FloatImage, mean: SliceMean) -> bool:
        """Correct a rebuilt image in place where light adds; return whether it does."""
        if self.setting.glowing is None:
            return False
        glow = GlowingLight(mean, self.setting.surely_glowing)
        return glow.expected(len(rebuilt)) and glow.correct(rebuilt, self.setting.glowing.half_heights, self._move)

    def _move(self, plane: FloatImage, channel: int, block: Block, correction: FloatImage) -> None:
        self._range.move(plane, channel, block, correction, self.setting.analysis.scaling)

    def _compose(self, image: FloatImage, whole: Decision | None, rows: slice, channel: int) -> npt.NDArray[Any]:
        """Return rows of a rebuilt, scaled channel in the stack's dtype and within the range of the slices."""
        if self._whole is not None and whole is not None:
            gray = self._whole.mixed(image, whole, self._range, rows, channel)
        else:
            gray = self.setting.analysis.scaling.to_gray_levels(image, self.setting.dtype)
        return self._range.clip(gray, rows, channel)

    def _as_rebuilt(self, image: FloatImage, whole: Decision | None, rows: slice, channel: int) -> npt.NDArray[Any]:
        """Return rows of a rebuilt, scaled channel: where lights add up, it is brighter than any slice."""
        return self.setting.analysis.scaling.to_gray_levels(image, self.setting.dtype)

    def _rebuild(self, out: FloatImage) -> None:
        """Put the image of the mean pyramid into an array of shape (c, y, x)."""
        top = len(self._mean) - 1
        image = self._mean[top]
        for level in range(top - 1, -1, -1):
            fine = out if level == 0 else np.empty_like(self._mean[level])
            detail = self._mean[level]
            if self.setting.denoise > 0:
                np.copyto(fine, detail)
                detail = fine
                self._denoise(fine, level, image)
            for c in range(len(fine)):
                with_detail(image[c], detail[c], fine[c])
            image = fine

    def _denoise(self, detail: FloatImage, level: int, coarse: FloatImage) -> None:
        """Shrink the detail to the share that noise does not explain (Wiener 1949), in place."""
        analysis = self.setting.analysis
        share = self._squares[level]
        for c in range(len(detail)):
            around = expand(coarse[c], size_of(share))
            variance = np.maximum(analysis.gain[c] * around + analysis.offset[c], analysis.least_variance)
            variance *= np.float32(self.setting.denoise * analysis.noise_gains[level]) * share
            energy = blur5(blur5(detail[c] ** 2))
            detail[c] *= np.maximum(1 - variance / np.maximum(energy, np.float32(1e-30)), 0)


def _compose_band(
    rebuilt: FloatImage,
    whole: Decision | None,
    compose: Callable[[FloatImage, Decision | None, slice, int], npt.NDArray[Any]],
    out: npt.NDArray[Any],
    *band: int,
) -> None:
    for rows in strips(*band, width=out.shape[1]):
        for c in range(out.shape[2]):
            out[rows, :, c] = compose(rebuilt[c, rows], whole, rows, c)


@row_function
def _counted_in(new, old):  # type: ignore[no-untyped-def]
    """Return the share of a slice of strength `new` in the mean, and the total with it, of which `old` was without."""
    c0, c1, c2, c3, c4, c5 = _ROOT
    one = np.float32(1)
    larger = max(new, old)
    # Of the powers of the two, over the larger one, the other is 1.
    u = max(min(new, old) / larger, _LEAST_RATIO)
    u *= u
    u *= u
    u *= u
    u *= u
    u *= u
    u *= u
    part = one / (one + u)
    root = multiply_add(u, c5, c4)
    root = multiply_add(u, root, c3)
    root = multiply_add(u, root, c2)
    root = multiply_add(u, root, c1)
    root = multiply_add(u, root, c0)
    total = larger * multiply_add(u, root, one)
    return part if new >= old else u * part, total


@row_function
def _add_squares(share, square):  # type: ignore[no-untyped-def]
    for x in range(share.shape[0]):
        rest = np.float32(1) - share[x]
        square[x] = square[x] * (rest * rest) + share[x] * share[x]


@kernel
def _mix_finest_band(  # type: ignore[no-untyped-def]
    fine, coarse, strength, valid, mean, total, squares, low, high, first, last
):
    """Update the running means of level 0, and the extremes where these are not empty; `strength` has half the size."""
    channels, h, w = fine.shape
    line = np.empty(coarse.shape[2], np.float32)
    strengths = np.empty(w, np.float32)
    around = np.empty(w, np.float32)
    share = np.empty(w, np.float32)
    for y in range(first, last):
        sums = total[y]
        # The strengths, and then the channels: each place where a row function is called is compiled anew.
        for c in range(-1, channels):
            expand_row(strength if c < 0 else coarse[c], y, h, line, strengths if c < 0 else around)
            if c < 0:
                if valid.shape[0] > 0:
                    for x in range(w):
                        strengths[x] *= np.float32(1) if valid[y, x] else LEAST_VALID
                continue
            source = fine[c, y]
            out = mean[c, y]
            if c == 0:
                # In one loop: memory is read and written while the arithmetic goes on.
                for x in range(w):
                    part, sums[x] = _counted_in(strengths[x], sums[x])
                    share[x] = part
                    out[x] = multiply_add(part, np.float32(source[x]) - around[x] - out[x], out[x])
            else:
                for x in range(w):
                    out[x] = multiply_add(share[x], np.float32(source[x]) - around[x] - out[x], out[x])
        if squares.shape[0] > 0:
            _add_squares(share, squares[y])
        for c in range(low.shape[0]):
            source = fine[c, y]
            smallest, largest = low[c, y], high[c, y]
            for x in range(w):
                smallest[x] = min(smallest[x], source[x])
                largest[x] = max(largest[x], source[x])


@kernel
def _mix_band(fine, coarse, strength, mean, total, squares, first, last):  # type: ignore[no-untyped-def]
    """Update the running means of a level above the finest; `coarse` is empty for the base."""
    channels, h, w = fine.shape
    line = np.empty(coarse.shape[2], np.float32)
    around = np.zeros(w, np.float32)
    share = np.empty(w, np.float32)
    for y in range(first, last):
        new = strength[y]
        sums = total[y]
        for x in range(w):
            share[x], sums[x] = _counted_in(new[x], sums[x])
        if squares.shape[0] > 0:
            _add_squares(share, squares[y])
        for c in range(channels):
            if coarse.shape[1] > 0:
                expand_row(coarse[c], y, h, line, around)
            source = fine[c, y]
            out = mean[c, y]
            for x in range(w):
                out[x] = multiply_add(share[x], source[x] - around[x] - out[x], out[x])
