"""What is decided once for a whole image, so that all of its tiles decide alike."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..auto_choices import Chosen
from ..noise import NoiseModel, estimate_noise
from ..options import FocusStackOptions
from ..pipeline import Progress, memory_needed, run_to_end, slices_for_noise, stack_noise, stacked
from ..run import chosen_levels
from ..slices import SliceKind, Slices
from ..stacker import FocusStacker
from ..whole_image import Number, Whole
from .filling import HeightFilling
from .patches import Sample
from .plan import BASE_BYTES
from .readers import read_whole, reader_of


@dataclass(frozen=True)
class Decisions:
    """What is decided once for a whole image; plain numbers that go into files and to other machines.

    Attributes
    ----------
    noise : NoiseModel
    numbers : mapping of str to float or tuple of float
        Of `whole_image.Whole`.
    chosen : mapping of str to Chosen
        What "auto" chose.
    """

    noise: NoiseModel
    numbers: Mapping[str, Number]
    chosen: Mapping[str, Chosen] = field(default_factory=dict)

    @property
    def transparent(self) -> float:
        """How far any of the specimen is a transparent one, 0 to 1."""
        return self._number("phase: largest share")

    @property
    def mean_transparent(self) -> float:
        """What share of the specimen is a transparent one, 0 to 1."""
        return self._number("phase: mean share")

    @property
    def in_part(self) -> bool:
        """Whether a part of the specimen is a transparent one, and a part is not."""
        return self.transparent > 0 and self._number("phase: smallest share") < 1

    def filling(self, options: FocusStackOptions, slices: int) -> HeightFilling:
        """Return how heights are filled."""
        transparent = self._number("phase: smallest share") > 0.5
        stained = transparent and self._number("phase: stain") > 0.5
        name = "height" if not transparent else "contrast" if stained else "change"
        return HeightFilling(
            slices=slices,
            depth_of_focus=self._number(f"{name}: depth of focus"),
            transparent=transparent,
            mixed=not transparent and self.transparent > 0.5,
            of_change=transparent and not stained,
            fill=options.fill_height,
            smoothing_px=options.height_smoothing_px,
        )

    def _number(self, name: str) -> float:
        number = self.numbers.get(name, 0.0)
        return number if isinstance(number, (int, float)) else number[0]


def decide(stack: Any, rgb: bool | None, options: FocusStackOptions, memory: int) -> Decisions:
    """Take from a stack what tiles cannot know by themselves.

    From all of it where a run in memory fits the budget: tiles then give the pixels of that run.
    Else from 16 patches of 512 x 512 px, evenly spread and blended into one image.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c)
    rgb : bool or None
    options : FocusStackOptions
    memory : int
        In bytes.
    """
    return run_to_end(decide_steps(stack, rgb, options, memory))


def decide_steps(
    stack: Any, rgb: bool | None, options: FocusStackOptions, memory: int
) -> Generator[Progress, None, Decisions]:
    """Do what `decide` does, giving control back after every slice."""
    slices = Slices(stack, rgb)
    kind, count = slices.kind, len(slices)
    height, width = kind.shape[:2]
    options = replace(options, levels=chosen_levels(options, height, width))
    if BASE_BYTES + memory_needed((count, *kind.shape), kind.dtype, options) <= memory:
        noise = stack_noise(slices)
    else:
        sample = Sample(reader_of(stack), kind, count, whole=read_whole(stack))
        patches = [patch for k in slices_for_noise(slices) for patch in sample.patches(k)]
        colours = [_kind_of_patch(patch, kind).checked(patch)[..., : kind.channels] for patch in patches]
        noise = estimate_noise([colour for colour in colours if np.isfinite(colour).any()] or colours)
        slices = Slices(sample, rgb)
    stacker = FocusStacker((count, *slices.kind.shape), options, noise, rgb=rgb, whole=Whole())
    yield from stacked(slices, stacker)
    result = stacker.result()
    numbers = dict(stacker.whole.taken)
    if slices.kind.shape != kind.shape and "whole pixels: smallest region" in numbers:
        area = slices.kind.shape[0] * slices.kind.shape[1]
        smallest = float(numbers["whole pixels: smallest region"])  # type: ignore[arg-type]
        numbers["whole pixels: smallest region"] = smallest * height * width / area
    return Decisions(result.noise, numbers, result.chosen)


def _kind_of_patch(patch: npt.NDArray[Any], like: SliceKind) -> SliceKind:
    """Return the kind of a part of a slice."""
    kind = SliceKind(patch.shape, patch.dtype, like.alpha or None)
    kind.channels, kind.alpha = like.channels, like.alpha
    return kind
