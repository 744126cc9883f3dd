"""One image to be fused in tiles, and how a tile is fused."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..machine import give_memory_back
from ..options import FocusStackOptions
from ..pipeline import Progress, run_to_end, stacked
from ..result import Part
from ..run import chosen_levels, whole_sharpness
from ..sharpness import SharpnessReport
from ..slices import SliceKind, Slices
from ..stacker import FocusStacker
from ..whole_image import Whole
from .decisions import Decisions
from .filling import COARSE_LEVELS, HeightFilling
from .plan import Tile, TilePlan
from .readers import Reader, Window
from .turn import own_turn


@dataclass(frozen=True, eq=False)
class TiledRun:
    """One image to be fused in tiles: all that a tile's worker has to know, small and plain.

    Attributes
    ----------
    shape : tuple of int
        Of the stack.
    dtype : numpy.dtype
    rgb : bool or None
    options : FocusStackOptions
        As the user gave them.
    decisions : Decisions
    plan : TilePlan
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rgb: bool | None
    options: FocusStackOptions
    decisions: Decisions
    plan: TilePlan

    @property
    def kind(self) -> SliceKind:
        """The kind of the slices."""
        return SliceKind(self.shape[1:], self.dtype, self.rgb)

    @property
    def filling(self) -> HeightFilling:
        """How heights are filled."""
        return self.decisions.filling(self.options, self.shape[0])

    @property
    def map_shape(self) -> tuple[int, int]:
        """(y, x) of the unfilled map."""
        scale = self.filling.scale
        return -(-self.shape[1] // scale), -(-self.shape[2] // scale)

    def fuse(self, reader: Reader, tile: Tile) -> Part:
        """Return one tile."""
        return run_to_end(self.fuse_steps(reader, tile))

    def fuse_steps(self, reader: Reader, tile: Tile) -> Generator[Progress, None, Part]:
        """Do what `fuse` does, giving control back after every slice; closing the generator cancels the tile."""
        rows, columns = tile.window
        height, width = self.shape[1:3]
        # The whole image's count: a tile may be smaller than its own would be.
        options = replace(self.options, levels=chosen_levels(self.options, height, width))
        whole = Whole(
            given=self.decisions.numbers,
            origin=(rows.start, columns.start),
            core=tile.core_in_window,
        )
        with own_turn():
            # What was decided from, or the tile before this one.
            give_memory_back()
            slices = Slices(Window(reader, rows, columns, self.kind, self.shape[0]), self.rgb)
            shape = (len(slices), *slices.kind.shape)
            stacker = FocusStacker(shape, options, self.decisions.noise, rgb=self.rgb, whole=whole)
            yield from stacked(slices, stacker)
            return stacker.part()

    def map_window(self, tile: Tile) -> tuple[slice, slice]:
        """Return the part of the unfilled map that a tile's heights need."""
        cell = 1 << COARSE_LEVELS
        reach = -(-self.filling.reach_px // cell) * cell
        bounds = zip(self.map_core(tile), self.map_shape, strict=True)
        y, x = (slice(max(core.start - reach, 0), min(core.stop + reach, n)) for core, n in bounds)
        return y, x

    def map_core(self, tile: Tile) -> tuple[slice, slice]:
        """Return a tile's own part of the unfilled map."""
        scale = self.filling.scale
        y, x = (slice(start // scale, -(-stop // scale)) for start, stop in (tile.y, tile.x))
        return y, x

    def sharpness(self, parts: list[Part]) -> SharpnessReport:
        """Return the report of the whole image from those of all tiles, in their order."""
        areas = [tile.area_px for tile in self.plan]
        return whole_sharpness(self.options, self.decisions.noise, self.kind, parts, areas)
