"""Which axis of a file is z, which is the channel; the same rule for TIFF and Zarr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class AxisPlan:
    """Positions of the axes that count; every other axis has length 1.

    Attributes
    ----------
    z, last : int or None
        The slice axis, and the colour or channel axis.
    colour : bool
        Whether `last` is samples of one picture rather than channels.
    at : tuple of (int, int)
        Axes of which one place is taken, and the place: a time point or a position.
    """

    z: int | None
    y: int
    x: int
    last: int | None
    colour: bool
    at: tuple[tuple[int, int], ...] = ()

    def slice_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return (y, x) or (y, x, c)."""
        return tuple(shape[axis] for axis in (self.y, self.x, self.last) if axis is not None)

    def index(self, k: int, ndim: int) -> tuple[slice, ...]:
        """Return the index of slice `k`, all axes kept."""
        places = {axis: place for axis, place in (*self.at, (self.z, k)) if axis is not None}
        return tuple(slice(places[a], places[a] + 1) if a in places else slice(None) for a in range(ndim))

    def part(self, k: int, ndim: int, rows: slice, columns: slice) -> tuple[slice, ...]:
        """Return the index of a part of slice `k`, all axes kept."""
        parts = {self.y: rows, self.x: columns}
        return tuple(parts.get(axis, whole) for axis, whole in enumerate(self.index(k, ndim)))

    def ordered(self, block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return one slice with all its axes as (y, x[, c])."""
        kept = [axis for axis in (self.y, self.x, self.last) if axis is not None]
        rest = [axis for axis in range(block.ndim) if axis not in kept]
        return block.transpose(kept + rest).reshape([block.shape[axis] for axis in kept])


def outer_axes(axes: str, shape: Sequence[int]) -> dict[str, int]:
    """Return the axes beside z along which a file holds a stack at every place, and their lengths.

    Examples
    --------
    >>> outer_axes("TCZYX", (5, 2, 9, 64, 64)), outer_axes("ZCYX", (9, 2, 64, 64))
    ({'T': 5}, {})
    """
    long = {axis: n for axis, n in zip(axes, shape, strict=True) if n > 1}
    if "Z" not in long:
        return {}
    return {axis: n for axis, n in long.items() if axis not in "ZCSYX"}


def plan_axes(axes: str, shape: Sequence[int], name: str, at: Mapping[str, int] | None = None) -> AxisPlan:
    """Find z and the channels among named axes (T C Z Y X S and others).

    Any single axis longer than 1 beside Y, X, channels and samples is taken for
    z, since many programs write z-stacks as time or leave the name out; so are
    channels when nothing else is left.

    Raises
    ------
    InputError
        If several axes could be z, or channels and colour come together.

    Examples
    --------
    >>> plan_axes("TCYX", (1, 3, 4, 5), "a.tif").z
    1
    >>> plan_axes("TZYX", (2, 3, 4, 5), "a.tif")
    Traceback (most recent call last):
        ...
    napari_focus_stack.errors.InputError: a.tif has the axes T (2), Z (3) beside y and x, \
but one z axis, with or without channels, is expected; save each stack as a file of its own.
    """
    at = at or {}
    long = {axis: place for place, axis in enumerate(axes) if shape[place] > 1 and axis not in "YX" and axis not in at}
    colour, channel = long.pop("S", None), long.pop("C", None)
    if not long and channel is not None:
        long, channel = {"C": channel}, None
    if len(long) > 1 or (colour is not None and channel is not None):
        named = ", ".join(f"{axis} ({shape[place]})" for place, axis in enumerate(axes) if axis not in "YX")
        raise InputError(
            f"{name} has the axes {named} beside y and x, but one z axis, with or without channels, "
            f"is expected; save each stack as a file of its own."
        )
    if "Y" not in axes or "X" not in axes:
        raise InputError(f"{name} has the axes {axes}, but y and x are expected; save it as an image stack.")
    last = colour if colour is not None else channel
    fixed = tuple((axes.index(axis), place) for axis, place in at.items())
    return AxisPlan(next(iter(long.values()), None), axes.index("Y"), axes.index("X"), last, colour is not None, fixed)
