"""OME-Zarr images to write to, part by part: version 0.4 (Zarr 2) or 0.5 (Zarr 3), with a pyramid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..kernels import strips
from .source import PixelSize

ZARR_ENDINGS = (".zarr",)
ZARR_FORMATS = (2, 3)
DEFAULT_FORMAT = 2

# Sides of chunks, the first that divides the tiles is taken; no two tiles then write to one chunk.
_CHUNK_SIDES = (1024, 512, 256, 128, 64)

# The coarsest level of a pyramid is no larger than this.
_SMALLEST_PX = 512

# Levels are made from pieces of so many px along either side.
_PIECE_PX = 4096


class ZarrImage:
    """One image in a Zarr folder of its own, made and filled here, finished by `finish`.

    Parameters
    ----------
    path : Path
        The folder; made by `create`.
    axes : str
        Letters of the axes as they are stored, of t, c, y and x, in this order.
    nearest : bool
        Whether coarser levels take pixels as they are, as numbers of slices need, rather than means.
    """

    def __init__(self, path: Path, axes: str, *, nearest: bool = False) -> None:
        self.path = path
        self.axes = axes
        self.nearest = nearest

    def create(self, shape: tuple[int, ...], dtype: Any, side: tuple[int, int], zarr_format: int) -> None:
        """Make the folder and the finest level, empty; tiles of `side` never share a chunk."""
        self.path.mkdir(parents=True, exist_ok=True)
        chunks = (*[1] * (len(shape) - 2), *(chunk_side(s, n) for s, n in zip(side, shape[-2:], strict=True)))
        make_array(self.path / "0", shape, dtype, chunks, zarr_format, self.axes)

    def write(self, where: tuple[Any, ...], pixels: np.ndarray[Any, Any]) -> None:
        """Write a part of the finest level."""
        open_array(self.path / "0")[where] = pixels

    def create_levels(self) -> None:
        """Make the coarser levels, empty, for `write_levels`."""
        fine = open_array(self.path / "0")
        for level in range(1, level_count(fine.shape)):
            fine = self._coarser(fine, level, _format_of(self.path / "0"))

    def write_levels(self, core: tuple[slice, slice], pixels: np.ndarray[Any, Any]) -> None:
        """Bring the coarser levels up to date where `pixels` were written; not from several threads at once."""
        fine = open_array(self.path / "0")
        for level in range(1, level_count(fine.shape)):
            if any(
                part.start % 2 or (part.stop % 2 and part.stop < n)
                for part, n in zip(core, fine.shape[-2:], strict=True)
            ):
                # Its pixels are made of a neighbour's, too: of what that has so far.
                core = tuple(
                    slice(part.start // 2 * 2, min(-(-part.stop // 2) * 2, n))
                    for part, n in zip(core, fine.shape[-2:], strict=True)
                )  # type: ignore[assignment]
                pixels = np.asarray(fine[(..., *core)])
            fine = open_array(self.path / str(level))
            pixels, core = self._half(pixels), (_halved(core[0]), _halved(core[1]))
            fine[(..., *core)] = pixels

    def finish(
        self,
        pixel_size: PixelSize,
        *,
        name: str,
        rgb: bool = False,
        channels: Sequence[str] = (),
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Make the coarser levels where they are not there yet, and write what the image is."""
        levels = [open_array(self.path / "0")]
        zarr_format = _format_of(self.path / "0")
        for level in range(1, level_count(levels[0].shape)):
            there = (self.path / str(level)).exists()
            levels.append(open_array(self.path / str(level)) if there else self._filled(levels[-1], level, zarr_format))
        write_metadata(
            self.path,
            zarr_format,
            {
                **_multiscales(self.axes, levels[0].shape, [one.shape for one in levels], pixel_size, name),
                **_omero(self.axes, levels[0].shape, rgb, channels),
            },
            facts or {},
        )

    def _coarser(self, fine: Any, level: int, zarr_format: int) -> Any:
        *front, height, width = fine.shape
        shape = (*front, (height + 1) // 2, (width + 1) // 2)
        chunks = tuple(min(c, n) for c, n in zip(fine.chunks, shape, strict=True))
        return make_array(self.path / str(level), shape, fine.dtype, chunks, zarr_format, self.axes)

    def _filled(self, fine: Any, level: int, zarr_format: int) -> Any:
        coarse = self._coarser(fine, level, zarr_format)
        *front, height, width = fine.shape
        for place in np.ndindex(*front):
            for y, x in _pieces(height, width):
                coarse[(*place, _halved(y), _halved(x))] = self._half(np.asarray(fine[(*place, y, x)]))
        return coarse

    def _half(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return pixels[..., ::2, ::2] if self.nearest else _mean_of_four(pixels)


def level_count(shape: tuple[int, ...]) -> int:
    """Return how many levels the pyramid of an image has.

    Examples
    --------
    >>> level_count((16384, 9000)), level_count((512, 100))
    (6, 1)
    """
    levels, size = 1, max(shape[-2:])
    while size > _SMALLEST_PX:
        levels, size = levels + 1, (size + 1) // 2
    return levels


def chunk_side(side: int, size: int) -> int:
    """Return the side of chunks for tiles of a side, in an image of a size."""
    return min(next((chunk for chunk in _CHUNK_SIDES if side % chunk == 0), side), size)


def _halved(part: slice) -> slice:
    return slice(part.start // 2, (part.stop + 1) // 2)


def _pieces(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, height, _PIECE_PX):
        for x in range(0, width, _PIECE_PX):
            yield slice(y, min(y + _PIECE_PX, height)), slice(x, min(x + _PIECE_PX, width))


def _mean_of_four(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return pixels at half size, odd edges repeated."""
    if any(n % 2 for n in pixels.shape[-2:]):
        edges = [(0, 0)] * (pixels.ndim - 2) + [(0, n % 2) for n in pixels.shape[-2:]]
        pixels = np.pad(pixels, edges, "edge")
    *front, height, width = pixels.shape
    half = np.empty((*front, height // 2, width // 2), pixels.dtype)
    # A few rows at a time stay in the processor's cache: half the time.
    for rows in strips(0, height // 2):
        half[..., rows, :] = _mean_of_four_rows(pixels[..., 2 * rows.start : 2 * rows.stop, :])
    return half


def _mean_of_four_rows(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if pixels.dtype.kind == "f":
        # A quarter first: the sum of the largest floats is none.
        quarters = pixels * np.asarray(0.25, max(pixels.dtype, np.dtype(np.float32)))
        rows = quarters[..., ::2, :] + quarters[..., 1::2, :]
        return np.asarray(rows[..., ::2] + rows[..., 1::2]).astype(pixels.dtype)
    # Integers of up to 16 bits are added as such: half the time of doing it in floats.
    small = pixels.dtype.itemsize <= 2
    rows = np.add(pixels[..., ::2, :], pixels[..., 1::2, :], dtype=np.int32 if small else np.float64)
    total = rows[..., ::2] + rows[..., 1::2]
    if small:
        return np.asarray((total + 2) >> 2).astype(pixels.dtype)
    largest = np.iinfo(pixels.dtype).max
    # As a float the largest of 64 bits is one more than it is.
    most = float(largest) if int(float(largest)) <= largest else np.nextafter(float(largest), 0)
    return np.asarray(np.minimum(np.rint(total / 4), most)).astype(pixels.dtype)


def make_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: Any,
    chunks: tuple[int, ...],
    zarr_format: int,
    axes: str = "",
) -> Any:
    """Make an empty Zarr array, with either version of the library."""
    import zarr

    if not hasattr(zarr, "create_array"):  # Zarr-Python 2
        layout = {"shape": shape, "chunks": chunks, "dtype": dtype, "dimension_separator": "/"}
        return zarr.open_array(str(path), mode="w", **layout)
    more: dict[str, Any] = (
        {"dimension_names": list(axes) or None}
        if zarr_format == 3
        else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    more["compressors"] = _compressor(np.dtype(dtype).itemsize, zarr_format)
    return zarr.create_array(
        str(path),
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        zarr_format=zarr_format,
        fill_value=0,
        overwrite=True,
        **more,
    )


def _compressor(itemsize: int, zarr_format: int) -> Any:
    """Return LZ4 over shuffled bytes: maps take half the time and a fifth of the room of Zarr's own choice, zstd.

    Images with noise are hardly compressed by either (4096 x 4096 px: 34 MB, zstd 32 MB).
    """
    if zarr_format == 3:
        from zarr.codecs import BloscCodec

        return BloscCodec(typesize=itemsize, cname="lz4", clevel=5, shuffle="shuffle")
    from numcodecs import Blosc  # what Zarr itself is made with

    return Blosc("lz4", 5, Blosc.SHUFFLE)


def open_array(path: Path) -> Any:
    """Open an array to write to."""
    import zarr

    array = zarr.open_array(str(path), mode="r+")
    # Looking whether chunks are empty takes a quarter of the time of writing them; before Zarr-Python 3 nothing looks.
    return array.with_config({"write_empty_chunks": True}) if hasattr(array, "with_config") else array


def _format_of(path: Path) -> int:
    return 3 if (path / "zarr.json").is_file() else 2


def write_metadata(path: Path, zarr_format: int, ome: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write a group's metadata: OME-Zarr 0.5 in Zarr 3, 0.4 in Zarr 2; `facts` are our own."""
    own = {"focus_stack": facts} if facts else {}
    if zarr_format == 3:
        attributes = {"ome": {"version": "0.5", **ome}, **own}
        files = {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}
    else:
        for image in ome["multiscales"]:
            image["version"] = "0.4"
        files = {".zgroup": {"zarr_format": 2}, ".zattrs": {**ome, **own}}
    for name, content in files.items():
        (path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _multiscales(
    axes: str, shape: tuple[int, ...], shapes: list[tuple[int, ...]], size: PixelSize, name: str
) -> dict[str, Any]:
    um = {"y": size.y_um, "x": size.x_um}
    kinds = {"t": "time", "c": "channel"}
    named = [
        {"name": axis, "type": kinds.get(axis, "space")} | ({"unit": "micrometer"} if um.get(axis) else {})
        for axis in axes
    ]
    datasets = []
    for level in range(len(shapes)):
        scale = [(um.get(axis) or 1.0) * (2.0**level if axis in "yx" else 1.0) for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if level:
            # The centre of a coarse pixel lies between those of the fine ones.
            shift = [(um.get(axis) or 1.0) * (2.0**level - 1) / 2 if axis in "yx" else 0.0 for axis in axes]
            datasets[-1]["coordinateTransformations"].append({"type": "translation", "translation": shift})  # type: ignore[attr-defined]
    return {"multiscales": [{"name": name, "axes": named, "datasets": datasets}]}


def _omero(axes: str, shape: tuple[int, ...], rgb: bool, names_given: Sequence[str]) -> dict[str, Any]:
    if "c" in axes and names_given and not rgb:
        return {"omero": {"channels": [{"label": name, "color": "FFFFFF", "active": True} for name in names_given]}}
    if not rgb or "c" not in axes:
        return {}
    colours = ("FF0000", "00FF00", "0000FF", "FFFFFF")[: shape[axes.index("c")]]
    names = ("red", "green", "blue", "alpha")
    channels = [{"label": name, "color": colour, "active": True} for name, colour in zip(names, colours, strict=False)]
    return {"omero": {"channels": channels, "rdefs": {"model": "color"}}}
