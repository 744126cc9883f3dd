"""What the tiles of a run keep for each other until its end: a file for each piece, written whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..pyramid import FloatImage
from ..tiled import Tile, TiledRun, pieces_seen


@dataclass(frozen=True)
class TilePieces:
    """Maps of unfilled heights and of their rounds, tile by tile.

    Files of plain numbers, which the system keeps in memory where it can: from Zarr, windows took four times as long to
    read. No two processes write to one file, and none is read before it is whole.

    Attributes
    ----------
    folder : Path
    run : TiledRun
    """

    folder: Path
    run: TiledRun

    def write(self, name: str, tile: Tile, piece: FloatImage) -> None:
        """Write a tile's own part of a map, shape (..., y, x)."""
        path = self._path(name, tile)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            np.save(file, piece)
        part.replace(path)

    def seen(self, name: str, tile: Tile, planes: int | None = None) -> FloatImage:
        """Return what a tile sees of a map; of one with planes, the first ones."""
        window: np.ndarray[Any, Any] | None = None
        for near, to, at in pieces_seen(self.run, tile):
            piece = np.load(self._path(name, near), mmap_mode="r")
            if piece.ndim == 3:
                piece = piece[:planes]
            if window is None:
                window = np.empty((*piece.shape[:-2], *self._seen_shape(tile)), np.float32)
            window[(..., *to)] = piece[(..., *at)]
        if window is None:
            raise AssertionError("a tile sees itself")
        return window

    def _seen_shape(self, tile: Tile) -> tuple[int, int]:
        y, x = (part.stop - part.start for part in self.run.map_window(tile))
        return y, x

    def _path(self, name: str, tile: Tile) -> Path:
        return self.folder / f"{name}-{tile.number}.npy"
