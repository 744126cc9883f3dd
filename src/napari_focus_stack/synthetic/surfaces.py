"""Opaque specimens: tilted plane, bumps, step with occlusion, weak texture, colour.

Each function takes what `scenes.SceneKind.build` says, and `radius_px_per_slice`, by which
the radius of blur grows for every slice away from focus.
"""

from __future__ import annotations

import numpy as np

from .defocus import Lens, Surface, in_focus, opaque_slices
from .sand import sand
from .specimen import FloatImage, Mask, Specimen, detail
from .textures import contrast, fractal, mixed_photographs, photograph, spread

# Standard deviation of the image of a point in focus: a camera that samples the lens as finely as Nyquist asks.
_DIFFRACTION_PX = 0.7

_KNOWN_DETAIL = 0.02  # local contrast, of white, that shows where focus is


def plane(shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6) -> Specimen:
    """A flat sheet, tilted through the whole stack from corner to corner."""
    y, x = _grid(shape)
    angle = rng.uniform(0.2, 0.5) * np.pi
    sheet = Surface(
        mixed_photographs(("brick", "gravel", "page", "camera"), shape, rng),
        spread(np.sin(angle) * y + np.cos(angle) * x, slices),
    )
    return _opaque([sheet], slices, Lens(radius_px_per_slice))


def bumps(shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6) -> Specimen:
    """A rough opaque surface with smooth bumps and hollows."""
    sheet = Surface(mixed_photographs(("gravel", "grass", "brick"), shape, rng), _bumpy(shape, slices, rng))
    return _opaque([sheet], slices, Lens(radius_px_per_slice))


def step(shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6) -> Specimen:
    """Foreground shapes with hard rims, far in front of a wall that they hide in part."""
    y, x = _grid(shape)
    last = slices - 1
    flat = np.zeros(shape, np.float32)
    near = Surface(
        contrast(photograph("coins", shape, rng) + 0.03 * fractal(shape, rng, 0.5), 0.58),
        flat + np.float32(last) * (0.72 + 0.08 * y),
        _cut_out(shape, rng),
    )
    wall = Surface(
        mixed_photographs(("brick", "grass", "text"), shape, rng), flat + np.float32(last) * (0.3 + 0.08 * x)
    )
    return _opaque([near, wall], slices, Lens(radius_px_per_slice))


def weak_texture(
    shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6
) -> Specimen:
    """Bumps whose texture fades, in patches, to nothing at all."""
    full = mixed_photographs(("gravel", "grass", "brick"), shape, rng)
    strength = np.clip(0.35 + 0.45 * fractal(shape, rng, 2.5, 160), 0, 1) ** 2
    sheet = Surface((0.5 + strength * (full - 0.5)).astype(np.float32), _bumpy(shape, slices, rng))
    return _opaque([sheet], slices, Lens(radius_px_per_slice), ground=strength == 0)


def colour(shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6) -> Specimen:
    """Sand in reflected light, in colour: rounded grains of several minerals, lit from one side."""
    return _opaque([sand(shape, slices, rng)], slices, Lens(radius_px_per_slice))


def _opaque(surfaces: list[Surface], slices: int, lens: Lens, ground: Mask | None = None) -> Specimen:
    truth = _diffracted(in_focus(surfaces))
    height = surfaces[-1].height.copy()
    for surface in reversed(surfaces[:-1]):
        if surface.alpha is not None:
            height = np.where(surface.alpha > 0.5, surface.height, height)
    known = detail(truth) > _KNOWN_DETAIL
    nothing = np.zeros(height.shape, bool)
    return Specimen(
        truth=truth,
        height=height,
        textured=known if ground is None else known & ~ground,
        ground=nothing if ground is None else ground,
        images=map(_diffracted, opaque_slices(surfaces, slices, lens)),
        z_step_um=2.0,
        pixel_size_um=0.65,
    )


def _diffracted(image: FloatImage) -> FloatImage:
    """Return an image as diffraction leaves it: no lens shows contrast from pixel to pixel."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, _DIFFRACTION_PX, axes=(0, 1), mode="mirror")


def _grid(shape: tuple[int, int]) -> tuple[FloatImage, FloatImage]:
    """Return open y and x grids from -1 to 1."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return y, x


def _bumpy(shape: tuple[int, int], slices: int, rng: np.random.Generator) -> FloatImage:
    """Return smooth bumps 25 to 70 px wide, up and down, in slices."""
    y, x = np.arange(shape[0], dtype=np.float32), np.arange(shape[1], dtype=np.float32)
    scale = max(min(shape) / 512, 0.25)
    relief = np.zeros(shape, np.float32)
    for sign in (1, 1, 1, -1) * 12:
        cy, cx = rng.uniform(0, 1, 2) * shape
        width = scale * rng.uniform(25, 70)
        rows = np.exp(-(((y - cy) / width) ** 2) / 2)
        relief += np.float32(sign * rng.uniform(0.4, 1)) * rows[:, None] * np.exp(-(((x - cx) / width) ** 2) / 2)
    return spread(relief, slices)


def _cut_out(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return the opacity of blobs and of bars that get thinner, with rims one pixel wide."""
    blobs = fractal(shape, rng, 3, 200) - 1
    slope = np.hypot(*np.gradient(blobs))
    cover = np.clip(blobs / np.maximum(slope, 1e-3) + 0.5, 0, 1)
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    for share, width in zip((0.2, 0.4, 0.55), (20, 9, 3), strict=True):
        across = np.abs(x - share * shape[1] - 0.2 * (y - shape[0] / 2))
        cover = np.maximum(cover, np.clip(width / 2 - across + 0.5, 0, 1) * (y > 0.6 * shape[0]))
    return cover.astype(np.float32)
