"""Converts gray levels of any dtype to the float32 numbers of the kernels, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .noise import NoiseModel
from .pyramid import FloatImage

# Pixels further from zero than this, in units of the intensity range, would overflow: their energy over that of the
# noise is squared. At 1e9 a single wild pixel made the whole height map NaN.
_FARTHEST = 1e6


@dataclass(frozen=True)
class Scaling:
    """Between the stack's gray levels and the float32 numbers of the kernels: ``(gray - shift) * scale``.

    Integers of up to 16 bits stay as they are. Others are brought to the range
    0 to 1, so that float32 keeps what float64 or a large offset would lose.

    Attributes
    ----------
    shift, scale : float
    least_variance : float
        Of noise, scaled.
    is_identity : bool
        Whether gray levels are the kernels' numbers, and whole. Floats never are, not even those from 0 to 1.
    """

    shift: float
    scale: float
    least_variance: float
    is_identity: bool = False

    @classmethod
    def of(cls, dtype: npt.DTypeLike, noise: NoiseModel) -> Scaling:
        """Return the scaling of a stack from its dtype and the range of its intensities."""
        dtype = np.dtype(dtype)
        if dtype.kind in "ui" and dtype.itemsize <= 2:
            # Rounding to whole gray levels alone has a variance of 1/12.
            return cls(0.0, 1.0, 1 / 12, is_identity=True)
        low, high = min(noise.low), max(noise.high)
        spread = high - low
        return cls(low, 1 / spread if spread > 0 else 1.0, 1e-10)

    def gray_range(self, noise: NoiseModel) -> tuple[float, float]:
        """Return the scaled range of intensities a noise model was made from, over all channels."""
        low, high = self.to_kernel(np.array([min(noise.low), max(noise.high)]))
        return float(low), float(high)

    def to_kernel(self, gray: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return scaled numbers, float64, none so large that its square overflows float32."""
        with np.errstate(
            over="ignore"
        ):  # a stray pixel of the largest floats is cut off like one of 1e7 times the range
            return np.clip((gray.astype(np.float64) - self.shift) * self.scale, -_FARTHEST, _FARTHEST)

    def to_gray_levels(self, scaled: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return gray levels of a dtype, clipped to what it holds; integers are rounded."""
        gray = scaled if self.is_identity else scaled.astype(np.float64) / self.scale + self.shift
        if dtype.kind == "f":
            if dtype.itemsize < gray.itemsize:
                gray = np.clip(gray, np.finfo(dtype).min, np.finfo(dtype).max)
            return gray.astype(dtype)
        limits = np.iinfo(dtype)
        # float64 rounds the largest 64-bit integers up, out of the dtype.
        highest = limits.max if limits.bits < 64 else np.nextafter(float(limits.max), 0)
        gray = np.rint(gray)
        return np.clip(gray, limits.min, highest, out=gray).astype(dtype)

    def noise_line(self, noise: NoiseModel) -> tuple[FloatImage, FloatImage]:
        """Return gain and offset of every channel for scaled intensities."""
        gain = np.array(noise.gain) * self.scale
        offset = (np.array(noise.offset) + np.array(noise.gain) * self.shift) * self.scale**2
        return gain.astype(np.float32), offset.astype(np.float32)
