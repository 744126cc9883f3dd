"""Fluorescence, where light adds up: corrects the fused image by the mean of all slices.

Where light adds, a thing in focus carries the blurred light of others above and
below, and two that cross are sharp in different slices: no choice among slices
gives their sum. But the mean of all slices holds all light, under one known
blur (`sweep`). The fused image is put through that blur; where the mean says
something else, by more than noise and an inexact blur explain, the difference
is sharpened and added. At half size, since the mean tells nothing finer.

How fast blur grows is measured: it is what makes isolated things, which are
fused rightly, look in the mean as they do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..kernels import run_tasks
from ..pyramid import FloatImage, reconstruct, reduce
from ..sampling import sample
from .blocks import Area, Block
from .comparison import Comparison, Move, Pyramid
from .sweep import FocalSweep, Ratio, SliceMean, SweepFilter, measured_growth

Heights = Callable[[], Callable[[Area], FloatImage]]

# Median as a share of the range: beads 0.01 to 0.02, surfaces 0.41 to 0.55.
_DARK, _BRIGHT = 0.1, 0.2

# Brightest hundredth of what is averaged over some 16 px, as a share of the range: beads 0.13 to 0.27, a solid
# thing before a dark ground, where light does not add, 0.57 to 0.87.
_SPARSE, _SOLID = 0.3, 0.45

# Spread of the mean over what is expected of it, between quartiles, summed over the two finest levels: beads 0.03
# to 0.12, up to 0.21 at high noise; solid things 0.29 to 1.9, since their slopes hide light.
_ALIKE, _UNLIKE = 0.22, 0.3

# Coarse light in the mean over what is expected: 0.75 to 1.07. A confocal microscope takes but little of it.
_CONSERVED, _LOST = 0.65, 0.5

# Blur from one end of the stack at the other, in px at a quarter of the size: 3.7 where beads gained 5 dB. Where it
# is 1.4 the ends weigh too much, and they lost 0.4.
_BLURRED_PX, _SHARP_PX = 3.2, 2.0

# Of the spread; what it explains is not evidence.
_SPREAD_FACTOR = 0.6

# A ratio is trusted where its spread is small beside this.
_TRUSTED_SPREAD = 0.05


class GlowingLight:
    """Corrects a fused image where light adds.

    Parameters
    ----------
    mean : SliceMean
    sure : bool
        Whether the user says that light adds; else the stack has to show it.
    """

    def __init__(self, mean: SliceMean, sure: bool) -> None:
        self._mean = mean
        self._sure = sure

    def expected(self, channels: int) -> bool:
        """Return whether there is a channel to correct, as far as the mean alone tells."""
        if self._sure:
            return True
        darkness = [self._number(f"dark ground of channel {c}", partial(self._darkness, c)) for c in range(channels)]
        return any(dark > 0 for dark in darkness)

    def _darkness(self, channel: int) -> float:
        return _darkness(self._mean.of(channel))

    def _number(self, name: str, take: Callable[[], float]) -> float:
        return self._mean.whole.number(f"glow: {name}", take)

    def correct(self, image: FloatImage, heights: Heights, move: Move) -> bool:
        """Correct a fused image in place; return whether any channel was.

        Parameters
        ----------
        image : float32 array, shape (c, y, x)
            Scaled.
        heights : callable
            Gives what gives where a window at half size is in focus, in slices; asked for only where light adds.
        move : callable
            ``move(plane, channel, block, correction)`` adds a correction of a block's window, at half size, to a plane.
        """
        corrected = False
        in_focus: list[FloatImage] = []
        for c, plane in enumerate(image):
            half = reduce(plane)
            share = 1.0 if self._sure else self._number(f"share of channel {c}", partial(_likely_share, half))
            if share > 0:
                in_focus = in_focus or run_tasks(heights(), [block.window for block in self._mean.blocks])
                light = _ChannelLight(c, half, in_focus, self._mean)
                if not self._sure:
                    share *= light.likely_share()
                if share > 0:
                    light.share = np.float32(share)
                    light.correct(plane, move)
                    corrected = True
        return corrected


class _ChannelLight(Comparison):
    name = "glow"
    share = np.float32(1)

    def __init__(self, channel: int, sharp: FloatImage, heights: list[FloatImage], mean: SliceMean) -> None:
        super().__init__(channel, sharp, mean)
        self._heights = heights
        self._growth = self._number("growth", self._own_growth)
        self._through = SweepFilter.of(mean.count, 2 * self._growth)
        self._ratios = [
            Ratio(*self._number("ratio", partial(self._numbers_of_ratio, level), f", level {level}"))
            for level in range(mean.levels)
        ]

    def _numbers_of_ratio(self, level: int) -> tuple[float, ...]:
        return self._ratio(level).as_tuple()

    def _own_growth(self) -> float:
        height = np.empty_like(self._sharp)
        for block, seen in zip(self.mean.blocks, self._heights, strict=True):
            height[block.core] = seen[block.inner()]
        mean = reduce(self.mean.of(self.channel) - self._ground)
        return measured_growth(mean, reduce(self._sharp - self._ground), height[::2, ::2], self.mean.count)

    def likely_share(self) -> float:
        """Return how far the mean shows that light adds, 0 to 1."""
        share = _fade(self._ratios[0].spread + self._ratios[1].spread, _ALIKE, _UNLIKE)
        share *= _fade(-self._ratios[-1].median, -_CONSERVED, -_LOST)
        return share * _fade(-self._growth * self.mean.count, -_BLURRED_PX, -_SHARP_PX)

    def _expected(self, sweep: FocalSweep, number: int, sharp: FloatImage) -> FloatImage:
        return sweep.seen(sharp, self._heights[number], self._through)

    def _differences(self, block: Block, expected: Pyramid, seen: Pyramid) -> FloatImage:
        mean = self.mean.of(self.channel, block.window)
        for level, ratio in enumerate(self._ratios):
            misfit = (_SPREAD_FACTOR * ratio.spread) ** 2
            seen[level] = self._kept(level, seen[level], expected[level], mean, misfit, ratio=_trusted(ratio))
            mean = reduce(mean)
        seen[-1] -= np.float32(_trusted(self._ratios[-1])) * expected[-1]
        return self.share * reconstruct(seen)


def _likely_share(half: FloatImage) -> float:
    return _darkness(half) * _sparseness(half)


def _trusted(ratio: Ratio) -> float:
    """Return the median where the ratio is everywhere alike, else what is nearer to 1."""
    return 1 + (ratio.median - 1) / (1 + (ratio.spread / _TRUSTED_SPREAD) ** 2)


def _fade(value: float, full: float, none: float) -> float:
    """Return 1 up to `full`, falling to 0 at `none`."""
    return float(np.clip((none - value) / (none - full), 0, 1))


def _darkness(image: FloatImage) -> float:
    """Return how far the ground is dark, 0 to 1."""
    low, middle, high = np.percentile(sample(image), (0.1, 50, 99.9))
    return _fade((middle - low) / max(high - low, 1e-30), _DARK, _BRIGHT) if high > low else 0.0


def _sparseness(image: FloatImage) -> float:
    """Return how far what is bright is small, 0 to 1."""
    middle, high = np.percentile(sample(image), (50, 99.9))
    around = np.percentile(reduce(reduce(reduce(image))), 99)
    return _fade((around - middle) / max(high - middle, 1e-30), _SPARSE, _SOLID) if high > middle else 0.0
