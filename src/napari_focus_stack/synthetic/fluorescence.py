"""Fluorescent beads and filaments on a dark ground.

`beads` takes what `scenes.SceneKind.build` says, and `radius_px_per_slice`, by which the
radius of blur grows for every slice away from focus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .defocus import Lens, Surface, glowing_slices
from .specimen import FloatImage, Mask, Specimen

GROUND = 0.02  # radiance of the ground: background light of the medium
_SHEETS = 4
_BRIGHTEST = 0.85
_FILAMENT_SIGMA_PX = 1.0
_POINTS_PER_PX = 4
_DARK = 1e-4

Box = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class _Glow:
    """One thing that shines: its light and its height in slices, within a box of the image."""

    box: Box
    light: FloatImage
    height: FloatImage


def beads(shape: tuple[int, int], slices: int, rng: np.random.Generator, radius_px_per_slice: float = 1.6) -> Specimen:
    """Fluorescent beads of several sizes and winding filaments at all heights, on a dark ground."""
    area = shape[0] * shape[1] / 512**2
    light = np.zeros((_SHEETS, *shape), np.float32)
    height = np.full((_SHEETS, *shape), (slices - 1) / 2, np.float32)
    for _ in range(max(round(6 * area), 1)):
        for piece in _filament(shape, slices, rng):
            _lay(piece, light, height)
    for _ in range(max(round(130 * area), 3)):
        _lay(_bead(shape, slices, rng), light, height)
    # Dim crossings: they would be too bright for the camera, or all the rest too dark.
    light *= np.minimum(1, _BRIGHTEST / np.maximum(light.sum(axis=0), 1e-6))
    return _specimen([Surface(*pair) for pair in zip(light, height, strict=True)], slices, Lens(radius_px_per_slice))


def _specimen(sheets: list[Surface], slices: int, lens: Lens) -> Specimen:
    light = np.stack([sheet.texture for sheet in sheets])
    brightest, total = light.max(axis=0), light.sum(axis=0)
    height = np.take_along_axis(np.stack([sheet.height for sheet in sheets]), light.argmax(axis=0)[None], 0)[0]
    return Specimen(
        truth=GROUND + total,
        height=height,
        textured=(brightest > 0.06) & (brightest > 0.8 * total),
        ground=_far_from_light(total),
        images=glowing_slices(sheets, GROUND, slices, lens),
        z_step_um=0.4,
        pixel_size_um=0.16,
    )


def _far_from_light(light: FloatImage) -> Mask:
    from scipy.ndimage import distance_transform_edt

    far: Mask = distance_transform_edt(light < 0.01) > 16
    return far if (light >= 0.01).any() else np.ones(light.shape, bool)


def _lay(thing: _Glow, light: FloatImage, height: FloatImage) -> None:
    """Lay a thing on the sheet (first axis) where it overlaps least; each pixel belongs to the brightest.

    A sheet gives a pixel one height. What crosses at two heights is on two sheets, and its light adds.
    """
    taken = [float((sheet[thing.box] * thing.light).sum()) for sheet in light]
    sheet = int(np.argmin(taken))
    above = (thing.light > light[sheet][thing.box]) & (thing.light > _DARK)
    light[sheet][thing.box][above] = thing.light[above]
    height[sheet][thing.box][above] = thing.height[above]


def _bead(shape: tuple[int, int], slices: int, rng: np.random.Generator) -> _Glow:
    """A bead below the resolution (a Gaussian spot), or now and then one of 4 to 7 px in radius."""
    centre = rng.uniform(0, 1, 2) * shape
    height = np.float32((slices - 1) * rng.uniform(0.05, 0.95))
    large = rng.uniform() < 0.15
    radius = rng.uniform(4, 7) if large else rng.uniform(1.0, 1.9)
    box = _box(centre[None], 3 + (radius if large else 6 * radius), shape)
    y, x = np.ogrid[box]
    distance = np.hypot(y - centre[0], x - centre[1])
    profile = 1 / (1 + np.exp((distance - radius) / 0.45)) if large else np.exp(-((distance / radius) ** 2) / 2)
    brightness = rng.uniform(0.25, 0.5) if large else rng.uniform(0.35, 0.8)
    light = (brightness * profile).astype(np.float32)
    return _Glow(box, light, np.full(light.shape, height, np.float32))


def _filament(shape: tuple[int, int], slices: int, rng: np.random.Generator) -> Iterator[_Glow]:
    """Yield the pieces of a filament, one after the other along a smooth random walk in y, x and z."""
    steps = _POINTS_PER_PX * int(min(max(shape), 900))
    heading = rng.uniform(0, 2 * np.pi) + 1.3 * _smooth_walk(steps, 300, rng)
    path = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0) / _POINTS_PER_PX
    path += rng.uniform(0, 1, 2) * shape - path[steps // 2]
    height = (slices - 1) * np.clip(rng.uniform(0.3, 0.7) + 0.2 * _smooth_walk(steps, 400, rng), 0.03, 0.97)
    brightness = rng.uniform(0.3, 0.7) * np.clip(1 + 0.2 * _smooth_walk(steps, 12, rng), 0.4, 1.5)
    for piece in np.array_split(np.arange(steps), max(steps // 400, 1)):
        box = _box(path[piece], 6 * _FILAMENT_SIGMA_PX, shape)
        if box[0].start < box[0].stop and box[1].start < box[1].stop:
            yield _line(box, path[piece], height[piece], brightness[piece])


def _smooth_walk(steps: int, sigma: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter1d

    walk = gaussian_filter1d(rng.standard_normal(steps), sigma, mode="reflect")
    smooth: npt.NDArray[np.float64] = (walk - walk.mean()) / max(float(walk.std()), 1e-9)
    return smooth


def _box(places: npt.NDArray[np.float64], margin: float, shape: tuple[int, int]) -> Box:
    low = np.clip(np.floor(places.min(axis=0) - margin).astype(int), 0, shape)
    high = np.clip(np.ceil(places.max(axis=0) + margin).astype(int) + 1, 0, shape)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def _line(
    box: Box,
    path: npt.NDArray[np.float64],
    height: npt.NDArray[np.float64],
    brightness: npt.NDArray[np.float64],
) -> _Glow:
    """Draw dense points as a Gaussian line; a pixel's height is the mean of the light that falls on it."""
    from scipy.ndimage import gaussian_filter

    peak = _POINTS_PER_PX / (np.sqrt(2 * np.pi) * _FILAMENT_SIGMA_PX)
    size = box[0].stop - box[0].start, box[1].stop - box[1].start
    place = path - (box[0].start, box[1].start)
    light, weighted = (
        gaussian_filter(_splat(place, weight / peak, size), _FILAMENT_SIGMA_PX, truncate=6)
        for weight in (brightness, brightness * height)
    )
    return _Glow(box, light, weighted / np.maximum(light, 1e-9))


def _splat(place: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], shape: tuple[int, int]) -> FloatImage:
    """Share each point among its four pixels; points outside are lost."""
    canvas = np.zeros(shape[0] * shape[1])
    base = np.floor(place).astype(int)
    part = place - base
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = base[:, 0] + dy, base[:, 1] + dx
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            index = y[inside] * shape[1] + x[inside]
            canvas += np.bincount(index, (share * weight)[inside], canvas.size)
    return canvas.reshape(shape).astype(np.float32)
