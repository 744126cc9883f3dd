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
alike, the specimen is transparent; blur alone leaves the sign as it is.

Where stain decides rather than phase, contrast is honest. That shows in the
change, which then is no larger where the measure has its peak than elsewhere.

References
----------
Teague, Deterministic phase retrieval: a Green's function solution, JOSA 73, 1434-1441 (1983).
Streibl, Phase imaging by the transport equation of intensity, Optics Communications 49, 6-10 (1984).
"""

from __future__ import annotations

import numpy as np

from .analysis import SliceAnalysis
from .change import BandChange, detail_row, smoothed
from .height import HeightMaps, PeakTracker, doubled
from .kernels import kernel, run_bands, strips
from .pyramid import FloatImage, expand, reduce, size_of

# The band whose statistics are taken: level 0 is too noisy, coarser ones have long periods along z.
_LEVEL = 1
LEAST_LEVELS = _LEVEL + 1

_SKIP = 4
_LEAST_MEASURE = np.float32(1e-6)

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

# How much clearer the smoothed measure rises above noise than an unsmoothed one.
_EVIDENCE = 8

# Share of contrast that turns over. Blur alone leaves 0.01 to 0.085, weak phase in strong noise 0.12.
_OPAQUE, _TRANSPARENT = 0.095, 0.12

# Change along z where the measure has its peak, over the mean change. Cells by wave optics have 1.2 (4 slices),
# 1.5 (5 slices) and 1.8 to 4 (more), whatever their phase and stain; a stained blood smear of 10 slices 0.9.
_STAIN, _PHASE = 1.05, 1.2

# Change along z in units of its noise: below it says nothing of stain.
_LEAST_CHANGE = 0.1

# Mean intensity as a share of the range. In bright field the ground is bright: 0.56 to 0.85, and 0.63 on a
# blood smear. Beads on a dark ground, whose crossing blurs turn over up to 0.09, have 0.04 to 0.11.
_DARK, _BRIGHT = 0.3, 0.45

# Correlation of neighbouring slices. Below it they are too far apart to tell a turn from a move.
_FAR, _NEAR = 0.3, 0.5


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

    Attributes
    ----------
    contrast : float32 array, shape (y / 4, x / 4)
        Focus measure of a stained specimen in this slice, 1 in pure noise.
    interrupted : bool
        Set it where a slice has nothing to say: what changes along z is then not known, and `share` is 0.
    """

    def __init__(self, analysis: SliceAnalysis, light: str, gray_range: tuple[float, float]) -> None:
        self._shapes = analysis.shapes
        self._light = light
        self._gray_range = gray_range
        self._mean_intensity = 0.0
        self._band, self._fine = BandChange(analysis, _LEVEL), BandChange(analysis, 0)
        # Statistics of the whole stack need every fourth row only.
        shape = self._shapes[_LEVEL]
        rows = (shape[0] + _SKIP - 1) // _SKIP, shape[1]
        self._change, self._brightest, self._darkest = (np.zeros(rows, np.float32) for _ in range(3))
        quarter = self._shapes[_LEVEL + 1]
        self._of_change, self._of_contrast = (PeakTracker(shape, quarter, smooth=True) for _ in range(2))
        self._largest, self._change_there = (np.zeros(quarter, np.float32) for _ in range(2))
        self._mean_change = 0.0
        self._count = 0
        self._variance = 0.0
        # Sums over pixels and slices: of D^2, (dD)^2 and (ddD)^2, without their noise.
        self._sums = np.zeros(3)
        self._noise_of_bend = 0.0
        self.contrast, self._change_focus = (np.zeros(quarter, np.float32) for _ in range(2))
        self.interrupted = False

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the slice that was loaded last."""
        variance = analysis.detail_variance(_LEVEL)
        self._count += 1
        self._variance += (variance - self._variance) / self._count
        self._mean_intensity += (analysis.mean_intensity - self._mean_intensity) / self._count
        self._add_statistics(analysis, variance)
        middle, change = self._band.add(analysis)
        fine_middle, fine_change = self._fine.add(analysis)
        fine_variance = analysis.detail_variance(0)
        contrast = np.sqrt(_in_noise(self._band.square, variance) * _in_noise(self._fine.square, fine_variance))
        self.contrast[...] = _with_surroundings(contrast)
        self._of_contrast.track(_evidence(self.contrast))
        if self._count == 1:
            return
        period = self._period()
        coarse = _measure(middle, change, period, _USUAL_PERIOD, variance)
        fine = _measure(fine_middle, fine_change, _FINE_PERIOD * period, _FINE_PERIOD * _USUAL_PERIOD, fine_variance)
        self._change_focus[...] = _with_surroundings(np.sqrt(coarse * fine))
        self._of_change.track(_evidence(self._change_focus))
        np.copyto(self._change_there, change, where=self._change_focus > self._largest)
        np.maximum(self._largest, self._change_focus, out=self._largest)
        self._mean_change += (float(change.mean()) - self._mean_change) / (self._count - 1)

    @property
    def change_focus(self) -> FloatImage | None:
        """Focus measure of phase half way between the slice before and this one, shape (y / 4, x / 4).

        1 in pure noise; None at the first slice.
        """
        return self._change_focus if self._count > 1 else None

    def _add_statistics(self, analysis: SliceAnalysis, variance: float) -> None:
        band = analysis.gaussians[_LEVEL - 1], analysis.gaussians[_LEVEL], analysis.deciding
        kept = self._change.shape
        sums = np.zeros((3, kept[0]))
        extremes = self._brightest, self._darkest
        run_bands(_statistics_band, *kept, *band, self._count, self._band.detail, self._change, *extremes, sums)
        if self._count > 1:
            noise = variance * self._change.size
            self._sums += sums.sum(axis=1) - noise * np.array([0.5, 2, 6 if self._count > 2 else 0])
            self._noise_of_bend += 6 * noise if self._count > 2 else 0.0

    def _period(self) -> float:
        """Return 1 / w^2 of the band, in slices^2: what a change along z counts beside contrast."""
        if self._count < 3:
            return _FIRST_PERIOD
        _, change, bend = np.maximum(self._sums, 0)
        doubt = _DOUBT * self._noise_of_bend
        period = (change * _PERIOD_FACTOR + doubt * _USUAL_PERIOD) / max(bend + doubt, 1e-30)
        return float(np.clip(period, *_PERIODS))

    def share(self) -> float:
        """Return how much the stack is one of a transparent specimen: 0 not at all, 1 surely."""
        if self._count < 3 or self.interrupted:
            return 0.0
        if self._light == "transparent":
            return 1.0
        turned = (self.turned_over() - _OPAQUE) / (_TRANSPARENT - _OPAQUE)
        near = (self.correlation() - _FAR) / (_NEAR - _FAR)
        bright = (self.brightness() - _DARK) / (_BRIGHT - _DARK)
        return float(np.clip(turned, 0, 1) * np.clip(near, 0, 1) * np.clip(bright, 0, 1))

    def stain(self) -> float:
        """Return how much stain makes the contrast of a transparent specimen, rather than phase: 0 to 1."""
        if self._count < 3:
            return 0.0
        noise = 2 * self._variance
        mean = self._mean_change - noise
        if mean < _LEAST_CHANGE * noise:
            return 0.0
        prominence = (float(self._change_there.mean()) - noise) / mean
        return float(np.clip((_PHASE - prominence) / (_PHASE - _STAIN), 0, 1))

    def brightness(self) -> float:
        """Return where the mean intensity lies between the darkest, 0, and the brightest, 1."""
        low, high = self._gray_range
        return (self._mean_intensity - low) / max(high - low, 1e-30)

    def turned_over(self) -> float:
        """Return the share of contrast that is bright in some slice and dark in another."""
        # What noise alone reaches in so many slices is taken off both.
        reach = np.float32(0.77 * np.sqrt(2 * np.log(max(self._count, 2)) * self._variance))
        bright = np.maximum(self._brightest - reach, 0)
        dark = np.maximum(-self._darkest - reach, 0)
        whole = float(np.sum(np.maximum(bright, dark) ** 2, dtype=np.float64))
        return float(np.sum(bright * dark, dtype=np.float64)) / max(whole, 1e-30)

    def correlation(self) -> float:
        """Return the correlation of neighbouring slices, without noise."""
        # Of the mean of two and of their difference: <DD'> = m - d / 4, <D^2> = m + d / 4.
        mean, change = self._sums[0], max(self._sums[1], 0.0) / 4
        return float((mean - change) / max(mean + change, 1e-30))

    def maps(self, *, fill: bool, smoothing_px: float, halo_radius_px: float) -> HeightMaps:
        """Return the maps of a transparent specimen at full size; parameters as for `PeakTracker.maps`."""
        stained = self.stain() > 0.5
        tracker = self._of_contrast if stained else self._of_change
        half = tracker.maps(
            fill=fill,
            smoothing_px=smoothing_px / 2,
            halo_radius_px=halo_radius_px / 2,
        )
        # Change lies half way between slices.
        between = np.float32(0 if stained else 0.5)
        height = doubled(half.height, self._shapes[0])
        height += between
        index = np.empty(height.shape, np.uint16)
        columns = np.arange(height.shape[1]) // 2
        for rows in strips(0, len(height)):
            best = half.index[np.ix_(np.arange(rows.start, rows.stop) // 2, columns)] + between
            nearest = np.rint(np.where(np.isfinite(height[rows]), height[rows], best))
            index[rows] = np.clip(nearest, 0, self._count - 1)
        return HeightMaps(index=index, height=height, confidence=doubled(half.confidence, self._shapes[0]))


def _in_noise(energy: FloatImage, variance: float) -> FloatImage:
    """Return a mean square of detail in units of the noise."""
    return np.maximum(energy * np.float32(1 / variance), _LEAST_MEASURE)


def _measure(middle: FloatImage, change: FloatImage, period: float, usual_period: float, variance: float) -> FloatImage:
    """Return energy plus `period` times the change along z: 1 in noise of this variance, whatever the period."""
    noise = 0.5 + 2 * usual_period
    energy = middle * np.float32(1 / (variance * noise)) + change * np.float32(period / (variance * noise))
    return np.maximum(energy + np.float32(2 * (usual_period - period) / noise), _LEAST_MEASURE)


def _evidence(measure: FloatImage) -> FloatImage:
    """Return a smoothed measure as the energy that a `PeakTracker` wants."""
    # Smoothing took most of the noise away: what little is left above 1 is evidence.
    return np.maximum(1 + np.float32(_EVIDENCE) * (measure - 1), np.float32(0.05))


def _with_surroundings(measure: FloatImage) -> FloatImage:
    """Return a measure times what lies around it: phase alone can have a second peak along z."""
    half = reduce(measure)
    around = expand(smoothed(reduce(half)), size_of(half))
    return np.asarray(np.sqrt(measure * expand(around, size_of(measure))), np.float32)


@kernel
def _statistics_band(  # type: ignore[no-untyped-def]
    fine, coarse, deciding, count, detail, change, brightest, darkest, sums, first, last
):
    """Update the extremes of every fourth row; put the sums of squares of its mean, change and bend along z."""
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    for j in range(first, last):
        detail_row(fine, coarse, deciding, _SKIP * j, line, row, new)
        old = detail[_SKIP * j]
        s = np.float32(0)
        d = np.float32(0)
        b = np.float32(0)
        for x in range(w):
            step = new[x] - old[x]
            bend = step - change[j, x]
            middle = np.float32(0.5) * (new[x] + old[x])
            s += middle * middle
            d += step * step
            b += bend * bend
            change[j, x] = step
            brightest[j, x] = max(brightest[j, x], new[x])
            darkest[j, x] = min(darkest[j, x], new[x])
        sums[0, j] = s if count > 1 else np.float32(0)
        sums[1, j] = d if count > 1 else np.float32(0)
        sums[2, j] = b if count > 2 else np.float32(0)
