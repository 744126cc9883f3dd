"""Contours of a height map, and heights along a line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .pyramid import FloatImage

_MOST_BANDS = 1000
_BANDS_WANTED = 10


@dataclass(frozen=True)
class HeightProfile:
    """Heights along a line.

    Attributes
    ----------
    distance : float64 array, shape (n,)
        From the beginning, in the unit of `pixel_size`; px where that was not given.
    height : float64 array, shape (n,)
        In the unit of the map; NaN where it is unknown.
    places : float64 array, shape (n, 2)
        (y, x) in px.
    """

    distance: npt.NDArray[np.float64]
    height: npt.NDArray[np.float64]
    places: npt.NDArray[np.float64]

    @property
    def length(self) -> float:
        """Length of the line."""
        return float(self.distance[-1])

    @property
    def span(self) -> float:
        """Highest above lowest known height; NaN if none is known."""
        known = self.height[np.isfinite(self.height)]
        return float(known.max() - known.min()) if known.size else float("nan")


def height_profile(
    height: FloatImage, points: npt.ArrayLike, pixel_size: tuple[float, float] = (1.0, 1.0)
) -> HeightProfile:
    """Return the heights along a line of one or more straight parts, one value every px.

    Parameters
    ----------
    height : float array, shape (y, x)
        NaN where unknown; a value beside one is unknown, too.
    points : array-like, shape (n, 2)
        (y, x) in px; parts outside the map are unknown.
    pixel_size : tuple of float
        Height and width of a pixel.

    Raises
    ------
    InputError
        If there are not two different points.

    Examples
    --------
    >>> y, x = np.mgrid[:9, :9]
    >>> profile = height_profile((2.0 * x).astype(np.float32), [(4, 1), (4, 4)], (0.5, 0.5))
    >>> profile.distance.tolist(), profile.height.tolist()
    ([0.0, 0.5, 1.0, 1.5], [2.0, 4.0, 6.0, 8.0])
    """
    from scipy import ndimage

    corners = np.asarray(points, float)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 2 or np.allclose(corners, corners[0]):
        raise InputError(f"a profile needs a line of two different points (y, x), got {corners.tolist()}.")
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    count = max(round(along[-1]), 1) + 1
    at = np.linspace(0, along[-1], count)
    places = np.stack([np.interp(at, along, corners[:, axis]) for axis in (0, 1)], axis=1)
    values = ndimage.map_coordinates(
        np.asarray(height, np.float64), places.T, order=1, mode="constant", cval=float("nan")
    )
    steps = np.hypot(*(np.diff(places, axis=0) * np.array(pixel_size)).T)
    return HeightProfile(np.concatenate([[0], np.cumsum(steps)]), values, places)


def contour_interval(low: float, high: float, wanted: int = _BANDS_WANTED) -> float:
    """Return a round interval, 1, 2 or 5 times a power of ten, that parts the heights into about `wanted` bands.

    Examples
    --------
    >>> contour_interval(0, 9), contour_interval(-3.1, 3), contour_interval(0, 0)
    (1.0, 0.5, 1.0)
    """
    span = high - low
    if not (0 < span < float("inf")):
        return 1.0
    raw = span / wanted
    power = 10.0 ** np.floor(np.log10(raw))
    return float(min((1, 2, 5, 10), key=lambda times: abs(np.log(times * power / raw))) * power)


def height_bands(height: FloatImage, interval: float) -> npt.NDArray[np.uint16]:
    """Return the band every height lies in, from 1 for the lowest; 0 where it is unknown.

    The bands part at whole multiples of `interval`, so that their edges are contour lines.

    Raises
    ------
    InputError
        If the interval is not above 0, or so small that there are more than 1000 bands.

    Examples
    --------
    >>> height_bands(np.array([[-0.5, 0.2, 1.2, np.nan]], np.float32), 1.0).tolist()
    [[1, 2, 3, 0]]
    """
    if not interval > 0:
        raise InputError(f"the interval of contours must be above 0, got {interval:g}.")
    known = np.isfinite(height)
    bands = np.floor(np.where(known, height, 0) / np.float32(interval))
    if not known.any():
        return np.zeros(height.shape, np.uint16)
    low = float(bands[known].min())
    count = float(bands[known].max()) - low + 1
    if count > _MOST_BANDS:
        raise InputError(f"an interval of {interval:g} gives {count:.0f} contours; take a larger one.")
    return np.where(known, bands - low + 1, 0).astype(np.uint16)
