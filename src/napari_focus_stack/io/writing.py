"""Write images whole or not at all: checked before a run, staged beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..kernels import thread_count
from .files import at_home
from .ome_zarr import is_zarr
from .source import PixelSize, decoded
from .zarr_image import DEFAULT_FORMAT, ZARR_ENDINGS, ZarrImage

TIFF_ENDINGS = (".tif", ".tiff")
IMAGE_ENDINGS = (*TIFF_ENDINGS, *ZARR_ENDINGS, ".png", ".jpg", ".jpeg")
REPORT_ENDINGS = (".json", ".csv")
JPEG_QUALITY = 95
_ZARR_CHUNK_PX = 1024
PNG_LEVEL = 4  # zlib; 6 makes a photograph 3 % smaller in twice the time
TIFF_LEVEL = 1  # zlib; 6 makes a photograph 2 % smaller in twice the time, 16-bit images and heights not at all
# Types that OME-XML has a name for.
OME_TYPES = frozenset({"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"})


def check_output(
    path: str | Path,
    dtype: Any = None,
    *,
    channels: int = 1,
    inputs: Iterable[Path] = (),
    others: Iterable[str | Path] = (),
) -> Path:
    """Refuse an output that could not be written, before the work is done.

    Parameters
    ----------
    path : path
    dtype : dtype, optional
        Of the image that will be written; None for a report.
    channels : int
        Length of the image's last axis if it has one, else 1.
    inputs : iterable of Path
        The files read: none of them is ever overwritten.
    others : iterable of path
        The other outputs of the same run.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If the ending is not known or cannot hold the image, the folder does not
        exist, or the path is a folder, an input or another output.
    """
    path = at_home(path)
    _check_ending(path, dtype, channels)
    if decoded(str(path), path.is_dir) and not (path.suffix.lower() in ZARR_ENDINGS and is_zarr(path)):
        raise InputError(f"{path} is a folder, but the name of a file to write is expected; add a file name.")
    if not path.parent.is_dir():
        raise InputError(f"the output folder {path.parent} does not exist; create it or choose another.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"the output folder {path.parent} may not be written to; choose another.")
    resolved = path.resolve()
    if any(resolved == source.resolve() or source.resolve() in resolved.parents for source in inputs):
        raise InputError(f"{path} is one of the inputs, which are never overwritten; choose another name.")
    if any(resolved == at_home(other).resolve() for other in others):
        raise InputError(f"{path} is named for two outputs; give each a name of its own.")
    return path


def _check_ending(path: Path, dtype: Any, channels: int) -> None:
    ending = path.suffix.lower()
    known = REPORT_ENDINGS if dtype is None else IMAGE_ENDINGS
    if ending not in known:
        what = "a report" if dtype is None else "an image"
        raise InputError(f"{path} has no ending known for {what}; use one of {', '.join(known)}.")
    if dtype is None or ending in (*TIFF_ENDINGS, *ZARR_ENDINGS):
        return
    dtype = np.dtype(dtype)
    jpeg = ending != ".png"
    held = ("uint8",) if jpeg else ("uint8", "uint16")
    if dtype.name not in held:
        kind = "JPEG holds 8-bit pixels only" if jpeg else "PNG holds 8 and 16-bit pixels only"
        better = ".tif or .png" if jpeg and dtype == np.uint16 else ".tif"
        raise InputError(f"{path} cannot hold {dtype} pixels, for {kind}; name the output {better} instead.")
    if channels not in (1, 3, 4) or (channels == 4 and jpeg):
        raise InputError(f"{path} cannot hold {channels} channels; name the output .tif instead.")


@contextlib.contextmanager
def staged_outputs(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Give a hidden name beside each path to write to; rename them all at the end, or remove them all.

    Yields
    ------
    dict of Path to Path
        Final path to the one to write now, with the same ending.
    """
    mark = secrets.token_hex(4)
    # Names may have 255 bytes, and the path's own may have all of them.
    staged = {path: path.with_name(f".{path.stem[:40]}.{mark}{i}.part{path.suffix}") for i, path in enumerate(paths)}
    try:
        yield staged
        for part in staged.values():
            _reach_the_disk(part)
        for path, part in staged.items():
            put_in_place(part, path)
    except OSError as error:
        raise InputError(
            f"the results could not be written ({error.strerror or error}); make room or choose another folder."
        ) from error
    finally:
        for part in staged.values():
            # The folder itself may have gone, or be read-only by now.
            with contextlib.suppress(OSError):
                if part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path) -> None:
    """Give what is whole its final name; what was there before goes, a folder too."""
    if not part.is_dir():
        part.replace(path)
        return
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    try:
        part.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _reach_the_disk(path: Path) -> None:
    """Wait until a file is on the disk: a power cut after the renaming would else leave it empty."""
    if path.is_dir():
        return
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def write_image(
    path: str | Path,
    image: np.ndarray[Any, Any],
    *,
    rgb: bool = False,
    pixel_size: PixelSize | None = None,
    description: str = "",
    zarr_format: int = DEFAULT_FORMAT,
    nearest: bool = False,
    channels: Sequence[str] = (),
) -> None:
    """Write one image; the ending chooses the format.

    Parameters
    ----------
    path : path
        .tif, .tiff (OME-TIFF, zlib-compressed, with pixel sizes), .zarr (OME-Zarr with a pyramid), .png or .jpg.
    image : array, shape (y, x) or (y, x, c)
        Any real dtype for TIFF, uint8 or uint16 for PNG, uint8 for JPEG.
    rgb : bool
        Whether the last axis is colour rather than channels.
    pixel_size : PixelSize, optional
        Kept in TIFF.
    description : str
        What the numbers mean, with their unit; kept in TIFF and OME-Zarr.
    zarr_format : int
        2 for OME-Zarr 0.4, 3 for 0.5.
    nearest : bool
        Whether a pyramid takes pixels as they are, rather than means.
    channels : sequence of str
        Names of the last axis where it is channels; kept in OME-TIFF and OME-Zarr.

    Raises
    ------
    InputError
        If the format cannot hold the image.
    """
    path = Path(path)
    _check_ending(path, image.dtype, image.shape[2] if image.ndim == 3 else 1)
    image = np.ascontiguousarray(image)
    if path.suffix.lower() in ZARR_ENDINGS:
        _write_zarr(path, image, rgb, pixel_size or PixelSize(), description, zarr_format, nearest, channels)
        return
    if path.suffix.lower() in TIFF_ENDINGS:
        _write_tiff(path, image, rgb, pixel_size or PixelSize(), description, channels)
    elif image.dtype == np.uint16 and image.ndim == 3:
        _write_deep_png(path, image)
    else:
        from PIL import Image

        Image.fromarray(image.squeeze()).save(path, quality=JPEG_QUALITY, compress_level=PNG_LEVEL)


def _write_zarr(
    path: Path,
    image: np.ndarray[Any, Any],
    rgb: bool,
    size: PixelSize,
    description: str,
    zarr_format: int,
    nearest: bool,
    channels: Sequence[str],
) -> None:
    colour = image.ndim == 3
    target = ZarrImage(path, "cyx" if colour else "yx", nearest=nearest)
    pixels = np.moveaxis(image, -1, 0) if colour else image
    target.create(pixels.shape, image.dtype, (_ZARR_CHUNK_PX, _ZARR_CHUNK_PX), zarr_format)
    target.write((...,), pixels)
    facts = {"description": description, "z_step_um": size.z_um}
    target.finish(size, name=path.name.strip(".").split(".")[0], rgb=rgb, channels=channels, facts=facts)


def _write_tiff(
    path: Path, image: np.ndarray[Any, Any], rgb: bool, size: PixelSize, description: str, channels: Sequence[str]
) -> None:
    import tifffile

    apart = image.ndim == 3 and not rgb
    pixels = np.moveaxis(image, -1, 0) if apart else image
    ome = image.dtype.name in OME_TYPES
    axes = "CYX" if apart else "YXS" if image.ndim == 3 else "YX"
    tifffile.imwrite(
        path,
        pixels,
        ome=ome,
        photometric="rgb" if rgb and image.ndim == 3 else "minisblack",
        extrasamples=["unassalpha"] if rgb and image.shape[2:] == (4,) else None,
        planarconfig="contig" if rgb and image.ndim == 3 else None,
        maxworkers=thread_count(),
        **tiff_compression(image.dtype),
        **tiff_metadata(axes, image.dtype, size, description, channels if apart else ()),
    )


def tiff_compression(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the arguments of tifffile that say how pixels are compressed: such that nothing is lost."""
    whole = dtype.kind in "ui" and dtype.itemsize <= 4
    return {"compression": "zlib", "compressionargs": {"level": TIFF_LEVEL}, "predictor": whole}


def tiff_metadata(
    axes: str, dtype: Any, size: PixelSize, description: str, channels: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments of tifffile that say what an image is and how large its pixels are."""
    ome = np.dtype(dtype).name in OME_TYPES
    metadata: dict[str, Any] = {"axes": axes}
    if ome and description:
        metadata["Description"] = description
    if ome and channels:
        metadata["Channel"] = {"Name": list(channels)}
    for axis, um in (("Z", size.z_um), ("Y", size.y_um), ("X", size.x_um)):
        if ome and um is not None:
            metadata |= {f"PhysicalSize{axis}": um, f"PhysicalSize{axis}Unit": "\u00b5m"}
    # The same for programs that do not read OME-XML.
    resolution = (1e4 / size.x_um, 1e4 / size.y_um) if size.x_um and size.y_um else None
    unit = "CENTIMETER" if resolution else None
    return {"metadata": metadata, "resolution": resolution, "resolutionunit": unit}


def _write_deep_png(path: Path, image: np.ndarray[Any, Any]) -> None:
    """Write 16-bit colour, which Pillow cannot: unfiltered rows, deflated (PNG specification, 3rd edition)."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = image.shape
    rows = image.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.pad(rows, ((0, 0), (1, 0)))
    filtered[1:, 0] = 2  # "up": the difference to the row above
    filtered[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(filtered.tobytes(), PNG_LEVEL))
        + chunk(b"IEND", b"")
    )
