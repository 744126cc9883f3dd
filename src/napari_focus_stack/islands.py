"""Finds small regions in a map of slices that differ from what is around them, and fills them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_UNKNOWN = np.uint8(255)


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

    def smaller_than(self, area_px: float, side_px: int | None = None) -> npt.NDArray[np.bool_]:
        """Return where the regions under an area are; nowhere, if no other region is left.

        With `side_px` those that are longer than it along an axis are no small ones. Of what a map that is longer holds
        around a pixel, nothing further away then decides on the region of the pixel.
        """
        small = self.area_px < area_px
        if side_px is not None:
            small[self._longer_than(side_px, small)] = False
        where = small[self.number]
        return np.zeros_like(where) if where.all() else where

    def _longer_than(self, side_px: int, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Return the numbers of the regions that are longer than a side along an axis."""
        from scipy import ndimage

        asked = np.flatnonzero(among & (self.area_px > side_px))
        if not asked.size:
            return asked
        # Others have too few pixels to be as long.
        numbers = np.zeros(self.area_px.shape, np.intp)
        numbers[asked] = np.arange(1, asked.size + 1)
        boxes = ndimage.find_objects(numbers[self.number])
        return asked[[max(side.stop - side.start for side in box) > side_px for box in boxes]]

    def holding(self, pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return where the regions are that hold one of some pixels at least."""
        held = np.zeros(self.area_px.shape, bool)
        held[self.number[pixels]] = True
        return held[self.number]


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


def taken_from_around(
    choice: npt.NDArray[np.uint8], islands: npt.NDArray[np.bool_], reach_px: int
) -> npt.NDArray[np.uint8]:
    """Return a map of slices whose islands take the slice nearest around them; what is further away stays.

    Nothing but what lies within the reach decides on a pixel, and of slices as near the first one is taken: so it does
    not matter what part of a larger map is given. Steps are counted, along the axes and in all directions by turns.

    Parameters
    ----------
    choice : uint8 array, shape (y, x)
        Slices before 255.
    islands : bool array, shape (y, x)
    reach_px : int

    Examples
    --------
    >>> choice = np.array([[1, 2, 2, 2, 2, 0]], np.uint8)
    >>> islands = choice == 2
    >>> taken_from_around(choice, islands, 1).tolist()
    [[1, 1, 2, 2, 0, 0]]
    >>> taken_from_around(choice, islands, 2).tolist()
    [[1, 1, 1, 0, 0, 0]]
    """
    # In one axis, with a rim around, so that every pixel has all its neighbours.
    width = choice.shape[1] + 2
    taken = np.pad(np.where(islands, _UNKNOWN, choice), 1, constant_values=_UNKNOWN).ravel()
    asked = np.flatnonzero(np.pad(islands, 1))
    inside = np.zeros(taken.shape, bool)
    inside[asked] = True
    straight = np.array([-width, -1, 1, width])
    any_way = np.concatenate([straight, [-width - 1, -width + 1, width - 1, width + 1]])
    for step in range(reach_px):
        nearest = np.full(asked.shape, _UNKNOWN)
        for neighbour in any_way if step % 2 else straight:
            np.minimum(nearest, taken[asked + neighbour], out=nearest)
        found = asked[nearest < _UNKNOWN]
        if not found.size:
            break
        taken[found] = nearest[nearest < _UNKNOWN]
        inside[found] = False
        beside = (found[:, np.newaxis] + any_way).ravel()
        asked = np.unique(beside[inside[beside]])
    taken = taken.reshape(choice.shape[0] + 2, width)[1:-1, 1:-1]
    return np.where(taken == _UNKNOWN, choice, taken)
