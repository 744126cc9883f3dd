"""One OME-Zarr image, or one Zarr array, as a lazy stack: full resolution, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..machine import check_memory
from .axes import plan_axes
from .source import PixelSize, StackSource, checked_count, decoded, um_per_unit

MARKERS = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr array or group."""
    return path.is_dir() and any((path / marker).is_file() for marker in MARKERS)


def zarr_axes(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return the letters of the axes of a Zarr image, and their lengths; nothing where it is no OME-Zarr."""
    import zarr

    node = decoded(str(path), lambda: zarr.open(str(path), mode="r"))
    if isinstance(node, zarr.Array):
        return "", ()
    image = _multiscale(path, dict(node.attrs))
    array: Any = decoded(str(path), lambda: node[image["datasets"][0]["path"]])
    axes, _ = decoded(str(path), lambda: _axes_and_pixel_size(image, array.shape))
    return axes, tuple(array.shape)


def zarr_levels(path: Path) -> tuple[str, list[Any]]:
    """Return the letters of the axes of a Zarr image, and the arrays of its pyramid, finest first."""
    import zarr

    node: Any = decoded(str(path), lambda: zarr.open(str(path), mode="r"))
    if isinstance(node, zarr.Array):
        return _plain_axes(path, node.shape), [node]
    image = decoded(str(path), lambda: _multiscale(path, dict(node.attrs)))
    arrays = decoded(str(path), lambda: [node[step["path"]] for step in image["datasets"]])
    return decoded(str(path), lambda: _axes_and_pixel_size(image, arrays[0].shape))[0], arrays


def open_zarr(path: Path, at: Mapping[str, int] | None = None) -> StackSource:
    """Open a Zarr folder with one 3-D stack, with or without channels; of several, the one `at` a place.

    Raises
    ------
    InputError
        If it is no image, or its axes do not make one z-stack.
    """
    import zarr

    node = decoded(str(path), lambda: zarr.open(str(path), mode="r"))
    if isinstance(node, zarr.Array):
        axes, sizes, names = _plain_axes(path, node.shape), PixelSize(), []
        array: Any = node
    else:
        image = decoded(str(path), lambda: _multiscale(path, dict(node.attrs)))
        array = decoded(str(path), lambda: node[image["datasets"][0]["path"]])
        axes, sizes = decoded(str(path), lambda: _axes_and_pixel_size(image, array.shape))
        names = decoded(str(path), lambda: _channel_names(dict(node.attrs)))
    _check_array(path, array)
    plan = decoded(str(path), lambda: plan_axes(axes, array.shape, str(path), at))
    count = checked_count(str(path), 1 if plan.z is None else array.shape[plan.z])
    slice_shape = plan.slice_shape(array.shape)
    return StackSource(
        lambda k: plan.ordered(np.asarray(array[plan.index(k, array.ndim)])),
        [f"{path} slice {k}" for k in range(count)],
        slice_shape,
        array.dtype,
        rgb=plan.colour,
        pixel_size=sizes,
        files=[path],
        fetch_part=lambda k, rows, columns: plan.ordered(np.asarray(array[plan.part(k, array.ndim, rows, columns)])),
        chunks=(1, array.chunks[plan.y], array.chunks[plan.x]),
        channels=names,
    )


def _channel_names(attributes: Mapping[str, Any]) -> list[str]:
    """Return the labels of all channels; none where one is missing."""
    omero = attributes.get("ome", attributes).get("omero") or {}
    labels = [channel.get("label") for channel in omero.get("channels") or ()]
    return [str(label) for label in labels] if all(labels) else []


def _check_array(path: Path, array: Any) -> None:
    """Refuse what could run code when decoded, and chunks larger than the memory."""
    codecs = [*(array.filters or ()), *(array.compressors if hasattr(array, "compressors") else (array.compressor,))]
    if array.dtype.kind not in "biufc" or any(getattr(codec, "codec_id", "") == "pickle" for codec in codecs):
        raise InputError(
            f"{path} holds {array.dtype} that may be texts or Python objects, which are not opened, for they could run "
            "programs; save it as plain numbers."
        )
    check_memory(2 * math.prod(array.chunks) * array.dtype.itemsize, f"one chunk of {path}")


def _plain_axes(path: Path, shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "ZYX"
    if len(shape) == 4 and shape[-1] in (3, 4):
        return "ZYXS"
    raise InputError(f"{path} should be a Zarr array (z, y, x) or (z, y, x, colour), got shape {shape}; name its part.")


def _multiscale(path: Path, attributes: Mapping[str, Any]) -> Any:
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") or []
    if len(images) != 1:
        raise InputError(
            f"{path} should be a Zarr folder with one OME-Zarr image, got {len(images)}; "
            f"name the folder of one image inside it."
        )
    return images[0]


def _axes_and_pixel_size(image: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[str, PixelSize]:
    named = image.get("axes") or "tczyx"[-len(shape) :]  # before version 0.3 the five axes were fixed
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in named]
    scale = [1.0] * len(axes)
    for holder in (image["datasets"][0], image):
        for step in holder.get("coordinateTransformations", ()):
            if step.get("type") == "scale":
                scale = [a * b for a, b in zip(scale, step["scale"], strict=True)]
    um = {
        axis["name"].lower(): per_unit * step
        for axis, step in zip(axes, scale, strict=True)
        if (per_unit := um_per_unit(axis.get("unit") or "")) is not None
    }
    letters = "".join(axis["name"][0].upper() for axis in axes)
    return letters, PixelSize(um.get("z"), um.get("y"), um.get("x"))
