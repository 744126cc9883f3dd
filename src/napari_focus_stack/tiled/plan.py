"""Which tiles a large image is cut into: plain integers, planned before anything runs.

Every tile answers for its core and sees a window around it. Cores begin on
multiples of the coarsest pixel of the pyramid, so that the pyramids of a tile and
of the whole image have their pixels in the same places, and of the blocks that the
image is corrected in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InputError

# What the process itself needs: its libraries, and what an allocator keeps of the sample that was decided from.
BASE_BYTES = 600_000_000

# Results are written in chunks that divide the tiles: strips of 64 px took three times as long as chunks of this side.
_WRITTEN_PX = 256


@dataclass(frozen=True)
class Tile:
    """One tile; all in px of the image.

    Attributes
    ----------
    number : int
    y, x : tuple of int
        First row and column of the core, and the ones behind its last.
    window_y, window_x : tuple of int
        The same of all that the tile sees.
    """

    number: int
    y: tuple[int, int]
    x: tuple[int, int]
    window_y: tuple[int, int]
    window_x: tuple[int, int]

    @property
    def core(self) -> tuple[slice, slice]:
        """Rows and columns of the core in the image."""
        return slice(*self.y), slice(*self.x)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the window in the image."""
        return slice(*self.window_y), slice(*self.window_x)

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        """Rows and columns of the core in the window."""
        top, left = self.window_y[0], self.window_x[0]
        return slice(self.y[0] - top, self.y[1] - top), slice(self.x[0] - left, self.x[1] - left)

    @property
    def area_px(self) -> int:
        """Pixels of the core."""
        return (self.y[1] - self.y[0]) * (self.x[1] - self.x[0])

    @property
    def window_px(self) -> int:
        """Pixels of the window."""
        return (self.window_y[1] - self.window_y[0]) * (self.window_x[1] - self.window_x[0])


@dataclass(frozen=True)
class TilePlan:
    """How an image is cut.

    Attributes
    ----------
    shape : tuple of int
        (y, x) of the image, in px.
    side : tuple of int
        Of a core, (y, x); the last ones may be smaller.
    halo : int
        How far a tile sees beyond its core, in px.
    bytes_per_px : float
        Memory for every pixel of a window.

    Examples
    --------
    >>> plan = TilePlan(shape=(1000, 700), side=(512, 512), halo=128, bytes_per_px=61)
    >>> [tile.window_y for tile in plan]
    [(0, 640), (0, 640), (384, 1000), (384, 1000)]
    >>> round(plan.overhead, 2)
    1.72
    """

    shape: tuple[int, int]
    side: tuple[int, int]
    halo: int
    bytes_per_px: float

    def __len__(self) -> int:
        rows, columns = self.counts
        return rows * columns

    def __iter__(self) -> Iterator[Tile]:
        rows, columns = self.edges
        number = 0
        for y in pairwise(rows):
            for x in pairwise(columns):
                yield Tile(number, y, x, self._around(y, self.shape[0]), self._around(x, self.shape[1]))
                number += 1

    def _around(self, core: tuple[int, int], size: int) -> tuple[int, int]:
        return max(core[0] - self.halo, 0), min(core[1] + self.halo, size)

    @property
    def edges(self) -> tuple[list[int], list[int]]:
        """Where cores begin along y and x, and where the last ones end."""
        rows, columns = (_edges(n, side) for n, side in zip(self.shape, self.side, strict=True))
        return rows, columns

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles along y and x."""
        rows, columns = (-(-n // side) for n, side in zip(self.shape, self.side, strict=True))
        return rows, columns

    @property
    def seen_px(self) -> int:
        """Pixels of all windows together."""
        across = []
        for n, side in zip(self.shape, self.side, strict=True):
            windows = (self._around(core, n) for core in pairwise(_edges(n, side)))
            across.append(sum(stop - start for start, stop in windows))
        return across[0] * across[1]

    @property
    def overhead(self) -> float:
        """How often a pixel is worked on, on average."""
        return self.seen_px / (self.shape[0] * self.shape[1])

    @property
    def largest_window_px(self) -> int:
        """Pixels of the largest window."""
        height, width = (min(side + 2 * self.halo, n) for n, side in zip(self.shape, self.side, strict=True))
        return height * width

    @property
    def peak_bytes(self) -> int:
        """Memory that one tile at a time needs, the process itself included."""
        return BASE_BYTES + math.ceil(self.largest_window_px * self.bytes_per_px)


def plan_tiles(
    shape: tuple[int, int],
    *,
    halo: int,
    align: int,
    bytes_per_px: float,
    memory: int,
    begins: int | None = None,
    chunk: tuple[int, int] | None = None,
    side: tuple[int, int] | None = None,
) -> TilePlan:
    """Return the plan that sees the fewest pixels within a memory budget.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of the image, in px.
    halo : int
        How far a tile has to see beyond its core, in px.
    align : int
        Windows begin on multiples of it.
    bytes_per_px : float
        Memory for every pixel of a window.
    memory : int
        Bytes that must not be exceeded, those of the process included.
    begins : int, optional
        Cores begin on multiples of it, itself a multiple of `align`; else on those of `align`.
    chunk : tuple of int, optional
        Size of the chunks that the image is stored in; cores begin on theirs where that fits.
    side : tuple of int, optional
        Of a core, if the user wants one; rounded up to where cores may begin.

    Raises
    ------
    InputError
        If not even the smallest tile fits.

    Examples
    --------
    >>> plan = plan_tiles((16384, 16384), halo=512, align=64, bytes_per_px=61, memory=2_000_000_000)
    >>> plan.counts, plan.side, round(plan.overhead, 2)
    ((5, 4), (3328, 4096), 1.48)
    """
    halo = -(-halo // align) * align
    begins = begins or align
    if side is not None:
        y, x = (
            min(-(-max(s, 1) // begins) * begins, -(-n // begins) * begins) for s, n in zip(side, shape, strict=True)
        )
        return TilePlan(shape, (y, x), halo, bytes_per_px)
    most_px = int((memory - BASE_BYTES) / bytes_per_px)
    best: TilePlan | None = None
    for unit in _units(begins, chunk):
        plan = _best_plan(shape, halo, unit, bytes_per_px, most_px)
        # Chunks that are read twice, or small ones that are written, cost less than a tenth more pixels to work on.
        if plan is not None and (best is None or plan.seen_px < 0.9 * best.seen_px):
            best = plan
    if best is None:
        least = BASE_BYTES + (2 * halo + begins) ** 2 * bytes_per_px
        raise InputError(
            f"a tile needs at least {least / 1e9:.2f} GB of memory with these options, got {memory / 1e9:.2f} GB; "
            "allow more, or take fewer levels."
        )
    return best


def _best_plan(
    shape: tuple[int, int], halo: int, unit: tuple[int, int], bytes_per_px: float, most_px: int
) -> TilePlan | None:
    plans = []
    for columns in range(1, -(-shape[1] // unit[1]) + 1):
        width = _balanced(shape[1], columns, unit[1])
        most_rows = most_px // min(width + 2 * halo, shape[1])
        height = shape[0] if most_rows >= shape[0] else (most_rows - 2 * halo) // unit[0] * unit[0]
        if height > 0:
            height = _balanced(shape[0], -(-shape[0] // height), unit[0])
            plans.append(TilePlan(shape, (height, width), halo, bytes_per_px))
    return min(plans, key=lambda plan: plan.seen_px, default=None)


def _units(align: int, chunk: tuple[int, int] | None) -> list[tuple[int, int]]:
    side = math.lcm(align, _WRITTEN_PX)
    units = [(side, side), (align, align)]
    if chunk is not None:
        y, x = (math.lcm(align, n) for n in chunk)
        units.insert(0, (y, x))
    return units


def _balanced(size: int, count: int, unit: int) -> int:
    """Return the side of so many tiles that together cover a size."""
    return math.ceil(math.ceil(size / count) / unit) * unit


def _edges(size: int, side: int) -> list[int]:
    return [*range(0, size, side), size]
