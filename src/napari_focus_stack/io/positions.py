"""Many stacks at once: a folder of folders, or one file of time points or positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .axes import outer_axes
from .files import IMAGE_ENDINGS, natural_key
from .ome_zarr import is_zarr, open_zarr, zarr_axes
from .photos import is_tiff
from .reading import read_stack, with_pixel_size
from .source import PixelSize, StackSource
from .tiff import open_tiff, tiff_axes, tiff_stacks


@dataclass(frozen=True)
class Positions:
    """Stacks that are fused one after the other.

    Attributes
    ----------
    axes : str
        Letters of the axes they lie along in one file, as T; empty for files of their own.
    shape : tuple of int
        Lengths of these axes; of files of their own, how many there are.
    names : tuple of str
    open : callable
        ``open(i)`` opens a stack; it may raise InputError.
    in_one_file : bool
        Whether other processes cannot tell them apart by their files.
    """

    axes: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    open: Callable[[int], StackSource]
    in_one_file: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def place(self, i: int) -> tuple[int, ...]:
        """Return where along the axes a stack lies."""
        return tuple(int(n) for n in np.unravel_index(i, self.shape)) if self.axes else ()


def find_positions(inputs: Sequence[str | Path], pixel_size: PixelSize | None = None) -> Positions | None:
    """Return the stacks of a folder of folders or of a file of several; None where the inputs are one stack.

    Parameters
    ----------
    inputs : sequence of paths
        Only one of them can be many stacks.
    pixel_size : PixelSize, optional
        As of `read_stack`.
    """
    if len(inputs) != 1:
        return None
    path = Path(inputs[0]).expanduser()
    if is_zarr(path):
        outer = outer_axes(*zarr_axes(path))
        return _in_one_file(path, outer, pixel_size, lambda at: open_zarr(path, at)) if outer else None
    if path.is_dir():
        return _folders(path, pixel_size)
    if path.is_file() and is_tiff(path):
        stacks = tiff_stacks(path)
        if len(stacks) > 1:
            return _images_of(path, stacks, pixel_size)
        outer = outer_axes(*tiff_axes(path))
        return _in_one_file(path, outer, pixel_size, lambda at: open_tiff(path, at=at)) if outer else None
    return None


def _folders(path: Path, pixel_size: PixelSize | None) -> Positions | None:
    entries = sorted((e for e in path.iterdir() if not e.name.startswith(".")), key=natural_key)
    if any(e.is_file() and e.suffix.lower() in IMAGE_ENDINGS for e in entries):
        return None
    found = [e for e in entries if e.is_dir()]
    if not found:
        return None
    names = tuple(e.name for e in found)
    return Positions("", (len(found),), names, lambda i: read_stack([found[i]], pixel_size=pixel_size))


def _images_of(path: Path, names: Sequence[str], pixel_size: PixelSize | None) -> Positions:
    """Return the images in one TIFF file, which may differ in size: positions of a stage, each perhaps with time."""
    found: list[tuple[str, int, dict[str, int]]] = []
    for number, name in enumerate(names):
        outer = outer_axes(*tiff_axes(path, number))
        for place in np.ndindex(*outer.values()):
            at = dict(zip(outer, (int(n) for n in place), strict=True))
            found.append((" ".join([name, *(f"{axis}{n}" for axis, n in at.items())]), number, at))

    def opened(i: int) -> StackSource:
        _, number, at = found[i]
        return _deep_enough(path, with_pixel_size(open_tiff(path, at=at, number=number), pixel_size))

    return Positions("", (len(found),), _as_file_names([name for name, *_ in found]), opened, in_one_file=True)


def _as_file_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that every system has files for, no two of them the same, as A/1 and A:1 would be.

    Examples
    --------
    >>> _as_file_names(["A/1", "A:1", "B"])
    ('A-1 0', 'A-1 1', 'B 2')
    """
    plain = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", name) for name in names]
    alike = len({name.casefold() for name in plain}) < len(plain)
    return tuple(f"{name} {k}" for k, name in enumerate(plain)) if alike else tuple(plain)


def _deep_enough(path: Path, stack: StackSource) -> StackSource:
    if len(stack) < 2:
        stack.close()
        raise InputError(f"{path} has no z axis of at least 2 slices; name another file.")
    return stack


def _in_one_file(
    path: Path, outer: dict[str, int], pixel_size: PixelSize | None, open_at: Callable[[dict[str, int]], StackSource]
) -> Positions:
    axes, shape = "".join(outer), tuple(outer.values())
    places = [dict(zip(axes, place, strict=True)) for place in np.ndindex(*shape)]
    names = tuple(" ".join(f"{axis}{n}" for axis, n in place.items()) for place in places)

    def opened(i: int) -> StackSource:
        return _deep_enough(path, with_pixel_size(open_at(places[i]), pixel_size))

    return Positions(axes, shape, names, opened)
