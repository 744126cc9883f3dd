"""Open whatever the user named as one lazy z-stack, and check all headers before a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..machine import check_memory, free_memory
from .files import at_home, find_image_files
from .ome_zarr import is_zarr, open_zarr
from .photos import SliceFile, is_tiff, open_photo
from .source import PixelSize, StackSource, decoded
from .tiff import open_tiff

# A slice that is read in parts is believed to be so many times as large as the memory that is free.
_MOST_TIMES_MEMORY = 100


def read_stack(
    inputs: Sequence[str | Path] | str | Path, *, min_slices: int = 2, pixel_size: PixelSize | None = None
) -> StackSource:
    """Open a z-stack; no pixels are decoded yet.

    Parameters
    ----------
    inputs : path or sequence of paths
        A folder, files or globs of slices, sorted by the numbers in their names;
        or one TIFF, OME-TIFF or ImageJ stack; or one OME-Zarr folder.
    min_slices : int
        The fewest slices accepted.
    pixel_size : PixelSize, optional
        Believed rather than the files, where it says something.

    Returns
    -------
    StackSource
        Shape (z, y, x) or (z, y, x, c); `stack[k]` decodes slice `k`.

    Raises
    ------
    InputError
        If a path is missing, a file is no image, or slices differ in size,
        colour or dtype.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in (1, 2, 10):
    ...         Image.new("L", (4, 3), number).save(f"{folder}/z{number}.png")
    ...     with read_stack(folder) as stack:
    ...         print(stack.shape, [int(image[0, 0]) for image in stack])
    (3, 3, 4) [1, 2, 10]
    """
    entries = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    stack = with_pixel_size(_opened(entries), pixel_size)
    try:
        _check_kind(stack, min_slices)
    except InputError:
        stack.close()
        raise
    return stack


def with_pixel_size(stack: StackSource, pixel_size: PixelSize | None) -> StackSource:
    """Return a stack whose sizes are those given, and the files' where nothing is."""
    if pixel_size is not None:
        stack.pixel_size = pixel_size.or_else(stack.pixel_size)
    return stack


def _opened(entries: Sequence[str | Path]) -> StackSource:
    folders = [at_home(entry) for entry in entries]
    zarrs = [path for path in folders if decoded(str(path), partial(is_zarr, path))]
    if zarrs and len(entries) > 1:
        raise InputError(f"{zarrs[0]} is a whole stack, but came with {len(entries) - 1} more inputs; name it alone.")
    if zarrs:
        return open_zarr(zarrs[0])
    files = find_image_files(entries)
    if len(files) == 1 and is_tiff(files[0]):
        return open_tiff(files[0])
    return _stack_of([_slice_header(path) for path in files])


def _slice_header(path: Path) -> SliceFile:
    if not is_tiff(path):
        return open_photo(path)
    with open_tiff(path, alone=False) as source:
        if len(source) > 1:
            raise InputError(
                f"{path} holds {len(source)} pages, but one slice a file is expected when several files are named; "
                f"name it alone if it is the stack."
            )

    def read() -> np.ndarray[Any, Any]:
        with open_tiff(path, alone=False) as again:
            return again[0]

    return SliceFile(path, source.shape[1:], source.dtype, source.rgb, read, source.pixel_size)


def _stack_of(slices: Sequence[SliceFile]) -> StackSource:
    first = slices[0]
    for other in slices[1:]:
        for what, expected, got in zip(("size", "colour", "dtype"), _looks(first), _looks(other), strict=True):
            if expected != got:
                raise InputError(
                    f"all slices must have one {what}: {first.path.name} is {expected}, but {other.path.name} is "
                    f"{got}; convert it or leave it out."
                )
    return StackSource(
        lambda k: slices[k].read(),
        [str(one.path) for one in slices],
        first.shape,
        first.dtype,
        rgb=first.rgb,
        pixel_size=first.pixel_size,
        files=[one.path for one in slices],
        apart=True,
    )


def _looks(one: SliceFile) -> tuple[str, str, str]:
    channels = one.shape[2] if len(one.shape) > 2 else 1
    colour = {(1, False): "gray", (3, True): "RGB", (4, True): "RGBA"}.get((channels, one.rgb), f"{channels} channels")
    return f"{one.shape[0]} x {one.shape[1]} pixels (y x x)", colour, str(one.dtype)


def _check_kind(stack: StackSource, min_slices: int) -> None:
    if len(stack) < min_slices:
        read_as = ", read as one RGB picture" if stack.rgb else ""
        raise InputError(
            f"focus stacking needs at least {min_slices} slices, got {len(stack)} ({stack.names[0]}{read_as}); "
            f"name a folder, several files or a TIFF stack."
        )
    if stack.dtype.kind not in "uif":
        raise InputError(
            f"expected pixels that are real numbers, got {stack.dtype} in {stack.names[0]}; "
            f"convert them to 8 or 16 bits or to float."
        )
    # As stored and as decoded. What is read in parts may be larger than memory, but not by any factor: sizes lie.
    nbytes = 2 * math.prod(stack.shape[1:]) * stack.dtype.itemsize
    if stack.chunks is None or nbytes > _MOST_TIMES_MEMORY * free_memory():
        check_memory(nbytes, f"one slice of {stack.files[0]}")
