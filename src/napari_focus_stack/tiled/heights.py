"""The heights of an image in tiles, filled in rounds: each tile's part in every round.

In a round every tile gives its coarse cells, the grid of all of them is solved, and every tile goes on
from there; then its maps are made. What a tile sees of its neighbours is put together by who runs the rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .filling import COARSE_LEVELS, solved
from .plan import Tile
from .run import TiledRun

Area = tuple[slice, slice]


def coarse_of(
    run: TiledRun, tile: Tile, unfilled: npt.NDArray[np.float32], everywhere: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a tile's own coarse cells: values and how far they are known."""
    values, trusts = run.filling.coarse_cells(unfilled, everywhere)
    window, core = run.map_window(tile), run.map_core(tile)
    y, x = (
        slice(c.start - w.start >> COARSE_LEVELS, -(-(c.stop - w.start) >> COARSE_LEVELS))
        for w, c in zip(window, core, strict=True)
    )
    return values[y, x].copy(), trusts[y, x].copy()


def solved_grid(
    run: TiledRun, cells: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
) -> npt.NDArray[np.float32] | None:
    """Return the coarse cells of the whole image, solved, from those of all tiles in their order."""
    rows, columns = run.plan.counts
    values, trusts = (
        np.block([[cells[columns * i + j][which] for j in range(columns)] for i in range(rows)]) for which in (0, 1)
    )
    return solved(np.ascontiguousarray(values), np.ascontiguousarray(trusts))


def refined_of(
    run: TiledRun,
    tile: Tile,
    unfilled: npt.NDArray[np.float32],
    everywhere: npt.NDArray[np.float32] | None,
    grid: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float32]:
    """Return the heights of a tile's own pixels after one more round."""
    window = run.map_window(tile)
    coarse = None
    if grid is not None:
        y, x = (slice(w.start >> COARSE_LEVELS, -(-w.stop >> COARSE_LEVELS)) for w in window)
        coarse = np.ascontiguousarray(grid[y, x])
    return run.filling.refined(unfilled, everywhere, coarse)[_within(window, run.map_core(tile))].copy()


def maps_of(
    run: TiledRun, tile: Tile, unfilled: npt.NDArray[np.float32], everywhere: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[Any]]:
    """Return height and confidence of a tile's own pixels, and the index where `HeightFilling.tells_index`."""
    scale = run.filling.scale
    window = run.map_window(tile)
    y, x = (slice(w.start * scale, min(w.stop * scale, n)) for w, n in zip(window, run.shape[1:3], strict=True))
    shape = y.stop - y.start, x.stop - x.start
    return run.filling.maps(unfilled, everywhere, shape, _within((y, x), tile.core))


def pieces_seen(run: TiledRun, tile: Tile) -> list[tuple[Tile, Area, Area]]:
    """Return the tiles whose pixels the heights of a tile need: where these lie in its map window, and in their own."""
    window = run.map_window(tile)
    found = []
    for other in run.plan:
        core = run.map_core(other)
        if all(w.start < c.stop and c.start < w.stop for w, c in zip(window, core, strict=True)):
            y, x = (slice(max(w.start, c.start), min(w.stop, c.stop)) for w, c in zip(window, core, strict=True))
            found.append((other, _within(window, (y, x)), _within(core, (y, x))))
    return found


def _within(area: Area, part: Area) -> Area:
    """Return where a part of an area lies in it."""
    y, x = (slice(p.start - a.start, p.stop - a.start) for a, p in zip(area, part, strict=True))
    return y, x
