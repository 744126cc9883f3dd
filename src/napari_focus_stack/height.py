"""Focus-index map and height map: a running peak of the focus measure, then its finishing.

The focus measure is half the sum of the noise-normalised energies of the two
finest Laplacian levels, so it is 1 in pure noise. It is held at half size: its
smoothing reaches farther than a pixel anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .analysis import SliceAnalysis
from .kernels import kernel, run_bands
from .median import median5
from .pyramid import FloatImage, blur5, push_pull

# Below this the focus measure is numerically nothing; its logarithm stays finite.
_LEAST_FOCUS = 1e-6


@dataclass(frozen=True)
class HeightMaps:
    """Where the specimen is sharpest.

    Attributes
    ----------
    index : uint16 array, shape (y, x)
        The sharpest slice.
    height : float32 array, shape (y, x)
        Position of the peak, in slices.
    confidence : float32 array, shape (y, x)
        0 where nothing tells the height, 1 where the peak stands clear of noise and of the other slices.
    """

    index: npt.NDArray[np.uint16]
    height: FloatImage
    confidence: FloatImage


class PeakTracker:
    """The largest focus measure so far at every pixel, and its neighbours along z.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of a slice, in px.
    half_shape : tuple of int
        Its half, rounded up: the size everything is held at.
    """

    def __init__(self, shape: tuple[int, int], half_shape: tuple[int, int]) -> None:
        self.shape = shape
        self.count = 0
        self.index = np.zeros(half_shape, np.uint16)
        self._best, self._before, self._after, self._previous, self._total = (
            np.zeros(half_shape, np.float32) for _ in range(5)
        )

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the next slice."""
        finest, next_finest = analysis.energies[0], analysis.energies[min(1, analysis.levels - 1)]
        if analysis.valid is not None:
            finest = finest * analysis.valid[1]
            next_finest = next_finest * analysis.valid[1]
        self.track(finest, next_finest)

    def track(self, finest: FloatImage, next_finest: FloatImage) -> None:
        """Take in the two halves of the next slice's focus measure, each 1 in pure noise."""
        run_bands(
            _track_band,
            *self.index.shape,
            finest,
            next_finest,
            self._best,
            self._before,
            self._after,
            self._previous,
            self._total,
            self.index,
            self.count,
        )
        self.count += 1

    def maps(self, *, fill: bool = True, smoothing_px: float = 0.0, halo_radius_px: float = 0.0) -> HeightMaps:
        """Return the maps of the slices so far, at full size.

        Parameters
        ----------
        fill : bool
            Fill heights of no confidence from their neighbours; else they are NaN.
        smoothing_px : float
            Standard deviation of a smoothing of the height, in px of the slice.
        halo_radius_px : float
            Distrust heights this close to a much sharper spot; 0 is off.
        """
        confidence = self._confidence(halo_radius_px)
        height = self._peak()
        if fill:
            height = fill_height(height, confidence)
        if smoothing_px > 0:
            height = smooth_height(height, confidence, smoothing_px / 2)
        height = np.clip(height, 0, max(self.count - 1, 0), out=height)
        if not fill:
            height[confidence <= 0] = np.nan
        y, x = (np.arange(n) // 2 for n in self.shape)
        return HeightMaps(
            index=self.index[np.ix_(y, x)],
            height=doubled(height, self.shape),
            confidence=doubled(confidence, self.shape),
        )

    def half_height(self) -> FloatImage:
        """Return the height of the slices so far at half size, filled where nothing tells it."""
        return np.clip(fill_height(self._peak(), self._confidence(0)), 0, max(self.count - 1, 0))

    def _peak(self) -> FloatImage:
        """Return index plus the vertex of a parabola through the logarithms around the peak.

        Where defocus blurs like a Gaussian the logarithm is the better parabola
        (Nayar & Nakagawa, Shape from focus, IEEE TPAMI 16, 824-831, 1994).
        """
        before, best, after = (np.log(np.maximum(f, _LEAST_FOCUS)) for f in (self._before, self._best, self._after))
        bend = before - 2 * best + after
        inner = (self.index > 0) & (self.index + 1 < self.count) & (bend < 0)
        offset = np.zeros_like(best)
        np.divide(before - after, 2 * bend, out=offset, where=inner)
        return self.index.astype(np.float32) + np.clip(offset, -0.5, 0.5, out=offset)

    def _confidence(self, halo_radius_px: float) -> FloatImage:
        best = np.maximum(self._best, _LEAST_FOCUS)
        above_noise = np.clip((best - 2) / 2, 0, 1)
        mean = self._total / max(self.count, 1)
        above_others = np.clip((1 - mean / best) / np.float32(0.2), 0, 1)
        confidence = np.asarray(above_noise * above_others, np.float32)
        if halo_radius_px > 0:
            confidence[self._in_halo(best, halo_radius_px)] = 0
        return confidence

    @staticmethod
    def _in_halo(best: FloatImage, radius_px: float) -> npt.NDArray[np.bool_]:
        from scipy import ndimage

        magnitude = np.sqrt(np.maximum(best - 1, 0))
        reach = max(round(radius_px / 2), 1)
        y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        brightest = ndimage.maximum_filter(magnitude, footprint=x * x + y * y <= reach * reach)
        return magnitude < np.float32(0.3) * brightest


def fill_height(height: FloatImage, confidence: FloatImage) -> FloatImage:
    """Return a height map whose doubtful pixels follow the confident ones around them.

    Parameters
    ----------
    height : float32 array, shape (y, x)
        In slices.
    confidence : float32 array, shape (y, x)
        0 to 1.

    Returns
    -------
    float32 array, shape (y, x)
        In slices; edges between confident heights stay sharp.
    """
    return _calmed(median5(push_pull(median5(height), confidence)))


def _calmed(height: FloatImage) -> FloatImage:
    """Return heights smoothed by the 5 taps where that moves them by less than noise does.

    It lowered the mean error of smooth reliefs by 14 %, at low and high noise
    alike; beads lost 0.015 slices. Where depth jumps nothing moves.
    """
    move = blur5(height) - height
    # Looked at around the pixel too, so that the foot of a jump does not move either.
    share = np.clip(2 - blur5(np.abs(move)) / np.float32(0.3), 0, 1)
    return height + share * move


def smooth_height(height: FloatImage, confidence: FloatImage, sigma_px: float) -> FloatImage:
    """Return `height` smoothed by a Gaussian that listens to confident pixels first.

    Parameters
    ----------
    height, confidence : float32 array, shape (y, x)
    sigma_px : float
        Standard deviation of the Gaussian.
    """
    from scipy import ndimage

    trust = confidence + np.float32(1e-3)
    mass = ndimage.gaussian_filter(trust, sigma_px)
    smooth: FloatImage = ndimage.gaussian_filter(height * trust, sigma_px) / mass
    return smooth


def doubled(half: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Return a map at full size: even pixels are its own, odd ones lie between two."""
    full = np.empty(shape, np.float32)
    run_bands(_double_band, *shape, half, full)
    return full


@kernel
def _double_band(half, full, first, last):  # type: ignore[no-untyped-def]
    h, w = half.shape
    for y in range(first, last):
        above = half[y // 2]
        below = half[min((y + 1) // 2, h - 1)]
        for x in range(full.shape[1]):
            left = x // 2
            right = min((x + 1) // 2, w - 1)
            full[y, x] = np.float32(0.25) * (above[left] + above[right] + below[left] + below[right])


@kernel
def _track_band(  # type: ignore[no-untyped-def]
    finest, next_finest, best, before, after, previous, total, index, k, first, last
):
    for y in range(first, last):
        for x in range(best.shape[1]):
            focus = np.float32(0.5) * (finest[y, x] + next_finest[y, x])
            old = best[y, x]
            better = focus > old
            follows = index[y, x] + 1 == k
            # The first slice is the peak until another one is; its neighbour above is the second.
            after[y, x] = np.float32(0) if better else (focus if follows else after[y, x])
            before[y, x] = previous[y, x] if better else before[y, x]
            best[y, x] = focus if better else old
            index[y, x] = np.uint16(k) if better else index[y, x]
            previous[y, x] = focus
            total[y, x] += focus
