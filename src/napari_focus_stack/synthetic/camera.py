"""The camera: photon noise, read noise and gray levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .specimen import FloatImage

READ_NOISE_ELECTRONS = 3.0
AMPLIFIER_NOISE = 0.0015  # of black to white, whatever the light; it is what remains in the dark at low noise
BLACK, WHITE = 0.04, 0.94  # shares of the range of gray levels

# Photons counted by a white pixel. At mid gray the noise is 0.7 % of black to white with 10,000, and 4 % with 300.
NOISE_PHOTONS = {"none": float("inf"), "low": 10_000.0, "high": 300.0}


@dataclass(frozen=True)
class Camera:
    """A sensor that counts photons, and writes gray levels.

    Attributes
    ----------
    photons : float
        Photoelectrons of a white pixel; infinity for no noise at all.
    dtype : numpy.dtype
        Unsigned integer of 8 or 16 bits; its whole range is used.

    Examples
    --------
    >>> camera = Camera.of("low", "uint8")
    >>> round(camera.gain, 5)
    0.02295
    """

    photons: float
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, noise: str | float, dtype: npt.DTypeLike) -> Camera:
        """Return the camera for a noise preset, or a number of photons.

        Raises
        ------
        InputError
            If the preset is unknown, the number is not positive or the dtype is not uint8 or uint16.
        """
        photons = NOISE_PHOTONS.get(noise) if isinstance(noise, str) else float(noise)
        if photons is None or not photons > 0:
            raise InputError(
                f"noise must be one of {', '.join(NOISE_PHOTONS)} or a positive number of photons, got {noise!r}."
            )
        if np.dtype(dtype) not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise InputError(f"a synthetic scene is uint8 or uint16, got {np.dtype(dtype)}.")
        return cls(photons, np.dtype(dtype))

    @property
    def full_scale(self) -> int:
        """Largest gray level."""
        return int(np.iinfo(self.dtype).max)

    @property
    def gain(self) -> float:
        """Gray levels for each photoelectron; the slope of variance over intensity."""
        return (WHITE - BLACK) * self.full_scale / self.photons

    @property
    def offset(self) -> float:
        """Variance at gray level 0 by the line ``gain * intensity + offset``, in gray levels²; rounding included."""
        rounding = 1 / 12
        dark = (self._dark_noise * (WHITE - BLACK) * self.full_scale) ** 2
        return dark - self.gain * BLACK * self.full_scale + rounding

    @property
    def _dark_noise(self) -> float:
        """Standard deviation without light, of black to white."""
        if not np.isfinite(self.photons):
            return 0.0
        return float(np.hypot(READ_NOISE_ELECTRONS / self.photons, AMPLIFIER_NOISE))

    def gray_levels(self, radiance: FloatImage) -> FloatImage:
        """Return radiance in [0, 1] as noise-free gray levels, float32."""
        return ((BLACK + (WHITE - BLACK) * radiance) * self.full_scale).astype(np.float32)

    def expose(self, radiance: FloatImage, rng: np.random.Generator) -> npt.NDArray[Any]:
        """Take a picture: count photons, add the noise of reading them, round and clip.

        Parameters
        ----------
        radiance : float32 array of any shape
            From 0 to 1.
        rng : numpy.random.Generator

        Returns
        -------
        array of `dtype`, of the same shape
        """
        seen = radiance
        if np.isfinite(self.photons):
            counted = rng.poisson(np.maximum(radiance, 0) * self.photons).astype(np.float32)
            seen = counted / np.float32(self.photons)
            seen += np.float32(self._dark_noise) * rng.standard_normal(radiance.shape, dtype=np.float32)
        return np.clip(np.rint(self.gray_levels(seen)), 0, self.full_scale).astype(self.dtype)
