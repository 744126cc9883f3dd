"""Textures: photographs that scikit-image carries in its wheel, and fractal noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .specimen import FloatImage

# Only images inside the scikit-image wheel; most others of `skimage.data` are downloaded at first use.
PHOTOGRAPHS = ("brick", "camera", "coins", "grass", "gravel", "moon", "page", "text")


def photograph(name: str, shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return a photograph, mirrored over the plane and cut at a random place.

    Parameters
    ----------
    name : str
        One of `PHOTOGRAPHS`.
    shape : tuple of int
        (y, x) in pixels; any size, the photograph is not rescaled.
    rng : numpy.random.Generator
        Chooses the place and whether to flip or transpose.

    Returns
    -------
    float32 array, shape (y, x)
        Mean 0.5 and standard deviation 0.17, clipped to [0.02, 0.98].

    Examples
    --------
    >>> photograph("brick", (64, 70), np.random.default_rng(0)).shape
    (64, 70)
    """
    import skimage.data

    image = getattr(skimage.data, name)().astype(np.float32)
    if rng.integers(2):
        image = image.T
    return contrast(
        image[_mirrored_run(image.shape[0], shape[0], rng)][:, _mirrored_run(image.shape[1], shape[1], rng)]
    )


def _mirrored_run(length: int, wanted: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    position = (np.arange(wanted) + rng.integers(2 * length)) % (2 * length)
    return np.minimum(position, 2 * length - 1 - position)


def contrast(image: npt.NDArray[Any], mean: float = 0.5, deviation: float = 0.17) -> FloatImage:
    """Return `image` shifted and scaled to a mean and standard deviation, clipped to [0.02, 0.98].

    Examples
    --------
    >>> contrast(np.array([[0.0, 2.0]]))
    array([[0.33, 0.67]], dtype=float32)
    """
    scaled = (image - image.mean()) * (deviation / max(float(image.std()), 1e-6)) + mean
    return np.clip(scaled, 0.02, 0.98).astype(np.float32)


def fractal(
    shape: tuple[int, int], rng: np.random.Generator, slope: float = 1.0, coarsest_px: float = 64
) -> FloatImage:
    """Return noise whose amplitude falls with frequency as ``f ** -slope``.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in pixels.
    rng : numpy.random.Generator
    slope : float
        0 is white; 1 has as much contrast in every octave; 2 is smooth as hills.
    coarsest_px : float
        Period above which the spectrum is flat.

    Returns
    -------
    float32 array, shape (y, x)
        Mean 0 and standard deviation 1.

    References
    ----------
    Field, Relations between the statistics of natural images and the response
    properties of cortical cells, J. Opt. Soc. Am. A 4, 2379-2394 (1987).

    Examples
    --------
    >>> noise = fractal((32, 48), np.random.default_rng(0))
    >>> round(float(noise.std()), 3)
    1.0
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    padded = [next_fast_len(n + min(n, int(coarsest_px)), real=True) for n in shape]
    white = rng.standard_normal(padded, dtype=np.float32)
    fy, fx = np.fft.fftfreq(padded[0]), np.fft.rfftfreq(padded[1])
    power = (fy**2)[:, None] + (fx**2)[None, :] + coarsest_px**-2
    spectrum = rfft2(white) * (power ** (-slope / 2)).astype(np.float32)
    noise = irfft2(spectrum, padded)[: shape[0], : shape[1]]
    return ((noise - noise.mean()) / max(float(noise.std()), 1e-12)).astype(np.float32)


def mixed_photographs(names: Sequence[str], shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return photographs in patches of about 100 px, with fine fractal grain, all at like contrast.

    Parameters
    ----------
    names : sequence of str
        From `PHOTOGRAPHS`.
    shape : tuple of int
        (y, x) in pixels.
    rng : numpy.random.Generator

    Returns
    -------
    float32 array, shape (y, x)
        Mean 0.5 and standard deviation 0.17, clipped to [0.02, 0.98].
    """
    shares = np.stack([np.exp(3 * fractal(shape, rng, 2, 300)) for _ in names])
    shares /= shares.sum(axis=0)
    mixed = sum(share * photograph(name, shape, rng) for share, name in zip(shares, names, strict=True))
    return contrast(mixed + 0.03 * fractal(shape, rng, 0.7))


def spread(relief: npt.NDArray[Any], slices: int) -> FloatImage:
    """Return a relief stretched over the stack, less half a slice or 3 % at either end, in slices.

    Examples
    --------
    >>> spread(np.array([[1.0, 2.0]]), slices=11)
    array([[0.5, 9.5]], dtype=float32)
    """
    end = min(max(0.03 * (slices - 1), 0.5), (slices - 1) / 4)
    share = (relief - relief.min()) / max(float(np.ptp(relief)), 1e-6)
    return (end + share * (slices - 1 - 2 * end)).astype(np.float32)
