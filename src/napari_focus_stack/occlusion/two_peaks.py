"""The two highest peaks of the focus measure along z at every pixel, with the pixels of their slices.

Beside the rim of something near, the focus measure of a pixel has two peaks: one
where the rim is in focus, one where the wall behind it is. Which of them is the
pixel's own can only be told when all slices were seen, so the pixels of both are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..kernels import kernel, row_function, run_bands
from ..pyramid import FloatImage

# Peaks are at least this many slices apart, and this share of the stack, since many slices are dense ones.
_LEAST_GAP = 3
_GAP_SHARE = 1 / 7

# In slices: how far the slice of a peak may be from the height that is looked for.
_NEAR_ENOUGH = 1.6

# The focus measure is 1 in pure noise; what is held is its root in sixteenths.
_LEAST_ROOT = 23


class TwoPeaks:
    """The largest focus measure so far, the largest one on another peak, and the slices' own pixels at both.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of a slice, in px.
    half_shape : tuple of int
        Its half, rounded up.
    slices, channels : int
        Slices there will be, or 0; colour channels.
    dtype : numpy.dtype
        Of the stack.

    Attributes
    ----------
    gap : int
        Slices between two peaks, at least.
    index : uint16 array
        Slice of the first peak, at half size.
    second : uint16 array
        Root of the focus measure of the second peak, in sixteenths, at half size.
    second_index : uint16 array
        Its slice, at half size.
    first_pixels, second_pixels : array, shape (y, x, c), dtype of the stack
        What the slices of both peaks show; 0 before there is a peak.
    """

    def __init__(
        self, shape: tuple[int, int], half_shape: tuple[int, int], slices: int, channels: int, dtype: np.dtype[Any]
    ) -> None:
        self.shape = shape
        self.count = 0
        self.gap = max(_LEAST_GAP, int(np.ceil(slices * _GAP_SHARE)))
        self._best, self._previous = (np.zeros(half_shape, np.float32) for _ in range(2))
        self.index, self.second, self.second_index = (np.zeros(half_shape, np.uint16) for _ in range(3))
        self.first_pixels, self.second_pixels = (np.zeros((*shape, channels), dtype) for _ in range(2))

    def add(self, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in the next slice, contiguous, of shape (y, x, c), that was analysed last."""
        finest, next_finest = halves(analysis)
        bits = np.dtype(f"u{image.itemsize}")
        h, w, c = image.shape
        run_bands(
            _climb_band,
            *self.second.shape,
            finest,
            next_finest,
            self._best,
            self._previous,
            self.index,
            self.second,
            self.second_index,
            image.reshape(h, w * c).view(bits),
            self.first_pixels.reshape(h, w * c).view(bits),
            self.second_pixels.reshape(h, w * c).view(bits),
            c,
            self.count,
            self.gap,
        )
        self.count += 1

    def pixels_at(
        self, height: FloatImage, window: tuple[slice, slice]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the pixels of the peak at a height, elsewhere those of the first peak, and where there is a peak.

        Parameters
        ----------
        height : float32 array
            In slices, at half size: of the window.
        window : tuple of slice
            Rows and columns at half size.

        Returns
        -------
        array, shape (y, x, c), and bool array, shape (y, x), at full size
        """
        rows, columns = (slice(2 * s.start, min(2 * s.stop, n)) for s, n in zip(window, self.shape, strict=True))
        first = np.abs(self.index[window] - height) <= _NEAR_ENOUGH
        second = ~first & (np.abs(self.second_index[window] - height) <= _NEAR_ENOUGH)
        second &= self.second[window] > _LEAST_ROOT
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pixels = np.where(
            twice(second, shape)[..., np.newaxis], self.second_pixels[rows, columns], self.first_pixels[rows, columns]
        )
        return pixels, twice(first | second, shape)


def halves(analysis: SliceAnalysis) -> tuple[FloatImage, FloatImage]:
    """Return the two halves of the focus measure of the slice that was analysed last, each 1 in pure noise."""
    finest, next_finest = analysis.energies[0], analysis.energies[min(1, analysis.levels - 1)]
    if analysis.valid is not None:
        finest = finest * analysis.valid[1]
        next_finest = next_finest * analysis.valid[1]
    return finest, next_finest


def twice(half: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a map at double size, every pixel as 2 x 2."""
    return half.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


@row_function
def _spread(flags, channels, out):  # type: ignore[no-untyped-def]
    """Write all bits of every pixel where its flag at half size is set."""
    nothing = np.zeros(1, out.dtype)[0]
    everything = ~nothing
    n = flags.shape[0]
    if channels == 1:
        for i in range(n):
            bits = everything if flags[i] else nothing
            out[2 * i] = bits
            out[2 * i + 1] = bits
    else:
        for i in range(n):
            bits = everything if flags[i] else nothing
            for x in range(2 * i * channels, 2 * (i + 1) * channels):
                out[x] = bits


@kernel
def _climb_band(  # type: ignore[no-untyped-def]
    finest,
    next_finest,
    best,
    previous,
    index,
    second,
    second_index,
    image,
    first_pixels,
    second_pixels,
    channels,
    k,
    gap,
    first,
    last,
):
    h, width = image.shape
    n = best.shape[1]
    climbs, follows, rises = np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.bool_)
    to_first, from_first, to_second = (
        np.empty(2 * n * channels, image.dtype),
        np.empty(2 * n * channels, image.dtype),
        np.empty(2 * n * channels, image.dtype),
    )
    farthest = np.int32(k - gap)
    for j in range(first, last):
        half, next_half, top, before = finest[j], next_finest[j], best[j], previous[j]
        place, other, other_place = index[j], second[j], second_index[j]
        for i in range(n):
            focus = np.float32(0.5) * (half[i] + next_half[i])
            root = np.float32(other[i]) * np.float32(0.0625)
            apart = np.int32(place[i]) <= farthest
            higher = focus > top[i]
            climbs[i] = higher
            follows[i] = apart & higher
            # The far slope of the first peak is not another one.
            rises[i] = apart & (not higher) & (focus > root * root) & (focus > before[i])
            measure = top[i] if higher else focus
            held = np.uint16(min(np.sqrt(measure) * np.float32(16), np.float32(65535)))
            changes = follows[i] | rises[i]
            other[i] = held if changes else other[i]
            place_then = place[i] if higher else np.uint16(k)
            other_place[i] = place_then if changes else other_place[i]
            top[i] = focus if higher else top[i]
            place[i] = np.uint16(k) if higher else place[i]
            before[i] = focus
        _spread(climbs, channels, to_first)
        _spread(follows, channels, from_first)
        _spread(rises, channels, to_second)
        # Bits are chosen instead of branches taken: that runs 30 times as fast.
        for y in range(2 * j, min(2 * j + 2, h)):
            new, one, two = image[y], first_pixels[y], second_pixels[y]
            for x in range(width):
                moved, taken = from_first[x], to_second[x]
                two[x] = (one[x] & moved) | (new[x] & taken) | (two[x] & ~(moved | taken))
            for x in range(width):
                taken = to_first[x]
                one[x] = (new[x] & taken) | (one[x] & ~taken)
