"""Compares the mean of the slices with what the fused image makes expect of it, block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ..kernels import kernel, run_bands, run_tasks
from ..pyramid import FloatImage, blur_column, blur_line, laplacian_pyramid, size_of
from ..sampling import sample
from ..whole_image import Value
from .blocks import Block
from .sweep import FocalSweep, Ratio, SliceMean, SweepFilter

# Elements that numbers are taken from, of all blocks together.
_SAMPLED = 1 << 17

# Noise that is not evidence, in units of its variance.
_NOISE_FACTOR = 1.5

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
        self._ground = np.float32(self._number("ground", lambda: float(np.median(self._sampled))))
        # Of all blocks, once a number of the whole image was taken. What is seen is made anew: it costs less than room.
        self._compared: list[_Compared | None] = []

    @abstractmethod
    def _expected(self, sweep: FocalSweep, number: int, sharp: FloatImage) -> FloatImage:
        """Return what is expected of the mean in the window of a block, from the fused image on a ground of 0."""

    @abstractmethod
    def _differences(self, block: Block, expected: Pyramid, seen: Pyramid) -> FloatImage:
        """Return what is seen more than expected, where that tells something; both are used up."""

    @cached_property
    def _sampled(self) -> FloatImage:
        """Evenly spaced elements of the mean."""
        return self.mean.sampled(self.channel)

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

    def _kept(
        self,
        level: int,
        seen: FloatImage,
        expected: FloatImage,
        mean: FloatImage,
        misfit: float,
        *,
        ratio: float = 1.0,
        no_more: bool = False,
    ) -> FloatImage:
        """Return of a level what is seen more than expected, and neither noise at the `mean` nor a misfit explains.

        Parameters
        ----------
        misfit : float
            Variance of the usual misfit, as a share of the energy that is expected.
        ratio : float
            Of what is expected to `expected`.
        no_more : bool
            Whether more than all that is expected is nothing either.
        """
        out = np.empty_like(seen)
        numbers = [np.float32(n) for n in (*self.mean.noise_line(self.channel, level), _NOISE_FACTOR, misfit, ratio)]
        run_bands(_kept_band, *seen.shape, seen, expected, mean, *numbers, no_more, out)
        return out

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


@kernel
def _kept_band(  # type: ignore[no-untyped-def]
    seen, expected, mean, gain, offset, least, factor, misfit, ratio, no_more, out, first, last
):
    """Keep of a difference what stands out of the energy around: a Wiener filter."""
    h, w = seen.shape
    squares = np.empty((2, 5, w), np.float32)
    line = np.empty(w, np.float32)
    around = np.empty((2, w), np.float32)
    made = max(first - 2, 0) - 1
    for y in range(first, last):
        while made < min(y + 2, h - 1):
            made += 1
            there = expected[made]
            more = seen[made]
            possible = squares[0, made % 5]
            energy = squares[1, made % 5]
            for x in range(w):
                possible[x] = there[x] * there[x]
                off = more[x] - ratio * there[x]
                energy[x] = off * off
        for n in range(2):
            blur_column(squares[n], y, h, 5, line)
            blur_line(line, around[n])
        there = expected[y]
        more = seen[y]
        level = mean[y]
        target = out[y]
        possible = around[0]
        energy = around[1]
        for x in range(w):
            total = max(energy[x], np.float32(1e-30))
            noise = max(gain * level[x] + offset, least) * factor
            share = max(np.float32(1) - (noise + misfit * possible[x]) / total, np.float32(0))
            if no_more:
                share *= min(possible[x] / total, np.float32(1))
            target[x] = (more[x] - ratio * there[x]) * share
