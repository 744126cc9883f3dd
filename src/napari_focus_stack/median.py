"""A fast 5 x 5 median: a sorting network run over whole rows."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from .kernels import kernel, run_bands
from .pyramid import FloatImage, mirrored

_TAPS = 25
_MIDDLE = 12
# 25 rows of this many float32 stay in the first-level cache.
_CHUNK_PX = 256


def median5(image: FloatImage) -> FloatImage:
    """Return the 5 x 5 median of a (y, x) float32 image without NaN; edges are mirrored.

    SciPy's took 60 times as long on 1024 x 1024 px, and an unrolled network 8 s to compile.

    Examples
    --------
    >>> spot = np.zeros((7, 7), np.float32)
    >>> spot[3, 3] = 9
    >>> float(median5(spot).max())
    0.0
    """
    out = np.empty_like(image)
    run_bands(_median_band, *image.shape, image, _network(), out)
    return out


@cache
def _network() -> npt.NDArray[np.int64]:
    """Return the comparisons of Batcher's merge exchange (1968) that the middle of 25 depends on."""
    pairs: list[tuple[int, int]] = []
    top = 1 << (_TAPS - 1).bit_length()
    p = 1
    while p < top:
        k = p
        while k >= 1:
            for j in range(k % p, _TAPS - k, 2 * k):
                for i in range(min(k, _TAPS - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    needed, kept = {_MIDDLE}, []
    for a, b in reversed(pairs):
        if a in needed or b in needed:
            needed |= {a, b}
            kept.append((a, b))
    return np.array(kept[::-1], np.int64)


@kernel
def _median_band(image, network, out, first, last):  # type: ignore[no-untyped-def]
    h, w = image.shape
    rows = np.empty((25, _CHUNK_PX), np.float32)
    for y in range(first, last):
        for start in range(0, w, _CHUNK_PX):
            size = min(_CHUNK_PX, w - start)
            for dy in range(5):
                source = image[mirrored(y + dy - 2, h)]
                for dx in range(5):
                    line = rows[5 * dy + dx]
                    shift = start + dx - 2
                    if shift >= 0 and shift + size <= w:
                        for x in range(size):
                            line[x] = source[shift + x]
                    else:
                        for x in range(size):
                            line[x] = source[mirrored(shift + x, w)]
            for n in range(network.shape[0]):
                low = rows[network[n, 0]]
                high = rows[network[n, 1]]
                for x in range(size):
                    a = low[x]
                    b = high[x]
                    low[x] = min(a, b)
                    high[x] = max(a, b)
            middle = rows[12]
            for x in range(size):
                out[y, start + x] = middle[x]
