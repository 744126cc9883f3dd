"""Estimates the noise of the camera, variance = gain x intensity + offset, from a few slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .kernels import kernel, run_bands, run_tasks
from .planes import in_planes
from .pyramid import FloatImage, expand, expand_row, halve_band, noise_gains, size_of
from .sampling import sample

BLOCK_PX = 16
BINS = 12

# Of large slices some so many rows of blocks are looked at, evenly spread; of narrow ones so many px.
_ROWS_OF_BLOCKS, _LEAST_PX = 64, 1 << 20

# A row of blocks as it is looked at: with the rows that its detail depends on, above and below.
_AROUND_PX = 4
_STRIP_PX = BLOCK_PX + 2 * _AROUND_PX

# Floats whose squares, and the noise's, are floats too.
_LARGEST = 1e100

# Laplacian pixels of a block are correlated: 256 of them tell as much as 0.6 x 256 independent ones.
_FREEDOM = 0.6 * BLOCK_PX**2


@dataclass(frozen=True)
class NoiseModel:
    """Noise variance as a line over intensity, and the range of intensities it was seen at.

    Attributes
    ----------
    gain, offset : tuple of float, one for every channel
        ``variance = gain * intensity + offset``, in gray levels.
    low, high : tuple of float, one for every channel
        0.1 and 99.9 percentiles of the intensities, in gray levels.

    Examples
    --------
    >>> camera = NoiseModel(gain=(0.5,), offset=(9.0,), low=(0.0,), high=(255.0,))
    >>> camera.variance(100), round(camera.relative, 3)
    (59.0, 0.033)
    """

    gain: tuple[float, ...]
    offset: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def variance(self, intensity: float, channel: int = 0) -> float:
        """Return the noise variance at an intensity; never negative.

        Examples
        --------
        >>> NoiseModel((2.0,), (5.0,), (0.0,), (255.0,)).variance(10)
        25.0
        """
        return max(self.gain[channel] * intensity + self.offset[channel], 0.0)

    @property
    def relative(self) -> float:
        """Standard deviation at mid range over the range, mean over channels: how visible the noise is."""
        shares = []
        for c, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if high > low:
                shares.append(self.variance((low + high) / 2, c) ** 0.5 / (high - low))
        return float(np.mean(shares)) if shares else 0.0


def estimate_noise(slices: Sequence[npt.NDArray[Any]]) -> NoiseModel:
    """Estimate the noise of a stack from some of its slices.

    In blocks of 16 x 16 px the mean intensity and the energy of the finest
    Laplacian level are taken; in some 64 rows of blocks, evenly spread, where
    slices are large. Of the blocks of like intensity the smoothest tenth shows
    noise and little else; a line that yields to outliers joins them.

    Parameters
    ----------
    slices : sequence of real arrays, each of shape (y, x) or (y, x, c)
        About five, evenly spaced in z. Non-finite pixels are left out.

    Returns
    -------
    NoiseModel
        One entry for every channel.

    Raises
    ------
    InputError
        If no slice has a finite pixel, or if floats are so large or small that their squares are not floats.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> slices = [rng.normal(100, 3, (128, 128)) for _ in range(5)]
    >>> 2.8 < estimate_noise(slices).variance(100) ** 0.5 < 3.2
    True
    """
    first = np.asarray(slices[0])
    channels = 1 if first.ndim == 2 else first.shape[2]
    lines, ranges = [], []
    apart = [_channels_of(np.asarray(one)) for one in slices]
    for c in range(channels):
        planes = [one[c] for one in apart]
        seen = [found for found in run_tasks(_seen, planes) if found is not None]
        if not seen:
            raise InputError("no finite pixel in the slices looked at, all are NaN or infinite; choose other slices.")
        values, means, energies = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        low, high = _percentiles(values, (0.1, 99.9))
        if low == high and _is_wide(first.dtype):
            # A few bright spots on ground that is all the same: they are what there is to see.
            low, high = _extremes(planes)
        ranges.append((float(low), float(high)))
        unit = _checked_unit(first.dtype, float(low), float(high))
        if _is_wide(first.dtype):
            # A wild pixel, far from all others, makes its block's mean one too.
            usual = np.abs(means - (low + high) / 2) <= high - low
            means, energies = means[usual], energies[usual]
        gain, offset = _fit_line(means / unit, energies / unit / unit)
        lines.append((gain * unit, offset * unit * unit))
    return NoiseModel(
        gain=tuple(a for a, _ in lines),
        offset=tuple(b for _, b in lines),
        low=tuple(low for low, _ in ranges),
        high=tuple(high for _, high in ranges),
    )


def _channels_of(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a slice of shape (y, x) or (y, x, c) as (c, y, x)."""
    if image.ndim == 2:
        return image[None]
    # To take a channel from between the others is slow; wide numbers are converted anyway.
    return np.moveaxis(image, -1, 0) if _is_wide(image.dtype) or image.dtype.kind == "f" else in_planes(image)


def _percentiles(values: npt.NDArray[Any], percents: tuple[float, ...]) -> list[float]:
    if _is_wide(values.dtype):
        return [float(one) for one in np.percentile(values.astype(np.float64), percents)]
    # By radix; NumPy's percentiles of floats took five times as long.
    ordered = np.sort(values, kind="stable")
    return [_in_order(ordered, percent) for percent in percents]


def _in_order(ordered: npt.NDArray[Any], percent: float) -> float:
    """Return a percentile of what was sorted."""
    place = percent / 100 * (len(ordered) - 1)
    two = ordered[int(place) : int(place) + 2].astype(np.float64)
    return float(two[0] + (two[-1] - two[0]) * (place % 1))


def _order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return what a stable `argsort` does, in half its time: NumPy's fast sort leaves equal values in any order."""
    order = np.argsort(values)
    ordered = values[order]
    bits = len(values).bit_length()
    rank = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))
    return np.sort(rank << bits | order) & ((1 << bits) - 1)


def _checked_unit(dtype: np.dtype[Any], low: float, high: float) -> float:
    """Return a power of two in which wide numbers, and their squares, are near 1."""
    if not _is_wide(dtype):
        return 1.0
    largest = max(abs(low), abs(high))
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        raise InputError(
            f"pixels reach from {low:.3g} to {high:.3g}, and squares of such numbers cannot be computed; "
            "scale the stack to ordinary numbers first."
        )
    return _power_of_two(largest)


def _extremes(planes: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    known = [finite for finite, _ in map(_finite_plane, planes) if finite.size]
    return min(float(finite.min()) for finite in known), max(float(finite.max()) for finite in known)


def _is_wide(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize > 2


def _power_of_two(magnitude: float) -> float:
    return float(2.0 ** np.frexp(magnitude)[1])


def _seen(plane: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...] | None:
    """Return some intensities of a slice, and mean and noise variance of its blocks; None if no pixel is finite."""
    finite, plane = _finite_plane(plane)
    if not finite.size:
        return None
    values = sample(finite)
    # The largest floats have infinite sums: blocks that hold them do not count.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, energy = _block_statistics(plane, values)
    # A block with a hole has NaN in both.
    known = np.isfinite(energy)
    return values, mean[known], energy[known]


def _finite_plane(plane: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if plane.dtype.kind != "f":
        return plane, plane
    known = np.isfinite(plane)
    if known.all():
        return plane, plane
    return plane[known], np.where(known, plane, np.nan)


def _block_statistics(
    plane: npt.NDArray[Any], values: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean intensity and noise variance of each block, were there nothing but noise; `values` are typical."""
    h, w = plane.shape
    rows, columns = h // BLOCK_PX, w // BLOCK_PX
    if rows * columns > 0:
        looked_at = _looked_at(rows, h, w)
        rows, plane = len(looked_at), plane[_strips_around(looked_at, h)]
    level, unit = 0.0, 1.0
    # Not all versions of Numba know half-precision floats.
    image = np.ascontiguousarray(plane, np.float32 if plane.dtype == np.float16 else None)
    if _is_wide(plane.dtype):
        # Values far from zero would lose the noise in float32, and small or large ones leave it when squared.
        # Typical ones, whatever a wild pixel may be.
        exact = values.astype(np.float64)
        level = float(np.median(exact))
        away = np.abs(exact - level)
        unit = _power_of_two(float(np.percentile(away, 99) or away.max()))
        image = ((plane.astype(np.float64) - level) / unit).astype(np.float32)
    else:
        # Read-only whatever it was, as slices are for the same kernel elsewhere.
        image = image.view()
        image.flags.writeable = False
    coarse = np.empty(((len(image) + 1) // 2, (w + 1) // 2), np.float32)
    run_bands(halve_band, *coarse.shape, image, coarse, np.empty(len(image)))
    if rows * columns == 0:
        return _whole_statistics(image, coarse, level, unit)
    means = np.empty((rows, columns))
    energies = np.empty((rows, columns))
    run_bands(_block_band, rows, w * BLOCK_PX, image, coarse, means, energies)
    return means.ravel() * unit + level, energies.ravel() / noise_gains(1)[0] * unit * unit


def _looked_at(rows: int, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return which rows of blocks are looked at."""
    step = max(min(rows // _ROWS_OF_BLOCKS, height * width // _LEAST_PX), 1)
    return np.arange(step // 2, rows, step)


def _strips_around(rows_of_blocks: npt.NDArray[np.int64], height: int) -> npt.NDArray[np.int64]:
    """Return the rows of pixels of these rows of blocks and around each of them, mirrored at the edges."""
    strips = BLOCK_PX * rows_of_blocks[:, None] + np.arange(-_AROUND_PX, BLOCK_PX + _AROUND_PX)
    mirrored = height - 1 - np.abs(height - 1 - np.abs(strips))
    return mirrored.ravel()


def _whole_statistics(
    image: npt.NDArray[Any], coarse: FloatImage, level: float, unit: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return one block for an image smaller than a block; the median forgives its texture."""
    means, energies = np.empty((1, 1)), np.empty((1, 1))
    detail = image - expand(coarse, size_of(image))
    known = np.isfinite(detail)
    if known.any():
        means[0, 0] = float(image[np.isfinite(image)].mean()) * unit + level
        energies[0, 0] = (float(np.median(np.abs(detail[known]))) / 0.6745 * unit) ** 2
    else:
        means[0, 0] = energies[0, 0] = np.nan
    return means.ravel(), energies.ravel() / noise_gains(1)[0]


@kernel
def _block_band(image, coarse, means, energies, first, last):  # type: ignore[no-untyped-def]
    """`image` is made of strips, each a row of blocks and what lies around it."""
    h, w = image.shape
    line = np.empty(coarse.shape[1], np.float32)
    row = np.empty(w, np.float32)
    # Of intensities and energies, every column by itself: whole rows are added up at once.
    sums = np.empty((2, w), np.float32)
    for block in range(first, last):
        sums[:] = 0
        intensity, energy = sums[0], sums[1]
        for y in range(block * _STRIP_PX + _AROUND_PX, (block + 1) * _STRIP_PX - _AROUND_PX):
            expand_row(coarse, y, h, line, row)
            source = image[y]
            for x in range(w):
                number = np.float32(source[x])
                detail = number - row[x]
                intensity[x] += number
                energy[x] += detail * detail
        for b in range(means.shape[1]):
            mean = square = 0.0
            for x in range(16 * b, 16 * b + 16):
                mean += intensity[x]
                square += energy[x]
            means[block, b] = mean / 256
            energies[block, b] = square / 256


def _fit_line(means: npt.NDArray[np.float64], energies: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return gain and offset of the line through the smoothest tenths of bins of like intensity."""
    if means.size == 0:
        return 0.0, 0.0
    bins = int(np.clip(means.size // 16, 1, BINS))
    order = _order(means)
    if bins == 1:
        return 0.0, float(np.median(energies))
    # Wilson & Hilferty 1931: where the 10th percentile of a mean of squares lies.
    tenth = (1 - 2 / (9 * _FREEDOM) - 1.2816 * np.sqrt(2 / (9 * _FREEDOM))) ** 3
    groups = np.array_split(order, bins)
    intensity = np.array([means[g].mean() for g in groups])
    expected = np.ones_like(energies)
    gain = offset = 0.0
    # The smoothest tenth of a bin is also its darkest, unless its energies are first divided by
    # the noise expected there: without the second and third round a gain of 2 came out as 2.13
    # and an offset of 100 as -111.
    for _ in range(3):
        at_bin = np.maximum(gain * intensity + offset, 0) if gain > 0 else np.ones_like(intensity)
        variance = np.array([_in_order(np.sort(energies[g] / expected[g]), 10) for g in groups]) / tenth * at_bin
        gain, offset = _robust_line(intensity, variance)
        if gain <= 0:
            break
        expected = np.maximum(gain * means + offset, 1e-3 * (gain * means.max() + offset))
    if gain < 0:
        return 0.0, _robust_constant(variance)
    return gain, offset


def _robust_line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Fit y = a x + b to relative residuals; points far above the line, texture, count less."""
    largest = float(y.max())
    if largest <= 0 or np.ptp(x) == 0:
        return 0.0, float(np.median(y))
    trust = np.ones_like(y)
    predicted = np.maximum(y, 1e-3 * largest)
    a = b = 0.0
    for _ in range(30):
        counted = trust / (predicted / largest) ** 2
        counted /= counted.sum()
        # From the middle: of intensities far from zero that differ by little, the products would be all alike.
        middle, height = float(counted @ x), float(counted @ y)
        away = x - middle
        a = float((counted * away) @ (y - height)) / max(float((counted * away) @ away), 1e-300)
        b = height - a * middle
        predicted = np.maximum(a * x + b, 1e-3 * largest)
        residual = (y - predicted) / predicted
        trust = _trust(residual)
    return a, b


def _robust_constant(y: npt.NDArray[np.float64]) -> float:
    """Return the height of a level line that points far above it, texture, pull little."""
    level = float(y.min())
    for _ in range(30):
        trust = _trust((y - level) / max(level, 1e-3 * float(y.max()), 1e-300))
        level = float(np.average(y, weights=trust))
    return level


def _trust(residual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(residual > 0.2, 0.2 / np.maximum(residual, 0.2), 1.0)
