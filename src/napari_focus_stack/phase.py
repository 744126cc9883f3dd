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

References
----------
Teague, Deterministic phase retrieval: a Green's function solution, JOSA 73, 1434-1441 (1983).
Streibl, Phase imaging by the transport equation of intensity, Optics Communications 49, 6-10 (1984).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .analysis import SliceAnalysis
from .height import HeightMaps, PeakTracker, doubled
from .kernels import kernel, row_function, run_bands
from .pyramid import FloatImage, blur5, expand, expand_row, reduce, size_of

# The band whose statistics are taken: level 0 is too noisy, coarser ones have long periods along z.
_LEVEL = 1
LEAST_LEVELS = _LEVEL + 1

# Smoothing of the focus measure: this many 5-tap means at a quarter of the size, a standard deviation of 8 px.
_SMOOTHINGS = 4

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
    focus : float32 array, shape (y / 4, x / 4), or None
        Focus measure half way between the previous slice and this one, 1 in pure noise; None at the first slice.
    interrupted : bool
        Set it where a slice has nothing to say: what changes along z is then not known, and `share` is 0.
    """

    def __init__(self, analysis: SliceAnalysis, light: str, gray_range: tuple[float, float]) -> None:
        self._shapes = analysis.shapes
        self._light = light
        self._gray_range = gray_range
        self._mean_intensity = 0.0
        shape = self._shapes[_LEVEL]
        self._detail = np.zeros(shape, np.float32)
        # Statistics of the whole stack need every fourth row only.
        rows = (shape[0] + _SKIP - 1) // _SKIP, shape[1]
        self._change, self._brightest, self._darkest = (np.zeros(rows, np.float32) for _ in range(3))
        self._fine_detail = np.zeros((self._shapes[2][0], self._shapes[0][1]), np.float32)
        self._tracker = PeakTracker(shape, self._shapes[_LEVEL + 1], smooth=True)
        self._count = 0
        self._variance = 0.0
        # Sums over pixels and slices: of D^2, (dD)^2 and (ddD)^2, without their noise.
        self._sums = np.zeros(3)
        self._noise_of_bend = 0.0
        self.focus: FloatImage | None = None
        self.interrupted = False

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the slice that was loaded last."""
        shape = self._shapes[_LEVEL]
        variance = analysis.detail_variance(_LEVEL)
        self._count += 1
        self._variance += (variance - self._variance) / self._count
        self._mean_intensity += (analysis.mean_intensity - self._mean_intensity) / self._count
        band = analysis.gaussians[_LEVEL - 1], analysis.gaussians[_LEVEL], analysis.deciding
        self._add_statistics(band, variance)
        period = self._period()
        coarse = np.empty(shape, np.float32)
        units = _noise_units(period, _USUAL_PERIOD, variance)
        run_bands(_change_band, *shape, *band, self._detail, *units, coarse)
        fine = self._fine_measure(analysis, period)
        if self._count == 1:
            return
        measure = np.sqrt(_smoothed(reduce(coarse)) * _smoothed(fine))
        # What lies around is heard too: phase alone can have a second peak.
        measure = np.sqrt(measure * _widely_smoothed(measure))
        self.focus = measure
        # Smoothing took most of the noise away: what little is left above 1 is evidence.
        evidence = np.maximum(1 + np.float32(_EVIDENCE) * (measure - 1), np.float32(0.05))
        self._tracker.track(evidence)

    def _add_statistics(self, band: tuple[FloatImage, FloatImage, npt.NDArray[np.int64]], variance: float) -> None:
        kept = self._change.shape
        sums = np.zeros((3, kept[0]))
        extremes = self._brightest, self._darkest
        run_bands(_statistics_band, *kept, *band, self._count, self._detail, self._change, *extremes, sums)
        if self._count > 1:
            noise = variance * self._change.size
            self._sums += sums.sum(axis=1) - noise * np.array([0.5, 2, 6 if self._count > 2 else 0])
            self._noise_of_bend += 6 * noise if self._count > 2 else 0.0

    def _fine_measure(self, analysis: SliceAnalysis, period: float) -> FloatImage:
        """Return the measure of level 0 at a quarter of the size; every fourth row is enough."""
        measure = np.empty(self._shapes[2], np.float32)
        usual = _FINE_PERIOD * _USUAL_PERIOD
        run_bands(
            _fine_change_band,
            *measure.shape,
            analysis.planes,
            analysis.gaussians[0],
            analysis.deciding,
            self._fine_detail,
            *_noise_units(_FINE_PERIOD * period, usual, analysis.detail_variance(0)),
            measure,
        )
        return measure

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
        half = self._tracker.maps(fill=fill, smoothing_px=smoothing_px / 2, halo_radius_px=halo_radius_px / 2)
        # The measure lies half way between slices.
        height = doubled(half.height, self._shapes[0]) + np.float32(0.5)
        nearest = np.where(np.isfinite(height), height, doubled(half.index + np.float32(0.5), self._shapes[0]))
        index = np.clip(np.rint(nearest), 0, self._count - 1).astype(np.uint16)
        return HeightMaps(index=index, height=height, confidence=doubled(half.confidence, self._shapes[0]))


def _noise_units(period: float, usual_period: float, variance: float) -> tuple[np.float32, np.float32, np.float32]:
    """Return what energy, change along z and 1 count, for a measure that is 1 in noise of this variance."""
    noise = 0.5 + 2 * usual_period
    return (
        np.float32(1 / (variance * noise)),
        np.float32(period / (variance * noise)),
        np.float32(2 * (usual_period - period) / noise),
    )


def _smoothed(image: FloatImage) -> FloatImage:
    for _ in range(_SMOOTHINGS):
        image = blur5(image)
    return image


def _widely_smoothed(image: FloatImage) -> FloatImage:
    half = reduce(image)
    around = expand(_smoothed(reduce(half)), size_of(half))
    return expand(around, size_of(image))


@row_function
def _detail_row(fine, coarse, deciding, y, line, row, out):  # type: ignore[no-untyped-def]
    """Write row y of a Laplacian level, the mean of the deciding channels."""
    w = out.shape[0]
    share = np.float32(1) / np.float32(len(deciding))
    out[:] = 0
    for c in deciding:
        expand_row(coarse[c], y, fine.shape[1], line, row)
        source = fine[c, y]
        for x in range(w):
            out[x] += (source[x] - row[x]) * share


@kernel
def _fine_change_band(  # type: ignore[no-untyped-def]
    fine, coarse, deciding, detail, of_energy, of_change, missing, measure, first, last
):
    """Write the measure of every fourth row, four columns pooled; keep these rows."""
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    for j in range(first, last):
        _detail_row(fine, coarse, deciding, 4 * j, line, row, new)
        old = detail[j]
        for i in range(measure.shape[1]):
            left, right = max(4 * i - 2, 0), min(4 * i + 2, w)
            m = np.float32(0)
            d = np.float32(0)
            for x in range(left, right):
                middle = np.float32(0.5) * (new[x] + old[x])
                step = new[x] - old[x]
                m += middle * middle
                d += step * step
            mean = (of_energy * m + of_change * d) / np.float32(right - left) + missing
            measure[j, i] = max(mean, _LEAST_MEASURE)
        for x in range(w):
            old[x] = new[x]


@kernel
def _change_band(  # type: ignore[no-untyped-def]
    fine, coarse, deciding, detail, of_energy, of_change, missing, measure, first, last
):
    """Write the measure half way between two slices; keep the detail."""
    w = fine.shape[2]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    new = np.empty(w, np.float32)
    for y in range(first, last):
        _detail_row(fine, coarse, deciding, y, line, row, new)
        old = detail[y]
        out = measure[y]
        for x in range(w):
            step = new[x] - old[x]
            middle = np.float32(0.5) * (new[x] + old[x])
            out[x] = max(of_energy * middle * middle + of_change * step * step + missing, _LEAST_MEASURE)
            old[x] = new[x]


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
        _detail_row(fine, coarse, deciding, _SKIP * j, line, row, new)
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
