"""What every method needs to know of one slice: its pyramid and where it has energy above the noise.

The buffers are made once and filled anew by every slice, so nothing here grows
with the number of slices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import (
    kernel,
    kernel_of_sums,
    multiply_add,
    row_function_of_sums,
    run_bands,
    run_rows,
    run_together,
    strips,
)
from .noise import NoiseModel
from .planes import in_planes
from .pyramid import (
    PUSH_PULL_REACH,
    FloatImage,
    blur_column,
    blur_line,
    expand,
    expand_row,
    halve_band,
    level_shapes,
    noise_gains,
    push_pull_near,
    reduce,
    reduce_line,
    row_sum,
)
from .scaling import Scaling

# In units of the noise. A wild pixel of a float stack has more, and squares and products of it overflowed to NaN in the
# whole map.
_MOST_ENERGY = np.float32(1e15)

# How far around a pixel of the fused image lies what decides about it at a level, in pixels of the level: smoothed
# energies of this level and of those beside it.
_REACH = 12

# Pixels that are not finite are filled in so many reductions, so that a part of an image fills them as all of it does.
_MEND_LEVELS = 5

# Stands for a map that is not there.
NOTHING = np.empty((0, 0), np.float32)


def mending_reach_px() -> int:
    """Return how far around a pixel that is not finite lies what it is filled from."""
    return PUSH_PULL_REACH << _MEND_LEVELS


class SliceAnalysis:
    """Pyramid and noise-normalised energies of the current slice.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of a slice.
    channels : int
        Colour channels; alpha is not one of them.
    levels : int
        Detail levels of the pyramid.
    noise : NoiseModel
    scaling : Scaling
    deciding : sequence of int
        Channels whose energy decides for all.
    magnitude : bool
        Whether `fine_magnitude` is asked for.
    far : float32 array, shape (channels,), optional
        What pixels hold, scaled, that are not finite, nor near any that is; 0 by itself.

    Attributes
    ----------
    finest : array, shape (c, y, x)
        Level 0: the slice's own numbers where these are gray levels that the kernels take as they are, else
        ``planes``. Held until `let_go`.
    gaussians : list of float32 arrays, shape (c, y_l, x_l)
        Levels 1 to `levels`.
    energies : list of float32 arrays
        Smoothed energy of every detail level in units of the noise, 1 where there
        is nothing but noise. Level 0 is held at the size of level 1.
    smoother : list of float32 arrays
        The same smoothed once more; empty for level 0.
    fine_energy : float32 array
        The energy of level 0 before it was smoothed, at the size of level 1.
    fine_magnitude : float32 array
        Magnitude of level 0 in units of the noise, at the size of level 1; empty unless asked for.
    level_energies : float64 array, shape (levels,)
        Mean square of each detail level over pixels and deciding channels, scaled.
    mean_intensity : float
        Mean over pixels and deciding channels, scaled.
    rows : list of tuple of int
        First row of every level that is worked on, and the one behind the last: all of them, unless `work_on` says
        less. Energies of others are 0, those of level 0 being held in the rows of level 1.
    valid : list of arrays or None
        Share of finite pixels behind every pixel of every level, base included,
        or None when all are finite and covered. That of level 0 is a boolean array, the others are float32.
    holes : bool
        Whether there are non-finite pixels.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int,
        levels: int,
        noise: NoiseModel,
        scaling: Scaling,
        deciding: Sequence[int],
        magnitude: bool = True,
        far: FloatImage | None = None,
    ) -> None:
        self.shapes = level_shapes(*shape, levels)
        self.levels = levels
        self.rows = [(0, height) for height, _ in self.shapes]
        self.scaling = scaling
        self.deciding = np.array(deciding, np.int64)
        self.gain, self.offset = scaling.noise_line(noise)
        self.least_variance = np.float32(scaling.least_variance)
        self.noise_gains = noise_gains(levels)
        self.level_energies = np.zeros(levels)
        self.mean_intensity = 0.0
        self.valid: list[npt.NDArray[Any]] | None = None
        self.holes = False
        self._channels = channels
        self._far = np.zeros(channels, np.float32) if far is None else far
        self._magnitude_shape = self.shapes[1] if magnitude else (0, 0)
        self._released: bool
        # Level 0 where it is not the slice itself: in floats, or colours, which lie side by side, taken apart.
        self._planes: npt.NDArray[Any]
        self.fine_energy: FloatImage
        self.finest: npt.NDArray[Any]
        self.release()
        self.make_room()

    @property
    def planes(self) -> FloatImage:
        """Level 0 in floats, shape (c, y, x): copied where `finest` is of whole numbers."""
        return np.asarray(self.finest, np.float32)

    def work_on(self, rows: slice, reach_px: int) -> None:
        """Leave out energies that say nothing of these rows of the slice, or of those up to so many px from them."""
        for level, (height, _) in enumerate(self.shapes):
            margin = reach_px + (_REACH << level)
            self.rows[level] = max(rows.start - margin, 0) >> level, min(-(-(rows.stop + margin) >> level), height)
        # For other room, which is 0 where nothing is written.
        self.release()

    def make_room(self, planes: bool = True) -> None:
        """Have the buffers that `release` gave back; what they hold is not defined until the next `load`.

        Without `planes`, only those that `glance` fills without level 0.
        """
        if self._released:
            self.gaussians = [np.empty((self._channels, *s), np.float32) for s in self.shapes[1:]]
            self.energies, self.smoother = (
                [self._room(s) for s in ((0, 0), *self.shapes[1 : self.levels])] for _ in range(2)
            )
            self._released = False
        if planes and not len(self.fine_energy):
            if not self.scaling.is_identity:
                self._planes = np.empty((self._channels, *self.shapes[0]), np.float32)
            self.energies[0] = self._room(self.shapes[1])
            self.fine_energy = self._room(self.shapes[1])
            self.fine_magnitude = np.empty(self._magnitude_shape, np.float32)

    def _room(self, shape: tuple[int, int]) -> FloatImage:
        """Return room for energies; those of rows that are not worked on stay 0."""
        some = any(rows != (0, height) for rows, (height, _) in zip(self.rows, self.shapes, strict=True))
        return np.zeros(shape, np.float32) if some else np.empty(shape, np.float32)

    def room_for_planes(self) -> FloatImage:
        """Return an array of the shape and kind of `planes` to work in; those of the last slice are lost."""
        if self.scaling.is_identity:
            self._planes = np.empty((self._channels, 0, 0), np.float32)
            self.let_go()
            return np.empty((self._channels, *self.shapes[0]), np.float32)
        self.make_room()
        return self._planes

    def let_go(self) -> None:
        """Hold the slice's own numbers no longer: `finest` is not to be asked for until the next `load`."""
        self.finest = self._planes

    def release(self) -> None:
        """Give the buffers back, 5 bytes a pixel in gray, until the next `load`."""
        nothing = np.empty((self._channels, 0, 0), np.float32)
        self._planes = nothing
        self.gaussians, self.energies, self.smoother = [], [], []
        self.let_go()
        self.fine_energy = self.fine_magnitude = nothing[0]
        self.valid = None
        self._released = True

    def load(self, image: npt.NDArray[Any], covered: npt.NDArray[np.bool_] | None = None) -> None:
        """Analyse a slice, shape (y, x) or (y, x, c), of which the first channels are taken.

        Pixels that are not `covered` count as little as those that are not finite, whatever they hold.
        """
        self.make_room()
        self._fill(image, covered, reduced=False)

        def coarser() -> None:
            self._reduce()
            for level in range(1, self.levels):
                self._level_energy(level)

        # In two threads that do not wait for each other at every level.
        run_together(self._fine_energy, coarser)

    def glance(
        self,
        image: npt.NDArray[Any],
        covered: npt.NDArray[np.bool_] | None = None,
        *,
        planes: bool = True,
        energy: bool = False,
    ) -> None:
        """Fill no more than `gaussians`, `mean_intensity` and `valid` from a slice.

        And with `planes`, `finest`; with `energy`, the energy of level 1, which needs two levels.
        """
        self.make_room(planes or not self.scaling.is_identity)
        self._fill(image, covered)
        if energy:
            self._level_energy(1)

    def detail(self, level: int) -> FloatImage:
        """Return one level of the Laplacian pyramid of the slice, shape (c, y_l, x_l)."""
        fine = self.finest if level == 0 else self.gaussians[level - 1]
        return np.stack([f - expand(g, self.shapes[level]) for f, g in zip(fine, self.gaussians[level], strict=True)])

    def energy_and_intensity(self, level: int, part: tuple[slice, slice]) -> tuple[float, float]:
        """Return the mean square of a detail level, and the mean intensity, of a part of the slice.

        Over the deciding channels; `part` in px of the slice.
        """
        fine, coarse = self.finest if level == 0 else self.gaussians[level - 1], self.gaussians[level]
        rows, columns = (slice(c.start >> level, -(-c.stop >> level)) for c in part)
        energies = [_mean_of_part(_squares_band, rows, columns, fine[c], coarse[c]) for c in self.deciding]
        intensities = [_mean_of_part(_sum_band, *part, self.finest[c]) for c in self.deciding]
        return float(np.mean(energies)), float(np.mean(intensities))

    def detail_variance(self, level: int) -> float:
        """Return the variance that noise gives the mean of a level's deciding channels, at the mean intensity."""
        return self.noise_variance(float(self.least_variance)) * self.noise_gains[level] / len(self.deciding)

    def noise_variance(self, least: float = 0.0) -> float:
        """Return the noise variance at the mean intensity, mean over the deciding channels, each at least `least`."""
        variances = self.gain[self.deciding] * self.mean_intensity + self.offset[self.deciding]
        return float(np.mean(np.maximum(variances, least)))

    def _fill(
        self,
        image: npt.NDArray[Any],
        covered: npt.NDArray[np.bool_] | None,
        *,
        reduced: bool = True,
    ) -> None:
        """Fill levels 0 and 1, mean intensity and validity; where `reduced`, the coarser levels too."""
        h, w = image.shape[:2]
        channels = self._channels
        source = image.reshape(h, w, -1)
        if self.scaling.is_identity:
            self.finest = self._own_numbers(source[:, :, :channels])
        else:
            self.finest = self._planes
            run_bands(_scale_band, h, w * channels, source[:, :, :channels], self._planes, self.scaling)
        self.valid = None
        finite = np.isfinite(source[:, :, :channels]).all(axis=2) if image.dtype.kind == "f" else None
        self.holes = finite is not None and not finite.all()
        if finite is not None and self.holes:
            self._mend(finite)
            covered = finite if covered is None else finite & covered
        if covered is not None:
            self._remember(covered)
        sums = np.zeros((channels, h))
        half = self.gaussians[0]
        for c in range(channels):
            run_bands(halve_band, *half.shape[1:], self.finest[c], half[c], sums[c])
        self.mean_intensity = self._mean(sums[self.deciding], 0)
        if reduced:
            self._reduce()

    def _own_numbers(self, source: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a slice of shape (y, x, c) channel by channel, of its own numbers."""
        shape = self._channels, *source.shape[:2]
        if self._channels > 1 and (self._planes.shape != shape or self._planes.dtype != source.dtype):
            self._planes = np.empty(shape, source.dtype)
        return in_planes(source, self._planes)

    def _reduce(self) -> None:
        """Fill levels 2 and coarser."""
        for fine, coarse in itertools.pairwise(self.gaussians):
            for c in range(self._channels):
                reduce(fine[c], coarse[c])

    def _mend(self, finite: npt.NDArray[np.bool_]) -> None:
        """Fill non-finite pixels from their neighbours."""
        share = finite.astype(np.float32)
        for plane, far in zip(self._planes, self._far, strict=True):
            plane[~finite] = 0
            plane[...] = np.where(finite, plane, push_pull_near(plane, share, _MEND_LEVELS, far))

    def _remember(self, known: npt.NDArray[np.bool_]) -> None:
        """Remember how much of each pixel is known."""
        # As bytes: floats of full size, of every pixel that is known, would be the largest array of a moved slice.
        numbers = known.view(np.uint8)
        numbers.flags.writeable = False
        half = np.empty(self.shapes[1], np.float32)
        run_bands(halve_band, *half.shape, numbers, half, np.zeros(len(known)))
        self.valid = [known, half]
        for _ in range(1, self.levels):
            self.valid.append(reduce(self.valid[-1]))

    def _fine_energy(self) -> None:
        sums = np.zeros(self.shapes[0][0])
        run_rows(
            _fine_energy_band,
            self.rows[1],
            self.shapes[1][1],
            self.finest,
            self.gaussians[0],
            self.deciding,
            self.gain,
            self.offset,
            self.least_variance,
            np.float32(1 / (self.noise_gains[0] * len(self.deciding))),
            self.fine_energy,
            self.fine_magnitude,
            self.energies[0],
            sums,
        )
        self.level_energies[0] = self._mean(sums, 0)

    def _level_energy(self, level: int) -> None:
        sums = np.zeros(self.shapes[level][0])
        run_rows(
            _level_energy_band,
            self.rows[level],
            self.shapes[level][1],
            self.gaussians[level - 1],
            self.gaussians[level],
            self.deciding,
            self.gain,
            self.offset,
            self.least_variance,
            np.float32(1 / (self.noise_gains[level] * len(self.deciding))),
            self.energies[level],
            self.smoother[level],
            sums,
        )
        self.level_energies[level] = self._mean(sums, level)

    def _mean(self, sums: npt.NDArray[np.float64], level: int) -> float:
        h, w = self.shapes[level]
        return float(sums.sum()) / (h * w * len(self.deciding))


def _scale_band(source: npt.NDArray[Any], planes: FloatImage, scaling: Scaling, first: int, last: int) -> None:
    for rows in strips(first, last):
        for c in range(len(planes)):
            planes[c, rows] = scaling.to_kernel(source[rows, :, c])


def _mean_of_part(function: Callable[..., Any], rows: slice, columns: slice, *images: Any) -> float:
    """Return the mean over a part of an image of what a kernel adds up in every row."""
    sums = np.zeros(rows.stop)
    count, width = rows.stop - rows.start, columns.stop - columns.start
    run_bands(function, count, width, *images, rows.start, columns.start, columns.stop, sums)
    return float(sums.sum()) / (count * width)


@kernel_of_sums
def _sum_band(image, top, left, right, sums, first, last):  # type: ignore[no-untyped-def]
    """Add up columns of rows, which are counted from `top`."""
    for y in range(top + first, top + last):
        sums[y] = row_sum(image[y, left:right])


@kernel_of_sums
def _squares_band(fine, coarse, top, left, right, sums, first, last):  # type: ignore[no-untyped-def]
    """Add up the squares of one Laplacian level in columns of rows, which are counted from `top`."""
    h, w = fine.shape
    line = np.empty(coarse.shape[1], np.float32)
    around = np.empty(w, np.float32)
    for y in range(top + first, top + last):
        expand_row(coarse, y, h, line, around)
        row, mean = fine[y, left:right], around[left:right]
        total = np.float32(0)
        for x in range(row.shape[0]):
            detail = np.float32(row[x]) - mean[x]
            total += detail * detail
        sums[y] = total


@row_function_of_sums
def _add_energy_row(plane, coarse, y, gain, offset, least, norm, keep, line, row, out):  # type: ignore[no-untyped-def]
    """Add the squares of row y of one Laplacian level in units of the noise to `out`; return their plain sum.

    To `keep` times what it holds, 0 or 1.
    """
    h, w = plane.shape
    expand_row(coarse, y, h, line, row)
    source = plane[y]
    total = np.float32(0)
    for x in range(w):
        mean = row[x]
        detail = np.float32(source[x]) - mean
        square = detail * detail
        total += square
        energy = min(square / max(multiply_add(gain, mean, offset), least) * norm, _MOST_ENERGY)
        out[x] = multiply_add(out[x], keep, energy)
    return total


@kernel
def _level_energy_band(  # type: ignore[no-untyped-def]
    planes, coarse, deciding, gain, offset, least, norm, energy, smoother, sums, first, last
):
    """Write the energy of a level, smoothed once and twice, while its rows are made: they are never held whole."""
    h, w = planes.shape[1:]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    # Five rows each of the energy as it is, and smoothed once.
    rings = np.zeros((2, 5, w), np.float32)
    for made in range(first - 4, last + 4):
        if made >= 0 and made < h:
            out = rings[0, made % 5]
            keep = np.float32(0)
            for c in deciding:
                s = _add_energy_row(planes[c], coarse[c], made, gain[c], offset[c], least, norm, keep, line, row, out)
                keep = np.float32(1)
                if made >= first and made < last:
                    sums[made] += s
        for n in range(2):
            y = made - 2 * (n + 1)
            if y >= max(first - 2 * (1 - n), 0) and y < min(last + 2 * (1 - n), h):
                blur_column(rings[n], y, h, 5, row)
                blurred = rings[1, y % 5] if n == 0 else smoother[y]
                blur_line(row, blurred)
                if n == 0 and y >= first and y < last:
                    target = energy[y]
                    for x in range(w):
                        target[x] = blurred[x]


@kernel
def _fine_energy_band(  # type: ignore[no-untyped-def]
    planes, coarse, deciding, gain, offset, least, norm, energy, magnitude, smooth, sums, first, last
):
    """Reduce the energy of level 0, and its root, while its rows are made; write it as it is and smoothed."""
    h, w = planes.shape[1:]
    half = energy.shape[0]
    line = np.empty(coarse.shape[2], np.float32)
    row = np.empty(w, np.float32)
    # Five rows each of the energy and of its root, at full size, and of the energy at half size.
    rings = np.zeros((2, 5, w), np.float32)
    reduced = np.empty((5, energy.shape[1]), np.float32)
    column = np.empty(w, np.float32)
    lanes = np.empty((2, energy.shape[1]), np.float32)
    begin, end = max(first - 2, 0), min(last + 2, half)
    made = 2 * begin - 3
    for j in range(begin, last + 2):
        while j < end and made < 2 * j + 2:
            made += 1
            if made >= h or made < 0:
                continue
            out = rings[0, made % 5]
            keep = np.float32(0)
            for c in deciding:
                s = _add_energy_row(planes[c], coarse[c], made, gain[c], offset[c], least, norm, keep, line, row, out)
                keep = np.float32(1)
                if made // 2 >= first and made // 2 < last:
                    sums[made] += s
            root = rings[1, made % 5]
            if magnitude.shape[0] > 0:
                for x in range(w):
                    root[x] = np.sqrt(out[x])
        # Three times the same calls: each place where a row function is called is compiled anew.
        for n in range(3):
            smoothing = n == 2
            y = j - 2 if smoothing else j
            here = y >= first and y < last
            if y >= end or (n > 0 and not here) or (n == 1 and magnitude.shape[0] == 0):
                continue
            ring = reduced if smoothing else rings[n]
            blurred = line if smoothing else column
            blur_column(ring, y if smoothing else 2 * y, half if smoothing else h, 5, blurred)
            if smoothing:
                blur_line(line, smooth[y])
            else:
                reduce_line(column, lanes, reduced[y % 5] if n == 0 else magnitude[y])
            if n == 0 and here:
                own = reduced[y % 5]
                for x in range(own.shape[0]):
                    energy[y, x] = own[x]
