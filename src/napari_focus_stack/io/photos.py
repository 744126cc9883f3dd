"""PNG, JPEG, BMP and WebP slices, all bits kept and turned as the camera says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .files import IMAGE_KINDS
from .source import PixelSize, decoded

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
ORIENTATION = 0x0112

# Pillow keeps the high byte of 16-bit colour only. Its decoders for the other byte order
# keep the low one: two passes give all bits. Gray with alpha is four bytes, read as RGBA.
_DEEP = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}


@dataclass(frozen=True)
class SliceFile:
    """What the header of one slice's file says, and how to decode its pixels."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rgb: bool
    read: Callable[[], np.ndarray[Any, Any]]
    pixel_size: PixelSize = field(default_factory=PixelSize)


def open_photo(path: Path) -> SliceFile:
    """Read the header of an image Pillow knows, by content.

    Palettes become RGB. Alpha beside gray is dropped; beside colour it is kept.

    Raises
    ------
    InputError
        If the file is no such image, holds several frames or claims to be too large.
    """
    return decoded(str(path), lambda: _opened(path))


def _opened(path: Path) -> SliceFile:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images and odd EXIF blocks are read all the same
            Image.preinit()  # or all of Pillow's 70 formats are loaded for the first that it does not know
            with Image.open(path, formats=FORMATS) as image:
                return _header(path, image)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} claims more pixels than a picture of this kind may have here (expected at most "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,}); if it is genuine, save it as TIFF."
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is no image that can be read (expected {IMAGE_KINDS} by content); leave it out or convert it."
        ) from error


def _header(path: Path, image: Any) -> SliceFile:
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise InputError(
            f"{path} holds {image.n_frames} frames, but one picture a file is expected; save them as a TIFF stack."
        )
    rawmode = _rawmode(image)
    orientation = _orientation(image)
    gray = image.mode in ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L") or rawmode == "LA;16B"
    channels = () if gray else (4,) if image.mode in ("RGBA", "RGBa") else (3,)
    deep = image.mode.startswith("I") or rawmode in _DEEP
    size = image.size if orientation > 4 else image.size[::-1]
    opener = type(image)

    def read() -> np.ndarray[Any, Any]:
        # The plugin itself, not Image.open: the checks were done above, their warnings are not for every slice.
        pixels = _deep_pixels(path, opener, rawmode) if rawmode in _DEEP else _pixels(path, opener, channels)
        return turned(pixels, orientation)

    return SliceFile(path, (*size, *channels), np.dtype(np.uint16 if deep else np.uint8), not gray, read)


def _rawmode(image: Any) -> str:
    args = image.tile[0][3] if image.tile else ""
    return str(args if isinstance(args, str) else args[0] if args else "")


def _orientation(image: Any) -> int:
    # Not image.getexif(): it decodes a whole PNG to look behind the pixels.
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif"))
        value = int(exif.get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no broken picture
        return 1
    return value if 1 <= value <= 8 else 1


def _pixels(path: Path, opener: Any, channels: tuple[int, ...]) -> np.ndarray[Any, Any]:
    with opener(path) as image:
        if image.mode == "I" or image.mode.startswith("I;16"):
            return np.asarray(image, np.uint16)
        mode = {(): "L", (3,): "RGB", (4,): "RGBA"}[channels]
        if image.mode in ("LA", "La"):
            return np.asarray(image.getchannel("L"))
        return np.asarray(image if image.mode == mode else image.convert(mode))


def _deep_pixels(path: Path, opener: Any, rawmode: str) -> np.ndarray[Any, Any]:
    passes = []
    for wanted in _DEEP[rawmode]:
        with opener(path) as image:
            tile = image.tile[0]
            changed = (*tile[:3], wanted)
            image.tile = [type(tile)(*changed) if hasattr(tile, "_fields") else changed]
            passes.append(np.asarray(image))
    if rawmode == "LA;16B":
        high, low = passes[0][..., 0], passes[0][..., 1]
    else:
        high, low = passes
    pixels: np.ndarray[Any, Any] = high.astype(np.uint16) << 8 | low
    return pixels


def turned(pixels: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """Return pixels (y, x[, c]) the right way up for an EXIF orientation from 1 to 8."""
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    return pixels.swapaxes(0, 1) if orientation > 4 else pixels


def is_tiff(path: Path) -> bool:
    """Tell TIFF and BigTIFF by their first bytes."""
    return decoded(str(path), lambda: _first_bytes(path)) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)
