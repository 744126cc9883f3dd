"""Finds small regions in a map of slices that differ from what is around them, and fills them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Regions:
    """The connected regions of a map of slices.

    Parameters
    ----------
    choice : integer array, shape (y, x)
        A slice for every pixel.

    Attributes
    ----------
    number : integer array, shape (y, x)
        The region of every pixel, from 1.
    area_px : integer array
        Pixels of every region, by number.

    Examples
    --------
    >>> choice = np.zeros((9, 9), np.uint8)
    >>> choice[4, 4] = 3
    >>> regions = Regions(choice)
    >>> regions.area_px.tolist()
    [0, 80, 1]
    >>> islands = regions.smaller_than(4)
    >>> int(islands.sum()), int(choice[around(islands)].max())
    (1, 0)
    """

    def __init__(self, choice: npt.NDArray[Any]) -> None:
        from skimage.measure import label

        self.number = label(choice, background=-1, connectivity=1)
        self.area_px = np.bincount(self.number.ravel())

    def smaller_than(
        self, area_px: float, cut: tuple[bool, bool, bool, bool] = (False, False, False, False)
    ) -> npt.NDArray[np.bool_]:
        """Return where the regions under an area are; nowhere, if no other region is left.

        `cut` tells whether the map goes on above, below, left and right: regions that do are taken for large ones.
        """
        small = self.area_px < area_px
        for goes_on, edge in zip(
            cut, (self.number[0], self.number[-1], self.number[:, 0], self.number[:, -1]), strict=True
        ):
            if goes_on:
                small[edge] = False
        where = small[self.number]
        return np.zeros_like(where) if where.all() else where

    def holding(self, pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return where the regions are that hold one of some pixels at least."""
        held = np.zeros(self.area_px.shape, bool)
        held[self.number[pixels]] = True
        return held[self.number]

    def mean(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the mean of a (y, x) array over every region, by number."""
        return np.bincount(self.number.ravel(), values.ravel()) / np.maximum(self.area_px, 1)


def around(islands: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return for every pixel the (y, x) of the nearest one in no island, itself outside of islands."""
    from scipy import ndimage

    y, x = ndimage.distance_transform_edt(islands, return_distances=False, return_indices=True)
    return y, x


def without_islands(choice: npt.NDArray[np.uint16], smallest_px: float) -> npt.NDArray[np.uint16]:
    """Return a map of slices whose connected regions under a size take the slice nearest around them.

    Parameters
    ----------
    choice : uint16 array, shape (y, x)
    smallest_px : float
        Area of the smallest region that stays.

    Examples
    --------
    >>> choice = np.zeros((9, 9), np.uint16)
    >>> choice[4, 4] = 3
    >>> int(without_islands(choice, 4).max())
    0
    """
    islands = Regions(choice).smaller_than(smallest_px)
    return choice[around(islands)] if islands.any() else choice
