"""Where the results of a stack belong in the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .layers import LayerStack, full_resolution

if TYPE_CHECKING:
    from napari.layers import Image


@dataclass(frozen=True)
class Placement:
    """Where results belong in the world.

    Attributes
    ----------
    keywords : dict
        ``scale``, ``translate``, ``rotate``, ``shear``, ``affine``, ``units`` and
        ``axis_labels``: attributes of a layer, and keywords of its constructor.
    dropped : str
        A sentence on what of the stack's own position could not be kept, or "".
    """

    keywords: dict[str, Any]
    dropped: str = ""


def place_results(layer: Image, focus_axis: int, origin: tuple[int, int] = (0, 0)) -> Placement:
    """Return where the results of `layer`, fused along `focus_axis`, belong; `origin` is their first pixel in a slice.

    Where results keep the focus axis, their one voxel spans the stack and nothing is
    lost. Where they lose it, what mixes it with y or x has to go; the result then
    lies where the middle of the stack is.
    """
    stack = LayerStack.of(layer, focus_axis)
    if stack.keeps_focus_axis:
        keywords = _spanning_voxel(layer, focus_axis)
        return Placement(_moved(keywords, stack.result_plane_axes, origin))
    placement = _flat(layer)
    return Placement(_moved(placement.keywords, stack.result_plane_axes, origin), placement.dropped)


def _moved(keywords: dict[str, Any], plane_axes: tuple[int, int], origin: tuple[int, int]) -> dict[str, Any]:
    offset = np.zeros(len(keywords["scale"]))
    offset[list(plane_axes)] = origin
    own = keywords["rotate"] @ keywords["shear"] @ np.diag(keywords["scale"])
    return {**keywords, "translate": keywords["translate"] + own @ offset}


def _flat(layer: Image) -> Placement:
    keep = [1, 2]
    shear = square_shear(layer)
    affine = layer.affine.affine_matrix
    keywords: dict[str, Any] = {
        "scale": layer.scale[keep],
        "translate": layer.translate[keep],
        "rotate": _nearest_rotation(layer.rotate[np.ix_(keep, keep)]),
        "shear": shear[np.ix_(keep, keep)],
        "affine": affine[1:, 1:],
        **_labels(layer, keep),
    }
    mixing = [
        name
        for name, matrix in (("rotation", layer.rotate), ("shear", shear), ("affine", affine[:-1, :-1]))
        if _mixes(matrix)
    ]
    if not mixing:
        return Placement(keywords)
    keywords["translate"] = _centred_translation(layer, keywords)
    parts = " and ".join(mixing)
    return Placement(
        keywords, f"The stack's {parts} tilts z against y or x: that part was left out of the 2-D results."
    )


def _labels(layer: Image, axes: list[int]) -> dict[str, Any]:
    return {
        "units": tuple(layer.units[axis] for axis in axes),
        "axis_labels": tuple(layer.axis_labels[axis] for axis in axes),
    }


def square_shear(layer: Image) -> npt.NDArray[np.float64]:
    """Return the shear of a layer as a matrix, whichever way napari holds it."""
    shear = np.asarray(layer.shear, float)
    if shear.ndim == 2:
        return shear
    square = np.eye(layer.ndim)
    square[np.triu_indices(layer.ndim, 1)] = shear
    return square


def own_transform(layer: Image) -> npt.NDArray[np.float64]:
    """Return rotation, shear and scale as one matrix, as napari multiplies them."""
    return np.asarray(layer.rotate @ square_shear(layer) @ np.diag(layer.scale))


def _spanning_voxel(layer: Image, focus_axis: int) -> dict[str, Any]:
    slices = full_resolution(layer).shape[focus_axis]
    scale = np.array(layer.scale, float)
    scale[focus_axis] *= slices
    return {
        "scale": scale,
        "translate": layer.translate + own_transform(layer)[:, focus_axis] * (slices - 1) / 2,
        "rotate": np.array(layer.rotate),
        "shear": square_shear(layer),
        "affine": layer.affine.affine_matrix,
        **_labels(layer, list(range(layer.ndim))),
    }


def _mixes(matrix: npt.NDArray[np.float64]) -> bool:
    """Return whether the first axis of a 3 x 3 matrix is mixed with the others."""
    return not np.allclose([*matrix[0, 1:], *matrix[1:, 0]], 0, atol=1e-9)


def _nearest_rotation(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)


def _centred_translation(layer: Image, keywords: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Return the translation that puts the centre of a 2-D result over the centre of its stack."""
    centre = (np.array(full_resolution(layer).shape[:3]) - 1) / 2
    target = np.array(layer.data_to_world(centre))[1:]
    affine = keywords["affine"]
    before_affine = np.linalg.solve(affine[:-1, :-1], target - affine[:-1, -1])
    own = keywords["rotate"] @ keywords["shear"] @ np.diag(keywords["scale"])
    return np.asarray(before_affine - own @ centre[1:])
