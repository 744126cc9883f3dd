"""Takes apart the channels of a slice, which lie side by side in every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import kernel, run_bands


def in_planes(image: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
    """Return an image of shape (y, x, c) as (c, y, x), each plane in one piece.

    Parameters
    ----------
    image : array, shape (y, x, c)
        Of one channel, it is returned as it is.
    out : array, shape (c, y, x), optional
        Of the same dtype; what is returned may be of other memory.

    Returns
    -------
    array, shape (c, y, x)
        Read-only, since kernels would be compiled twice for what is not always so.

    Examples
    --------
    >>> in_planes(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).tolist()
    [[[1, 4]], [[2, 5]], [[3, 6]]]
    """
    h, w, count = image.shape
    if count == 1:
        planes = np.ascontiguousarray(image[:, :, 0])[None]
    else:
        out = np.empty((count, h, w), image.dtype) if out is None else out
        side_by_side = np.ascontiguousarray(image).reshape(h, w * count)
        side_by_side.flags.writeable = False
        run_bands(_apart_band, h, w * count, side_by_side, out)
        planes = out.view()
    planes.flags.writeable = False
    return planes


@kernel
def _apart_band(side_by_side, planes, first, last):  # type: ignore[no-untyped-def]
    channels, _, w = planes.shape
    for y in range(first, last):
        row = side_by_side[y]
        if channels == 3:
            # Whole vectors are taken apart where it is known how many there are: a third of the time.
            red, green, blue = planes[0, y], planes[1, y], planes[2, y]
            for x in range(w):
                red[x] = row[3 * x]
                green[x] = row[3 * x + 1]
                blue[x] = row[3 * x + 2]
        else:
            for c in range(channels):
                out = planes[c, y]
                for x in range(w):
                    out[x] = row[channels * x + c]
