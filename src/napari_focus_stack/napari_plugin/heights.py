"""Heights as the Height layer shows them: in the unit of the focus axis, levelled and masked as chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..surface import DEFAULT_TRUST, SurfaceReport, level_height, measure_surface, trusted_pixels
from .layers import LayerStack, Position, StackChoice, symbol_of

if TYPE_CHECKING:
    from .worker import StackResults

SLICES = "slices"
_REPORTED_FORM = "plane"


@dataclass(frozen=True)
class HeightView:
    """What the user chose for the heights.

    Attributes
    ----------
    level : str
        Key of `SURFACE_FORMS`: taken out of the Height layer.
    trust : float
        Heights of less confidence do not count, 0 to 1.
    masked : bool
        Whether they are NaN in the Height layer.
    """

    level: str = "none"
    trust: float = DEFAULT_TRUST
    masked: bool = False


@dataclass(frozen=True)
class HeightScale:
    """What heights are counted in.

    Attributes
    ----------
    unit : str
        As napari writes it, such as µm; "slices" where the focus axis has no unit of length.
    step : float
        Height of a slice, in `unit`.
    pixel_size : tuple of float or None
        Height and width of a pixel, in `unit`; None where one of them has no unit of length.
    """

    unit: str = SLICES
    step: float = 1.0
    pixel_size: tuple[float, float] | None = None

    @classmethod
    def of(cls, choice: StackChoice) -> HeightScale:
        """Return the scale of the chosen layer's focus axis, as it is now."""
        layer, axes = choice.layer, (choice.focus_axis, *choice.stack.plane_axes)
        unit = layer.units[choice.focus_axis]
        if not _is_length(unit):
            return cls()
        y, x = (
            abs(float(layer.scale[axis]) * float((1 * layer.units[axis]).to(unit).magnitude))
            if _is_length(layer.units[axis])
            else None
            for axis in axes[1:]
        )
        size = None if y is None or x is None else (y, x)
        return cls(symbol_of(unit), float(layer.scale[choice.focus_axis]), size)


@dataclass(frozen=True)
class ShownHeights:
    """The contents of the Height layer.

    Attributes
    ----------
    pixels : float32 array
        Shaped like the layer.
    unit : str
    limits : tuple of float
        What to stretch the colours over.
    facts : dict
        How the numbers came about, for the layer's metadata.
    """

    pixels: npt.NDArray[np.float32]
    unit: str
    limits: tuple[float, float]
    facts: dict[str, Any]


def shown_heights(results: StackResults, stack: LayerStack, scale: HeightScale, view: HeightView) -> ShownHeights:
    """Return the heights of every position in the unit of the focus axis, levelled and masked as chosen."""
    pixels = np.empty_like(results.height)
    for position in results.reports:
        where = stack.result_index(position)
        trusted = trusted_pixels(results.height[where], results.confidence[where], view.trust)
        heights = level_height(results.height[where], trusted, view.level)
        if view.masked:
            heights[~trusted] = np.nan
        pixels[where] = heights
    if scale.step != 1:
        pixels *= np.float32(scale.step)
    whole = (0.0, scale.step * (results.slices - 1))
    limits = whole if view.level == "none" or np.isnan(pixels).all() else (np.nanmin(pixels), np.nanmax(pixels))
    facts = {
        "zero": "first slice" if view.level == "none" else f"fitted {view.level}",
        "level": view.level,
        "trust": view.trust,
        "masked": view.masked,
    }
    low, high = sorted(float(limit) for limit in limits)
    return ShownHeights(pixels, scale.unit, (low, high if high > low else low + 1), facts)


def surface_in_view(
    results: StackResults, stack: LayerStack, position: Position, scale: HeightScale, view: HeightView
) -> SurfaceReport:
    """Return tilt and roughness of one position, of the heights before they were levelled or masked."""
    where = stack.result_index(position)
    return measure_surface(
        results.height[where],
        results.confidence[where],
        z_step=scale.step,
        unit=scale.unit,
        pixel_size=scale.pixel_size,
        form=_REPORTED_FORM if view.level == "none" else view.level,
        trust=view.trust,
    )


def _is_length(unit: Any) -> bool:
    return bool(unit.dimensionality == {"[length]": 1})
