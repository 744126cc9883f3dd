"""Heights of a large image, filled part by part: first on a coarse grid of the whole, then finely in parts.

A height that its own pixels do not tell is taken from around, however far. What
`pyramid.push_pull` does at once on an image in memory is done here in rounds: every
part gives its coarse cells, the whole grid of them is solved, and every part goes
on from there. With enough around each part the pixels are the same, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..height.peaks import TELLING, HeightMaps, doubled, repeated
from ..height.regularisation import SLOPE_PASSES, broadly, calmed, calmed_smooth, confidence_from_around, smoothed
from ..pyramid import FloatImage, pulled, push_pull, pushed
from ..transparent.phase import full_maps, half_way

OWN, KNOWN, WEIGHT, CONFIDENCE, EVIDENCE, INDEX = range(6)

# The first ones are all that the rounds need.
ROUND_PLANES = 2

# What an unfilled map holds; and, where only some regions are transparent, where they are, and their own maps.
PLANES, _PLANES_WITH_OTHER = 6, 10
_OTHER, _OTHER_HEIGHT, _OTHER_CONFIDENCE, _OTHER_INDEX = range(6, 10)

# A coarse cell is two to the power of this wide, in px of the map.
COARSE_LEVELS = 5

# How far the rounds, and what comes after them, look around, in px of the map: pulling and pushing each
# reach twice a cell, the broad view 32, planes and medians less than 16.
REACH_PX = 4 * (1 << COARSE_LEVELS) + 32 + 16


@dataclass(frozen=True)
class HeightFilling:
    """How the heights of one image are filled.

    Attributes
    ----------
    slices : int
    depth_of_focus : float
        In slices.
    transparent : bool
        Whether the map is one of a transparent specimen, at a quarter of the size; else it has half the size.
    mixed : bool
        Whether some regions are transparent, and others are not.
    of_change : bool
        Whether the peak of a transparent specimen is one of change, half way between slices.
    fill : bool
    smoothing_px : float
        The options `fill_height` and `height_smoothing_px`.
    """

    slices: int
    depth_of_focus: float
    transparent: bool = False
    mixed: bool = False
    of_change: bool = False
    fill: bool = True
    smoothing_px: float = 0.0

    @property
    def planes(self) -> int:
        """How many planes an unfilled map has."""
        return _PLANES_WITH_OTHER if self.mixed else PLANES

    @property
    def scale(self) -> int:
        """Pixels of a slice along a pixel of the map."""
        return 4 if self.transparent else 2

    @property
    def tells_index(self) -> bool:
        """Whether the index comes with the heights; of a specimen that is opaque everywhere it comes with the image."""
        return self.transparent or self.mixed

    @property
    def rounds(self) -> int:
        """How often the grid is solved."""
        return 1 if self.transparent else 1 + SLOPE_PASSES

    @property
    def reach_px(self) -> int:
        """How far a part must see around itself, in px of the map."""
        # Passes of `smoothed` look at twice their step, four at each: 7 standard deviations in all.
        return REACH_PX + int(np.ceil(8 * self.smoothing_px / self.scale))

    def coarse_cells(self, unfilled: FloatImage, everywhere: FloatImage | None) -> tuple[FloatImage, FloatImage]:
        """Return the value of every coarse cell, and how far it is known.

        Parameters
        ----------
        unfilled : float32 array, shape (planes, y, x)
            Of a part that begins with a cell; the first `ROUND_PLANES` do.
        everywhere : float32 array, shape (y, x), or None
            What the round before gave; None in the first.
        """
        left = unfilled[OWN] if everywhere is None else unfilled[OWN] - broadly(everywhere)
        values, trusts = pulled(left, unfilled[KNOWN], COARSE_LEVELS)
        return values[-1], trusts[-1]

    def refined(self, unfilled: FloatImage, everywhere: FloatImage | None, coarse: FloatImage | None) -> FloatImage:
        """Return heights everywhere in a part, from the solved cells of the part; None where no height is known."""
        broad = None if everywhere is None else broadly(everywhere)
        left = unfilled[OWN] if broad is None else unfilled[OWN] - broad
        if coarse is None:
            filled = left.copy()
        else:
            values, trusts = pulled(left, unfilled[KNOWN], COARSE_LEVELS)
            filled = pushed(coarse, values[:-1], trusts)
        if broad is not None:
            filled += broad
        return filled

    def maps(
        self, unfilled: FloatImage, everywhere: FloatImage, shape: tuple[int, int], core: tuple[slice, slice]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return height and confidence of the core of a part, at full size, and its index where this tells it.

        Parameters
        ----------
        unfilled, everywhere : float32 array
            As of `refined`, and what its last round gave.
        shape : tuple of int
            (y, x) of the part, in px.
        core : tuple of slice
            Rows and columns in it, in px; they begin with a pixel of the map.
        """
        height, confidence = self._height(unfilled, everywhere)
        if self.smoothing_px > 0:
            smoothing_px = self.smoothing_px / self.scale
            height = smoothed(height, confidence + np.float32(1e-3), smoothing_px, self.depth_of_focus)
        # Of changes there is one less.
        np.clip(height, 0, max(self.slices - 1 - self.of_change, 0), out=height)
        if not self.fill:
            unknown = (unfilled[KNOWN] <= 0) | (not self.transparent) & (unfilled[CONFIDENCE] < TELLING)
            height[unknown] = np.nan
        if self.transparent:
            return self._maps_of_quarters(unfilled[INDEX], height, confidence, shape, core)
        index = unfilled[INDEX]
        if self.mixed:
            where = unfilled[_OTHER] > 0
            index = np.where(where, unfilled[_OTHER_INDEX], index)
            np.copyto(height, unfilled[_OTHER_HEIGHT], where=where)
            confidence = np.where(where, unfilled[_OTHER_CONFIDENCE], confidence)
        size = tuple(c.stop - c.start for c in core)
        # One more row and column than are its own, where there are: the last odd pixels lie between.
        own = tuple(slice(c.start // 2, c.stop // 2 + 1) for c in core)
        maps = {
            name: doubled(np.ascontiguousarray(one[own]), size)
            for name, one in (("height", height), ("confidence", confidence))
        }
        return maps | ({"index": repeated(index[own].astype(np.uint16), size)} if self.tells_index else {})

    def _maps_of_quarters(
        self,
        index: FloatImage,
        height: FloatImage,
        confidence: FloatImage,
        shape: tuple[int, int],
        core: tuple[slice, slice],
    ) -> dict[str, npt.NDArray[Any]]:
        half_shape = (shape[0] + 1) // 2, (shape[1] + 1) // 2
        half = HeightMaps(
            repeated(index.astype(np.uint16), half_shape), doubled(height, half_shape), doubled(confidence, half_shape)
        )
        maps = full_maps(half_way(half, self.slices) if self.of_change else half, shape, self.slices)
        return {name: getattr(maps, name)[core].copy() for name in ("index", "height", "confidence")}

    def _height(self, unfilled: FloatImage, everywhere: FloatImage) -> tuple[FloatImage, FloatImage]:
        if self.transparent:
            confidence = unfilled[CONFIDENCE]
            return calmed_smooth(everywhere, confidence, self.depth_of_focus), confidence
        height = calmed(everywhere, unfilled[WEIGHT], self.depth_of_focus)
        if not self.fill:
            return height, unfilled[CONFIDENCE]
        evidence = unfilled[EVIDENCE]
        around = confidence_from_around(np.maximum(evidence, 0) * unfilled[KNOWN], self.depth_of_focus)
        confidence = np.maximum(unfilled[CONFIDENCE], around)
        confidence[evidence < 0] = 0
        return height, confidence


def solved(values: FloatImage, trusts: FloatImage) -> FloatImage | None:
    """Return the coarse cells of the whole image, those not known filled from around; None if none is known."""
    return push_pull(values, trusts) if np.any(trusts > 0) else None
