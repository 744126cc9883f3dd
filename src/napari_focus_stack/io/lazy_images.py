"""A sequence of image files as one dask array, which napari shows without reading more than it looks at."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .files import find_image_files
from .reading import read_stack

if TYPE_CHECKING:
    import dask.array as da


def lazy_images(inputs: Sequence[str | Path] | str | Path) -> da.Array:
    """Open a folder, files or globs of slices with dask-image, in the order of the numbers in their names.

    Parameters
    ----------
    inputs : path or sequence of paths
        As of `read_stack`: a file for each slice.

    Returns
    -------
    dask array, shape (z, y, x) or (z, y, x, c)
        For napari, `focus_stack` and `focus_stack_tiled`; a slice is read when it is asked for.

    Raises
    ------
    InputError
        If a path is missing, a file is no image, or slices differ.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in (1, 2, 10):
    ...         Image.new("L", (4, 3), number).save(f"{folder}/z{number}.png")
    ...     stack = lazy_images(folder)
    ...     print(stack.chunksize, stack[:, 0, 0].compute().tolist())
    (1, 3, 4) [1, 2, 10]
    """
    import dask.array as da

    entries = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    with read_stack(entries) as stack:
        shape, dtype = stack.shape, stack.dtype
    files = find_image_files(entries)
    if len(files) != shape[0]:
        raise InputError(f"{files[0]} holds a whole stack, not a slice; open it with read_stack.")
    # One by one: a pattern for all of them cannot say the order.
    slices = [_one(file, shape[1:], dtype) for file in files]
    for file, image in zip(files, slices, strict=True):
        if image.shape != (1, *shape[1:]) or image.dtype != dtype:
            raise InputError(
                f"dask-image reads {file} as {image.shape[1:]} {image.dtype}, but it is {shape[1:]} {dtype}; "
                "open it with read_stack."
            )
    return da.concatenate(slices)


def _one(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> da.Array:
    if not glob.has_magic(str(file)):
        from dask_image.imread import imread

        return imread(file)
    import dask
    import dask.array as da

    # dask-image takes every name for a pattern, and cannot open what one with brackets in it escaped stands for.
    return da.from_delayed(dask.delayed(_read)(file), shape, dtype)[np.newaxis]


def _read(file: Path) -> np.ndarray[Any, Any]:
    with read_stack(file, min_slices=1) as stack:
        return stack[0]
