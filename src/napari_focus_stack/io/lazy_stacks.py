"""Whole files as dask arrays, with all their axes, for viewers: nothing is read but what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import at_home, find_image_files
from .lazy_images import lazy_images
from .ome_zarr import is_zarr, zarr_levels
from .photos import is_tiff
from .positions import Positions, find_positions
from .reading import read_stack
from .source import PixelSize, StackSource

if TYPE_CHECKING:
    import dask.array as da

# Tiles of files are put together to chunks of about this side: a task of dask costs more than a small tile.
_CHUNK_PX = 1024


@dataclass(frozen=True, eq=False)
class LazyStack:
    """One image of a file: of several channels, one.

    Attributes
    ----------
    name : str
        Of the file, and of the position and the channel where there are several.
    levels : tuple of dask array
        Finest first; one where the file has no pyramid.
    axes : str
        A letter for each axis, such as TZYX; colour last, as S.
    pixel_size : PixelSize
    """

    name: str
    levels: tuple[da.Array, ...]
    axes: str
    pixel_size: PixelSize

    @property
    def rgb(self) -> bool:
        """Whether the last axis is colour."""
        return self.axes.endswith("S")


def lazy_stacks(inputs: Sequence[str | Path] | str | Path) -> list[LazyStack]:
    """Open OME-Zarr, (OME-)TIFF, or a folder or files of slices, as dask arrays with all their axes.

    Parameters
    ----------
    inputs : path or sequence of paths
        As of `read_stack`; time points and positions are welcome.

    Returns
    -------
    list of LazyStack
        One for each channel, of each image in the file.

    Raises
    ------
    InputError
        If it holds no z-stack, or is damaged.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> pixels = np.arange(2 * 3 * 2 * 4 * 5, dtype=np.uint16).reshape(2, 3, 2, 4, 5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/a.ome.tif"
    ...     tifffile.imwrite(path, pixels, metadata={"axes": "TZCYX", "Channel": {"Name": ["DNA", "actin"]}})
    ...     dna, actin = lazy_stacks(path)
    ...     print(actin.name, actin.axes, bool((actin.levels[0].compute() == pixels[:, :, 1]).all()))
    a actin TZYX True
    """
    entries = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    path = at_home(entries[0])
    if len(entries) == 1 and is_zarr(path):
        return _of_zarr(path)
    positions = find_positions(entries)
    if positions is not None and positions.axes:
        return _channels(path, _along(positions), positions.axes, positions.open(0))
    if positions is not None:
        return [
            stack
            for i, name in enumerate(positions.names)
            for stack in _channels(path, _array_of(partial(positions.open, i)), "", positions.open(i), name)
        ]
    source = read_stack(entries)
    files = find_image_files(entries)
    one_file = len(files) == 1 and is_tiff(files[0])
    return _channels(path, _array_of(partial(read_stack, entries)) if one_file else lazy_images(entries), "", source)


def _of_zarr(path: Path) -> list[LazyStack]:
    import dask.array as da

    positions = find_positions([path])
    with positions.open(0) if positions else read_stack(path) as source:
        channels, size, count = source.channels, source.pixel_size, 1 if source.ndim == 3 else source.shape[3]
        axes, levels = zarr_levels(path)
    arrays = [da.from_zarr(level) for level in levels]
    # Channels in front, then what is left of the axes but those of length 1.
    if count > 1 and not source.rgb:
        c = axes.index("C") if "C" in axes else axes.index("S")
        arrays, axes = [da.moveaxis(array, c, 0) for array in arrays], axes[:c] + axes[c + 1 :]
    else:
        arrays = [array[np.newaxis] for array in arrays]
    kept = [at for at, letter in enumerate(axes) if letter in "ZYX" or arrays[0].shape[at + 1] > 1]
    gone = tuple(at + 1 for at in range(len(axes)) if at not in kept)
    arrays = [array.squeeze(gone) for array in arrays]
    letters = "".join(axes[at] for at in kept)
    names = _names(path, "", channels, len(arrays[0]))
    return [LazyStack(name, tuple(array[c] for array in arrays), letters, size) for c, name in enumerate(names)]


def _channels(path: Path, array: da.Array, outer: str, source: StackSource, position: str = "") -> list[LazyStack]:
    """Return an array of shape (..., z, y, x[, c]) as one image, or one for each channel."""
    with source:
        axes, rgb, size = f"{outer}ZYX", source.rgb, source.pixel_size
        if source.ndim == 3 or rgb:
            (name,) = _names(path, position, (), 1)
            return [LazyStack(name, (array,), axes + "S" * rgb, size)]
        names = _names(path, position, source.channels, source.shape[3])
        return [LazyStack(name, (array[..., c],), axes, size) for c, name in enumerate(names)]


def _names(path: Path, position: str, channels: Sequence[str], count: int) -> list[str]:
    own = [path.name.split(".")[0], *([position] if position else [])]
    if count == 1:
        return [" ".join(own)]
    return [" ".join([*own, channels[c] if len(channels) == count else f"channel {c}"]) for c in range(count)]


def _along(positions: Positions) -> da.Array:
    import dask.array as da

    first = _array_of(partial(positions.open, 0))
    arrays = [first] + [_array_of(partial(positions.open, i), like=first) for i in range(1, len(positions))]
    return da.stack(arrays).reshape((*positions.shape, *first.shape))


def _array_of(open_stack: Callable[[], StackSource], like: da.Array | None = None) -> da.Array:
    """Return a stack as a dask array; one that is `like` another is not opened before it is looked at."""
    import dask.array as da

    if like is not None:
        parts = _Parts(open_stack, like.shape, like.dtype)
        return da.from_array(parts, like.chunks, name=False, meta=like._meta)
    with open_stack() as source:
        shape, dtype, chunks = source.shape, source.dtype, source.chunks
    sides = chunks[1:] if chunks else shape[1:3]
    y, x = (min(n, side * max(_CHUNK_PX // side, 1)) for n, side in zip(shape[1:3], sides, strict=True))
    parts = _Parts(open_stack, shape, dtype)
    return da.from_array(parts, (1, y, x, *shape[3:]), name=False, meta=np.empty((0,) * len(shape), dtype))


class _Parts:
    """A stack in files that is indexed like an array, and opened when it is first asked for pixels."""

    def __init__(self, open_stack: Callable[[], StackSource], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self._open = open_stack
        self._source: StackSource | None = None

    def __getitem__(self, where: tuple[slice | int, ...]) -> np.ndarray[Any, Any]:
        source = self._source or self._open()
        self._source = source
        # dask may ask for a single slice, row or channel by its number, and for every second.
        asked = [
            range(n)[part if isinstance(part, slice) else slice(part, part + 1)]
            for part, n in zip(where, self.shape, strict=True)
        ]
        if not all(asked):
            return np.empty(
                [len(one) for one, part in zip(asked, where, strict=True) if isinstance(part, slice)], self.dtype
            )
        rows, columns = (slice(min(one), max(one) + 1) for one in asked[1:3])
        read = np.stack([source.part(k, rows, columns) for k in asked[0]])
        pixels: np.ndarray[Any, Any] = read[:, :: asked[1].step, :: asked[2].step]
        if len(asked) > 3:
            pixels = pixels[..., list(asked[3])]
        return pixels[tuple(slice(None) if isinstance(part, slice) else 0 for part in where)]
