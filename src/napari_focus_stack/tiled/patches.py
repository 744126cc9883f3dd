"""A sample of an image too large to be looked at whole: patches, evenly spread and blended into a smaller image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..slices import SliceKind
from .readers import Reader

# So many patches along y and x, of so many px, blended over some px.
_PATCHES, _PATCH_PX, _BLEND_PX = 4, 512, 32


class Sample:
    """Patches of all slices, evenly spread over the image and blended into a smaller one.

    Slices are read `whole` where that takes no longer than a part of them.
    """

    def __init__(self, reader: Reader, like: SliceKind, slices: int, *, whole: bool = False) -> None:
        self._reader, self._whole = reader, whole
        self._size = like.shape[:2]
        self._starts = [_patch_starts(n) for n in like.shape[:2]]
        self._sides = [_PATCH_PX if len(s) > 1 else n for s, n in zip(self._starts, like.shape[:2], strict=True)]
        y, x = (len(s) * side - (len(s) - 1) * _BLEND_PX for s, side in zip(self._starts, self._sides, strict=True))
        self.shape = (slices, y, x, *like.shape[2:])
        self.dtype = like.dtype

    def patches(self, k: int) -> list[npt.NDArray[Any]]:
        """Return the patches of a slice, as they are."""
        if self._whole:
            image = self._reader.read(k, slice(0, self._size[0]), slice(0, self._size[1]))
            return [image[rows, columns] for rows, columns in self._places()]
        return [self._reader.read(k, rows, columns) for rows, columns in self._places()]

    def _places(self) -> list[tuple[slice, slice]]:
        rows, columns = (
            [slice(start, start + side) for start in starts]
            for starts, side in zip(self._starts, self._sides, strict=True)
        )
        return [(y, x) for y in rows for x in columns]

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        total = np.zeros(self.shape[1:], np.float64)
        y, x = (_ramps(len(s), side) for s, side in zip(self._starts, self._sides, strict=True))
        places = [(row, column) for row in y for column in x]
        for patch, ((top, down), (left, across)) in zip(self.patches(k), places, strict=True):
            weight = down[:, None] * across
            shares = weight.reshape(*weight.shape, *[1] * (patch.ndim - 2))
            total[top : top + len(down), left : left + len(across)] += shares * patch
        if self.dtype.kind != "f":
            total = np.rint(total)
        return total.astype(self.dtype)


def _patch_starts(size: int) -> list[int]:
    if size <= _PATCHES * _PATCH_PX:
        return [0]
    return [round(i * (size - _PATCH_PX) / (_PATCHES - 1)) for i in range(_PATCHES)]


def _ramps(count: int, side: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Return where every patch begins in the sample, and its share of every pixel."""
    ramp = (np.arange(_BLEND_PX) + 0.5) / _BLEND_PX
    found = []
    for i in range(count):
        share = np.ones(side)
        if i > 0:
            share[:_BLEND_PX] = ramp
        if i < count - 1:
            share[-_BLEND_PX:] = ramp[::-1]
        found.append((i * (side - _BLEND_PX), share))
    return found
