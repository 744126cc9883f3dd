"""The interface of a fusion method: it takes slices one at a time, and gives an image when asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..height.peaks import HeightMaps, PeakTracker
from ..noise import NoiseModel
from ..transparent.phase import PhaseTracker
from ..whole_image import Whole


@dataclass(frozen=True)
class FusionSetting:
    """What a method is told before the first slice.

    Attributes
    ----------
    slices : int
        How many there will be.
    channels : int
        Colour channels of a slice; alpha is not one of them.
    dtype : numpy.dtype
        Of the stack and of the result.
    noise : NoiseModel
    analysis : SliceAnalysis
        The analysis whose `load` is called before every `add`.
    phase : PhaseTracker or None
        Tells transparent specimens. None for opaque ones.
    glowing : PeakTracker or None
        Tells heights where the light of things may add; its `add` is called after every `add`. None where
        it does not.
    surely_glowing : bool
        Whether the user says so.
    surely_transparent : bool
        Whether all of the specimen is known to be transparent.
    z_preference, denoise : float
        The options of these names.
    whole : Whole
        The image that the slices may be a part of.
    """

    slices: int
    channels: int
    dtype: np.dtype[Any]
    noise: NoiseModel
    analysis: SliceAnalysis
    phase: PhaseTracker | None = None
    glowing: PeakTracker | None = None
    surely_glowing: bool = False
    surely_transparent: bool = False
    z_preference: float = 0.0
    denoise: float = 0.0
    whole: Whole = field(default_factory=Whole)

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of a slice."""
        return self.analysis.shapes[0]


class Accumulator(Protocol):
    """A method at work. Its memory must not grow with the number of slices."""

    def __init__(self, setting: FusionSetting) -> None: ...

    def add(self, k: int, image: npt.NDArray[Any], analysis: SliceAnalysis) -> None:
        """Take in slice k: contiguous, shape (y, x, c), and its analysis."""

    def image(self) -> npt.NDArray[Any]:
        """Return the fused image of the slices so far, shape (y, x, c); adding may go on."""


class SecondVisit(Accumulator, Protocol):
    """A method that needs every slice once more, after it has decided."""

    def decide(self, maps: HeightMaps) -> None:
        """Choose a slice for every pixel; called after the last `add`."""

    def revisit(self, k: int, image: npt.NDArray[Any], covered: npt.NDArray[np.bool_] | None = None) -> None:
        """Take in slice k again, and which pixels it covers; None for all of them."""
