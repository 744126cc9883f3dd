"""Images larger than memory: decided once for the whole, fused tile by tile, lazily, with dask.

1. What depends on the whole image (noise, kind of light, depth of focus) is taken from a
   sample of it; from all of it, where that fits the memory budget (`decisions`).
2. Every tile is fused by the same code as an image in memory, given these numbers (`run`). It sees
   as much around itself as decides about its pixels, so that they come out the same.
3. Heights that are filled from far away are solved on a coarse grid of the whole image,
   then in tiles (`heights`).

Nothing here distributes: dask's own schedulers run the tiles, one at a time in every process,
since a tile uses all cores and its memory is what the plan promises.
"""

from .decisions import Decisions, decide
from .heights import coarse_of, maps_of, pieces_seen, refined_of, solved_grid
from .lazy import TiledResult, focus_stack_tiled, lazy_focus_stack, lazy_result
from .plan import BASE_BYTES, Tile, TilePlan, plan_tiles
from .readers import ArrayReader, DaskReader, PartReader, Reader, SliceReader, reader_of
from .run import TiledRun
from .setup import DEFAULT_MEMORY, bytes_of, check_options, plan_for, tiled_run, tiled_run_steps

__all__ = [
    "BASE_BYTES",
    "DEFAULT_MEMORY",
    "ArrayReader",
    "DaskReader",
    "Decisions",
    "PartReader",
    "Reader",
    "SliceReader",
    "Tile",
    "TilePlan",
    "TiledResult",
    "TiledRun",
    "bytes_of",
    "check_options",
    "coarse_of",
    "decide",
    "focus_stack_tiled",
    "lazy_focus_stack",
    "lazy_result",
    "maps_of",
    "pieces_seen",
    "plan_for",
    "plan_tiles",
    "reader_of",
    "refined_of",
    "solved_grid",
    "tiled_run",
    "tiled_run_steps",
]
