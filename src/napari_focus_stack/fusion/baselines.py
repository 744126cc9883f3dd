"""Simpler fusion methods: classic ones to compare with, and those that take pixels whole from one slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..height.peaks import HeightMaps
from ..islands import without_islands
from ..pyramid import FloatImage, add_expanded, blur5
from .accumulator import FusionSetting

_REGION_PX = 5
_GRAY_LEVELS = 256


class LaplacianMaxFusion:
    """The slice of the largest regional energy takes each Laplacian coefficient alone.

    At the base the slice of the largest region deviation is taken where it also
    has the largest region entropy, elsewhere the mean of all slices.

    References
    ----------
    Wang & Chang, A multi-focus image fusion method based on Laplacian pyramid,
    Journal of Computers 6, 2559-2566 (2011).
    """

    def __init__(self, setting: FusionSetting) -> None:
        self.setting = setting
        *detail_shapes, base_shape = setting.analysis.shapes
        self._energy = [np.full(s, -1, np.float32) for s in detail_shapes]
        self._detail = [np.zeros((setting.channels, *s), np.float32) for s in detail_shapes]
        self._base = _BaseVote(base_shape, setting.channels)
        # Where no slice has a value the pyramid, which fills holes, would invent one.
        self._unknown = np.ones((*setting.shape, setting.channels), bool) if setting.dtype.kind == "f" else None

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in slice k."""
        if self._unknown is not None:
            self._unknown &= ~np.isfinite(image)
        for level, (energy, kept) in enumerate(zip(self._energy, self._detail, strict=True)):
            detail = analysis.detail(level)
            regional = blur5(np.sum(detail[analysis.deciding] ** 2, axis=0))
            if analysis.valid is not None:
                regional *= analysis.valid[level]
            better = regional > energy
            np.copyto(energy, regional, where=better)
            np.copyto(kept, detail, where=better)
        valid = None if analysis.valid is None else analysis.valid[-1]
        self._base.add(
            analysis.gaussians[-1],
            analysis.deciding,
            valid,
            self.setting.analysis.scaling.gray_range(self.setting.noise),
        )

    def image(self) -> npt.NDArray[Any]:
        """Return the fused image of the slices so far, shape (y, x, c)."""
        image = self._base.image()
        for kept in reversed(self._detail):
            fine = kept.copy()
            for c in range(len(fine)):
                add_expanded(fine[c], image[c])
            image = fine
        gray = self.setting.analysis.scaling.to_gray_levels(image, self.setting.dtype)
        fused = np.ascontiguousarray(np.moveaxis(gray, 0, 2))
        if self._unknown is not None:
            fused[self._unknown] = np.nan
        return fused


class _BaseVote:
    """Wang & Chang's rule for the base, for any number of slices.

    The slice of the largest region deviation is taken where no slice has more
    region entropy; elsewhere the mean of all.
    """

    def __init__(self, shape: tuple[int, int], channels: int) -> None:
        self._deviation = np.full(shape, -1, np.float32)
        self._its_entropy = np.zeros(shape, np.float32)
        self._entropy = np.full(shape, -1, np.float32)
        self._kept = np.zeros((channels, *shape), np.float32)
        self._total = np.zeros((channels, *shape))
        self._mass = np.zeros(shape)

    def add(
        self,
        base: FloatImage,
        deciding: npt.NDArray[np.int64],
        valid: FloatImage | None,
        gray_range: tuple[float, float],
    ) -> None:
        """Take in the base of a slice, shape (c, y, x)."""
        regions = _regions(base[deciding].mean(axis=0))
        low, high = gray_range
        bins = np.clip((regions - low) * ((_GRAY_LEVELS - 1) / max(high - low, 1e-30)), 0, _GRAY_LEVELS - 1)
        share = np.float32(1) if valid is None else np.maximum(valid, np.float32(1e-6))
        deviation = (regions.std(axis=-1) * share).astype(np.float32)
        entropy = (region_entropy(np.rint(bins).astype(np.int64)) * share).astype(np.float32)
        better = deviation > self._deviation
        np.copyto(self._deviation, deviation, where=better)
        np.copyto(self._its_entropy, entropy, where=better)
        np.copyto(self._kept, base, where=better)
        np.maximum(self._entropy, entropy, out=self._entropy)
        self._total += base * share
        self._mass += share

    def image(self) -> FloatImage:
        """Return the base, shape (c, y, x)."""
        agreed = self._its_entropy >= self._entropy
        return np.where(agreed, self._kept, self._total / self._mass).astype(np.float32)


def _regions(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    reach = _REGION_PX // 2
    padded = np.pad(image, reach, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_REGION_PX, _REGION_PX))
    return windows.reshape(*image.shape, _REGION_PX**2)


def region_entropy(regions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the Shannon entropy, in bits, of the gray levels of each region.

    Parameters
    ----------
    regions : integer array, shape (..., n)
        Gray levels of n pixels.

    Returns
    -------
    float64 array, shape (...)
        0 for a flat region, log2(n) where all pixels differ.

    Examples
    --------
    >>> region_entropy(np.array([[5, 5, 5, 5], [1, 1, 2, 2], [1, 2, 3, 4]])).tolist()
    [0.0, 1.0, 2.0]
    """
    n = regions.shape[-1]
    # The mean over pixels of log2(n / how many pixels share my level) is the entropy.
    same = np.zeros(regions.shape, np.int64)
    for i in range(n):
        same += regions == regions[..., i : i + 1]
    return np.log2(n / same).mean(axis=-1)


class LogFusion:
    """Every pixel whole from the slice where the Laplacian of Gaussian is largest there: the simple baseline."""

    sigma_px = 2.0

    def __init__(self, setting: FusionSetting) -> None:
        self.setting = setting
        self._response = np.full(setting.shape, -1, np.float32)
        self._image = _unknown(setting)

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in slice k."""
        from scipy import ndimage

        response = np.zeros(self.setting.shape, np.float32)
        for c in analysis.deciding:
            response += np.abs(ndimage.gaussian_laplace(analysis.planes[c], self.sigma_px))
        if analysis.valid is not None:
            response[analysis.valid[0] == 0] = -1
        better = response > self._response
        np.copyto(self._response, response, where=better)
        np.copyto(self._image, image, where=better[..., np.newaxis])

    def image(self) -> npt.NDArray[Any]:
        """Return the fused image of the slices so far, shape (y, x, c)."""
        return self._image.copy()


# Distances in z of pixels that a slice covers are below the first, of those it does not between the two.
_FAR, _NOWHERE = np.uint16(1 << 15), np.uint16((1 << 16) - 1)


class HeightFusion:
    """Every pixel whole from the slice that the filled height map names: needs a second visit."""

    def __init__(self, setting: FusionSetting) -> None:
        self._choice = np.zeros(setting.shape, np.int64)
        self._image = _unknown(setting)
        # How far in z from the slice named the one is that the pixel was taken from.
        self._away = np.full(setting.shape, _NOWHERE, np.uint16)

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Do nothing: the height map is made for every method."""

    def decide(self, maps: HeightMaps) -> None:
        """Round the height to a slice; where it is not known the index stands."""
        known = np.isfinite(maps.height)
        self._choice = np.where(known, np.rint(np.where(known, maps.height, 0)), maps.index).astype(np.int64)

    def revisit(self, k: int, image: npt.NDArray[Any], covered: npt.NDArray[np.bool_] | None = None) -> None:
        """Take the pixels of slice k where it is the nearest to the one named so far that has a value there."""
        away = np.minimum(np.abs(self._choice - k), _FAR - 1).astype(np.uint16)
        if covered is not None:
            # What was mirrored stands in only where no slice covers a pixel.
            away[~covered] += _FAR
        nearer = away < self._away
        if image.dtype.kind == "f":
            nearer &= np.isfinite(image).all(axis=2)
        np.copyto(self._away, away, where=nearer)
        np.copyto(self._image, image, where=nearer[..., np.newaxis])

    def image(self) -> npt.NDArray[Any]:
        """Return the pixels taken, shape (y, x, c)."""
        return self._image.copy()


class DecisionMapFusion:
    """Few slices of a photograph: one cleaned decision, pixels whole but for a blend of a few px at its edges.

    The largest mean magnitude of the finest Laplacian level decides; islands
    are given to their surroundings, edges follow the picture by a guided filter.
    Taking the pixels whole at the edges too cost 0.0002 of Q_Y on photographs.

    References
    ----------
    He, Sun & Tang, Guided image filtering, IEEE TPAMI 35, 1397-1409 (2013).
    """

    sigma_px = 4.0
    island_share = 0.01
    guide_radius_px = 2
    guide_epsilon = 1e-4

    def __init__(self, setting: FusionSetting) -> None:
        self.setting = setting
        self._activity = np.full(setting.shape, -1, np.float32)
        self._choice = np.zeros(setting.shape, np.uint16)
        self._guide = np.zeros(setting.shape, np.float32)
        self._share = np.full(setting.shape, -1, np.float32)
        self._total = np.zeros(setting.shape, np.float32)
        self._blend = np.zeros((*setting.shape, setting.channels), np.float32)
        self._image = _unknown(setting)

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in slice k."""
        from scipy import ndimage

        magnitude = np.abs(analysis.detail(0)[analysis.deciding]).mean(axis=0)
        activity = ndimage.gaussian_filter(magnitude, self.sigma_px, mode="mirror")
        if analysis.valid is not None:
            activity *= analysis.valid[0]
        better = activity > self._activity
        np.copyto(self._activity, activity, where=better)
        np.copyto(self._choice, np.uint16(k), where=better)
        np.copyto(self._guide, analysis.planes[analysis.deciding].mean(axis=0), where=better)

    def decide(self, maps: HeightMaps) -> None:
        """Remove islands from the decision."""
        self._choice = without_islands(self._choice, self._choice.size * self.island_share)

    def revisit(self, k: int, image: npt.NDArray[Any], covered: npt.NDArray[np.bool_] | None = None) -> None:
        """Blend slice k in with its refined share, and keep its pixels where that is the largest so far."""
        share = np.clip(self._refined((self._choice == k).astype(np.float32)), 0, 1)
        known = np.isfinite(image).all(axis=2)
        if covered is not None:
            known &= covered
        share = np.where(known, share, 0)
        pixels = self.setting.analysis.scaling.to_kernel(np.where(known[..., np.newaxis], image, 0))
        self._total += share
        self._blend += (share[..., np.newaxis] * pixels).astype(np.float32)
        better = known & (share > self._share)
        np.copyto(self._share, share, where=better)
        np.copyto(self._image, image, where=better[..., np.newaxis])

    def _refined(self, mask: FloatImage) -> FloatImage:
        """Return a mask whose edges follow those of the picture."""
        from scipy import ndimage

        low, high = self._guide.min(), self._guide.max()
        guide = (self._guide - low) / max(high - low, np.float32(1e-30))

        def mean(values: FloatImage) -> FloatImage:
            return np.asarray(ndimage.uniform_filter(values, 2 * self.guide_radius_px + 1, mode="mirror"))

        guide_mean, mask_mean = mean(guide), mean(mask)
        slope = (mean(guide * mask) - guide_mean * mask_mean) / (
            mean(guide * guide) - guide_mean**2 + np.float32(self.guide_epsilon)
        )
        return mean(slope) * guide + mean(mask_mean - slope * guide_mean)

    def image(self) -> npt.NDArray[Any]:
        """Return the image, shape (y, x, c)."""
        whole = (self._share >= np.float32(0.999) * self._total) | (self._total == 0)
        mean = self._blend / np.maximum(self._total, np.float32(1e-30))[..., np.newaxis]
        blend = self.setting.analysis.scaling.to_gray_levels(mean, self.setting.dtype)
        return np.where(whole[..., np.newaxis], self._image, blend)


def _unknown(setting: FusionSetting) -> npt.NDArray[Any]:
    """Return an image before the first slice, NaN where pixels can be, shape (y, x, c)."""
    return np.full((*setting.shape, setting.channels), np.nan if setting.dtype.kind == "f" else 0, setting.dtype)
