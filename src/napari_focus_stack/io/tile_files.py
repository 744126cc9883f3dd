"""The files of a run in tiles: every tile is written where it belongs as soon as it is done.

Images are Zarr folders; beside them lies a scratch folder with what heights are filled from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import tiled
from ..pyramid import FloatImage
from ..result import Part
from ..tiled import Reader, Tile, TiledRun
from ..tiled.filling import ROUND_PLANES
from .tile_pieces import TilePieces
from .zarr_image import ZarrImage

MAPS = ("image", "index", "height", "confidence")

Adjust = Callable[[FloatImage, FloatImage], FloatImage]
_NOTHING: np.ndarray[Any, Any] = np.empty((0, 0))


@dataclass(frozen=True, eq=False)
class TileFiles:
    """The images of one run, and its scratch; small and plain, so that it can go to other processes.

    Attributes
    ----------
    run : TiledRun
    images : mapping of str to Path
        Zarr folders of "image", "index", "height", "confidence": those that are asked for.
    scratch : Path
        Folder of what is needed during the run only.
    levels : bool
        Whether every tile brings the coarser levels up to date. Not where several processes write at once, to the
        same chunks of these; `finish` makes them there.
    """

    run: TiledRun
    images: Mapping[str, Path]
    scratch: Path
    levels: bool = True

    @property
    def fills_heights(self) -> bool:
        """Whether heights are filled: for their map, and for the index of a transparent specimen."""
        return bool({"height", "confidence"} & set(self.images)) or (
            self.run.filling.tells_index and "index" in self.images
        )

    @property
    def rounds(self) -> int:
        """Rounds of filling."""
        return self.run.filling.rounds if self.fills_heights else 0

    @property
    def nbytes(self) -> int:
        """About how many bytes they take at most: nothing compressed, coarser levels and scratch included."""
        run = self.run
        kinds = {"image": run.dtype.itemsize * int(np.prod(run.shape[3:])), "index": 2}
        results = sum(kinds.get(name, 4) for name in self.images) * run.shape[1] * run.shape[2] * 4 // 3
        maps = (run.filling.planes + self.rounds) * 4 if self.fills_heights else 0
        return results + maps * int(np.prod(run.map_shape))

    def image(self, name: str) -> ZarrImage:
        """Return one of the images."""
        axes = "cyx" if name == "image" and len(self.run.shape) == 4 else "yx"
        return ZarrImage(self.images[name], axes, nearest=name == "index")

    def create(self, zarr_format: int) -> None:
        """Make all folders, empty."""
        run = self.run
        for name in self.images:
            front = run.shape[3:] if name == "image" else ()
            dtype = {"image": run.dtype, "index": np.uint16}.get(name, np.float32)
            image = self.image(name)
            image.create((*front, *run.shape[1:3]), dtype, run.plan.side, zarr_format)
            if self.levels:
                image.create_levels()
        self.scratch.mkdir(parents=True, exist_ok=True)

    def fused(self, reader: Reader, tile: Tile) -> Part:
        """Fuse one tile, and return what is left to be written."""
        return self.without_unfilled(tile, self.run.fuse(reader, tile))

    def without_unfilled(self, tile: Tile, part: Part) -> Part:
        """Write what heights are filled from, and return the rest: most of the bytes, which take the least time."""
        if self.fills_heights:
            self._pieces.write("unfilled", tile, part.unfilled)
        return replace(part, unfilled=_NOTHING)

    def write_part(self, tile: Tile, part: Part) -> Part:
        """Write image and index of a tile that was fused, and return what is told of it, without pixels."""
        pixels = np.moveaxis(part.image, -1, 0) if part.image.ndim == 3 else part.image
        self._write("image", tile, pixels)
        if "index" in self.images and not self.run.filling.tells_index:
            self._write("index", tile, part.index)
        return replace(part, image=_NOTHING, index=_NOTHING)

    def coarse_cells(self, tile: Tile, turn: int) -> Any:
        """Return a tile's own coarse cells in a round."""
        return tiled.coarse_of(self.run, tile, *self._seen(tile, turn, ROUND_PLANES))

    def refined(self, tile: Tile, turn: int, grid: Any) -> FloatImage:
        """Return a tile's heights, filled from the solved grid of a round."""
        return tiled.refined_of(self.run, tile, *self._seen(tile, turn, ROUND_PLANES), grid)

    def write_refined(self, tile: Tile, turn: int, filled: FloatImage) -> None:
        """Write what `refined` returned."""
        self._pieces.write(f"filled-{turn}", tile, filled)

    def maps(self, tile: Tile, adjust: Adjust | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return a tile's maps behind the last round; `adjust` makes of height and confidence the heights to keep."""
        unfilled, everywhere = self._seen(tile, self.rounds)
        if everywhere is None:
            raise AssertionError("heights are filled before their maps are made")
        maps = tiled.maps_of(self.run, tile, unfilled, everywhere)
        if adjust is not None:
            maps["height"] = adjust(maps["height"], maps["confidence"])
        return maps

    def write_maps(self, tile: Tile, maps: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write those of a tile's maps that are asked for and not written with its image."""
        for name in self.images:
            if name in maps:
                self._write(name, tile, maps[name])

    def _write(self, name: str, tile: Tile, pixels: np.ndarray[Any, Any]) -> None:
        image = self.image(name)
        image.write((..., *tile.core), pixels)
        if self.levels:
            image.write_levels(tile.core, pixels)

    def _seen(self, tile: Tile, turn: int, planes: int | None = None) -> tuple[FloatImage, FloatImage | None]:
        """Return what a tile sees of the unfilled map, or of its first planes, and of the round before this one."""
        pieces = self._pieces
        return pieces.seen("unfilled", tile, planes), pieces.seen(f"filled-{turn - 1}", tile) if turn else None

    @property
    def _pieces(self) -> TilePieces:
        return TilePieces(self.scratch, self.run)
