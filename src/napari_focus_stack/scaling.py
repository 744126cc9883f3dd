"""Between gray levels of any dtype and the float32 numbers of the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .noise import NoiseModel
from .pyramid import FloatImage

# Pixels further from zero than this, in units of the intensity range, would overflow when squared.
_FARTHEST = 1e9


@dataclass(frozen=True)
class Scaling:
    """Between the stack's gray levels and the float32 numbers of the kernels: ``(gray - shift) * scale``.

    Integers of up to 16 bits stay as they are. Others are brought to the range
    0 to 1, so that float32 keeps what float64 or a large offset would lose.
    """

    shift: float
    scale: float
    least_variance: float

    @classmethod
    def of(cls, dtype: npt.DTypeLike, noise: NoiseModel) -> Scaling:
        """Return the scaling of a stack from its dtype and the range of its intensities."""
        dtype = np.dtype(dtype)
        if dtype.kind in "ui" and dtype.itemsize <= 2:
            # Rounding to whole gray levels alone has a variance of 1/12.
            return cls(0.0, 1.0, 1 / 12)
        low, high = min(noise.low), max(noise.high)
        spread = high - low
        return cls(low, 1 / spread if spread > 0 else 1.0, 1e-10)

    def gray_range(self, noise: NoiseModel) -> tuple[float, float]:
        """Return the scaled range of intensities a noise model was made from, over all channels."""
        low, high = self.to_kernel(np.array([min(noise.low), max(noise.high)]))
        return float(low), float(high)

    def to_kernel(self, gray: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return scaled numbers, float64, none so large that its square overflows float32."""
        return np.clip((gray.astype(np.float64) - self.shift) * self.scale, -_FARTHEST, _FARTHEST)

    def to_gray_levels(self, scaled: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return gray levels of a dtype; integers are rounded and clipped to what it holds."""
        gray = scaled if self.is_identity else scaled.astype(np.float64) / self.scale + self.shift
        if dtype.kind == "f":
            return gray.astype(dtype)
        limits = np.iinfo(dtype)
        # float64 rounds the largest 64-bit integers up, out of the dtype.
        highest = limits.max if limits.bits < 64 else np.nextafter(float(limits.max), 0)
        return np.clip(np.rint(gray), limits.min, highest).astype(dtype)

    @property
    def is_identity(self) -> bool:
        """Whether gray levels and kernel numbers are the same."""
        return self.shift == 0 and self.scale == 1

    def noise_line(self, noise: NoiseModel) -> tuple[FloatImage, FloatImage]:
        """Return gain and offset of every channel for scaled intensities."""
        gain = np.array(noise.gain) * self.scale
        offset = (np.array(noise.offset) + np.array(noise.gain) * self.shift) * self.scale**2
        return gain.astype(np.float32), offset.astype(np.float32)
