"""How heights are written and reported: their unit, what is taken out of them, which of them are trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..pyramid import FloatImage
from ..surface import DEFAULT_TRUST, SURFACE_FORMS, SurfaceReport, level_height, measure_surface, trusted_pixels
from .source import PixelSize

HEIGHT_UNITS = ("slices", "um")
UM = "\u00b5m"
_REPORTED_FORM = "plane"


@dataclass(frozen=True)
class HeightSettings:
    """What a user chose for the height map and the surface report.

    Attributes
    ----------
    unit : str
        Of the height map: "slices" or "um". The report is in µm wherever the z step is known.
    level : str
        Key of `SURFACE_FORMS`: taken out of the height map, and of the levelled figures; for
        "none" those still are without the plane.
    trust : float
        Heights of less confidence do not count, 0 to 1.
    mask : bool
        Whether they are also NaN in the height map.
    s_filter_um, l_filter_um : float or None
        Cutoffs of the filters of the levelled figures.

    Raises
    ------
    InputError
        If a value is unknown or out of its limits.
    """

    unit: str = "slices"
    level: str = "none"
    trust: float = DEFAULT_TRUST
    mask: bool = False
    s_filter_um: float | None = None
    l_filter_um: float | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (("height unit", self.unit, HEIGHT_UNITS), ("level", self.level, SURFACE_FORMS)):
            if value not in choices:
                raise InputError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}.")
        if not 0 <= self.trust <= 1:
            raise InputError(f"trust must be a confidence from 0 to 1, got {self.trust:g}.")
        for letter, cutoff in (("S", self.s_filter_um), ("L", self.l_filter_um)):
            if cutoff is not None and not 0 < cutoff < float("inf"):
                raise InputError(f"the cutoff of the {letter}-filter must be above 0 {UM}, got {cutoff:g}.")

    def check(self, pixel_size: PixelSize) -> None:
        """Refuse settings that need a size which is not known.

        Raises
        ------
        InputError
            With what to give.
        """
        if self.unit == "um" and pixel_size.z_um is None:
            raise InputError(
                f"heights in {UM} need the distance between slices, which the files do not tell; give it with --z-step."
            )
        if (self.s_filter_um or self.l_filter_um) and not (pixel_size.y_um and pixel_size.x_um):
            raise InputError(
                "a filter's cutoff needs the size of a pixel, which the files do not tell; give it with --pixel-size."
            )

    def height_map(self, height: FloatImage, confidence: FloatImage, pixel_size: PixelSize) -> FloatImage:
        """Return the height map to be written.

        Parameters
        ----------
        height, confidence : float32 array, shape (y, x)
            As in `FocusStackResult`.
        pixel_size : PixelSize
        """
        trusted = trusted_pixels(height, confidence, self.trust)
        levelled = level_height(height, trusted, self.level)
        if self.unit == "um" and pixel_size.z_um is not None:
            levelled *= np.float32(pixel_size.z_um)
        if self.mask:
            levelled[~trusted] = np.nan
        return levelled

    def describe(self, pixel_size: PixelSize) -> str:
        """Return what the numbers of `height_map` mean."""
        unit = UM if self.unit == "um" else "slices"
        if self.level != "none":
            text = f"Height map: height in {unit} above the fitted {self.level}"
        elif self.unit == "um":
            text = f"Height map: focus position in {unit} above the first slice"
        else:
            text = "Height map: focus position in slices, counted from 0"
        if self.mask:
            text += f"; NaN where its confidence is below {self.trust:g}"
        return text if pixel_size.z_um is None else f"{text}; one slice is {pixel_size.z_um:g} {UM}"

    def surface_report(self, height: FloatImage, confidence: FloatImage, pixel_size: PixelSize) -> SurfaceReport:
        """Return tilt and roughness, in µm where the z step is known, else in slices."""
        size = (pixel_size.y_um, pixel_size.x_um) if pixel_size.y_um and pixel_size.x_um else None
        z_um = pixel_size.z_um
        return measure_surface(
            height,
            confidence,
            z_step=z_um or 1.0,
            unit=UM if z_um else "slices",
            pixel_size=size if z_um else None,
            form=_REPORTED_FORM if self.level == "none" else self.level,
            trust=self.trust,
            s_filter_px=_in_px(self.s_filter_um, size),
            l_filter_px=_in_px(self.l_filter_um, size),
        )


def _in_px(cutoff_um: float | None, size_um: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if cutoff_um is None or size_um is None else (cutoff_um / size_um[0], cutoff_um / size_um[1])
