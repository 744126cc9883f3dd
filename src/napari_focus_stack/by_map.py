"""Fuses slices by a map that names a slice for every pixel, blended so that no seam shows.

Two uses: another stack of the same field is fused by this one's map, and strokes of a
brush put a slice in the place of what was fused. Every level of the pyramid is taken from
the slices in the shares that the map has there, smoothed and reduced as often as the level.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .noise import NoiseModel
from .pipeline import stack_noise
from .pyramid import FloatImage, gaussian_pyramid, laplacian_pyramid, level_count, push_pull, reconstruct
from .scaling import Scaling
from .slices import SliceKind, Slices, StackLike

# Three keep a stroke of 25 px as sharp as its slice (0.1 dB over two, 0.1 under four on scenes) and reach 32 px.
STROKE_LEVELS = 3

ReadPart = Callable[[int, slice, slice], npt.NDArray[Any]]


class _Blend:
    """The pyramid of an image to which slices are added in the shares of their masks."""

    def __init__(self, shape: tuple[int, int], channels: int, levels: int, scaling: Scaling) -> None:
        self.levels, self.scaling, self.channels = levels, scaling, channels
        self._sum: list[list[FloatImage]] = [[] for _ in range(channels)]

    def add(self, image: npt.NDArray[Any], mask: FloatImage) -> None:
        """Add an image, shape (y, x, c), where `mask` is, 0 to 1."""
        shares = gaussian_pyramid(mask, self.levels)
        for c in range(self.channels):
            pyramid = laplacian_pyramid(_known(self.scaling.to_kernel(image[..., c])), self.levels)
            for share, part in zip(shares, pyramid, strict=True):
                part *= share
            if self._sum[c]:
                for total, part in zip(self._sum[c], pyramid, strict=True):
                    total += part
            else:
                self._sum[c] = pyramid

    def image(self, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Return the image, shape (y, x, c)."""
        planes = [reconstruct(pyramid) for pyramid in self._sum]
        return self.scaling.to_gray_levels(np.stack(planes, axis=-1), dtype)


def _known(plane: npt.NDArray[np.float64]) -> FloatImage:
    """Return a plane whose unknown pixels are filled from around them."""
    finite = np.isfinite(plane)
    if finite.all():
        return plane.astype(np.float32)
    return push_pull(np.where(finite, plane, 0).astype(np.float32), finite.astype(np.float32))


def fuse_by_map_steps(
    stack: StackLike | Sequence[Any],
    index: npt.NDArray[Any],
    rgb: bool | None = None,
    *,
    noise: NoiseModel | None = None,
) -> Generator[int, None, npt.NDArray[Any]]:
    """Do what `fuse_by_map` does, giving control back after every slice.

    Yields
    ------
    int
        Slices done.

    Returns
    -------
    array
        As the value of ``StopIteration``.
    """
    slices = Slices(stack, rgb)
    kind = slices.kind
    shape = (kind.shape[0], kind.shape[1])
    index = np.asarray(index)
    if index.shape != shape:
        raise InputError(f"a map of {shape[0]} x {shape[1]} px is needed for this stack, got one of {index.shape}.")
    whole = np.rint(np.nan_to_num(index.astype(np.float32))).astype(np.int64)
    if whole.min() < 0 or whole.max() >= len(slices):
        raise InputError(
            f"the map names slices {whole.min()} to {whole.max()}, the stack has 0 to {len(slices) - 1}; "
            "take a map of a stack with the same slices."
        )
    scaling = Scaling.of(kind.dtype, noise if noise is not None else stack_noise(slices))
    blend = _Blend(shape, kind.channels, level_count(*shape), scaling)
    for k in range(len(slices)):
        mask = whole == k
        if mask.any():
            blend.add(kind.checked(slices[k])[..., : kind.channels], mask.astype(np.float32))
        yield k + 1
    return _with_alpha(blend.image(kind.dtype), kind)


def fuse_by_map(
    stack: StackLike | Sequence[Any],
    index: npt.NDArray[Any],
    rgb: bool | None = None,
    *,
    noise: NoiseModel | None = None,
) -> npt.NDArray[Any]:
    """Fuse a stack by the map of another one: another channel, another time.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c), or sequence of slices
    index : array, shape (y, x)
        The slice for every pixel: an index map, or heights in slices, which are rounded; NaN is slice 0.
    rgb : bool or None
    noise : NoiseModel or None
        Tells the range of the intensities; None estimates it.

    Returns
    -------
    array, shape (y, x) or (y, x, c), dtype of the stack

    Raises
    ------
    InputError
        If the map does not fit the stack.

    References
    ----------
    Burt & Adelson, A multiresolution spline with application to image mosaics,
    ACM Transactions on Graphics 2, 217-236 (1983).

    Examples
    --------
    >>> stack = np.stack([np.full((32, 32), gray, np.uint8) for gray in (10, 20, 30)])
    >>> float(fuse_by_map(stack, np.full((32, 32), 1.2)).mean())
    20.0
    """
    steps = fuse_by_map_steps(stack, index, rgb, noise=noise)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def retouch(
    fused: npt.NDArray[Any],
    strokes: npt.NDArray[Any],
    read: ReadPart,
    kind: SliceKind,
    noise: NoiseModel,
    part: tuple[slice, slice] | None = None,
    levels: int = STROKE_LEVELS,
) -> tuple[tuple[slice, slice], npt.NDArray[Any]]:
    """Put slices in the place of what was fused where a brush went.

    Parameters
    ----------
    fused : array, shape (y, x) or (y, x, c)
        As it was fused, without strokes.
    strokes : integer array, shape (y, x)
        0 where the fused image stands, k + 1 where slice k is to be taken.
    read : callable
        ``read(k, rows, columns)`` returns a part of slice k.
    kind : SliceKind
    noise : NoiseModel
    part : tuple of slice or None
        Rows and columns that changed; None does the whole image.
    levels : int
        Levels of the pyramid, by which the blend reaches some 4 x 2^levels px.

    Returns
    -------
    tuple of slice
        Rows and columns of the image that may differ.
    array
        Their pixels.

    Raises
    ------
    InputError
        If a stroke names no slice, which `read` tells.
    """
    shape = (fused.shape[0], fused.shape[1])
    part = part or (slice(0, shape[0]), slice(0, shape[1]))
    reach = 4 << levels
    written = tuple(_widened(some, reach, n, 1 << levels) for some, n in zip(part, shape, strict=True))
    needed = tuple(_widened(some, reach, n, 1 << levels) for some, n in zip(written, shape, strict=True))
    rows, columns = needed
    here = strokes[rows, columns]
    scaling = Scaling.of(kind.dtype, noise)
    size = (here.shape[0], here.shape[1])
    base = fused[rows, columns].reshape(*size, -1)[..., : kind.channels]
    inside = tuple(
        slice(some.start - around.start, some.stop - around.start) for some, around in zip(written, needed, strict=True)
    )
    result = base
    if here.any():
        blend = _Blend(size, kind.channels, levels, scaling)
        blend.add(base, (here == 0).astype(np.float32))
        for label in np.unique(here[here > 0]):
            image = read(int(label) - 1, rows, columns).reshape(*size, -1)[..., : kind.channels]
            blend.add(image, (here == label).astype(np.float32))
        result = blend.image(kind.dtype)
    shaped = _with_alpha(np.ascontiguousarray(result), kind, size)
    return (written[0], written[1]), shaped[inside]


def _widened(part: slice, by: int, length: int, unit: int) -> slice:
    """Return a part with a margin, that begins where a pixel of the coarsest level does."""
    return slice(max(part.start - by, 0) // unit * unit, min(part.stop + by, length))


def _with_alpha(colour: npt.NDArray[Any], kind: SliceKind, size: tuple[int, int] | None = None) -> npt.NDArray[Any]:
    if kind.alpha:
        opaque = 1 if kind.dtype.kind == "f" else np.iinfo(kind.dtype).max
        colour = np.concatenate([colour, np.full((*colour.shape[:2], 1), opaque, kind.dtype)], axis=2)
    return colour.reshape(*(size or kind.shape[:2]), *kind.shape[2:])
