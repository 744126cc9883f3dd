"""The records that a run returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .alignment.record import Alignment
from .auto_choices import Chosen
from .noise import NoiseModel
from .options import FocusStackOptions
from .sharpness import SharpnessReport


@dataclass(frozen=True)
class FocusStackResult:
    """What a run gives.

    Attributes
    ----------
    image : array, shape (y, x) or (y, x, c), dtype of the stack
        Sharp everywhere. Alpha, where there is one, is opaque.
    index : uint16 array, shape (y, x)
        The slice that is sharpest at each pixel.
    height : float32 array, shape (y, x)
        Position of the sharpest focus between slices, in slices.
    confidence : float32 array, shape (y, x)
        0 where nothing tells the height, 1 where it is sure: no larger than the share of heights
        within one slice of the truth, as measured on scenes.
    sharpness : SharpnessReport
        The chosen measure of every slice and of the result.
    noise : NoiseModel
        The noise model that was used, in gray levels.
    options : FocusStackOptions
    transparent : float
        What share of the specimen was treated as a transparent one in bright field, 0 to 1: what
        ``light="auto"`` found.
    warnings : tuple of str
        What the user should know, a sentence each.
    chosen : dict of str to Chosen
        What "auto" chose, for every option that was left to the stack.
    alignment : Alignment or None
        What was taken out of the slices before they were fused.
    origin : tuple of int
        Where in a slice the first pixel of the results lies, along y and x: not (0, 0) where they were cropped.

    Examples
    --------
    >>> from napari_focus_stack import focus_stack
    >>> rng = np.random.default_rng(0)
    >>> result = focus_stack(rng.integers(0, 255, (3, 32, 40), np.uint8))
    >>> result.image.dtype, result.index.shape, bool(0 <= result.confidence.min() <= result.confidence.max() <= 1)
    (dtype('uint8'), (32, 40), True)
    """

    image: npt.NDArray[Any]
    index: npt.NDArray[np.uint16]
    height: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    sharpness: SharpnessReport
    noise: NoiseModel
    options: FocusStackOptions
    transparent: float = 0.0
    warnings: tuple[str, ...] = ()
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    alignment: Alignment | None = None
    origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class Part:
    """What the run of a part of an image gives, of the pixels it answers for.

    Attributes
    ----------
    image : array, shape (y, x) or (y, x, c), dtype of the stack
    index : uint16 array, shape (y, x)
        Of an opaque specimen.
    unfilled : float32 array, shape (planes, y, x), at half or a quarter of the size
        Of the height, for `tiled.filling`.
    per_slice, fused : tuples of float
        What the sharpness of every slice and of the fused image is made of: `whole_sharpness`.
    warnings : tuple of str
    """

    image: npt.NDArray[Any]
    index: npt.NDArray[np.uint16]
    unfilled: npt.NDArray[np.float32]
    per_slice: tuple[tuple[float, ...], ...]
    fused: tuple[float, ...]
    warnings: tuple[str, ...]
