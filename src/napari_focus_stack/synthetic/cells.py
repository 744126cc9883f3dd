"""Transparent cells in bright field: weak absorption, strong phase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .specimen import FloatImage, Mask, Specimen, detail
from .textures import fractal
from .wave import BrightField, bright_field_slices, intensity

EMPTY_FIELD = 0.6  # radiance where there is no cell; rims out of focus are brighter
_REACH_PX = 64


@dataclass(frozen=True, eq=False)
class _Object:
    """Phase in radians at strength 1, absorption (of intensity, as optical density to e), and where cells are."""

    phase: FloatImage
    absorption: FloatImage
    cells: Mask


def cells(
    shape: tuple[int, int],
    slices: int,
    rng: np.random.Generator,
    phase: float = 0.6,
    condenser: float = 0.6,
    absorption: float = 1.0,
    relief: float = 0.5,
) -> Specimen:
    """Transparent cells on a sloping ground, by partially coherent wave optics.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in pixels.
    slices : int
    rng : numpy.random.Generator
    phase : float
        Strength of the phase: the middle of a cell delays light by about this many radians.
    condenser : float
        Aperture of the condenser over that of the objective, 0.05 to 1.
    absorption : float
        Strength of the stain; 0 leaves a pure phase object.
    relief : float
        Range of heights over the range of the stack, 0 to 1.
    """
    optics = BrightField(condenser=condenser)
    padded = _padded(shape)
    drawn = _draw(padded, rng)
    transmission = np.exp(-absorption * drawn.absorption / 2 + 1j * phase * drawn.phase).astype(np.complex64)
    cut = slice(_REACH_PX, _REACH_PX + shape[0]), slice(_REACH_PX, _REACH_PX + shape[1])
    height = _height(padded, slices, relief, rng)[cut]
    truth = EMPTY_FIELD * intensity(transmission, 0, optics)[cut]
    inside = drawn.cells[cut]
    return Specimen(
        truth=truth,
        height=height,
        textured=inside & (detail(truth) > 0.01),
        ground=_far_from(inside, 12),
        images=(EMPTY_FIELD * image for image in bright_field_slices(transmission, height, slices, optics, _REACH_PX)),
        z_step_um=0.5,
        pixel_size_um=0.13,
    )


def _padded(shape: tuple[int, int]) -> tuple[int, int]:
    from scipy.fft import next_fast_len

    return next_fast_len(shape[0] + 2 * _REACH_PX), next_fast_len(shape[1] + 2 * _REACH_PX)


def _height(shape: tuple[int, int], slices: int, relief: float, rng: np.random.Generator) -> FloatImage:
    hills = fractal(shape, rng, 3, 400)
    hills = (hills - hills.min()) / max(float(np.ptp(hills)), 1e-6)
    return ((slices - 1) * (0.5 + relief * (hills - 0.5))).astype(np.float32)


def _far_from(mask: Mask, distance_px: float) -> Mask:
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask) > distance_px


def _draw(shape: tuple[int, int], rng: np.random.Generator) -> _Object:
    from scipy.ndimage import gaussian_filter

    phase, absorption = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    inside = np.zeros(shape, bool)
    grain, clumps = fractal(shape, rng, 0.8, 30), fractal(shape, rng, 1.2, 16)
    count = max(int(shape[0] * shape[1] / 95**2), 3)
    for _ in range(count):
        _add_cell(phase, absorption, inside, grain, clumps, rng)
    return _Object(gaussian_filter(phase, 0.7), gaussian_filter(absorption, 0.7), inside)


def _add_cell(
    phase: FloatImage,
    absorption: FloatImage,
    inside: Mask,
    grain: FloatImage,
    clumps: FloatImage,
    rng: np.random.Generator,
) -> None:
    """Add one cell with cytoplasm, nucleus and granules; cells may touch and overlap."""
    radius = rng.uniform(24, 42)
    centre = rng.uniform(0, phase.shape, 2)
    box = tuple(
        slice(max(int(c - 1.4 * radius), 0), min(int(c + 1.4 * radius) + 2, n))
        for c, n in zip(centre, phase.shape, strict=True)
    )
    y, x = np.ogrid[box]
    inward = _depth_in_blob(y - centre[0], x - centre[1], radius, rng)
    body = np.clip(inward * radius / 2, 0, 1)
    dome = np.sqrt(np.clip(inward, 0, 1) * (2 - np.clip(inward, 0, 1)))
    offset = rng.uniform(-0.25, 0.25, 2) * radius
    nucleus_in = _depth_in_blob(y - centre[0] - offset[0], x - centre[1] - offset[1], 0.4 * radius, rng)
    nucleus = np.clip(nucleus_in * 0.4 * radius / 2, 0, 1) * body
    granules = np.clip(grain[box] - 1.3, 0, 1.5) * body * (1 - nucleus)
    phase[box] += 0.75 * dome + 0.3 * nucleus + 0.12 * grain[box] * body + 0.5 * granules
    absorption[box] += 0.06 * body + nucleus * np.clip(0.3 + 0.2 * clumps[box], 0, 1) + 0.35 * granules
    inside[box] |= body > 0.5


def _depth_in_blob(
    y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], radius: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return 1 in the centre, 0 on the outline and less outside of a wavy, slightly stretched disc."""
    angle = np.arctan2(y, x)
    outline = 1 + sum(
        rng.uniform(-0.13, 0.13) / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi)) for order in range(2, 6)
    )
    depth: npt.NDArray[np.float64] = 1 - np.hypot(y, x) / (radius * outline)
    return depth
