"""The blur that a near object out of focus lays over what lies behind it, by a disc of varying radius.

With N the light of the near object, a its cover (1 where it is, 0 beside it)
and B the blur that its distance from focus brings, a slice in which the wall
behind is in focus shows

    I = B(a N) + (1 - B a) W,

so that W can be told wherever some of the wall is seen.

References
----------
Hasinoff & Kutulakos, A layer-based restoration framework for variable-aperture photography, ICCV (2007).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..pyramid import FloatImage

# Neighbouring radii differ by this factor; what lies between is mixed.
_RADIUS_STEP = 1.2

# Standard deviation of the rim of the blurred image of a point, in radii.
_SOFT_RIM = 0.15

_MARGIN = 4
_TABLE_STEP = 1 / 256
_TABLE_END = 40.0


def blurred(images: FloatImage, radius_px: FloatImage, where: npt.NDArray[np.bool_]) -> FloatImage:
    """Return images blurred by discs whose radius differs from pixel to pixel.

    Parameters
    ----------
    images : float32 array, shape (n, y, x)
        They go on as their mirror image.
    radius_px : float32 array, shape (y, x)
    where : bool array, shape (y, x)
        Where the radius counts.

    Returns
    -------
    float32 array, shape (n, y, x)

    Examples
    --------
    >>> square = np.zeros((1, 64, 64), np.float32)
    >>> square[0, 24:40, 24:40] = 1
    >>> everywhere = np.ones((64, 64), bool)
    >>> wide = blurred(square, np.full((64, 64), 5, np.float32), everywhere)
    >>> round(float(wide.sum())), round(float(wide[0, 32, 32]), 2), round(float(wide[0, 32, 24]), 1)
    (256, 1.0, 0.6)
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    radii = radius_px[where]
    low, high = max(float(radii.min()), 0.5), max(float(radii.max()), 0.6)
    nodes = np.geomspace(low, high, 1 + int(np.ceil(np.log(high / low) / np.log(_RADIUS_STEP))) if high > low else 1)
    margin = int(np.ceil(high)) + _MARGIN
    h, w = images.shape[1:]
    size = next_fast_len(h + 2 * margin, real=True), next_fast_len(w + 2 * margin, real=True)
    around = ((0, 0), (margin, size[0] - h - margin), (margin, size[1] - w - margin))
    spectrum = rfft2(np.pad(images, around, "symmetric"))
    position = np.log(np.clip(radius_px, low, high) / low) / max(np.log(high / low), 1e-6) * (len(nodes) - 1)
    out = np.zeros_like(images)
    for i, radius in enumerate(nodes):
        share = np.clip(1 - np.abs(position - i), 0, 1).astype(np.float32)
        disc = irfft2(spectrum * _transfer(size, float(radius)), size)
        out += share * disc[:, margin : margin + h, margin : margin + w]
    return out


def _transfer(size: tuple[int, int], radius_px: float) -> FloatImage:
    table = _transfer_table()
    index = _frequency(size) * np.float32(2 * np.pi * radius_px / _TABLE_STEP)
    return table[np.minimum(index, len(table) - 1).astype(np.int32)]


@lru_cache(maxsize=4)
def _frequency(size: tuple[int, int]) -> FloatImage:
    fy, fx = np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1])
    return np.hypot(fy[:, np.newaxis], fx).astype(np.float32)


@lru_cache(maxsize=1)
def _transfer_table() -> FloatImage:
    """Return the transfer function of a disc with a soft rim, over 2 pi times frequency times radius."""
    from scipy.special import j1

    x = np.arange(_TABLE_STEP, _TABLE_END, _TABLE_STEP)
    disc = 2 * j1(x) / x * np.exp(-((_SOFT_RIM * x) ** 2) / 2)
    return np.concatenate([[1], disc]).astype(np.float32)
