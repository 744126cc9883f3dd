"""Transparent specimens in bright field: whether a stack is one, and where its focus is.

Out of focus, phase turns into contrast, dark on one side of focus and bright on
the other: coarse detail is stronger away from focus, and contrast has a dip, not
a peak, where phase is in focus. What does peak there is its change along z (the
transport of intensity: Teague 1983). If D is the detail of one band, defocus
turns absorption a and phase p of the specimen into

    D = a cos(w z) + p sin(w z),    dD/dz = w (p cos(w z) - a sin(w z)),

so that D^2 + (dD/dz)^2 / w^2 = a^2 + p^2 whatever their mixture: in partially
coherent light its envelope is largest at focus. Nothing else turns contrast
over: where the brightest and the darkest detail of a pixel over all slices are
alike, the specimen is transparent; blur alone leaves the sign as it is. Regions
are judged one by one: cells may lie beside grains of sand.

Where stain decides rather than phase, contrast is honest. That shows at the peak
of the measure, where contrast is then more of it than its change.

References
----------
Teague, Deterministic phase retrieval: a Green's function solution, JOSA 73, 1434-1441 (1983).
Streibl, Phase imaging by the transport equation of intensity, Optics Communications 49, 6-10 (1984).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..height.peaks import HeightMaps, PeakTracker, doubled
from ..kernels import kernel_of_sums, row_function, run_bands, run_together, strips
from ..pyramid import FloatImage, expand, level_shapes, reduce, size_of
from ..whole_image import Whole
from .axial_change import BandChange, detail_row, smoothed
from .drift import Drift
from .prominence import Prominence

# The band whose statistics are taken: level 0 is too noisy, coarser ones have long periods along z.
_LEVEL = 1
LEAST_LEVELS = _LEVEL + 1

_SKIP = 4

# What is known of regions has the size of this level: every fourth row and column of the band.
_SHARE_LEVEL = _LEVEL + 2
_LEAST_MEASURE, _MOST_MEASURE = np.float32(1e-6), np.float32(1e15)

# 1 / w^2, in slices^2, where noise hides it, and how much noise hides it.
_USUAL_PERIOD = 8.0
_DOUBT = 0.5
_PERIODS = (0.3, 32.0)

# What the first two slices are judged by: rather too little of the change than too much.
_FIRST_PERIOD = 2.0

# 1 / w^2 is the mean square of dD/dz over that of d2D/dz2, which the fastest detail rules; the measure's is longer.
_PERIOD_FACTOR = 2.0

# 1 / w^2 of level 0 over that of level 1.
_FINE_PERIOD = 0.4

# From this measure on, noise hides nothing of it.
_CLEAR = np.float32(3)

# How much clearer the smoothed measure rises above noise than an unsmoothed one.
_EVIDENCE = 8

# Share of contrast that turns over. Blur alone leaves 0.01 to 0.085, weak phase in strong noise 0.12.
_OPAQUE, _TRANSPARENT = 0.095, 0.12

# The same around a pixel: where a transparent region begins and ends to fade in, in a stack that is opaque as a
# whole, and in one that is transparent. Opaque scenes reach 0.126 somewhere, cells in strong noise fall to 0.105.
_IN_OPAQUE, _IN_TRANSPARENT = (0.13, 0.2), (0.07, 0.1)

# Square of contrast, in units of the noise, that a broader view adds to what is around a pixel.
_PRIOR = 1.0

# What is added to the share where regions count by it, so that none counts for nothing.
_LEAST_TURNED = np.float32(0.02)

# Share of contrast, not of its change, in the measure where that has its peak: a^2 / (a^2 + p^2). Cells by wave
# optics have 0.03 to 0.33, whatever their phase; a stained blood smear of 10 slices 0.73, and 0.62 once it is aligned.
_SHARE_PHASE, _SHARE_STAIN = 0.4, 0.5

# Change along z there, over the mean change. Cells have 1.2 (4 slices), 1.5 (5 slices) and 1.8 to 4 (more), whatever
# their phase and stain; the smear 1.0, and 1.33 once it is aligned, for drift is change in every slice. Stain is what
# both figures say. Where the change is not clear of noise, slices that were resampled have less of it than others, and
# cells have down to 1.3 and a share of 0.6: there the second figure has to say more.
_RISE_STAIN, _RISE_PHASE = 1.05, 1.2
_MORE_WHERE_CLEAR = 0.35
_HIDDEN_CHANGE, _CLEAR_CHANGE = 20.0, 60.0

# Change along z in units of its noise: below it says nothing of stain.
_LEAST_CHANGE = 0.1

# Mean intensity as a share of the range. In bright field the ground is bright: 0.56 to 0.85, and 0.63 on a
# blood smear. Beads on a dark ground, whose crossing blurs turn over up to 0.09, have 0.04 to 0.11.
_DARK, _BRIGHT = 0.3, 0.45

# What the mean of some pixels may be off that of all of them.
_OFF = 0.02

# Correlation of neighbouring slices, from none to full. Below it they are too far apart: a turn cannot be told from
# a move, which the second pair is for, and means of two are blurred.
_WHEN_STEADY, _WHEN_MOVING = (0.12, 0.18), (0.3, 0.5)

# Share of the change along z that is a shift or a zoom of the picture. Cells have up to 0.02, a blood smear 0.02,
# opaque scenes 0.1; those that shift by half a pixel a slice 0.12 to 0.29, by 1 to 12 px 0.5 to 0.87.
_STEADY, _MOVING = 0.12, 0.25


class PhaseTracker:
    """Running statistics of one band along z; `add` after every `SliceAnalysis.load`, in order along z.

    Parameters
    ----------
    analysis : SliceAnalysis
        Of at least `LEAST_LEVELS` levels.
    light : str
        "auto", or "transparent" where the user says so.
    gray_range : tuple of float
        Darkest and brightest intensity of the stack, scaled.
    only_share : bool
        Nothing but `share` is asked for; then `SliceAnalysis.glance` is enough.
    whole : Whole or None
        The image that the slices may be a part of.

    Attributes
    ----------
    contrast : float32 array, shape (y / 4, x / 4)
        Focus measure of a stained specimen in this slice, 1 in pure noise.
    interrupted : bool
        Set it where a slice has nothing to say: what changes along z is then not known, and `share` is 0.
    """

    def __init__(
        self,
        analysis: SliceAnalysis,
        light: str,
        gray_range: tuple[float, float],
        *,
        only_share: bool = False,
        whole: Whole | None = None,
    ) -> None:
        self._whole = whole or Whole()
        self._shapes = analysis.shapes
        self._light = light
        self._only_share = only_share
        self._gray_range = gray_range
        self._mean_intensity = 0.0
        self._drift = Drift(analysis)
        self._band, self._fine = BandChange(analysis, _LEVEL), BandChange(analysis, 0)
        # Statistics of the whole stack need every fourth row only.
        shape = self._shapes[_LEVEL]
        rows = (shape[0] + _SKIP - 1) // _SKIP, shape[1]
        self._change, self._brightest, self._darkest = (np.zeros(rows, np.float32) for _ in range(3))
        # What `share` makes no use of: clearing it takes as long as a slice.
        quarter = (0, 0) if only_share else self._shapes[_LEVEL + 1]
        self._of_change, self._of_contrast = (
            PeakTracker(shape, quarter, smooth=True, whole=self._whole, name=name) for name in ("change", "contrast")
        )
        self._change_tells, self._contrast_tells = (Prominence(quarter) for _ in range(2))
        self._largest, self._middle_there, self._change_there = (np.zeros(quarter, np.float32) for _ in range(3))
        # Of regions: mean change, and sums over slices of (dD)^2 and (ddD)^2; the noise of one value each.
        regions = level_shapes(*self._shapes[0], _SHARE_LEVEL)[_SHARE_LEVEL]
        self._mean_change, self._changes, self._bends = (np.zeros(regions, np.float32) for _ in range(3))
        # Contrast that turns over so far, and all of it.
        self._turned, self._contrast = (np.zeros(regions, np.float32) for _ in range(2))
        self._noise_of_changes = self._noise_of_bends = 0.0
        self._count = 0
        self._variance = 0.0
        # Sums over pixels and slices: of D^2 and (dD)^2, without their noise.
        self._sums = np.zeros(2)
        self.contrast, self._change_focus = (np.zeros(quarter, np.float32) for _ in range(2))
        self.interrupted = False

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the slice that was loaded last."""
        variance = self._variance_of(analysis, _LEVEL)
        self.add_to_share([analysis])
        # Two bands one after the other: at the end of this, little room is left.
        middle, change = self._band.add(analysis)
        period = self._whole.number(f"phase: period of slice {self._count}", self._period)
        coarse = _measure(middle, change, period, _USUAL_PERIOD, variance)
        fine_variance = self._variance_of(analysis, 0)
        fine = _measure(*self._fine.add(analysis), _FINE_PERIOD * period, _FINE_PERIOD * _USUAL_PERIOD, fine_variance)
        self._add_contrast(variance, fine_variance)
        if self._count > 1:
            self._add_change(coarse, fine, middle, change)

    def add_to_share(self, analyses: Sequence[SliceAnalysis]) -> None:
        """Take in the next slices as far as `share` needs them."""

        def statistics() -> None:
            for analysis in analyses:
                self._add_statistics(analysis)

        def drift() -> None:
            for analysis in analyses:
                self._drift.add(analysis)

        if len(analyses) == 1:
            # Too little to wake another thread for.
            statistics()
            drift()
        else:
            run_together(statistics, drift)

    def _variance_of(self, analysis: SliceAnalysis, level: int) -> float:
        name = f"phase: variance of slice {self._count}, level {level}"
        return self._whole.number(name, lambda: analysis.detail_variance(level))

    def _add_contrast(self, variance: float, fine_variance: float) -> None:
        contrast = _in_noise(self._band.square, variance)
        contrast *= _in_noise(self._fine.square, fine_variance)
        np.sqrt(contrast, out=contrast)
        self._contrast_tells.add(contrast)
        self.contrast[...] = _with_surroundings(contrast)
        self._of_contrast.track(_evidence(self.contrast))

    def _add_change(self, coarse: FloatImage, fine: FloatImage, middle: FloatImage, change: FloatImage) -> None:
        root = np.sqrt(coarse * fine)
        self._change_focus[...] = _with_surroundings(root)
        larger = self._change_focus > self._largest
        np.copyto(self._middle_there, middle, where=larger)
        np.copyto(self._change_there, change, where=larger)
        np.maximum(self._largest, self._change_focus, out=self._largest)
        self._mean_change += (reduce(change) - self._mean_change) * np.float32(1 / (self._count - 1))
        # A height has to rise above the noise more than a mean of slices has to.
        for_height = _for_height(coarse, fine, root)
        self._change_tells.add(for_height)
        self._of_change.track(_evidence(_with_surroundings(for_height)))

    @property
    def change_focus(self) -> FloatImage | None:
        """Focus measure of phase half way between the slice before and this one, shape (y / 4, x / 4).

        1 in pure noise; None at the first slice.
        """
        return self._change_focus if self._count > 1 else None

    def _add_statistics(self, analysis: SliceAnalysis) -> None:
        variance = self._variance_of(analysis, _LEVEL)
        self._count += 1
        self._variance += (variance - self._variance) / self._count
        self._mean_intensity += (analysis.mean_intensity - self._mean_intensity) / self._count
        band = analysis.gaussians[_LEVEL - 1], analysis.gaussians[_LEVEL], analysis.deciding
        kept = self._change.shape
        sums = np.zeros((2, kept[0]))
        extremes = self._brightest, self._darkest
        pooled = np.empty((4, *self._changes.shape), np.float32)
        # What noise alone reaches in so many slices is taken off both extremes.
        reach = np.float32(0.77 * np.sqrt(2 * np.log(max(self._count, 2)) * self._variance))
        run_bands(
            _statistics_band,
            *kept,
            *band,
            reach,
            self._band.detail,
            self._only_share,
            self._change,
            *extremes,
            pooled,
            sums,
        )
        self._turned, self._contrast = pooled[2], pooled[3]
        if self._count > 1:
            self._changes += pooled[0]
            self._sums += sums.sum(axis=1) - variance * self._change.size * np.array([0.5, 2])
            self._noise_of_changes += 2 * variance
        if self._count > 2:
            self._bends += pooled[1]
            self._noise_of_bends += 6 * variance

    def _period(self) -> float:
        """Return 1 / w^2 of the band, in slices^2: what a change along z counts beside contrast."""
        if self._count < 3:
            return _FIRST_PERIOD
        clear = self._clear_regions()
        change, bend = (
            max(float(np.sum(clear * image, dtype=np.float64)) - noise, 0.0)
            for image, noise in ((self._changes, self._noise_of_changes), (self._bends, self._noise_of_bends))
        )
        doubt = _DOUBT * self._noise_of_bends
        period = (change * _PERIOD_FACTOR + doubt * _USUAL_PERIOD) / max(bend + doubt, 1e-30)
        return float(np.clip(period, *_PERIODS))

    def _clear_regions(self) -> FloatImage:
        """Return what every region counts in a figure that is one of the transparent ones: 1 together.

        What is opaque beside them changes in another way, and its contrast may be ten times as strong.
        """
        weight = self._turned_over_around() ** 2 + _LEAST_TURNED**2
        weight /= weight.sum(dtype=np.float64)
        return np.asarray(weight, np.float32)

    def share(self) -> FloatImage:
        """Return how much each region is of a transparent specimen, shape (y / 8, x / 8): 0 not at all, 1 surely."""
        shape = level_shapes(*self._shapes[0], _SHARE_LEVEL)[_SHARE_LEVEL]
        if self._count < 3 or self.interrupted:
            return np.zeros(shape, np.float32)
        if self._light == "transparent":
            return np.ones(shape, np.float32)
        possible = self._whole.number("phase: possible", self._possible)
        whole = possible * _rise(self.turned_over(), _OPAQUE, _TRANSPARENT)
        first, last = (
            opaque + whole * (clear - opaque) for opaque, clear in zip(_IN_OPAQUE, _IN_TRANSPARENT, strict=True)
        )
        return np.asarray(possible * _rise(self._turned_over_around(), first, last), np.float32)

    def largest_share(self) -> float:
        """Return the largest `share` of any region: 0 where all of the stack is opaque."""
        return self._whole.number("phase: largest share", lambda: float(self.share().max()))

    def smallest_share(self) -> float:
        """Return the smallest `share` of any region: 1 where all of the stack is transparent."""
        return self._whole.number("phase: smallest share", lambda: float(self.share().min()))

    def mean_share(self) -> float:
        """Return the mean `share`."""
        return self._whole.number("phase: mean share", lambda: float(self.share().mean()))

    def _possible(self) -> float:
        moving = _rise(self._drift.share(), _STEADY, _MOVING)
        limits = (still + moving * (moved - still) for still, moved in zip(_WHEN_STEADY, _WHEN_MOVING, strict=True))
        return float(_rise(self.correlation(), *limits) * _rise(self.brightness(), _DARK, _BRIGHT))

    def stain(self) -> float:
        """Return how much stain makes the contrast of a transparent specimen, rather than phase: 0 to 1."""
        return self._whole.number("phase: stain", self._own_stain)

    def _own_stain(self) -> float:
        if self._count < 3:
            return 0.0
        clear = self.share()
        # Where nothing is transparent, all counts alike.
        clear = clear if clear.max() > 0 else np.ones_like(clear)
        middle, change, mean = (
            float(np.average(image, weights=clear))
            for image in (reduce(self._middle_there), reduce(self._change_there), self._mean_change)
        )
        # Of the mean of two slices and of their difference.
        middle -= 0.5 * self._variance
        noise = 2 * self._variance
        change, mean = change - noise, mean - noise
        if mean < _LEAST_CHANGE * noise:
            return 0.0
        share = middle / max(middle + self._period() * change, 1e-30)
        by_share = _rise(share, _SHARE_PHASE, _SHARE_STAIN)
        more = (
            _MORE_WHERE_CLEAR * _rise(mean / noise, _HIDDEN_CHANGE, _CLEAR_CHANGE) if noise > 0 else _MORE_WHERE_CLEAR
        )
        by_rise = 1 - _rise(change / mean, _RISE_STAIN + more, _RISE_PHASE + more)
        return float(min(by_share, by_rise))

    def brightness(self) -> float:
        """Return where the mean intensity lies between the darkest, 0, and the brightest, 1."""
        return _brightness(self._mean_intensity, self._gray_range)

    def turned_over(self) -> float:
        """Return the share of contrast that is bright in some slice and dark in another."""
        return self._whole.number("phase: turned over", self._own_turned_over)

    def _own_turned_over(self) -> float:
        whole = float(self._contrast.sum(dtype=np.float64))
        return float(self._turned.sum(dtype=np.float64)) / max(whole, 1e-30)

    def _turned_over_around(self) -> FloatImage:
        """Return what `turned_over` is around every pixel, shape (y / 8, x / 8)."""
        # Where noise hides it, what a broader view shows, and in the end the whole stack.
        prior = np.float32(max(_PRIOR * self._variance, 1e-30))
        around = np.full(self._turned.shape, self.turned_over(), np.float32)
        for view in (_broad, _wide):
            around = (view(self._turned) + prior * around) / (view(self._contrast) + prior)
        return around

    def correlation(self) -> float:
        """Return the correlation of neighbouring slices, without noise."""
        # Of the mean of two and of their difference: <DD'> = m - d / 4, <D^2> = m + d / 4.
        mean, change = self._sums[0], max(self._sums[1], 0.0) / 4
        return float((mean - change) / max(mean + change, 1e-30))

    def maps(self, *, fill: bool, smoothing_px: float, halo_radius_px: float) -> HeightMaps:
        """Return the maps of a transparent specimen at full size; parameters as for `PeakTracker.maps`."""
        return full_maps(
            self.half_maps(fill=fill, smoothing_px=smoothing_px, halo_radius_px=halo_radius_px),
            self._shapes[0],
            self._count,
        )

    def half_maps(self, *, fill: bool, smoothing_px: float, halo_radius_px: float) -> HeightMaps:
        """Return the same at half size."""
        tracker, tells = self._told_by()
        found = tracker.maps(
            fill=fill,
            smoothing_px=smoothing_px / 2,
            halo_radius_px=halo_radius_px / 2,
            evidence=tells.evidence(),
        )
        return found if self._stained() else half_way(found, self._count)

    def unfilled(self, halo_radius_px: float) -> FloatImage:
        """Return what `PeakTracker.unfilled` does, at a quarter of the size."""
        tracker, tells = self._told_by()
        return tracker.unfilled(halo_radius_px / 2, tells.evidence())

    def _stained(self) -> bool:
        return self.stain() > 0.5

    def _told_by(self) -> tuple[PeakTracker, Prominence]:
        if self._stained():
            return self._of_contrast, self._contrast_tells
        return self._of_change, self._change_tells


def surely_dark(intensity: float, gray_range: tuple[float, float]) -> bool:
    """Return whether a stack of such a mean intensity, told by some of its pixels, is too dark to be transparent.

    Intensities are scaled; one that is not finite tells nothing.

    Examples
    --------
    >>> surely_dark(20.0, (0.0, 200.0)), surely_dark(60.0, (0.0, 200.0)), surely_dark(float("nan"), (0.0, 200.0))
    (True, False, False)
    """
    return _brightness(intensity, gray_range) < _DARK - _OFF


def _brightness(intensity: float, gray_range: tuple[float, float]) -> float:
    """Return where an intensity lies between the darkest, 0, and the brightest, 1."""
    low, high = gray_range
    return (intensity - low) / max(high - low, 1e-30)


def half_way(maps: HeightMaps, slices: int) -> HeightMaps:
    """Return the maps of a peak of change, which lies half way between slices."""
    height = maps.height + np.float32(0.5)
    index = _nearest(height, maps.index + np.float32(0.5), slices)
    return HeightMaps(index=index, height=height, confidence=maps.confidence)


def full_maps(half: HeightMaps, shape: tuple[int, int], slices: int) -> HeightMaps:
    """Return maps at full size from those at half."""
    half_height, half_index, half_confidence = half.height, half.index, half.confidence
    # One after the other, as in `PeakTracker.maps`.
    del half
    height = doubled(half_height, shape)
    del half_height
    index = np.empty(shape, np.uint16)
    columns = np.arange(shape[1]) // 2
    for rows in strips(0, shape[0]):
        best = half_index[np.ix_(np.arange(rows.start, rows.stop) // 2, columns)]
        index[rows] = _nearest(height[rows], best, slices)
    del half_index
    return HeightMaps(index=index, height=height, confidence=doubled(half_confidence, shape))


def _nearest(height: FloatImage, otherwise: npt.NDArray[Any], slices: int) -> npt.NDArray[np.uint16]:
    """Return the slice nearest to a height, or to what is taken where there is none."""
    nearest = np.rint(np.where(np.isfinite(height), height, otherwise))
    return np.clip(nearest, 0, slices - 1).astype(np.uint16)


def _in_noise(energy: FloatImage, variance: float) -> FloatImage:
    """Return a mean square of detail in units of the noise."""
    return np.clip(energy * np.float32(1 / variance), _LEAST_MEASURE, _MOST_MEASURE)


def _measure(middle: FloatImage, change: FloatImage, period: float, usual_period: float, variance: float) -> FloatImage:
    """Return energy plus `period` times the change along z: 1 in noise of this variance, whatever the period."""
    noise = 0.5 + 2 * usual_period
    energy: FloatImage = change * np.float32(period)
    energy += middle
    energy *= np.float32(1 / (variance * noise))
    energy += np.float32(2 * (usual_period - period) / noise)
    return np.clip(energy, _LEAST_MEASURE, _MOST_MEASURE, out=energy)


def _for_height(coarse: FloatImage, fine: FloatImage, root: FloatImage) -> FloatImage:
    """Return `root`, the geometric mean of two measures, the coarse one counting threefold where noise hides both.

    The measures are used up.
    """
    hidden = np.clip((_CLEAR - root) / (_CLEAR - 1), 0, 1)
    hidden *= np.float32(0.25)
    coarse /= fine
    np.power(coarse, hidden, out=coarse)
    coarse *= root
    return coarse


def _evidence(measure: FloatImage) -> FloatImage:
    """Return a smoothed measure as the energy that a `PeakTracker` wants."""
    # Smoothing took most of the noise away: what little is left above 1 is evidence.
    evidence: FloatImage = measure - np.float32(1)
    evidence *= np.float32(_EVIDENCE)
    evidence += np.float32(1)
    return np.maximum(evidence, np.float32(0.05), out=evidence)


def at_half_size(share: FloatImage, shapes: list[tuple[int, int]]) -> FloatImage:
    """Return what `PhaseTracker.share` gives at the size of level 1."""
    return expand(expand(share, shapes[2]), shapes[1])


def _rise(value: Any, none: float, full: float) -> Any:
    """Return 0 up to `none`, rising to 1 at `full`."""
    return np.clip((value - none) / (full - none), 0, 1)


def _with_surroundings(measure: FloatImage) -> FloatImage:
    """Return a measure times what lies around it: phase alone can have a second peak along z."""
    around = expand(_wide(reduce(measure)), size_of(measure))
    around *= measure
    return np.sqrt(around, out=around)


def _wide(image: FloatImage) -> FloatImage:
    """Return an image smoothed by a standard deviation of 4 px."""
    return expand(smoothed(reduce(image)), size_of(image))


def _broad(image: FloatImage) -> FloatImage:
    """Return an image smoothed by a standard deviation of 16 px."""
    half = reduce(image)
    return expand(expand(_wide(reduce(half)), size_of(half)), size_of(image))


@row_function
def _pool(row, means):  # type: ignore[no-untyped-def]
    """Write the mean of every four elements of `row`; of fewer at its end."""
    w = row.shape[0]
    for i in range(w // _SKIP):
        at = _SKIP * i
        means[i] = np.float32(0.25) * (row[at] + row[at + 1] + row[at + 2] + row[at + 3])
    for i in range(w // _SKIP, means.shape[0]):
        rest = np.float32(0)
        for x in range(_SKIP * i, w):
            rest += row[x]
        means[i] = rest / np.float32(w - _SKIP * i)


@kernel_of_sums
def _statistics_band(  # type: ignore[no-untyped-def]
    fine, coarse, deciding, reach, detail, keep, change, brightest, darkest, pooled, sums, first, last
):
    """Update the extremes of every fourth row; of four columns each, put the means of what tells of regions.

    Put the sums of squares of the mean and the change along z. `keep` the new detail for the next slice.
    """
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    telling = np.empty((4, w), np.float32)
    steps, bent, over, whole = telling[0], telling[1], telling[2], telling[3]
    for j in range(first, last):
        detail_row(fine, coarse, deciding, _SKIP * j, line, row, new)
        old = detail[_SKIP * j]
        s = np.float32(0)
        d = np.float32(0)
        for x in range(w):
            step = new[x] - old[x]
            bend = step - change[j, x]
            middle = np.float32(0.5) * (new[x] + old[x])
            s += middle * middle
            d += step * step
            steps[x] = step * step
            bent[x] = bend * bend
            change[j, x] = step
            high = max(brightest[j, x], new[x])
            low = min(darkest[j, x], new[x])
            brightest[j, x] = high
            darkest[j, x] = low
            bright = max(high - reach, np.float32(0))
            dark = max(-low - reach, np.float32(0))
            most = max(bright, dark)
            over[x] = bright * dark
            whole[x] = most * most
        if keep:
            for x in range(w):
                old[x] = new[x]
        # One call in a loop that is not unrolled: each call of a row function is compiled anew.
        for n in range(pooled.shape[0]):
            _pool(telling[n], pooled[n, j])
        sums[0, j] = s
        sums[1, j] = d
