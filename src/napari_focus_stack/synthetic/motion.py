"""Slices that move and change in brightness, as stages, lenses and lamps do it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .specimen import FloatImage, Specimen

_SPLINE_ORDER = 5


@dataclass(frozen=True, eq=False)
class Motion:
    """Where every slice lies and how bright it is.

    Attributes
    ----------
    shifts_px : float array, shape (z, 2)
        Of the middle, along y and x.
    zooms : float array, shape (z,)
    turns_deg : float array, shape (z,)
        From y towards x.
    gains : float array, shape (z,)
        Of the light.

    Examples
    --------
    >>> motion = Motion.drift(5, shift_px=2, zoom=0.01)
    >>> bool(np.all(motion.matrix(2, (64, 64)) == np.eye(2, 3)))
    True
    >>> round(float(np.hypot(*motion.shifts_px[4])), 3), round(float(motion.zooms[4]), 4)
    (4.0, 1.0201)
    """

    shifts_px: npt.NDArray[np.float64]
    zooms: npt.NDArray[np.float64]
    turns_deg: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float64]

    @classmethod
    def drift(
        cls,
        slices: int,
        shift_px: float = 0.0,
        zoom: float = 0.0,
        turn_deg: float = 0.0,
        gain: float = 0.0,
        jitter_px: float = 0.0,
        seed: int = 0,
    ) -> Motion:
        """Return what moves on from slice to slice; the middle one stays.

        Parameters
        ----------
        slices : int
        shift_px : float
            From slice to slice, in a direction that the seed gives.
        zoom, gain : float
            From slice to slice: 0.003 is 0.3 %.
        turn_deg : float
            From slice to slice.
        jitter_px : float
            Standard deviation of what each step along y and x is off.
        seed : int
        """
        rng = np.random.default_rng([seed, slices])
        direction = rng.uniform(0, 2 * np.pi)
        steps = shift_px * np.array([np.sin(direction), np.cos(direction)])
        shifts = np.cumsum(steps + jitter_px * rng.standard_normal((slices, 2)), axis=0)
        away = np.arange(slices, dtype=np.float64) - slices // 2
        zooms, gains = ((1 + step) ** away for step in (zoom, gain))
        return cls(shifts - shifts[slices // 2], zooms, turn_deg * away, gains)

    def matrix(self, k: int, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Return the affine map from a pixel (y, x, 1) of the middle slice to its place in slice k, shape (2, 3)."""
        angle = np.radians(self.turns_deg[k])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = (np.array(shape[:2]) - 1) / 2
        by_shape = self.zooms[k] * turn
        return np.column_stack([by_shape, middle + self.shifts_px[k] - by_shape @ middle])

    def margin_px(self, shape: tuple[int, ...]) -> int:
        """Return how much wider than a slice the scene must be."""
        h, w = shape[:2]
        corners = np.array([[0, 0, 1], [0, w - 1, 1], [h - 1, 0, 1], [h - 1, w - 1, 1]], np.float64)
        matrices = [self.matrix(k, shape) for k in range(len(self.zooms))]
        inverse = [np.linalg.inv(np.vstack([m, [0, 0, 1]]))[:2] for m in matrices]
        return int(np.ceil(max(np.abs(corners @ m.T - corners[:, :2]).max() for m in inverse))) + 8

    def moved(self, specimen: Specimen, shape: tuple[int, int], margin_px: int) -> Specimen:
        """Return a specimen that is wider by a margin on all sides, seen as it moves."""
        inner = tuple(slice(margin_px, margin_px + n) for n in shape)
        return Specimen(
            truth=specimen.truth[inner],
            height=specimen.height[inner],
            textured=specimen.textured[inner],
            ground=specimen.ground[inner],
            images=self._moved_images(specimen.images, shape, margin_px),
            z_step_um=specimen.z_step_um,
            pixel_size_um=specimen.pixel_size_um,
        )

    def _moved_images(self, images: Iterator[FloatImage], shape: tuple[int, int], margin_px: int) -> Any:
        from scipy import ndimage

        for k, image in enumerate(images):
            back = np.linalg.inv(np.vstack([self.matrix(k, shape), [0, 0, 1]]))[:2]
            planes = image.reshape(*image.shape[:2], -1)
            seen = np.stack(
                [
                    ndimage.affine_transform(
                        planes[..., c],
                        back[:, :2],
                        back[:, 2] + margin_px,
                        output_shape=shape,
                        order=_SPLINE_ORDER,
                        mode="mirror",
                    )
                    for c in range(planes.shape[2])
                ],
                axis=-1,
            )
            yield np.maximum(seen.reshape(*shape, *image.shape[2:]) * np.float32(self.gains[k]), 0)
