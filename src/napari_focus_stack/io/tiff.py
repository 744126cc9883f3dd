"""TIFF, OME-TIFF and ImageJ files as lazy stacks, whatever their compression, tiles and axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..machine import check_memory
from .axes import AxisPlan, plan_axes
from .photos import ORIENTATION, turned
from .source import StackSource, checked_count, decoded
from .tiff_metadata import channel_names_of, check_complete, pixel_size_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

RGB, PALETTE, YCBCR, MIN_IS_WHITE = 2, 3, 6, 0
_ALL = slice(None)
BOMB_BYTES, BOMB_RATIO = 2**30, 2000


def tiff_stacks(path: Path) -> list[str]:
    """Return the names of the image stacks in a TIFF file: one, or several such as positions of a stage."""
    from tifffile import TiffFile

    check_complete(path)
    with decoded(str(path), lambda: TiffFile(path)) as tif:
        stacks = decoded(str(path), lambda: [series for series in _pictures(tif) if len(series) > 1])
        names = [str(series.name or "").strip() or f"image {k}" for k, series in enumerate(stacks)]
    return names if len(set(names)) == len(names) else [f"{name} {k}" for k, name in enumerate(names)]


def tiff_axes(path: Path, number: int | None = None) -> tuple[str, tuple[int, ...]]:
    """Return the letters of the axes of a TIFF file's stack, of several the one of a `number`, and their lengths."""
    from tifffile import TiffFile

    check_complete(path)
    with decoded(str(path), lambda: TiffFile(path)) as tif:
        series = decoded(str(path), lambda: _one_series(path, tif, number))
        shape, axes = _shape_and_axes(series)
        return axes, shape


def open_tiff(
    path: Path, *, alone: bool = True, at: Mapping[str, int] | None = None, number: int | None = None
) -> StackSource:
    """Open a TIFF file; a single picture is a stack of one slice.

    Parameters
    ----------
    path : Path
    alone : bool
        Whether the file speaks for a whole stack: then the other files its
        OME-XML names belong to it. Otherwise only its own pages count.
    at : mapping of str to int, optional
        Of several stacks in one file, which: places along axes by their letters.
    number : int, optional
        Of several images in one file, which; counted as `tiff_stacks` does.

    Raises
    ------
    InputError
        If the file is damaged, or its axes do not make one z-stack.
    """
    from tifffile import TiffFile

    check_complete(path)
    tif = decoded(str(path), lambda: TiffFile(path) if alone else TiffFile(path, is_ome=False))
    try:
        return decoded(str(path), lambda: _source(path, tif, at, number))
    except BaseException:
        tif.close()
        raise


def _source(path: Path, tif: TiffFile, at: Mapping[str, int] | None, number: int | None) -> StackSource:
    series = _one_series(path, tif, number)
    _check_order_is_known(path, tif, series)
    shape, axes = _shape_and_axes(series)
    plan = plan_axes(axes, shape, str(path), at)
    page = series.keyframe
    _check_sizes(path, tif, series, plan.slice_shape(shape))
    pages, split = _page_grid(path, series, shape)
    finish, extra, dtype = _finisher(tif, page, plan)
    slice_shape = (*plan.slice_shape(shape), *extra)
    orientation = int(page.tags.valueof(ORIENTATION, default=1)) if series.kind == "generic" else 1
    if plan.colour and slice_shape[-1] == 2:
        slice_shape = slice_shape[:-1]
    if orientation > 4:
        slice_shape = (slice_shape[1], slice_shape[0], *slice_shape[2:])
    count = checked_count(str(path), 1 if plan.z is None else shape[plan.z])
    fetch_block = _block_fetcher(path, tif, series, pages, split, plan)

    def fetch(k: int) -> np.ndarray[Any, Any]:
        return turned(finish(plan.ordered(fetch_block(k))), orientation)

    def fetch_part(k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        block = fetch_block(k, rows, columns)
        return finish(plan.ordered(block))

    return StackSource(
        fetch,
        [str(path) if count == 1 else f"{path} slice {k}" for k in range(count)],
        slice_shape,
        dtype,
        rgb=bool(extra) or (plan.colour and slice_shape[2:] in ((3,), (4,)) and page.photometric in (RGB, YCBCR)),
        pixel_size=pixel_size_of(tif),
        files=_files(path, series),
        close=tif.close,
        fetch_part=fetch_part if orientation <= 1 else None,
        chunks=(1, *page.chunks[:2]) if page.is_tiled and len(page.chunks) in (2, 3) else None,
        channels=channel_names_of(tif, tif.series.index(series)),
    )


def _pictures(tif: TiffFile) -> list[TiffPageSeries]:
    """Return a file's series, its previews left out."""
    return [series for series in tif.series if not series.keyframe.is_reduced]


def _one_series(path: Path, tif: TiffFile, number: int | None = None) -> TiffPageSeries:
    """Return the stack among a file's series; previews and labels beside it do not matter."""
    if not tif.series:
        raise InputError(f"{path} holds no image; name another file.")
    if number is not None:
        return [series for series in _pictures(tif) if len(series) > 1][number]
    first, *others = _pictures(tif)
    for other in others:
        if len(first) == 1 and len(other) == 1:
            raise InputError(
                f"the pages of {path} should have one size and type, got {_form(first)} and {_form(other)}; "
                f"make them equal or save the slices apart."
            )
        if len(other) > 1:
            raise InputError(f"{path} holds {1 + len(others)} image stacks, but one is expected; save each apart.")
    return first


def _shape_and_axes(series: TiffPageSeries) -> tuple[tuple[int, ...], str]:
    """Return all axes of a series, those of length 1 too."""
    if hasattr(series, "get_shape"):  # until tifffile 2026.3; later ones keep no second, squeezed shape
        return tuple(series.get_shape(squeeze=False)), series.get_axes(squeeze=False)
    return tuple(series.shape), series.axes


def _form(series: TiffPageSeries) -> str:
    return f"{' x '.join(map(str, series.keyframe.shape))} {series.dtype}"


def _files(path: Path, series: TiffPageSeries) -> list[Path]:
    return sorted({path} | {Path(page.parent.filehandle.path) for page in series.pages if page is not None})


def _check_order_is_known(path: Path, tif: TiffFile, series: TiffPageSeries) -> None:
    """Refuse pages of which a header tells what they are, but not so that it can be: channels would pass for slices."""
    pages = len(series.pages)
    if series.kind != "generic" or pages < 2:
        return
    told = tif.imagej_metadata or {}
    if "<OME" in tif.pages.first.description[:2000]:
        header = "OME"
    elif any(int(told.get(axis, 1)) > 1 for axis in ("channels", "frames")):
        header = "ImageJ"
    else:
        return
    raise InputError(
        f"the {header} header of {path} does not fit its {pages} pages, so nobody knows which of them are slices; "
        "save it again, or save the slices to files of their own."
    )


def _check_sizes(path: Path, tif: TiffFile, series: TiffPageSeries, slice_shape: tuple[int, ...]) -> None:
    """Refuse pixels that end behind the file, and pictures that no file of this size can hold."""
    available = path.stat().st_size
    if series.kind == "generic" and tif.imagej_metadata:
        # tifffile falls back to the pages it finds when the run of slices behind the only page is incomplete.
        expected, got = int(tif.imagej_metadata.get("images", 1)), series.size // series.keyframe.size
        if got < expected:
            raise InputError(f"{path} is cut short: expected {expected} slices, got {got}; copy or save it again.")
    if series.dataoffset is not None and not series.is_multifile:
        end = series.dataoffset + series.nbytes
    else:
        pages = [page for page in series.pages if page is not None and not series.is_multifile]
        ends = [[a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)] for page in pages]
        end = max((max(page_ends) for page_ends in ends if page_ends), default=0)
    if end > available:
        raise InputError(f"{path} is cut short: expected at least {end} bytes, got {available}; copy it again.")
    nbytes = int(np.prod(slice_shape, dtype=np.int64)) * series.dtype.itemsize
    if nbytes > BOMB_BYTES and nbytes > BOMB_RATIO * available:
        raise InputError(
            f"{path} claims slices of {nbytes / 2**30:.1f} GiB in a file of {available} bytes; "
            f"it is damaged or a trap, leave it out."
        )
    # Tiles may be larger than the picture.
    looks = {id(page.keyframe): page.keyframe for page in series.pages if page is not None}.values()
    check_memory(2 * max(math.prod(page.chunks) * page.dtype.itemsize for page in looks), f"one tile of {path}")


def _page_grid(path: Path, series: TiffPageSeries, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], int]:
    """Return page numbers over the axes in front, and how many axes that are."""
    if any(page is None for page in series.pages):
        raise InputError(f"{path} lacks a plane that its OME header names; put the missing file beside it.")
    numbers = np.arange(len(series.pages))
    for split in range(len(shape) - 1):
        if int(np.prod(shape[:split])) == len(numbers) and series.keyframe.size == int(np.prod(shape[split:])):
            return numbers.reshape(shape[:split]), split
    if series.dataoffset is None:
        raise InputError(f"{path} lacks some of the planes its header names; save it again.")
    return numbers, 0


def _block_fetcher(
    path: Path, tif: TiffFile, series: TiffPageSeries, pages: np.ndarray[Any, Any], split: int, plan: AxisPlan
) -> Callable[..., np.ndarray[Any, Any]]:
    """Return a function that reads one slice, or a part of it, with all its axes in the file's order."""
    shape, _ = _shape_and_axes(series)

    def from_run(k: int, rows: slice = _ALL, columns: slice = _ALL) -> np.ndarray[Any, Any]:
        dtype = series.dtype.newbyteorder(tif.byteorder)
        z = 0 if plan.z is None else plan.z
        at = dict(plan.at)
        places = [range(at[axis], at[axis] + 1) if axis in at else range(n) for axis, n in enumerate(shape[:z])]
        count = 1 if plan.z is None else shape[z]
        length = math.prod(shape[z:]) // count
        # Rows lie one after the other where y follows z.
        own_rows = plan.z is not None and plan.y == z + 1 and rows != _ALL
        row = math.prod(shape[plan.y + 1 :])
        first, read = (rows.start * row, (rows.stop - rows.start) * row) if own_rows else (0, length)
        with path.open("rb") as file:
            parts = []
            for place in itertools.product(*places):
                run = int(np.ravel_multi_index(place, shape[:z])) if place else 0
                file.seek(series.dataoffset + ((run * count + k) * length + first) * dtype.itemsize)
                parts.append(np.fromfile(file, dtype, read))
        sides = {axis: len(place) for axis, place in enumerate(places)}
        sides |= {plan.z: 1} if plan.z is not None else {}
        sides |= {plan.y: rows.stop - rows.start} if own_rows else {}
        whole = np.concatenate(parts).reshape([sides.get(axis, n) for axis, n in enumerate(shape)])
        kept = {plan.y: _ALL if own_rows else rows, plan.x: columns}
        after_z = {axis: slice(place, place + 1) for axis, place in at.items() if axis > z}
        return whole[tuple({**kept, **after_z}.get(axis, _ALL) for axis in range(len(shape)))]

    def from_pages(k: int, rows: slice = _ALL, columns: slice = _ALL) -> np.ndarray[Any, Any]:
        wanted = pages[plan.index(k, split)]
        if rows != _ALL and shape[split:] == (*shape[plan.y : plan.x + 1], *shape[plan.x + 1 :]) and plan.y == split:
            parts = [_page_part(series.pages[int(number)], path, rows, columns) for number in wanted.flat]
            sides = (rows.stop - rows.start, columns.stop - columns.start, *shape[plan.x + 1 :])
            return np.stack(parts).reshape(*wanted.shape, *sides)
        pixels = np.stack([_page_pixels(series.pages[int(number)], path) for number in wanted.flat])
        block = pixels.reshape(*wanted.shape, *shape[split:])
        inside = (
            slice(None) if axis < split else part for axis, part in enumerate(plan.part(k, len(shape), rows, columns))
        )
        return block[tuple(inside)]

    # ImageJ keeps big stacks as one page and a run of bytes. Not through a map of the file: where the disk fails or
    # another program cuts the file short, that ends the process without a word.
    return from_run if series.dataoffset is not None and not series.is_multifile else from_pages


def _page_pixels(page: Any, path: Path) -> np.ndarray[Any, Any]:
    if page is None:
        raise InputError(f"{path} lacks a plane that its OME header names; put the missing file beside it.")
    if page.parent.filehandle.closed:
        page.parent.filehandle.open()
    return np.asarray(page.asarray())


def _page_part(page: Any, path: Path, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
    """Decode those tiles or strips of a page that a part needs."""
    if page is None:
        return _page_pixels(page, path)
    keyframe = page.keyframe
    if len(keyframe.chunks) not in (2, 3) or keyframe.imagedepth > 1 or keyframe.planarconfig != 1:
        return _page_pixels(page, path)[rows, columns]
    file = page.parent.filehandle
    if file.closed:
        file.open()
    sides = rows.stop - rows.start, columns.stop - columns.start
    out = np.zeros((*sides, keyframe.samplesperpixel), keyframe.dtype)
    # Asked for the first time they read in the file, and move the place it is read at.
    decode, tables = keyframe.decode, page.jpegtables
    across = keyframe.chunked[1]
    down, along = keyframe.chunks[0], keyframe.chunks[1]
    for i in range(rows.start // down, -(-rows.stop // down)):
        for j in range(columns.start // along, -(-columns.stop // along)):
            number = across * i + j
            offset, size = page.dataoffsets[number], page.databytecounts[number]
            if size == 0:
                continue  # tiles of nothing may be left out
            file.seek(offset)
            pixels, _, size_yx = decode(file.read(size), number, jpegtables=tables)
            if pixels is None:
                continue
            pixels = pixels[0, : size_yx[1], : size_yx[2]]
            top, left = i * down, j * along
            y0, y1 = max(top, rows.start), min(top + pixels.shape[0], rows.stop)
            x0, x1 = max(left, columns.start), min(left + pixels.shape[1], columns.stop)
            if y0 < y1 and x0 < x1:
                own = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
                out[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = own
    return out


def _finisher(
    tif: TiffFile, page: Any, plan: AxisPlan
) -> tuple[Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], tuple[int, ...], np.dtype[Any]]:
    """Return what turns stored numbers into gray or colour, the axes it adds, and the dtype."""
    if page.photometric == PALETTE and page.colormap is not None and not tif.is_imagej:
        # In ImageJ's files the palette is only how to show the measured values.
        table = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        return (lambda pixels: table[pixels]), (3,), table.dtype
    if page.photometric == MIN_IS_WHITE and page.dtype.kind == "u":
        top = 2**page.bitspersample - 1
        return (lambda pixels: (top - pixels).astype(page.dtype)), (), page.dtype
    if plan.colour and page.samplesperpixel == 2:
        return (lambda pixels: pixels[..., 0]), (), page.dtype  # gray beside alpha
    return (lambda pixels: pixels), (), page.dtype
