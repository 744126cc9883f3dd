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
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..kernels import run_tasks, threads_here
from ..pyramid import FloatImage, expand, reduce, size_of
from ..sampling import sample
from ..whole_image import Whole

# Rim of the blurred image of a point, in its radii: between a sharp disc and a Gaussian.
_SOFT_RIM = 0.3

# The filter as a sum of products of a function of height and one of frequency; a fourth changed nothing.
_TERMS = 3

_TABLE_COARSE, _TABLE_FINE = 256, 4096
_MOST_FREQUENCY = 0.7072  # cycles a pixel, along the diagonal
_STEPS_A_SLICE = 16

# Looked at around the image, mirrored, in px: light that comes from outside. And around every block of it.
_MARGIN_PX = 48

# Larger images are filtered in blocks of this side, in px, on one grid: their last bits do not depend on the size
# of the image then. Where blur is wider than so many px, block and margin are doubled until it is not.
_BLOCK_PX, _WIDEST_BLUR_PX = 512, 24

# Where the filter passes less than the root of this, what is divided by it is mostly noise and error of the filter.
_LEAST_POWER = 6e-3

# Fewer are no sweep.
LEAST_SLICES = 5

_GROWTHS_PX = 0.05, 4.0
_FIRST_GROWTH_PX = 0.4
_FITS = 5
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
        of_height, size, of_frequency = np.linalg.svd(table, full_matrices=False)
        mean = table.mean(axis=0)
        between = np.linspace(0, slices - 1, _STEPS_A_SLICE * (slices - 1) + 1)
        fine = np.linspace(0, _MOST_FREQUENCY, _TABLE_FINE)
        return cls(
            _resampled(between, np.arange(slices), (of_height[:, :_TERMS] * size[:_TERMS]).T),
            _resampled(fine, frequency, of_frequency[:_TERMS]),
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
    """Filters images of one size, which go on as their mirror images.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in px.
    origin : tuple of int
        Of the image in a larger one, in px: the grid of the blocks begins there.
    blur_px : float
        How wide blur gets.
    """

    def __init__(self, shape: tuple[int, int], origin: tuple[int, int] = (0, 0), blur_px: float = 0.0) -> None:
        self._shape = shape
        doublings = int(np.ceil(np.log2(max(blur_px / _WIDEST_BLUR_PX, 1))))
        rows, columns = (_block_edges(n, start, _BLOCK_PX << doublings) for n, start in zip(shape, origin, strict=True))
        margin = _MARGIN_PX << doublings
        self._blocks = [
            _Block(shape, (slice(*y), slice(*x)), margin) for y in pairwise(rows) for x in pairwise(columns)
        ]

    def seen(self, sharp: FloatImage, height: FloatImage | None, through: SweepFilter) -> FloatImage:
        """Return the mean of the slices of a sharp image on a ground of 0.

        Parameters
        ----------
        sharp : float32 array, shape (y, x)
        height : float32 array, shape (y, x), or None
            Where it is in focus, in slices; None for a filter at any height.
        through : SweepFilter
        """
        tables = [self._of_blocks(table) for table in through.of_frequency]

        def filtered(block: _Block) -> FloatImage:
            part = sharp[block.window]
            place = 0 if height is None else np.rint(height[block.window] * _STEPS_A_SLICE).astype(np.int32)
            spectra = (
                block.forward(part * of_height[place]) * table[block.padded]
                for of_height, table in zip(through.of_height, tables, strict=True)
            )
            return block.back(np.sum(list(spectra), axis=0))

        return self._put_together(filtered)

    def spectra(self, sharp: FloatImage) -> dict[_Block, npt.NDArray[np.complex64]]:
        """Return what `seen_alike` needs to know of a sharp image: for several filters of one image."""
        spectra = run_tasks(lambda block: block.forward(sharp[block.window]), self._blocks)
        return dict(zip(self._blocks, spectra, strict=True))

    def seen_alike(self, spectra: dict[_Block, npt.NDArray[np.complex64]], through: SweepFilter) -> FloatImage:
        """Return what `seen` does of a filter at any height."""
        table = self._of_blocks(through.of_frequency[0])
        return self._put_together(lambda block: block.back(spectra[block] * table[block.padded]))

    def undone(self, mean: FloatImage, through: SweepFilter) -> FloatImage:
        """Return the sharp image of a mean of slices, as far as the filter can be undone."""
        table = self._of_blocks(through.inverse)
        return self._put_together(lambda block: block.back(block.forward(mean[block.window]) * table[block.padded]))

    def _of_blocks(self, of_frequency: FloatImage) -> dict[tuple[int, int], FloatImage]:
        """Return a filter for the transforms of all blocks, of which most have one size."""
        return {padded: _looked_up(of_frequency, *padded) for padded in {block.padded for block in self._blocks}}

    def _put_together(self, filtered: Callable[[_Block], FloatImage]) -> FloatImage:
        """Return the image whose blocks are filtered, some at a time."""
        out = np.empty(self._shape, np.float32)

        def put(block: _Block) -> None:
            out[block.core] = filtered(block)

        run_tasks(put, self._blocks)
        return out


def _block_edges(size: int, origin: int, block: int) -> list[int]:
    """Return where blocks begin and end; a rest of less than half a block belongs to its neighbour.

    Examples
    --------
    >>> _block_edges(1200, 0, 512), _block_edges(1400, 256, 512)
    ([0, 512, 1200], [0, 256, 768, 1400])
    """
    edges = list(range(-origin % block, size, block))
    if not edges or edges[0] > 0:
        edges.insert(0, 0)
    if len(edges) > 1 and size - edges[-1] < block // 2:
        edges.pop()
    return [*edges, size]


class _Block:
    """A part of an image, and the part with what lies around it, brought to a size that transforms fast."""

    def __init__(self, shape: tuple[int, int], core: tuple[slice, slice], margin: int) -> None:
        self.core = core
        bounds = [(max(c.start - margin, 0), min(c.stop + margin, n)) for c, n in zip(core, shape, strict=True)]
        self.window = slice(*bounds[0]), slice(*bounds[1])
        around, self._own, sizes = [], [], []
        for (start, stop), c in zip(bounds, core, strict=True):
            # What the image does not have is mirrored.
            margins = min(margin, stop - start)
            before, after = margins - (c.start - start), margins - (stop - c.stop)
            before, after = max(before, 0), max(after, 0)
            size = _fast_length(stop - start + before + after)
            around.append((before, size - (stop - start) - before))
            self._own.append(slice(before + c.start - start, before + c.stop - start))
            sizes.append(size)
        self._around = around
        self.padded = sizes[0], sizes[1]

    def forward(self, image: FloatImage) -> npt.NDArray[np.complex64]:
        from scipy.fft import rfft2

        spectrum: npt.NDArray[np.complex64] = rfft2(np.pad(image, self._around, "symmetric"), workers=threads_here())
        return spectrum

    def back(self, spectrum: npt.NDArray[np.complex64]) -> FloatImage:
        from scipy.fft import irfft2

        image: FloatImage = irfft2(spectrum, self.padded, workers=threads_here())
        return image[self._own[0], self._own[1]]


def _fast_length(size: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(size, real=True))


def _looked_up(table: FloatImage, height: int, width: int) -> FloatImage:
    """Return a filter's table at every frequency of a real transform, between two entries.

    The nearest ones depend on the size: tiles, which cut blocks, had other pixels by up to 20 of 65535.
    """
    below, beyond = _places(height, width)
    out: FloatImage = np.diff(table, append=table[-1:])[below]
    out *= beyond
    out += table[below]
    return out


@lru_cache(maxsize=8)
def _places(height: int, width: int) -> tuple[npt.NDArray[np.int16], FloatImage]:
    """Return the entry below every frequency of a real transform, and how far it lies beyond."""
    fy, fx = np.fft.fftfreq(height), np.fft.rfftfreq(width)
    place = (_TABLE_FINE - 1) / _MOST_FREQUENCY * np.hypot(fy[:, None], fx)
    below = place.astype(np.int16)
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
    rows : slice
        Those of the mean that are asked for; all of them, unless set.
    """

    def __init__(self, analysis: SliceAnalysis, whole: Whole | None = None) -> None:
        self.count = 0
        self.rows = slice(0, analysis.shapes[1][0])
        self.whole = whole or Whole()
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

    def ratio(self, name: str, seen: FloatImage, expected: FloatImage) -> Ratio:
        """Return the ratio of two images of a level, where it was given that of the whole image."""
        return Ratio(*self.whole.number(name, lambda: Ratio.of(seen, expected).as_tuple()))

    def sweep(self, growth_px: float) -> FocalSweep:
        """Return the filters of an image of this size, where the radius of blur grows by so many px a slice."""
        y, x = self.whole.origin
        size = self.rows.stop - self.rows.start, self._sum.shape[2]
        return FocalSweep(size, (y // 2 + self.rows.start, x // 2), growth_px * self.count)

    def of(self, channel: int) -> FloatImage:
        """Return the mean of one channel, shape (y / 2, x / 2), scaled."""
        mean: FloatImage = self._sum[channel, self.rows] / np.float32(self.count)
        return mean

    def noise_variance(self, channel: int, level: int, intensity: FloatImage) -> FloatImage:
        """Return the variance that noise gives a level of the mean; `intensity` at the size of the level."""
        analysis = self._analysis
        one = np.maximum(analysis.gain[channel] * intensity + analysis.offset[channel], analysis.least_variance)
        return one * np.float32(analysis.noise_gains[level + 1] / self.count)


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
    sweep = FocalSweep(size_of(mean))
    seen = mean - expand(reduce(mean), size_of(mean))
    spectra = sweep.spectra(sharp) if height is None else {}
    growth = _FIRST_GROWTH_PX
    for _ in range(_FITS):
        through = SweepFilter.of(slices, growth)
        if height is None:
            expected = sweep.seen_alike(spectra, through.at_any_height())
        else:
            expected = sweep.seen(sharp, height, through)
        ratio = Ratio.of(seen, expected - expand(reduce(expected), size_of(mean))).median
        # Between the ends the filter is inversely proportional to the growth.
        growth = float(np.clip(growth / np.clip(ratio, 0.5, 2), *_GROWTHS_PX))
    return growth
