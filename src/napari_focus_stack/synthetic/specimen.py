"""A specimen before the camera: its true image and height, and its slices without noise."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class Specimen:
    """A scene before the camera: radiance from 0 (black) to 1 (white).

    Attributes
    ----------
    truth : float32 array, shape (y, x) or (y, x, c)
        The image in focus everywhere.
    height : float32 array, shape (y, x)
        Where each pixel is in focus, in slices. Larger is nearer to the lens.
    textured : bool array, shape (y, x)
        Where there is detail enough for the height to be known.
    ground : bool array, shape (y, x)
        Where there is nothing to see, in focus or far from it.
    images : iterator of float32 arrays, shape (y, x) or (y, x, c)
        Every slice without noise, in order; made as they are asked for.
    z_step_um, pixel_size_um : float
        Distance between slices and between pixels, in µm.
    """

    truth: FloatImage
    height: FloatImage
    textured: Mask
    ground: Mask
    images: Iterator[FloatImage]
    z_step_um: float = 1.0
    pixel_size_um: float = 0.325


def in_order(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """Yield ``make(item)`` in order, made by a few threads no more than that many results ahead.

    Examples
    --------
    >>> list(in_order(abs, [-3, 2, -1]))
    [3, 2, 1]
    """
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Made]] = deque()
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def gray(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the mean over colour channels of a (y, x) or (y, x, c) image."""
    return image if image.ndim == 2 else image.mean(axis=2)


def detail(image: npt.NDArray[Any]) -> FloatImage:
    """Return the local contrast of fine detail: its root mean square within some 6 px.

    Parameters
    ----------
    image : real array, shape (y, x) or (y, x, c)

    Returns
    -------
    float32 array, shape (y, x)
        In the units of `image`; detail is what a Gaussian of 2 px takes away.
    """
    from scipy.ndimage import gaussian_filter

    luminance = gray(image).astype(np.float32)
    fine = luminance - gaussian_filter(luminance, 2)
    return np.sqrt(gaussian_filter(fine * fine, 3))
