"""A stack whose slices are decoded one at a time, when they are asked for."""

from __future__ import annotations

import contextlib
import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError

Decoded = TypeVar("Decoded")

# What the focus-index map, uint16, has numbers for.
MOST_SLICES = 65535

UM_PER_UNIT = {
    "pm": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}


def um_per_unit(unit: str) -> float | None:
    r"""Return micrometres in a unit of length as files spell it; None where it is no length.

    Examples
    --------
    >>> um_per_unit("\\u00B5m"), um_per_unit("mm"), um_per_unit("pixel")
    (1.0, 1000.0, None)
    """
    plain = unit.strip().lower().replace("\\u00b5", "u").replace("\u00b5", "u").replace("\u03bc", "u")
    return UM_PER_UNIT.get(plain)


@dataclass(frozen=True)
class PixelSize:
    """Distance between neighbouring pixels, in micrometres; None where a file does not say."""

    z_um: float | None = None
    y_um: float | None = None
    x_um: float | None = None

    def __post_init__(self) -> None:
        for axis in ("z_um", "y_um", "x_um"):
            size = getattr(self, axis)
            if size is not None and not 0 < size < float("inf"):
                object.__setattr__(self, axis, None)

    @classmethod
    def given(cls, z_step_um: float | None, pixel_size_um: float | None) -> PixelSize:
        """Return what a user gave: the distance between slices, and that between pixels along y and x.

        Raises
        ------
        InputError
            If one of them is not above 0.
        """
        for name, size in (("distance between slices", z_step_um), ("size of a pixel", pixel_size_um)):
            if size is not None and not 0 < size < float("inf"):
                raise InputError(f"the {name} must be above 0 \u00b5m, got {size:g}.")
        return cls(z_step_um, pixel_size_um, pixel_size_um)

    def or_else(self, other: PixelSize) -> PixelSize:
        """Return these sizes, and those of `other` where they are not known.

        Examples
        --------
        >>> PixelSize(z_um=2.0).or_else(PixelSize(1.0, 0.5, 0.5))
        PixelSize(z_um=2.0, y_um=0.5, x_um=0.5)
        """
        return PixelSize(self.z_um or other.z_um, self.y_um or other.y_um, self.x_um or other.x_um)


class StackSource:
    """A z-stack in files: shape and dtype at once, pixels one slice at a time.

    Nothing decoded is kept. Several threads may index it. Use it as a context
    manager, or `close` it.

    Parameters
    ----------
    apart : bool
        Whether slices may be fetched at the same time.
    others
        As the attributes; `fetch` and `fetch_part` decode a slice or a part of one.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x), or (z, y, x, c).
    dtype : numpy.dtype
        In the machine's byte order.
    rgb : bool
        Whether the last axis is colour (red, green, blue, perhaps alpha).
    pixel_size : PixelSize
    names : tuple of str
        One for each slice, for messages.
    files : tuple of Path
        The files read.
    chunks : tuple of int or None
        (z, y, x) of the chunks that a part is read in; None where slices are read whole.
    channels : tuple of str
        Names of the last axis where it is channels, as the file tells them; empty where it does not.
    """

    def __init__(
        self,
        fetch: Callable[[int], np.ndarray[Any, Any]],
        names: Sequence[str],
        slice_shape: Sequence[int],
        dtype: np.dtype[Any],
        *,
        rgb: bool,
        files: Sequence[Path],
        pixel_size: PixelSize | None = None,
        close: Callable[[], object] | None = None,
        fetch_part: Callable[[int, slice, slice], np.ndarray[Any, Any]] | None = None,
        chunks: tuple[int, int, int] | None = None,
        channels: Sequence[str] = (),
        apart: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.shape = (len(self.names), *(int(n) for n in slice_shape))
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.rgb = rgb
        self.files = tuple(files)
        self.pixel_size = pixel_size or PixelSize()
        self.chunks = chunks
        own = len(self.shape) == 4 and not rgb and len(channels) == self.shape[3]
        self.channels = tuple(str(name) for name in channels) if own else ()
        self._fetch = fetch
        self._fetch_part = fetch_part
        self._lock = contextlib.nullcontext() if apart else threading.Lock()
        self._close = weakref.finalize(self, close) if close else None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        """Return the number of slices."""
        return self.shape[0]

    def __getitem__(self, k: int) -> np.ndarray[Any, Any]:
        """Decode slice `k`.

        Returns
        -------
        array, shape (y, x) or (y, x, c)
            In C order; it may be read-only.

        Raises
        ------
        InputError
            If the file's pixels are damaged, or changed since the stack was opened.
        """
        k = operator.index(k)
        if not -len(self) <= k < len(self):
            raise IndexError(f"slice {k} of {len(self)}")
        k %= len(self)
        with self._lock:
            pixels = np.ascontiguousarray(decoded(self.names[k], lambda: self._fetch(k)), dtype=self.dtype)
        if pixels.shape != self.shape[1:]:
            raise InputError(
                f"{self.names[k]} should hold pixels of shape {self.shape[1:]} as its header says, "
                f"got {pixels.shape}; save it again."
            )
        return pixels

    def part(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Decode a part of slice `k`, and no more than that where the file allows it.

        Returns
        -------
        array, shape (y, x) or (y, x, c)
        """
        if self._fetch_part is None:
            return self[k][rows, columns]
        fetch = self._fetch_part
        with self._lock:
            return np.asarray(decoded(self.names[k], lambda: fetch(k, rows, columns)), dtype=self.dtype)

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        """Decode slice after slice."""
        return (self[k] for k in range(len(self)))

    def in_memory(self, threads: int, meanwhile: Callable[[], None]) -> np.ndarray[Any, Any]:
        """Decode all slices, as many at the same time as their files allow, and do something else meanwhile.

        Returns
        -------
        array, shape (z, y, x) or (z, y, x, c)
        """
        whole = np.empty(self.shape, self.dtype)

        def decode(k: int) -> None:
            whole[k] = self[k]

        with ThreadPoolExecutor(threads, thread_name_prefix="focus-stack-reader") as readers:
            pending = [readers.submit(decode, k) for k in range(len(self))]
            try:
                meanwhile()
                for one in pending:
                    one.result()
            finally:
                readers.shutdown(cancel_futures=True)
        return whole

    def close(self) -> None:
        """Close the files."""
        if self._close:
            self._close()

    def __enter__(self) -> StackSource:
        """Return the stack itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()


def checked_count(name: str, count: int) -> int:
    """Refuse a number of slices that no run can take, before anything is made for each of them.

    Raises
    ------
    InputError
    """
    if count > MOST_SLICES:
        raise InputError(
            f"{name} says it holds {count} slices, but at most {MOST_SLICES} can be fused; "
            "name a part of it, or save it again if that number is wrong."
        )
    return count


def decoded(name: str, decode: Callable[[], Decoded]) -> Decoded:
    """Call a decoder; whatever it raises becomes an InputError that names the file."""
    try:
        return decode()
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{name} needs more memory to be read than is free here; crop it, or leave it out if it is damaged."
        ) from error
    except Exception as error:  # decoders raise some twenty kinds for damaged data
        if "imagecodecs" in str(error):
            raise InputError(
                f"{name} is compressed in a way that needs another package; install it with: pip install imagecodecs"
            ) from error
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{name} cannot be read: {error.strerror.lower()}.") from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"{name} is damaged or cut short ({reason}); copy or save it again, or leave it out."
        ) from error
