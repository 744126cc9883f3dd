"""Blocks that an image is corrected in, each from what lies within a fixed distance of it.

They lie on one grid of the whole image. A part of it whose core begins and ends with blocks, and that sees so far
around it, has the same ones: its pixels are those of the whole to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..whole_image import Whole

# At half size: a side, what is seen around, and what of that a correction at full size takes in.
_SIDE_PX, _AROUND_PX, _RIM_PX = 512, 64, 2

Area = tuple[slice, slice]


@dataclass(frozen=True)
class Block:
    """A block of an image at half size; slices of y and x each.

    Attributes
    ----------
    core : tuple of slice
        What is corrected.
    window : tuple of slice
        What is seen.
    ends : tuple of bool
        Whether the image ends above, below, left and right of the window.
    """

    core: tuple[slice, slice]
    window: tuple[slice, slice]
    ends: tuple[bool, bool, bool, bool]

    def inner(self, level: int = 0) -> Area:
        """Return where the core lies in a level of a pyramid of the window."""
        y, x = (
            slice(c.start - w.start >> level, -(-(c.stop - w.start) >> level))
            for c, w in zip(self.core, self.window, strict=True)
        )
        return y, x

    @property
    def rim(self) -> Area:
        """Where in the window the core lies, and what a correction at full size takes in around it."""
        y, x = (
            slice(max(i.start - _RIM_PX, 0), min(i.stop + _RIM_PX, w.stop - w.start))
            for i, w in zip(self.inner(), self.window, strict=True)
        )
        return y, x


def moved_to(part: Area, window: Area) -> Area:
    """Return where a part of a window lies in the image."""
    y, x = (slice(w.start + p.start, w.start + p.stop) for p, w in zip(part, window, strict=True))
    return y, x


def block_reach_px() -> int:
    """Return how far around a block lies what is seen, in px of the image."""
    # `reduce`, which made the half size, takes in two more on either side.
    return 2 * _AROUND_PX + 4


def block_px() -> int:
    """Return the side of a block, in px of the image."""
    return 2 * _SIDE_PX


def blocks_of(shape: tuple[int, int], whole: Whole | None = None) -> list[Block]:
    """Return the blocks that hold what an image, or a part of it, answers for.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of the image at half size.
    whole : Whole or None
        Of which the image may be a part.

    Examples
    --------
    >>> [block.window for block in blocks_of((100, 600))]
    [(slice(0, 100, None), slice(0, 576, None)), (slice(0, 100, None), slice(448, 600, None))]
    """
    whole = whole or Whole()
    core = whole.core or (slice(0, 2 * shape[0]), slice(0, 2 * shape[1]))
    rows, columns = (_spans(n, o // 2, c) for n, o, c in zip(shape, whole.origin, core, strict=True))
    return [_block(shape, y, x) for y in rows for x in columns]


def _spans(size: int, origin: int, core: slice) -> list[tuple[int, int]]:
    edges = sorted({0, *range(-origin % _SIDE_PX, size, _SIDE_PX), size})
    return [(a, b) for a, b in pairwise(edges) if 2 * b > core.start and 2 * a < core.stop]


def _block(shape: tuple[int, int], *spans: tuple[int, int]) -> Block:
    (top, bottom), (left, right) = (
        (max(a - _AROUND_PX, 0), min(b + _AROUND_PX, n)) for (a, b), n in zip(spans, shape, strict=True)
    )
    ends = top == 0, bottom == shape[0], left == 0, right == shape[1]
    return Block((slice(*spans[0]), slice(*spans[1])), (slice(top, bottom), slice(left, right)), ends)
