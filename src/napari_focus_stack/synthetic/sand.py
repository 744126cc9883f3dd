"""A bed of sand: rounded grains of several minerals under a lamp."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .defocus import Surface
from .specimen import FloatImage
from .textures import fractal, photograph, spread

# Quartz, citrine, feldspar, garnet, olivine, basalt, amethyst (red, green, blue).
_MINERALS = np.array(
    [
        (0.78, 0.76, 0.72),
        (0.80, 0.62, 0.30),
        (0.80, 0.58, 0.48),
        (0.52, 0.16, 0.15),
        (0.50, 0.56, 0.22),
        (0.24, 0.24, 0.27),
        (0.50, 0.38, 0.60),
    ],
    np.float32,
)
_SHARE = (0.28, 0.2, 0.16, 0.1, 0.1, 0.1, 0.06)
_GROUND = (0.22, 0.19, 0.17)
_STEEPNESS = 0.7


def sand(shape: tuple[int, int], slices: int, rng: np.random.Generator) -> Surface:
    """Return grains 25 to 60 px in radius that lie over one another, in colour.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in pixels.
    slices : int
        The bed reaches through this many.
    rng : numpy.random.Generator

    Returns
    -------
    Surface
        Texture of shape (y, x, 3).
    """
    relief, mineral = _bed(shape, rng)
    height = spread(relief, slices)
    colours = np.vstack([_GROUND, _MINERALS]).astype(np.float32)[mineral]
    grain = 0.12 * fractal(shape, rng, 1.1, 24) + 0.4 * (photograph("gravel", shape, rng) - 0.5)
    diffuse, glint = _light(relief + 0.4 * fractal(shape, rng, 1.7, 24), rng)
    shade = diffuse * (1 + grain)
    texture = colours * shade[..., None] + glint[..., None]
    return Surface(np.clip(texture, 0.02, 0.97).astype(np.float32), height)


def _bed(shape: tuple[int, int], rng: np.random.Generator) -> tuple[FloatImage, npt.NDArray[np.intp]]:
    """Height in px, and mineral (0 is the ground), of the topmost grain at every pixel."""
    relief = (4 * fractal(shape, rng, 2, 100) - 30).astype(np.float32)
    mineral = np.zeros(shape, np.intp)
    count = max(round(shape[0] * shape[1] / 42**2), 4)
    for _ in range(count):
        radius = rng.uniform(24, 58)
        centre = rng.uniform(0, 1, 2) * shape
        top = rng.normal(0, 9) + 0.25 * radius
        low = np.maximum(centre - 1.5 * radius, 0).astype(int)
        high = np.minimum(centre + 1.5 * radius + 1, shape).astype(int)
        box = slice(low[0], high[0]), slice(low[1], high[1])
        y, x = np.ogrid[box]
        grain = top - _STEEPNESS * radius * _squared_distance(y - centre[0], x - centre[1], radius, rng)
        above = grain > relief[box]
        relief[box][above] = grain[above]
        mineral[box][above] = 1 + rng.choice(len(_MINERALS), p=_SHARE)
    return relief, mineral


def _squared_distance(
    y: npt.NDArray[np.int_], x: npt.NDArray[np.int_], radius: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the squared distance from the middle of a turned, stretched grain; 1 on its outline."""
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.5)
    along = (np.cos(angle) * y + np.sin(angle) * x) / radius * stretch
    across = (np.cos(angle) * x - np.sin(angle) * y) / radius
    squared: npt.NDArray[np.float64] = along**2 + across**2
    return squared


def _light(relief: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """Diffuse and glossy reflection of a ring lamp that is brighter on one side."""
    from scipy.ndimage import gaussian_filter

    slope_y, slope_x = np.gradient(relief)
    upright = 1 / np.sqrt(1 + slope_y**2 + slope_x**2)
    side = rng.uniform(0, 2 * np.pi)
    lamp = np.array([0.55 * np.sin(side), 0.55 * np.cos(side), 0.835])
    facing = upright * (lamp[2] - lamp[0] * slope_y - lamp[1] * slope_x)
    # Light does not get down between the grains.
    hollow = np.clip((gaussian_filter(relief, 12) - relief) / 25, 0, 0.6)
    diffuse = (0.28 + 0.85 * np.clip(facing, 0, 1)) * (1 - hollow)
    halfway = lamp + np.array([0, 0, 1])
    halfway /= np.linalg.norm(halfway)
    glossy = np.clip(upright * (halfway[2] - halfway[0] * slope_y - halfway[1] * slope_x), 0, 1)
    return diffuse.astype(np.float32), (0.4 * glossy**60).astype(np.float32)
