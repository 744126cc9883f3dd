"""How bright one slice is against another, for every channel: a gain, or a gain and an offset.

Means over blocks much wider than the blur are compared, for blur moves light, but
makes none: a gain is that of all light together. Blocks that differ much more than
others, such as those something moved into, count less. Where blocks are too much
alike to tell gain from offset, it is all gain. A gain is that of light: the camera's
black level, which no lamp changes, is taken off where the stack tells it.
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

# Differences from the rest that count in full, in those of the 90th of 100 blocks: bright spots that blur are a tenth
# of the blocks and gain where others lose, so that they must not be left out.
_USUAL_SHARE, _USUAL = 0.9, 3.0

# Black levels that are tried, as shares of the darkest block, and how much less must be left unexplained, as a share,
# for one to be taken: 0.014 to 0.11 where the ground is dark and the lamp drifts, up to 0.006 where the darkest block
# is too bright to tell or nothing drifts.
_BLACKS = np.linspace(0, 1, 41)[:-1]
_TELLS_BLACK = 0.01


def block_means(image: npt.NDArray[Any]) -> FloatArray:
    """Return the means of some 12 x 12 blocks of a slice of shape (y, x, c): shape (blocks, c); NaN is passed over."""
    h, w, channels = image.shape
    size = max(min(h, w) // _BLOCKS, min(_LEAST_BLOCK_PX, h, w))
    rows, columns = h // size, w // size
    if image.dtype.kind != "f":
        # Whole rows are added up first: numbers that lie side by side, of all channels.
        lines = image[: rows * size].reshape(rows, size, w * channels).mean(axis=1, dtype=np.float32)
        blocks = lines[:, : columns * size * channels].reshape(rows, columns, size, channels)
        return blocks.mean(axis=2, dtype=np.float64).reshape(-1, channels)
    blocks = image[: rows * size, : columns * size].reshape(rows, size, columns, size, channels)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return (total / np.maximum(known.sum(axis=(1, 3)), 1)).reshape(-1, channels)


def black_level(blocks: FloatArray) -> FloatArray:
    """Return the gray level of no light of every channel: zero, unless slices that differ in brightness tell it.

    Parameters
    ----------
    blocks : float array, shape (z, blocks, c)
        Block means of all slices, in order.

    Examples
    --------
    >>> light = np.geomspace(1, 30, 20)
    >>> drift = np.stack([1.03**k * light + 100 for k in range(8)])[..., None]
    >>> bool(abs(black_level(drift)[0] - 100) < 3)
    True
    """
    return np.array([_black(plane) for plane in np.moveaxis(blocks, 2, 0)])


def _black(blocks: FloatArray) -> float:
    darkest = float(blocks.min())
    if len(blocks) < 2 or not 0 < darkest < np.inf:
        return 0.0
    rest = np.empty((len(_BLACKS), len(blocks) - 1))
    for tried, share in zip(rest, _BLACKS, strict=True):
        light = blocks - share * darkest
        before, after = light[:-1], light[1:]
        gain = after.sum(axis=1) / before.sum(axis=1)
        tried[:] = np.abs(after - gain[:, None] * before).mean(axis=1)
    # Of every pair of slices alike, however much one of something else differs.
    unexplained = np.log(rest + 1e-9 * float(np.abs(blocks).max())).mean(axis=1)
    least = int(np.argmin(unexplained))
    return float(_BLACKS[least]) * darkest if unexplained[0] - unexplained[least] > _TELLS_BLACK else 0.0


def relative_brightness(
    before: FloatArray, after: FloatArray, model: str, black: npt.ArrayLike = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Return gain and offset of every channel that make the block means `before` those `after`.

    Parameters
    ----------
    before, after : float arrays, shape (blocks, c)
    model : str
        "gain" or "gain-offset".
    black : float, or one for every channel
        Gray level of no light, which a gain leaves as it is.

    Examples
    --------
    >>> before = np.arange(1.0, 9)[:, None]
    >>> gain, offset = relative_brightness(before, 1.5 * before + 3, "gain-offset")
    >>> float(gain[0].round(6)), float(offset[0].round(6))
    (1.5, 3.0)
    """
    blacks = np.broadcast_to(np.asarray(black, np.float64), before.shape[1])
    pairs = []
    for x, y, dark in zip(before.T, after.T, blacks, strict=True):
        both = _gain_and_offset(x, y) if model == "gain-offset" else None
        if both is None:
            gain = _gain(x - dark, y - dark)
            both = gain, float(dark) * (1 - gain)
        pairs.append(both)
    gain, offset = np.array(pairs).T
    return gain, offset


def _gain(x: FloatArray, y: FloatArray) -> float:
    """Return how much more light there is in y than in x."""
    size = np.abs(x)
    if not (size.max() > 0 and np.abs(y).max() > 0):
        return 1.0
    sign, weight, found = np.sign(x), np.ones_like(x), 1.0
    for _ in range(_ROUNDS):
        found = float(np.sum(weight * sign * y) / np.sum(weight * size))
        rest = np.abs(y - found * x)
        usual = _USUAL * np.quantile(rest, _USUAL_SHARE) + 1e-9 * np.abs(y).max()
        weight = np.minimum(1, usual / np.maximum(rest, 1e-30))
    return found if found > 0 else 1.0


def _gain_and_offset(x: FloatArray, y: FloatArray) -> tuple[float, float] | None:
    """Return gain and offset; None where blocks are too much alike to tell one from the other."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    weight = np.ones_like(x)
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)[:, None]
        found, *_ = np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)
        rest = np.abs(y - design @ found)
        usual = 1.5 * np.median(rest) + 1e-9 * np.abs(y).max()
        weight = np.minimum(1, usual / np.maximum(rest, 1e-30))
    told = np.median(rest) <= _MOST_REST * np.median(np.abs(x - np.median(x))) and np.ptp(x) > 0 and found[0] > 0
    return (float(found[0]), float(found[1])) if told else None
