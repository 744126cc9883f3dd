"""Compares the mean of the slices with what the fused image makes expect of it, block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..kernels import run_tasks
from ..pyramid import FloatImage, laplacian_pyramid, size_of
from ..sampling import sample
from ..whole_image import Value
from .blocks import Block
from .sweep import FocalSweep, Ratio, SliceMean, SweepFilter

# Elements that numbers are taken from, of all blocks together.
_SAMPLED = 1 << 17

Move = Callable[[FloatImage, int, Block, FloatImage], None]
Pyramid = list[FloatImage]


@dataclass(frozen=True)
class _Compared:
    """What is kept of a comparison of a block, for numbers of the whole image.

    Attributes
    ----------
    expected : list of float32 arrays
        Of its window.
    samples : list of tuple
        Evenly spaced elements of what is seen and expected in its core, for every level.
    """

    expected: Pyramid
    samples: list[tuple[FloatImage, FloatImage]]


class Comparison(ABC):
    """One channel of a fused image, and its mean over the slices.

    Parameters
    ----------
    channel : int
    sharp : float32 array, shape (y, x)
        The fused image at half size.
    mean : SliceMean
    """

    # Begins the names of its numbers of the whole image.
    name: str
    # What the mean keeps of the fused image.
    _through: SweepFilter

    def __init__(self, channel: int, sharp: FloatImage, mean: SliceMean) -> None:
        self.channel, self.mean = channel, mean
        self._sharp = sharp
        self._ground = np.float32(self._number("ground", lambda: float(np.median(mean.sampled(channel)))))
        # Of all blocks, once a number of the whole image was taken. What is seen is made anew: it costs less than room.
        self._compared: list[_Compared | None] = []

    @abstractmethod
    def _expected(self, sweep: FocalSweep, number: int, sharp: FloatImage) -> FloatImage:
        """Return what is expected of the mean in the window of a block, from the fused image on a ground of 0."""

    @abstractmethod
    def _differences(self, block: Block, expected: Pyramid, seen: Pyramid) -> FloatImage:
        """Return what is seen more than expected, where that tells something; both are used up."""

    def correct(self, plane: FloatImage, move: Move) -> None:
        """Correct the fused image in place; `move(plane, channel, block, correction)` adds to a block at half size."""
        run_tasks(partial(self._correct, plane, move), range(len(self.mean.blocks)))

    def _correct(self, plane: FloatImage, move: Move, number: int) -> None:
        block, known = self.mean.blocks[number], None
        if self._compared:
            # Nobody asks twice.
            known, self._compared[number] = self._compared[number], None
        expected, seen = (known.expected, self._seen(number)) if known is not None else self._both(number)
        difference = self._differences(block, expected, seen)
        move(plane, self.channel, block, self._sweep(block).undone(difference, self._through))

    def _number(self, name: str, take: Callable[[], Value], at: str = "") -> Value:
        return self.mean.whole.number(f"{self.name}: {name} of channel {self.channel}{at}", take)

    def _sweep(self, block: Block) -> FocalSweep:
        return FocalSweep(size_of(self._sharp[block.window]), block.ends)

    def _seen(self, number: int) -> Pyramid:
        """Return the Laplacian pyramid of the mean in the window of a block."""
        seen = self.mean.of(self.channel, self.mean.blocks[number].window)
        seen -= self._ground
        return laplacian_pyramid(seen, self.mean.levels)

    def _both(self, number: int) -> tuple[Pyramid, Pyramid]:
        """Return the Laplacian pyramids of what is expected and seen in the window of a block."""
        block = self.mean.blocks[number]
        sharp = self._sharp[block.window] - self._ground
        expected = laplacian_pyramid(self._expected(self._sweep(block), number, sharp), self.mean.levels)
        return expected, self._seen(number)

    def _compare(self, number: int) -> _Compared:
        block, (expected, seen) = self.mean.blocks[number], self._both(number)
        most = max(_SAMPLED // len(self.mean.blocks), 1)

        def some(pyramid: Pyramid, level: int) -> FloatImage:
            return sample(np.ascontiguousarray(pyramid[level][block.inner(level)]), most).copy()

        return _Compared(expected, [(some(seen, level), some(expected, level)) for level in range(self.mean.levels)])

    def _ratio(self, level: int) -> Ratio:
        """Return the ratio of a level of what is seen to what is expected, in all of the image."""
        self._compared = self._compared or run_tasks(self._compare, range(len(self.mean.blocks)))
        samples = [one.samples[level] for one in self._compared if one is not None]
        seen, expected = (np.concatenate(of_blocks) for of_blocks in zip(*samples, strict=True))
        return Ratio.of(seen, expected)
