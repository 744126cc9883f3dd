"""Read parts of a stack, here or in other processes: whatever holds it, one way to ask."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..slices import SliceKind
from .turn import reading_for_a_tile


class Reader(Protocol):
    """Reads parts of slices; goes to other processes."""

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`, shape (y, x) or (y, x, c)."""

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return a reader that need not know more than a part of every slice."""


class ArrayReader:
    """Reads an array of shape (z, y, x) or (z, y, x, c) that can be sliced: NumPy, memmap, zarr."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._array[k, rows, columns])

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class SliceReader:
    """Reads a sequence of slices, each of them whole; of dask arrays, parts in the thread that asks."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        one = self._slices[k]
        if hasattr(one, "dask"):
            return np.asarray(one[rows, columns].compute(scheduler="synchronous"))
        return np.asarray(one)[rows, columns]

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class PartReader:
    """Reads a stack that gives parts of its slices itself, as those in files do."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._stack.part(k, rows, columns))

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return itself."""
        return self


class DaskReader:
    """Reads a dask array in the thread that asks, which may be a worker's.

    No record of dataclass: dask would look into it, and compute the array before the task.
    """

    def __init__(self, array: Any, origin: tuple[int, int] = (0, 0)) -> None:
        self._array, self._origin = array, origin

    def read(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return a part of slice `k`."""
        return np.asarray(self._part(k, rows, columns).compute(scheduler="synchronous"))

    def near(self, rows: slice, columns: slice) -> Reader:
        """Return a reader whose graph is no larger than it need be."""
        import dask

        (part,) = dask.optimize(self._part(slice(None), rows, columns))
        return DaskReader(part, (rows.start, columns.start))

    def _part(self, k: int | slice, rows: slice, columns: slice) -> Any:
        top, left = self._origin
        return self._array[k, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def reader_of(stack: Any) -> Reader:
    """Return the reader of a stack."""
    if hasattr(stack, "read") and hasattr(stack, "near"):
        return stack
    if hasattr(stack, "part"):
        return PartReader(stack)
    if hasattr(stack, "dask"):
        return DaskReader(stack)
    if hasattr(stack, "shape") and hasattr(stack, "dtype") and hasattr(stack, "ndim"):
        return ArrayReader(stack)
    return SliceReader(stack)


def chunk_side(stack: Any) -> tuple[int, int] | None:
    """Return the (y, x) of the chunks that slices are stored in; None where none are known."""
    chunk = getattr(stack, "chunksize", None) or getattr(stack, "chunks", None)
    if not isinstance(chunk, tuple) or len(chunk) < 3 or not all(isinstance(n, int) and n > 0 for n in chunk):
        return None
    return chunk[1], chunk[2]


def read_whole(stack: Any) -> bool:
    """Return whether a part of a slice takes as long to read as all of it."""
    side = chunk_side(stack)
    return side is not None and side == tuple(stack.shape[1:3])


class Window:
    """A part of all slices, as a stack."""

    def __init__(self, reader: Reader, rows: slice, columns: slice, like: SliceKind, slices: int) -> None:
        self.shape = (slices, rows.stop - rows.start, columns.stop - columns.start, *like.shape[2:])
        self.dtype = like.dtype
        self._reader, self._rows, self._columns = reader, rows, columns

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        with reading_for_a_tile():
            return self._reader.read(k, self._rows, self._columns)
