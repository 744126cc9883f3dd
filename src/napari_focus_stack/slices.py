"""Checks a stack of any kind, and gives its slices one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import InputError

# More than this is an axis somebody forgot to choose, not colour.
_MOST_CHANNELS = 32


class StackLike(Protocol):
    """Anything with a shape, a dtype and whole-number indexing along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x) or (z, y, x, c)."""

    @property
    def dtype(self) -> Any:
        """What NumPy makes a dtype of."""

    def __getitem__(self, k: int, /) -> Any:
        """Return slice k."""


class SliceKind:
    """Shape, dtype and channels of one slice.

    Attributes
    ----------
    shape : tuple of int
        (y, x), or (y, x, c) with all channels.
    dtype : numpy.dtype
        In this machine's byte order.
    channels : int
        Colour channels; alpha is not one of them.
    alpha : bool
        Whether the last channel is alpha.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, rgb: bool | None = None) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.dtype = checked_dtype(dtype)
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise InputError(f"a slice must be shaped (y, x) or (y, x, c) and hold pixels, got {self.shape}.")
        last = self.shape[2] if len(self.shape) == 3 else 1
        if rgb and last not in (3, 4):
            raise InputError(f"an RGB slice must be shaped (y, x, 3) or (y, x, 4), got {self.shape}; pass rgb=False.")
        if last > _MOST_CHANNELS:
            raise InputError(
                f"a slice may have at most {_MOST_CHANNELS} channels, got {last} (slice shape {self.shape}); "
                "expected (z, y, x) or (z, y, x, c): choose one position along the other axes."
            )
        self.alpha = last == 4 and rgb is not False
        self.channels = last - self.alpha

    def checked(self, image: Any) -> npt.NDArray[Any]:
        """Return a slice as a contiguous array of shape (y, x, c), alpha included.

        Raises
        ------
        InputError
            If its shape or dtype is not that of the stack.
        """
        array = np.asarray(image)
        if array.shape != self.shape:
            raise InputError(f"all slices must have the shape of the first, {self.shape}, got {array.shape}.")
        if array.dtype.newbyteorder("=") != self.dtype:
            raise InputError(f"all slices must have the dtype of the first, {self.dtype}, got {array.dtype}.")
        return np.ascontiguousarray(array, self.dtype).reshape(*self.shape[:2], -1)


class Slices:
    """The slices of a stack, fetched one at a time.

    Parameters
    ----------
    stack : array-like of shape (z, y, x) or (z, y, x, c), or sequence of slices
        An array, memmap, zarr or dask array, a list of slices, or anything with
        ``shape``, ``dtype`` and whole-number indexing. It is only read.
    rgb : bool or None
        Whether the last axis is RGB or RGBA; None takes a last axis of 3 or 4 for that.

    fewest : int
        Slices there must be at least.

    Raises
    ------
    InputError
        If it is no stack of enough slices of real numbers.
    """

    def __init__(self, stack: StackLike | Sequence[Any], rgb: bool | None = None, *, fewest: int = 2) -> None:
        if not hasattr(stack, "shape") or not hasattr(stack, "dtype"):
            stack = _ListedSlices(stack)
        shape = tuple(int(n) for n in stack.shape)
        if len(shape) not in (3, 4):
            raise InputError(
                f"a stack must be shaped (z, y, x) or (z, y, x, c), got {len(shape)} axes (shape {shape}); "
                "choose one position along the other axes."
            )
        if rgb and len(shape) == 3:
            raise InputError(f"an RGB stack must be shaped (z, y, x, 3) or (z, y, x, 4), got {shape}; pass rgb=False.")
        if shape[0] < fewest:
            raise InputError(
                f"focus stacking needs at least {fewest} slices along z, got {shape[0]} (shape {shape}); "
                "choose another z axis."
            )
        if shape[0] > np.iinfo(np.uint16).max:
            raise InputError(f"at most 65535 slices fit the focus-index map, got {shape[0]}; choose another z axis.")
        self.kind = SliceKind(shape[1:], stack.dtype, rgb)
        self._stack = stack
        self._count = shape[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        if not 0 <= k < self._count:
            raise IndexError(k)
        return np.asarray(self._stack[k])

    @property
    def at_hand(self) -> bool:
        """Whether all slices lie in memory, so that looking at them twice costs no reading."""
        stack = self._stack
        if type(stack) is not np.ndarray or not stack.flags.c_contiguous or not stack.dtype.isnative:
            return False
        # What a memmap was cut from is one as well.
        base: Any = stack
        while isinstance(base, np.ndarray):
            if isinstance(base, np.memmap):
                return False
            base = base.base
        return True

    def evenly(self, count: int) -> list[int]:
        """Return up to `count` numbers of slices, evenly spaced from the first to the last."""
        return [int(k) for k in np.unique(np.linspace(0, self._count - 1, min(count, self._count)).round())]


class _ListedSlices:
    """A list of slices, checked to be alike."""

    def __init__(self, slices: Sequence[Any]) -> None:
        if isinstance(slices, (str, bytes)) or not hasattr(slices, "__getitem__") or not hasattr(slices, "__len__"):
            raise InputError(
                f"a stack must be an array or a sequence of slices, got {type(slices).__name__}; "
                "read files with napari_focus_stack.io.read_stack."
            )
        if len(slices) == 0:
            raise InputError("focus stacking needs at least 2 slices, got an empty sequence.")
        self._slices = [s if hasattr(s, "shape") and hasattr(s, "dtype") else np.asarray(s) for s in slices]
        first = self._slices[0]
        for k, one in enumerate(self._slices):
            if tuple(one.shape) != tuple(first.shape):
                raise InputError(
                    f"all slices must have the shape of the first, {tuple(first.shape)}, "
                    f"got {tuple(one.shape)} in slice {k}."
                )
            if np.dtype(one.dtype) != np.dtype(first.dtype):
                raise InputError(
                    f"all slices must have the dtype of the first, {first.dtype}, got {one.dtype} in slice {k}."
                )
        self.shape = (len(self._slices), *first.shape)
        self.dtype = first.dtype

    def __getitem__(self, k: int) -> Any:
        return self._slices[k]


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a real dtype in this machine's byte order.

    Raises
    ------
    InputError
        If it is boolean, complex, wider than float64, or no number at all.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise InputError(f"pixels must be integers or floats of up to 64 bits, got {dtype}; convert the stack first.")
    return dtype.newbyteorder("=")
