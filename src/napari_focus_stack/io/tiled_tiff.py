"""A tiled OME-TIFF of an image in Zarr, written without ever holding it whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .source import PixelSize
from .writing import OME_TYPES, tiff_compression, tiff_metadata
from .zarr_image import open_array

_TILE_PX = 512


def write_tiled_tiff(
    path: Path,
    zarr: Path,
    *,
    rgb: bool,
    pixel_size: PixelSize,
    description: str,
    axes: str = "",
    channels: Sequence[str] = (),
) -> None:
    """Write the finest level of an OME-Zarr image as a tiled, compressed OME-TIFF.

    Parameters
    ----------
    path : Path
    zarr : Path
        Folder of the image, (y, x) or (c, y, x).
    rgb : bool
        Whether channels are colour.
    pixel_size : PixelSize
    description : str
    axes : str
        Letters of its axes, where there are more than these.
    channels : sequence of str
        Names of its channels, where they are no colour.
    """
    import tifffile

    array = open_array(zarr / "0")
    axes = axes or ("CYX" if array.ndim == 3 else "YX")
    colour = rgb and axes.endswith("CYX")
    front = array.shape[:-3] if colour else array.shape[:-2]
    shape = (*front, *array.shape[-2:], *(array.shape[-3:-2] if colour else ()))
    axes = axes[:-3] + "YXS" if colour else axes
    tifffile.imwrite(
        path,
        _tiles(array, front, colour),
        shape=shape,
        dtype=array.dtype,
        tile=(_TILE_PX, _TILE_PX),
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if colour else None,
        extrasamples=["unassalpha"] if colour and shape[-1] == 4 else None,
        bigtiff=int(np.prod(shape)) * array.dtype.itemsize > 2**31,
        ome=array.dtype.name in OME_TYPES,
        **tiff_compression(array.dtype),
        **tiff_metadata(axes, array.dtype, pixel_size, description, () if colour else channels),
    )


def _tiles(array: Any, front: tuple[int, ...], colour: bool) -> Iterator[np.ndarray[Any, Any]]:
    height, width = array.shape[-2:]
    for place in np.ndindex(*front):
        for y in range(0, height, _TILE_PX):
            # A whole row of tiles at once: chunks are wider than they are.
            rows = np.asarray(array[(*place, ..., slice(y, min(y + _TILE_PX, height)), slice(None))])
            for x in range(0, width, _TILE_PX):
                pixels = rows[..., x : x + _TILE_PX]
                yield np.ascontiguousarray(np.moveaxis(pixels, 0, -1) if colour else pixels)
