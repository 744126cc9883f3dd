"""What a TIFF file says around its pixels: whether it is whole, and the pixel size."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

from ..errors import InputError
from .source import PixelSize, decoded, um_per_unit

if TYPE_CHECKING:
    from tifffile import TiffFile

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, CENTIMETRE = 282, 283, 296, 3


def check_complete(path: Path) -> None:
    """Follow the chain of pages; refuse a file that ends before the chain does.

    tifffile takes a broken chain for its end and returns fewer slices with a
    line in the log: a stack cut short would be fused without its last slices.
    """

    def is_whole() -> bool:
        with path.open("rb") as file:
            return _chain_is_whole(file, path.stat().st_size)

    if not decoded(str(path), is_whole):
        raise InputError(
            f"{path} is cut short: its list of pages points behind its end, or back to its beginning; "
            "copy or save it again."
        )


def _chain_is_whole(file: BinaryIO, size: int) -> bool:
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    offset_code, count_code, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    offset_bytes, count_bytes = struct.calcsize(offset_code), struct.calcsize(count_code)
    (offset,) = struct.unpack_from(order + offset_code, head, offset_bytes)
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(order + count_code, file.read(count_bytes))
        if offset + count * entry > size:
            return False
        body = file.read(count * entry + offset_bytes)
        (following,) = struct.unpack_from(order + offset_code, body, count * entry)
        for start in range(0, count * entry, entry):
            _, kind, length = struct.unpack_from(order + "HH" + offset_code, body, start)
            (value,) = struct.unpack_from(order + offset_code, body, start + entry - offset_bytes)
            nbytes = TYPE_BYTES.get(kind, 0) * length
            if nbytes > offset_bytes and value + nbytes > size:
                return False
        offset = following
    return bool(seen) and not offset


def pixel_size_of(tif: TiffFile) -> PixelSize:
    """Return the pixel size from OME-XML, else ImageJ's metadata, else the resolution tags.

    Resolution per inch is not believed: it is the size on paper (72, 300).
    """
    page: Any = tif.pages.first
    if "<OME" in page.description[:2000]:
        return _ome_pixel_size(page.description)
    across = _pixels_per_unit(page, X_RESOLUTION), _pixels_per_unit(page, Y_RESOLUTION)
    metadata = tif.imagej_metadata or {}
    um = um_per_unit(str(metadata.get("unit", "")))
    if um is not None:
        spacing = metadata.get("spacing")
        z_um = abs(float(spacing)) * um if spacing else None
    elif page.tags.valueof(RESOLUTION_UNIT) == CENTIMETRE:
        um, z_um = 1e4, None
    else:
        return PixelSize()
    x_um, y_um = (um / count if count else None for count in across)
    return PixelSize(z_um, y_um, x_um)


def channel_names_of(tif: TiffFile, series: int = 0) -> list[str]:
    """Return the names of the channels that OME-XML tells of one image; none where one is missing."""
    description = tif.pages.first.description if tif.is_ome else ""
    try:
        images = ElementTree.fromstring(description).findall("{*}Image") if description else []
    except ElementTree.ParseError:
        return []
    if series >= len(images):
        return []
    names = [channel.get("Name") for channel in images[series].findall("{*}Pixels/{*}Channel")]
    return [str(name) for name in names] if all(names) else []


def _pixels_per_unit(page: Any, tag: int) -> float:
    numerator, denominator = page.tags.valueof(tag, default=(0, 1))
    return float(numerator) / denominator if denominator else 0.0


def _ome_pixel_size(xml: str) -> PixelSize:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return PixelSize()
    pixels = root.find(".//{*}Pixels")
    sizes: list[float | None] = []
    for axis in "ZYX":
        value = pixels.get(f"PhysicalSize{axis}") if pixels is not None else None
        um = um_per_unit(pixels.get(f"PhysicalSize{axis}Unit", "um")) if pixels is not None else None
        sizes.append(float(value) * um if value and um is not None else None)
    return PixelSize(*sizes)
