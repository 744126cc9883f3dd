"""How bright one slice is against another, for every channel: a gain, or a gain and an offset.

Means over blocks much wider than the blur are compared, for blur moves light, but
makes none. Blocks that differ otherwise, such as those something moved into, count
less. Where blocks are too much alike to tell gain from offset, it is all gain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BRIGHTNESS_MODELS: dict[str, str] = {
    "off": "Off",
    "gain": "Gain of every channel",
    "gain-offset": "Gain and offset of every channel",
}

# Less is left as it is, so that a good stack stays what it was to the last bit.
LEAST_CHANGE = 0.02

_BLOCKS = 12
_LEAST_BLOCK_PX = 4
_ROUNDS = 10

# Of the differences between blocks: where more than this is not explained, they are too much alike to tell gain
# from offset. Blur takes some of the differences away, which would pass for less gain and more offset.
_MOST_REST = 0.05


def block_means(image: npt.NDArray[Any]) -> FloatArray:
    """Return the means of some 12 x 12 blocks of a slice of shape (y, x, c): shape (blocks, c); NaN is passed over."""
    h, w, channels = image.shape
    size = max(min(h, w) // _BLOCKS, min(_LEAST_BLOCK_PX, h, w))
    rows, columns = h // size, w // size
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size, channels)
    if image.dtype.kind != "f":
        # Rows first: they lie side by side in memory.
        return blocks.mean(axis=3, dtype=np.float32).mean(axis=1, dtype=np.float64).reshape(-1, channels)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return (total / np.maximum(known.sum(axis=(1, 3)), 1)).reshape(-1, channels)


def relative_brightness(before: FloatArray, after: FloatArray, model: str) -> tuple[FloatArray, FloatArray]:
    """Return gain and offset of every channel that make the block means `before` those `after`.

    Parameters
    ----------
    before, after : float arrays, shape (blocks, c)
    model : str
        "gain" or "gain-offset".

    Examples
    --------
    >>> before = np.arange(1.0, 9)[:, None]
    >>> gain, offset = relative_brightness(before, 1.5 * before + 3, "gain-offset")
    >>> float(gain[0].round(6)), float(offset[0].round(6))
    (1.5, 3.0)
    """
    pairs = [_fitted(x, y, model == "gain-offset") for x, y in zip(before.T, after.T, strict=True)]
    gain, offset = np.array(pairs).T
    return gain, offset


def _fitted(x: FloatArray, y: FloatArray, with_offset: bool) -> tuple[float, float]:
    """Return gain and offset of one channel."""
    if not np.abs(x).max() > 0:
        return 1.0, 0.0
    design = np.stack([x, np.ones_like(x)], axis=1)[:, : 1 + with_offset]
    weight = np.ones_like(x)
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)[:, None]
        found, *_ = np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)
        rest = np.abs(y - design @ found)
        usual = 1.5 * np.median(rest) + 1e-9 * np.abs(y).max()
        weight = np.minimum(1, usual / np.maximum(rest, 1e-30))
    if with_offset and np.median(rest) > _MOST_REST * np.median(np.abs(x - np.median(x))):
        return _fitted(x, y, with_offset=False)
    if not found[0] > 0:
        return 1.0, 0.0
    return float(found[0]), float(found[1]) if with_offset else 0.0
