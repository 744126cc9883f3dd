"""Turns a height map into a surface of triangles, thinned where it is large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .pyramid import FloatImage

# 512 x 512 vertices take napari some 2 s to show, 1024 x 1024 take 6 s.
MOST_VERTICES = 512 * 512


@dataclass(frozen=True)
class Mesh:
    """A surface over the pixels of a height map.

    Attributes
    ----------
    vertices : float32 array, shape (n, 3)
        (z, y, x): the height in the map's unit, the place in px.
    faces : int32 array, shape (m, 3)
    texture_places : float32 array, shape (n, 2)
        (u, v) of every vertex in an image as large as the map; v from the bottom.
    step_px : int
        Pixels from vertex to vertex.
    """

    vertices: npt.NDArray[np.float32]
    faces: npt.NDArray[np.int32]
    texture_places: npt.NDArray[np.float32]
    step_px: int


def height_mesh(height: FloatImage, most_vertices: int = MOST_VERTICES) -> Mesh:
    """Return the surface of a height map.

    Parameters
    ----------
    height : float array, shape (y, x)
        NaN leaves a hole.
    most_vertices : int
        More are thinned: a vertex has the median of the known heights around it.

    Examples
    --------
    >>> mesh = height_mesh(np.array([[1, 2], [3, 4]], np.float32))
    >>> mesh.vertices.tolist(), len(mesh.faces)
    ([[1.0, 0.0, 0.0], [2.0, 0.0, 1.0], [3.0, 1.0, 0.0], [4.0, 1.0, 1.0]], 2)
    """
    step = 1
    while ((height.shape[0] - 1) // step + 1) * ((height.shape[1] - 1) // step + 1) > most_vertices:
        step += 1
    y, x = (np.arange(0, n, step) for n in height.shape)
    # The last row and column belong to the surface, or it would be smaller than the image.
    y, x = (np.append(at, n - 1) if at[-1] != n - 1 else at for at, n in zip((y, x), height.shape, strict=True))
    heights = _thinned(height, y, x, step)
    yy, xx = np.meshgrid(y, x, indexing="ij")
    vertices = np.stack([heights, yy, xx], axis=-1).reshape(-1, 3).astype(np.float32)
    number = np.arange(len(y) * len(x), dtype=np.int32).reshape(len(y), len(x))
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([b, d, c], axis=1)])
    known = np.isfinite(vertices[:, 0])
    if not known.all():
        faces = faces[known[faces].all(axis=1)]
        vertices[~known, 0] = np.nanmedian(vertices[:, 0]) if known.any() else 0
    places = np.stack([(xx + 0.5) / height.shape[1], 1 - (yy + 0.5) / height.shape[0]], axis=-1)
    return Mesh(vertices, faces, places.reshape(-1, 2).astype(np.float32), step)


def _thinned(height: FloatImage, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], step: int) -> FloatImage:
    if step == 1:
        return height
    reach = step // 2
    # A few pixels around each vertex: no single wrong one becomes a spike.
    around = []
    for dy in (-reach, 0, reach):
        for dx in (-reach, 0, reach):
            rows, columns = (
                np.clip(at + by, 0, n - 1) for at, by, n in zip((y, x), (dy, dx), height.shape, strict=True)
            )
            around.append(height[np.ix_(rows, columns)])
    stacked = np.stack(around)
    known = np.isfinite(stacked).any(axis=0)
    return np.where(known, np.nanmedian(np.where(known, stacked, 0), axis=0), np.nan).astype(np.float32)
