"""From a stack, options and a memory budget to a run in tiles: checked, decided and planned."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import partial
from typing import Any

import numpy as np

from ..analysis import mending_reach_px
from ..errors import InputError
from ..fusion import FUSION_METHODS, whole_pixels
from ..fusion.blocks import block_px, block_reach_px
from ..fusion.laplacian import LEVELS_FOR_MEAN
from ..fusion.sweep import LEAST_SLICES
from ..options import FocusStackOptions
from ..pipeline import Progress, memory_needed, run_to_end
from ..run import HEIGHT_REACH_PX, chosen_levels
from ..slices import SliceKind, Slices
from .decisions import Decisions, decide_steps
from .filling import COARSE_LEVELS
from .plan import TilePlan, plan_tiles
from .readers import chunk_side, read_whole
from .run import TiledRun

DEFAULT_MEMORY = "2 GB"

# What a tile sees beyond its core, in pixels of the coarsest level, less some px. That level's own pixels reach 2,
# those of the last detail level, which are less what is coarser, 1 more; their energies are smoothed twice, 2, and
# decide about the base, 1; the rebuilt image goes through all levels again, 2.
_FUSION_REACH, _LESS_PX = 8, 4

# In px, where levels are few: the measures of transparent specimens. And where only a part of the picture is one: 14
# from pixels to regions of 8 x 8 of them, a broad view of these, 736, and 14 back. Of the broad view, four times five
# taps at a sixty-fourth of the size, the outer half counts so little that it changed the last bit of few pixels.
_PHASE_REACH_PX, _PART_REACH_PX = 256, 764

# A run in memory needs so much less for every pixel of a slice, by its own bytes, where it is surely opaque.
_PHASE_BYTES_PX, _PHASE_SLICES = 14.0, 3


def reach_px(
    options: FocusStackOptions, levels: int, slices: int, *, transparent: bool, in_part: bool, floats: bool
) -> int:
    """Return how far around a pixel lies what decides about it, in px of the image.

    Pixels of `floats` may be NaN or infinite, and are filled from around.
    """
    reach = max((_FUSION_REACH << levels) - _LESS_PX, HEIGHT_REACH_PX)
    if transparent:
        reach = max(reach, _PART_REACH_PX if in_part else _PHASE_REACH_PX)
    if _corrects(options, levels, slices):
        reach += block_reach_px()
    if slices <= whole_pixels.MOST_SLICES and options.method == "laplacian":
        reach = max(reach, whole_pixels.reach_px())
    if floats:
        reach += mending_reach_px()
    return reach + int(np.ceil(options.halo_radius_px))


def _corrects(options: FocusStackOptions, levels: int, slices: int) -> bool:
    """Return whether the fused image may be corrected in blocks, after the mean of all slices."""
    return options.method == "laplacian" and slices >= LEAST_SLICES and levels >= LEVELS_FOR_MEAN


def plan_for(
    shape: tuple[int, ...],
    dtype: Any,
    options: FocusStackOptions,
    *,
    memory: int,
    rgb: bool | None = None,
    transparent: bool = True,
    in_part: bool = False,
    chunk: tuple[int, int] | None = None,
    tile: tuple[int, int] | None = None,
) -> TilePlan:
    """Return how a stack is cut into tiles; nothing is read.

    Parameters
    ----------
    shape, dtype
        Of the stack.
    options : FocusStackOptions
    memory : int
        Bytes a process may use.
    rgb : bool or None
    transparent : bool
        Whether the specimen may be a transparent one; else less memory is needed.
    in_part : bool
        Whether a part of the picture is, and a part not: tiles see more then.
    chunk, tile : tuple of int, optional
        (y, x) of the chunks it is stored in, and of the tiles the user wants.

    Raises
    ------
    InputError
        If not even a small tile fits the memory.
    """
    kind = SliceKind(tuple(shape[1:]), dtype, rgb)
    height, width = kind.shape[:2]
    levels = chosen_levels(options, height, width)
    side = 1024
    aligned = max(1 << levels, (4 if transparent else 2) << COARSE_LEVELS)
    needed = memory_needed((shape[0], side, side, *kind.shape[2:]), dtype, options) / side**2
    if not transparent:
        needed -= _PHASE_BYTES_PX + _PHASE_SLICES * kind.channels * kind.dtype.itemsize
    return plan_tiles(
        (height, width),
        halo=reach_px(
            options, levels, shape[0], transparent=transparent, in_part=in_part, floats=kind.dtype.kind == "f"
        ),
        align=aligned,
        begins=math.lcm(aligned, block_px()) if _corrects(options, levels, shape[0]) else aligned,
        bytes_per_px=needed,
        memory=memory,
        chunk=chunk,
        side=tile,
    )


def tiled_run(
    stack: Any,
    rgb: bool | None = None,
    *,
    memory: int | str = DEFAULT_MEMORY,
    tile: int | tuple[int, int] | None = None,
    decisions: Decisions | None = None,
    options: FocusStackOptions | None = None,
) -> TiledRun:
    """Decide and plan; parameters are those of `focus_stack_tiled`."""
    steps = tiled_run_steps(
        stack, rgb, memory=bytes_of(memory), tile=tile, decisions=decisions, options=options or FocusStackOptions()
    )
    return run_to_end(steps)


def tiled_run_steps(
    stack: Any,
    rgb: bool | None,
    *,
    memory: int,
    tile: int | tuple[int, int] | None = None,
    most_px: int | None = None,
    decisions: Decisions | None = None,
    options: FocusStackOptions,
) -> Generator[Progress, None, TiledRun]:
    """Do what `tiled_run` does, giving control back after every slice that is looked at.

    Tiles are no larger than `most_px` where parts of slices can be read, for those who wait for the first one.
    """
    slices = Slices(stack, rgb)
    check_options(options)
    decisions = decisions or (yield from decide_steps(stack, rgb, options, memory))
    planned = partial(
        plan_for,
        (len(slices), *slices.kind.shape),
        slices.kind.dtype,
        options,
        memory=memory,
        rgb=rgb,
        transparent=decisions.transparent > 0,
        in_part=decisions.in_part,
    )
    plan = planned(chunk=_chunk_of(stack), tile=(tile, tile) if isinstance(tile, int) else tile)
    if most_px is not None and max(plan.side) > most_px and not read_whole(stack):
        smaller = planned(tile=(min(plan.side[0], most_px), min(plan.side[1], most_px)))
        plan = smaller if smaller.peak_bytes <= memory else plan
    return TiledRun((len(slices), *slices.kind.shape), slices.kind.dtype, rgb, options, decisions, plan)


def check_options(options: FocusStackOptions) -> None:
    """Refuse options that need the whole image at once.

    Raises
    ------
    InputError
    """
    method = FUSION_METHODS[options.method]
    if method.visits != 1:
        able = [name for name, other in FUSION_METHODS.items() if other.visits == 1]
        raise InputError(
            f"method {options.method!r} needs the whole image at once, so it cannot run in tiles; "
            f"choose one of {', '.join(able)}."
        )
    if options.mend_rims:
        raise InputError("mend_rims needs the whole image at once, so it cannot run in tiles; leave it out.")
    if options.aligns:
        raise InputError("slices are aligned whole, which cannot run in tiles; align the stack first.")


def bytes_of(memory: int | str) -> int:
    """Return a number of bytes, from a text such as "2 GB" too.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> bytes_of("1.5 GB")
    1500000000
    """
    from dask.utils import parse_bytes

    try:
        count = int(parse_bytes(memory))
    except (ValueError, TypeError):
        count = 0
    if count <= 0:
        raise InputError(f"memory must be a number of bytes or a text such as '2 GB', got {memory!r}.")
    return count


def _chunk_of(stack: Any) -> tuple[int, int] | None:
    # Slices stored whole cannot be read in parts: their size says nothing.
    return None if read_whole(stack) else chunk_side(stack)
