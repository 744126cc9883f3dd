"""The mean of all slices as a filter of the sharp image: what a sweep through focus sees.

Where light adds, every slice is the sharp image, each thing blurred by its own
distance from focus. The mean of the slices is then the sharp image under one
known filter that hardly depends on the height; only towards either end of the
stack does it, since blur beyond the end was not taken.

References
----------
Häusler, A method to increase the depth of focus by two step image processing,
Optics Communications 6, 38-42 (1972).
Nagahara, Kuthirummal, Zhou & Nayar, Flexible depth of field photography,
ECCV 60-73 (2008).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..kernels import run_tasks
from ..pyramid import FloatImage, expand, reduce, size_of
from ..sampling import sample
from ..whole_image import Whole
from .blocks import Area, blocks_of

# Rim of the blurred image of a point, in its radii: between a sharp disc and a Gaussian.
_SOFT_RIM = 0.3

# The filter as a sum of products of a function of height and one of frequency; a fourth changed nothing.
_TERMS = 3

_TABLE_COARSE, _TABLE_FINE = 256, 4096

# Heights that the products are found from, evenly spaced. From about 36 on, OpenBLAS sets threads to work, which then
# wait for more at full speed for 0.1 s, on cores that are wanted for something else.
_MOST_HEIGHTS = 28
_MOST_FREQUENCY = 0.7072  # cycles a pixel, along the diagonal
_STEPS_A_SLICE = 16

# Looked at around the image, mirrored, in px: light that comes from outside.
_MARGIN_PX = 48

# Where the filter passes less than the root of this, what is divided by it is mostly noise and error of the filter.
_LEAST_POWER = 6e-3

# Fewer are no sweep.
LEAST_SLICES = 5

_GROWTHS_PX = 0.05, 4.0
_FIRST_GROWTH_PX = 0.4
_FITS = 5
# Logarithm of the ratio from which the next step leaves less than half a per cent of the growth.
_NEAR = 0.04
_STRONGEST = 0.03


@dataclass(frozen=True, eq=False)
class SweepFilter:
    """What the mean of the slices keeps of every frequency.

    Attributes
    ----------
    of_height : float32 array, shape (terms, 16 (slices - 1) + 1)
    of_frequency : float32 array, shape (terms, n)
        The filter at height h and frequency f is the sum over terms of their products.
    inverse : float32 array, shape (n,)
        Undoes the mean filter where it passes enough.
    """

    of_height: FloatImage
    of_frequency: FloatImage
    inverse: FloatImage
    _tables: dict[tuple[int, tuple[int, int]], FloatImage] = field(default_factory=dict, repr=False)

    def table(self, term: int, shape: tuple[int, int]) -> FloatImage:
        """Return a term of the filter at every frequency of a real transform of this shape; the inverse as term -1.

        Looked up once for all images of a shape, which takes as long as a transform.
        """
        if (term, shape) not in self._tables:
            self._tables[term, shape] = _looked_up(self.inverse if term < 0 else self.of_frequency[term], *shape)
        return self._tables[term, shape]

    def at_any_height(self) -> SweepFilter:
        """Return the mean of the filter over heights, which knows nothing of the order of the slices."""
        mean = np.asarray(self.of_height.mean(axis=1) @ self.of_frequency, np.float32)[None]
        return SweepFilter(np.ones((1, self.of_height.shape[1]), np.float32), mean, self.inverse)

    @classmethod
    def of(cls, slices: int, growth_px: float) -> SweepFilter:
        """Return the filter where the radius of blur grows by so many px for each slice.

        Examples
        --------
        >>> sharp = SweepFilter.of(slices=5, growth_px=0)
        >>> bool(np.allclose(sharp.of_height.T @ sharp.of_frequency, 1, atol=1e-5))
        True
        """
        frequency = np.linspace(0, _MOST_FREQUENCY, _TABLE_COARSE)
        kept = np.cumsum(_blur_filter(2 * np.pi * growth_px * np.outer(np.arange(slices), frequency)), axis=0)
        # Slices below and above a height h; the one at h was counted twice.
        table = (kept + kept[::-1] - 1) / slices
        some = np.rint(np.linspace(0, slices - 1, min(slices, _MOST_HEIGHTS))).astype(np.intp)
        of_frequency = np.linalg.svd(table[some], full_matrices=False)[2][:_TERMS]
        # Not by BLAS either.
        of_height = np.einsum("tf,hf->th", of_frequency, table)
        mean = table.mean(axis=0)
        between = np.linspace(0, slices - 1, _STEPS_A_SLICE * (slices - 1) + 1)
        fine = np.linspace(0, _MOST_FREQUENCY, _TABLE_FINE)
        return cls(
            _resampled(between, np.arange(slices), of_height),
            _resampled(fine, frequency, of_frequency),
            np.interp(fine, frequency, mean / (mean**2 + _LEAST_POWER)).astype(np.float32),
        )


def _resampled(places: npt.NDArray[Any], at: npt.NDArray[Any], rows: npt.NDArray[np.float64]) -> FloatImage:
    return np.stack([np.interp(places, at, row) for row in rows]).astype(np.float32)


def _blur_filter(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return what a soft-rimmed disc of radius r keeps of a frequency f, for x = 2 pi f r (Goodman 1968)."""
    from scipy.special import j1

    x = np.maximum(x, 1e-6)
    disc: npt.NDArray[np.float64] = 2 * j1(x) / x * np.exp(-((_SOFT_RIM * x) ** 2) / 2)
    return disc


class FocalSweep:
    """Filters images of one size, each in one thread: SciPy's transforms have other last bits in several.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in px.
    ends : tuple of bool
        Whether the image ends above, below, left and right: there it goes on as its mirror image. Elsewhere it is a
        part of a larger one, and what its rim comes to is of no use.
    """

    def __init__(self, shape: tuple[int, int], ends: tuple[bool, bool, bool, bool] = (True, True, True, True)) -> None:
        around, own, sizes = [], [], []
        for n, (before, after) in zip(shape, (ends[:2], ends[2:]), strict=True):
            margin = _MARGIN_PX * before
            size = _fast_length(margin + n + _MARGIN_PX * after)
            around.append((margin, size - n - margin))
            own.append(slice(margin, margin + n))
            sizes.append(size)
        self._around = around
        self._own = own[0], own[1]
        self._padded = sizes[0], sizes[1]

    def seen(self, sharp: FloatImage, height: FloatImage | None, through: SweepFilter) -> FloatImage:
        """Return the mean of the slices of a sharp image on a ground of 0.

        Parameters
        ----------
        sharp : float32 array, shape (y, x)
        height : float32 array, shape (y, x), or None
            Where it is in focus, in slices; None for a filter at any height.
        through : SweepFilter
        """
        if height is None:
            return self._filtered(self.spectrum(sharp), through.table(0, self._padded))
        place = np.rint(height * _STEPS_A_SLICE).astype(np.int32)
        total = np.zeros((self._padded[0], self._padded[1] // 2 + 1), np.complex64)
        for term, at in enumerate(through.of_height):
            spectrum = self.spectrum(sharp * at[place])
            spectrum *= through.table(term, self._padded)
            total += spectrum
        return self._back(total)

    def spectrum(self, sharp: FloatImage) -> npt.NDArray[np.complex64]:
        """Return what `seen_alike` needs to know of a sharp image: for several filters of one image."""
        from scipy.fft import rfft2

        padded = np.pad(sharp, self._around, "symmetric")
        spectrum: npt.NDArray[np.complex64] = rfft2(padded, overwrite_x=True)
        return spectrum

    def seen_alike(self, spectrum: npt.NDArray[np.complex64], through: SweepFilter) -> FloatImage:
        """Return what `seen` does of a filter at any height."""
        return self._back(spectrum * through.table(0, self._padded))

    def undone(self, mean: FloatImage, through: SweepFilter) -> FloatImage:
        """Return the sharp image of a mean of slices, as far as the filter can be undone."""
        return self._filtered(self.spectrum(mean), through.table(-1, self._padded))

    def _filtered(self, spectrum: npt.NDArray[np.complex64], table: FloatImage) -> FloatImage:
        """Return the image of a spectrum, which is used up, behind a filter."""
        spectrum *= table
        return self._back(spectrum)

    def _back(self, spectrum: npt.NDArray[np.complex64]) -> FloatImage:
        from scipy.fft import irfft2

        image: FloatImage = irfft2(spectrum, self._padded, overwrite_x=True)
        return image[self._own]


def _fast_length(size: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(size, real=True))


def _looked_up(table: FloatImage, height: int, width: int) -> FloatImage:
    """Return a filter's table at every frequency of a real transform, between two entries."""
    below, beyond = _places(height, width)
    half = np.diff(table, append=table[-1:])[below]
    half *= beyond
    half += table[below]
    # Frequencies of either sign.
    return np.concatenate([half, half[height - len(half) : 0 : -1]])


@lru_cache(maxsize=8)
def _places(height: int, width: int) -> tuple[npt.NDArray[np.intp], FloatImage]:
    """Return the entry below every frequency of a real transform, and how far it lies beyond; none below 0 along y."""
    fy, fx = np.arange(height // 2 + 1) / height, np.fft.rfftfreq(width)
    place = (_TABLE_FINE - 1) / _MOST_FREQUENCY * np.hypot(fy[:, None], fx)
    below = place.astype(np.intp)
    return below, (place - below).astype(np.float32)


class SliceMean:
    """Running mean of the slices at half size.

    Parameters
    ----------
    analysis : SliceAnalysis
        Whose `load` is called before every `add`.
    whole : Whole or None
        The image that the slices may be a part of.

    Attributes
    ----------
    count : int
        Slices that were added.
    blocks : list of Block
        That the mean is looked at in.
    """

    def __init__(self, analysis: SliceAnalysis, whole: Whole | None = None) -> None:
        self.count = 0
        self.whole = whole or Whole()
        self.blocks = blocks_of(analysis.shapes[1], self.whole)
        self._analysis = analysis
        self._sum = np.zeros_like(analysis.gaussians[0])
        self._no_holes = True

    @property
    def levels(self) -> int:
        """Detail levels of a pyramid of the mean."""
        return self._analysis.levels - 1

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the slice that was loaded last."""
        self._sum += analysis.gaussians[0]
        self.count += 1
        # What lies in a hole was guessed, and is no light.
        self._no_holes &= not analysis.holes

    def usable(self) -> bool:
        """Return whether there are slices enough, and all whole."""
        whole = self.whole.number("sweep: no holes", lambda: float(self._no_holes))
        return bool(whole) and self.count >= LEAST_SLICES

    def of(self, channel: int, window: Area = (slice(None), slice(None))) -> FloatImage:
        """Return the mean of one channel, shape (y / 2, x / 2), scaled; or a part of it."""
        mean: FloatImage = self._sum[channel][window] / np.float32(self.count)
        return mean

    def sampled(self, channel: int) -> FloatImage:
        """Return evenly spaced elements of the mean of one channel, in one dimension."""
        some: FloatImage = np.divide(sample(self._sum[channel]), self.count, dtype=np.float32)
        return some

    def noise_line(self, channel: int, level: int) -> tuple[float, float, float]:
        """Return gain and offset of the variance that noise gives a level of the mean, and the least there is."""
        analysis = self._analysis
        share = float(analysis.noise_gains[level + 1] / self.count)
        return (
            share * float(analysis.gain[channel]),
            share * float(analysis.offset[channel]),
            share * float(analysis.least_variance),
        )

    def noise_variance(self, channel: int, level: int, intensity: FloatImage) -> FloatImage:
        """Return the variance that noise gives a level of the mean; `intensity` at the size of the level."""
        gain, offset, least = map(np.float32, self.noise_line(channel, level))
        return np.maximum(gain * intensity + offset, least)


@dataclass(frozen=True)
class Ratio:
    """Of what is seen over what is expected, where that is strongest.

    Attributes
    ----------
    median, spread : float
        The spread is the distance between quartiles.
    strength : float
        Median magnitude of what is expected there.
    """

    median: float
    spread: float
    strength: float

    @classmethod
    def of(cls, seen: FloatImage, expected: FloatImage) -> Ratio:
        """Compare two images, strong pixels counting more."""
        seen, expected = sample(seen), sample(expected)
        strength = np.abs(expected)
        count = max(int(_STRONGEST * strength.size), 1)
        place = np.argpartition(strength, -count)[-count:]
        strength = strength[place]
        ratio = seen[place] / np.maximum(strength, 1e-30) * np.sign(expected[place])
        order = np.argsort(ratio)
        summed = np.cumsum(strength[order], dtype=np.float64)
        low, middle, high = ratio[order][np.searchsorted(summed, summed[-1] * np.array([0.25, 0.5, 0.75]))]
        return cls(float(middle), float(high - low), float(np.median(strength)))

    def as_tuple(self) -> tuple[float, float, float]:
        """Return its numbers, in the order of the attributes."""
        return self.median, self.spread, self.strength


def measured_growth(mean: FloatImage, sharp: FloatImage, height: FloatImage | None, slices: int) -> float:
    """Return how many px the radius of blur grows for each slice.

    It is what makes things that are fused rightly look in the mean as they do.

    Parameters
    ----------
    mean, sharp : float32 arrays, shape (y, x)
        Of the slices, and fused; both on a ground of 0.
    height : float32 array, shape (y, x), or None
        In slices.
    slices : int
    """
    blocks = blocks_of(size_of(mean))
    sweeps = [FocalSweep(size_of(mean[block.window]), block.ends) for block in blocks]
    seen = mean - expand(reduce(mean), size_of(mean))
    spectra: list[npt.NDArray[np.complex64]] = []
    if height is None:
        spectra = run_tasks(lambda i: sweeps[i].spectrum(sharp[blocks[i].window]), range(len(blocks)))
    expected = np.empty_like(mean)

    def expect(through: SweepFilter, i: int) -> None:
        block = blocks[i]
        if height is None:
            found = sweeps[i].seen_alike(spectra[i], through)
        else:
            found = sweeps[i].seen(sharp[block.window], height[block.window], through)
        expected[block.core] = found[block.inner()]

    def ratio(growth: float) -> float:
        through = SweepFilter.of(slices, growth)
        if height is None:
            through = through.at_any_height()
        run_tasks(partial(expect, through), range(len(blocks)))
        return Ratio.of(seen, expected - expand(reduce(expected), size_of(mean))).median

    return _fitted_growth(ratio)


def _fitted_growth(ratio: Callable[[float], float]) -> float:
    """Return the growth at which a ratio of what is seen to what is expected is 1.

    Examples
    --------
    >>> round(_fitted_growth(lambda growth: (growth / 1.3) ** 0.8), 3)
    1.3
    """
    least, most = np.log(_GROWTHS_PX)
    at, before = float(np.log(_FIRST_GROWTH_PX)), None
    for _ in range(_FITS):
        off = float(np.log(np.clip(ratio(float(np.exp(at))), 0.5, 2)))
        # Between the ends the filter is about inversely proportional to the growth.
        slope = 1.0 if before is None else float(np.clip((off - before[1]) / (at - before[0]), 0.5, 2))
        near = before is not None and abs(off) < _NEAR
        before = at, off
        at = float(np.clip(at - off / slope, least, most))
        if near or at == before[0]:
            break
    return float(np.exp(at))
