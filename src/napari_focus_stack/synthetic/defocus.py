"""Defocus of opaque and of glowing specimens: layers, each blurred by its own distance from focus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from .specimen import FloatImage, in_order

# Radii of blur, in px, at which layers are laid; a pixel between two of them is mixed from both.
LAYER_RADII_PX = (0.0, 0.8, 1.6, 2.6, 4.0, 6.0, 9.0, 13.5, 20.0, 30.0, 45.0, 68.0, 100.0, 150.0, 225.0)

_SOFT_RIM = 0.15  # standard deviation of the rim of the disc, in radii
_REACH = 1.4  # radius beyond which the disc is dark, in radii
_TABLE_STEP = 1 / 4096


@dataclass(frozen=True, eq=False)
class Surface:
    """An opaque sheet, or a glowing one.

    Attributes
    ----------
    texture : float32 array, shape (y, x) or (y, x, c)
        Radiance in focus.
    height : float32 array, shape (y, x)
        In slices, larger is nearer to the lens. Smooth also where `alpha` is 0.
    alpha : float32 array, shape (y, x), or None
        Opacity: 1 where the sheet is, 0 where it is cut away; None is 1 everywhere.
    """

    texture: FloatImage
    height: FloatImage
    alpha: FloatImage | None = None


@dataclass(frozen=True)
class Lens:
    """How blur grows.

    Attributes
    ----------
    radius_px_per_slice : float
        Radius of the blurred image of a point, in px, for each slice away from focus.
    psf : str
        "disc", the geometric one with a soft rim, or "gaussian" with a standard deviation of half the radius.
    """

    radius_px_per_slice: float = 1.6
    psf: Literal["disc", "gaussian"] = "disc"


def opaque_slices(surfaces: Sequence[Surface], slices: int, lens: Lens) -> Iterator[FloatImage]:
    """Yield the noise-free slices of opaque sheets that hide one another.

    Parameters
    ----------
    surfaces : sequence of Surface
        From the nearest to the farthest, which must have no `alpha`.
    slices : int
        Slice `k` has its focus at height `k`.
    lens : Lens

    Yields
    ------
    float32 array, shape (y, x) or (y, x, c)

    Notes
    -----
    Each sheet is cut into layers by height, each blurred on its own, and their
    light adds: every point has its own disc, for all of the aperture sees it,
    as long as the radius of blur grows by less than a pixel for a pixel along
    the slope. Sheets are composited from front to back with premultiplied
    opacity. So the blur of a near rim veils what lies behind it, and a sharp
    far wall is seen through that blur, as by a real lens. What has cliffs that
    hide what is beside them is made of several sheets.

    References
    ----------
    Porter & Duff, Compositing digital images, SIGGRAPH 18, 253-259 (1984).
    Hasinoff & Kutulakos, A layer-based restoration framework for
    variable-aperture photography, ICCV (2007).
    """
    return in_order(lambda k: _photographed(surfaces, k, lens), range(slices))


def glowing_slices(sheets: Sequence[Surface], ground: float, slices: int, lens: Lens) -> Iterator[FloatImage]:
    """Yield the noise-free slices of transparent sheets that glow, as in fluorescence: their light adds.

    Parameters
    ----------
    sheets : sequence of Surface
        Gray; in any order; `alpha` is not looked at.
    ground : float
        Radiance of the ground.
    slices : int
        Slice `k` has its focus at height `k`.
    lens : Lens

    Yields
    ------
    float32 array, shape (y, x)
    """
    return in_order(lambda k: ground + _glow(sheets, k, lens), range(slices))


def in_focus(surfaces: Sequence[Surface]) -> FloatImage:
    """Return opaque sheets as a lens without blur would see them, shape (y, x) or (y, x, c)."""
    image = surfaces[-1].texture.copy()
    for surface in reversed(surfaces[:-1]):
        alpha = _like(surface.alpha, image)
        image += alpha * (surface.texture - image)
    return image


def blur(image: FloatImage, radius_px: float, psf: Literal["disc", "gaussian"] = "disc") -> FloatImage:
    """Return an image blurred by defocus; light is conserved, and the image goes on as its mirror image.

    Parameters
    ----------
    image : float32 array, shape (..., y, x)
    radius_px : float
        Of the disc; the Gaussian has a standard deviation of half of it.
    psf : str
        "disc" or "gaussian".

    Returns
    -------
    float32 array of the same shape

    Examples
    --------
    >>> spot = np.zeros((1, 65, 65), np.float32)
    >>> spot[0, 32, 32] = 1
    >>> round(float(blur(spot, 5).sum()), 3)
    1.0
    """
    if radius_px == 0:
        return image
    variance = radius_px**2 * (1 / 4 + (_SOFT_RIM**2 if psf == "disc" else 0))
    if variance < 0.25:
        return _slightly_blurred(image, variance)
    return _blurred(image, radius_px, psf)


def _slightly_blurred(image: FloatImage, variance: float) -> FloatImage:
    # A disc of less than a pixel, cut off at the Nyquist frequency, would ring by 2 % of a bead.
    from scipy.ndimage import correlate1d

    taps = np.array([variance / 2, 1 - variance, variance / 2])
    return correlate1d(correlate1d(image, taps, axis=-1), taps, axis=-2)


def _blurred(image: FloatImage, radius_px: float, psf: str) -> FloatImage:
    from scipy.fft import irfft2, next_fast_len, rfft2

    size = image.shape[-2:]
    margin = int(np.ceil(radius_px * _REACH)) + 1
    padded = [next_fast_len(n + 2 * margin, real=True) for n in size]
    after = [p - n - margin for p, n in zip(padded, size, strict=True)]
    around = [(0, 0)] * (image.ndim - 2) + [(margin, a) for a in after]
    spectrum = rfft2(np.pad(image, around, "symmetric"))
    spectrum *= _transfer(padded[0], padded[1], radius_px, psf)
    return irfft2(spectrum, padded)[..., margin : margin + size[0], margin : margin + size[1]]


@lru_cache(maxsize=4)
def _frequency(height: int, width: int) -> FloatImage:
    fy, fx = np.fft.fftfreq(height).astype(np.float32), np.fft.rfftfreq(width).astype(np.float32)
    return np.hypot(fy[:, None], fx[None, :])


def _transfer(height: int, width: int, radius_px: float, psf: str) -> FloatImage:
    step = np.float32(2 * np.pi * radius_px / _TABLE_STEP)
    table = _transfer_table(psf)
    index = np.minimum(_frequency(height, width) * step + np.float32(0.5), len(table) - 1)
    return table[index.astype(np.int32)]


@cache
def _transfer_table(psf: str) -> FloatImage:
    from scipy.special import j1

    # x = 2 pi f r; the soft rim leaves nothing beyond 40.
    x = np.arange(0, 40, _TABLE_STEP)
    if psf == "gaussian":
        return np.exp(-(x**2) / 8).astype(np.float32)
    airy = np.ones_like(x)
    airy[1:] = 2 * j1(x[1:]) / x[1:]
    return (airy * np.exp(-((_SOFT_RIM * x) ** 2) / 2)).astype(np.float32)


def _photographed(surfaces: Sequence[Surface], focus: int, lens: Lens) -> FloatImage:
    image = np.zeros_like(surfaces[0].texture)
    through = np.ones(image.shape[:2], np.float32)
    for surface in surfaces:
        colour, alpha = _sheet(surface, focus, lens)
        image += _like(through, image) * colour
        if alpha is not None:
            through *= 1 - alpha
    return image


def _sheet(surface: Surface, focus: int, lens: Lens) -> tuple[FloatImage, FloatImage | None]:
    """Premultiplied colour and opacity of one sheet seen with the lens focused at one height."""
    channels = np.atleast_3d(surface.texture).transpose(2, 0, 1)
    if surface.alpha is not None:
        channels = np.concatenate([channels * surface.alpha, surface.alpha[None]])
    seen = _points(channels, surface.height - focus, lens)
    colour = seen if surface.alpha is None else seen[:-1]
    image = colour[0] if surface.texture.ndim == 2 else colour.transpose(1, 2, 0)
    return image, None if surface.alpha is None else seen[-1]


def _points(channels: FloatImage, distance: FloatImage, lens: Lens) -> FloatImage:
    # Every point has its own disc, and their light adds. Laid over one another, layers hid what nothing hides: a tilted
    # plane moved by .1 px a slice along its slope, and .7 px with layers four times as fine; sand was twice as far from
    # rays traced through each pixel, and was so, too, where its slopes were three times as steep, and hid themselves.
    seen = np.zeros(channels.shape, np.float32)
    light = np.zeros(distance.shape, np.float32)
    nearer = np.zeros_like(light)
    for radius, cover in _layers(distance, lens):
        share, nearer = cover - nearer, cover
        window = _window(share, int(np.ceil(radius * _REACH)) + 2)
        if window is None:
            continue
        inner, outer, within = window
        part = share[outer]
        blurred = blur(np.concatenate([channels[(slice(None), *outer)] * part, part[None]]), radius, lens.psf)
        seen[(slice(None), *inner)] += blurred[(slice(None), *within)][:-1]
        light[inner] += blurred[(-1, *within)]
    return seen / light


def _glow(sheets: Sequence[Surface], focus: int, lens: Lens) -> FloatImage:
    # Light that adds need not be kept apart: all that is blurred alike, before and behind focus, is blurred at once.
    alike: dict[float, FloatImage] = {}
    for sheet in sheets:
        nearer = np.zeros_like(sheet.texture)
        for radius, cover in _layers(sheet.height - focus, lens):
            light = sheet.texture * (cover - nearer)
            alike[radius] = alike[radius] + light if radius in alike else light
            nearer = cover
    image = np.zeros_like(sheets[0].texture)
    for radius, light in alike.items():
        image += blur(light, radius, lens.psf)
    return image


def _layers(distance: FloatImage, lens: Lens) -> Iterator[tuple[float, FloatImage]]:
    """Yield radius of blur and cover, shape (y, x), of each layer from the nearest to the farthest.

    A pixel between two layers belongs to both, in such shares that the second
    moment of its blur is exact; so contrast is smooth through focus. Cover
    is 1 in a layer and under all nearer ones.
    """
    moment = np.sign(distance) * (distance * np.float32(lens.radius_px_per_slice)) ** 2
    radii = np.asarray(LAYER_RADII_PX)
    nodes = np.concatenate([-(radii[:0:-1] ** 2), radii**2])
    first = max(int(np.searchsorted(nodes, moment.min(), "right")) - 1, 0)
    last = min(int(np.searchsorted(nodes, moment.max(), "left")), len(nodes) - 1)
    for j in range(last, first, -1):
        cover = np.clip((moment - nodes[j - 1]) / (nodes[j] - nodes[j - 1]), 0, 1).astype(np.float32)
        yield float(np.sqrt(abs(nodes[j]))), cover
    yield float(np.sqrt(abs(nodes[first]))), np.ones_like(distance)


def _window(
    share: FloatImage, margin: int
) -> tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]] | None:
    """Rectangle where a layer is seen, the same with a margin, and the first within the second."""
    inner, outer, within = [], [], []
    for axis in (1, 0):
        lit = np.flatnonzero((share > 0).any(axis))
        if not lit.size:
            return None
        size = share.shape[1 - axis]
        low, high = max(lit[0] - margin, 0), min(lit[-1] + margin, size - 1) + 1
        start, stop = max(low - margin, 0), min(high + margin, size)
        inner.append(slice(low, high))
        outer.append(slice(start, stop))
        within.append(slice(low - start, high - start))
    return (inner[0], inner[1]), (outer[0], outer[1]), (within[0], within[1])


def _like(plane: npt.NDArray[np.float32] | None, image: FloatImage) -> FloatImage:
    if plane is None:
        return np.ones((1,) * image.ndim, np.float32)
    return plane if image.ndim == 2 else plane[..., None]
