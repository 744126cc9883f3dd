"""`focus_stack`: from a stack to its result, reading ahead, estimating noise and alignment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .alignment.aligner import AlignmentEstimator
from .alignment.record import Alignment
from .errors import InputError
from .fusion import FUSION_METHODS
from .kernels import thread_count
from .noise import NoiseModel, estimate_noise
from .options import FocusStackOptions
from .result import FocusStackResult
from .second_compiler import second_compiler
from .slices import SliceKind, Slices, StackLike
from .stacker import FocusStacker

Outcome = TypeVar("Outcome")

# Reading them costs as much as reading them again; large slices have blocks enough in three.
_SLICES_FOR_NOISE, _FROM_LARGE_SLICES, _LARGE_PX = 5, 3, 1 << 23

# Each has a thread, and needs 5 bytes a pixel in gray, which a run has not used yet.
_MOST_LOOKED_AT_ONCE = 4

# Smaller slices are looked at one after the other: to wake a second thread takes 0.1 ms, as long as half a look.
_LOOKED_AT_ALONE_PX = 1 << 20


@dataclass(frozen=True)
class Progress:
    """How far a run is: `done` of `total` visits to a slice."""

    done: int
    total: int


def fused_at_once(
    stack: StackLike | Sequence[Any],
    rgb: bool | None = None,
    *,
    model: NoiseModel | None = None,
    alignment: Alignment | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> FocusStackResult:
    """Do what `focus_stack` does of stacks other than dask arrays."""
    chosen = FocusStackOptions.of(**options)
    return run_to_end(focus_stack_steps(stack, rgb, noise=model, options=chosen, alignment=alignment), progress)


def estimate_alignment(
    stack: StackLike | Sequence[Any],
    model: str = "similarity",
    match_brightness: str = "off",
    rgb: bool | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Alignment:
    """Find how the slices of a stack lie on each other; each is read once.

    Parameters
    ----------
    stack, rgb, progress
        As of `focus_stack`.
    model, match_brightness : str
        As the options `align` and `match_brightness`.

    Returns
    -------
    Alignment
        For `focus_stack`, also of other channels or time points; it can be saved.

    Examples
    --------
    >>> texture = np.random.default_rng(0).normal(128, 30, (128, 128)).repeat(2, 0).repeat(2, 1)
    >>> stack = np.stack([texture[8:200, 8 + 3 * k : 200 + 3 * k] for k in range(3)])
    >>> estimate_alignment(stack, "shift").shifts_px[:, 1].round(1).tolist()
    [3.0, 0.0, -3.0]
    """
    # The options check what they are given.
    chosen = FocusStackOptions.of(align=model, match_brightness=match_brightness)
    slices = Slices(stack, rgb)
    return run_to_end(_estimated(slices, chosen, len(slices)), progress)


def run_to_end(
    steps: Generator[Progress, None, Outcome], progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """Return what a generator of steps ends with; an exception, Ctrl-C included, closes it properly.

    Parameters
    ----------
    steps : generator
        Such as `focus_stack_steps`.
    progress : callable or None
        Called as ``progress(done, total)`` after every slice.
    """
    try:
        while True:
            step = next(steps)
            if progress is not None and step.done:
                progress(step.done, step.total)
    except StopIteration as finished:
        outcome: Outcome = finished.value
        return outcome
    finally:
        steps.close()


def focus_stack_steps(
    stack: StackLike | Sequence[Any],
    rgb: bool | None = None,
    *,
    noise: NoiseModel | None = None,
    options: FocusStackOptions | None = None,
    alignment: Alignment | None = None,
) -> Generator[Progress, None, FocusStackResult]:
    """Do what `focus_stack` does, giving control back after every slice.

    Parameters
    ----------
    stack, rgb
        As of `focus_stack`.
    noise : NoiseModel or None
        None estimates it from five evenly spaced slices.
    options : FocusStackOptions or None
        None takes the defaults.
    alignment : Alignment or None
        In place of the one that the options ask for, which costs a visit to every slice.

    Yields
    ------
    Progress
        After every visit to a slice. Closing the generator cancels the run.

    Returns
    -------
    FocusStackResult
        As the value of ``StopIteration``.
    """
    slices = Slices(stack, rgb)
    options = options or FocusStackOptions()
    with second_compiler(slices.kind.dtype.str, slices.kind.channels, asdict(options)):
        return (yield from _fused(slices, rgb, noise, options, alignment))


def _fused(
    slices: Slices,
    rgb: bool | None,
    noise: NoiseModel | None,
    options: FocusStackOptions,
    alignment: Alignment | None,
) -> Generator[Progress, None, FocusStackResult]:
    if noise is None:
        noise = stack_noise(slices)
    shape = (len(slices), *slices.kind.shape)
    estimating = alignment is None and (options.align != "none" or options.match_brightness != "off")
    total = len(slices) * (FUSION_METHODS[options.method].visits + estimating)
    if estimating:
        alignment = yield from _estimated(slices, options, total)
    stacker = FocusStacker(shape, options, noise, rgb=rgb, alignment=alignment)
    done = len(slices) if estimating else 0
    if slices.at_hand and stacker.looks_first:
        stacker.glimpse(slices[k] for k in range(len(slices)))
    if slices.at_hand and stacker.looks_first:
        alone = slices.kind.shape[0] * slices.kind.shape[1] < _LOOKED_AT_ALONE_PX
        at_once = 1 if alone else min(thread_count(), _MOST_LOOKED_AT_ONCE)
        for k in range(0, len(slices), at_once):
            stacker.look(*(slices[n] for n in range(k, min(k + at_once, len(slices)))))
            yield Progress(done, total)
    for k, image in read_ahead(slices):
        stacker.add(image, stays=slices.at_hand)
        # Not to be held while the next one is read, nor while the result is made.
        del image
        yield Progress(done + k + 1, total)
    if stacker.visits == 2:
        done += len(slices)
        for k, image in read_ahead(slices):
            stacker.revisit(k, image)
            del image
            yield Progress(done + k + 1, total)
    return stacker.result()


def _estimated(slices: Slices, options: FocusStackOptions, total: int) -> Generator[Progress, None, Alignment]:
    estimator = AlignmentEstimator(slices.kind, options.align, options.match_brightness)
    for k, image in read_ahead(slices):
        estimator.add(image)
        del image
        yield Progress(k + 1, total)
    return estimator.result()


def stacked(slices: Slices, stacker: FocusStacker) -> Generator[Progress, None, None]:
    """Add all slices to a stacker, giving control back after every one of them."""
    for k, image in read_ahead(slices):
        stacker.add(image)
        # Not to be held while the next one is read.
        del image
        yield Progress(k + 1, len(slices))


def slices_for_noise(slices: Slices) -> list[int]:
    """Return which slices the noise is taken from."""
    pixels = slices.kind.shape[0] * slices.kind.shape[1]
    return slices.evenly(_FROM_LARGE_SLICES if pixels > _LARGE_PX else _SLICES_FOR_NOISE)


def stack_noise(slices: Slices) -> NoiseModel:
    """Return the noise model of a stack, from five evenly spaced slices, or three of more than 8 Mpx.

    Raises
    ------
    InputError
        If no pixel of the stack is finite.
    """

    def colour(images: Iterator[npt.NDArray[Any]] | list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        return [slices.kind.checked(image)[..., : slices.kind.channels] for image in images]

    try:
        return estimate_noise(colour([slices[k] for k in slices_for_noise(slices)]))
    except InputError:
        for k in range(len(slices)):
            image = colour([slices[k]])
            if image[0].dtype.kind != "f" or np.isfinite(image[0]).any():
                return estimate_noise(image)
        raise InputError(
            f"no finite pixel in any of {len(slices)} slices, all are NaN or infinite; check the stack."
        ) from None


def memory_needed(shape: Sequence[int], dtype: npt.DTypeLike, options: FocusStackOptions | None = None) -> int:
    """Return about how many bytes a run needs above the stack itself, results included.

    Parameters
    ----------
    shape : sequence of int
        (z, y, x) or (z, y, x, c). The number of slices does not matter, but that two and three need a little more.
    dtype : numpy dtype
    options : FocusStackOptions or None

    Examples
    --------
    >>> memory_needed((300, 1024, 1024), np.uint16) == memory_needed((10, 1024, 1024), np.uint16)
    True
    """
    kind = SliceKind(tuple(shape)[1:], dtype)
    pixels = kind.shape[0] * kind.shape[1]
    denoise = bool(options and options.denoise > 0)
    # Not less than benchmarks/memory.py measures, two slices being read: 60 bytes a pixel for 16-bit gray,
    # 96 for 8-bit RGB; pixels beside rims are kept twice more.
    rims = bool(options and options.mend_rims)
    # Two means and the slice before; whole numbers are kept in 16 bits.
    following = kind.dtype.itemsize + 4 if kind.dtype.kind != "f" and kind.dtype.itemsize <= 2 else 12
    # The slice as it was put back, and the pixels it covers, with a pyramid of them.
    aligned = bool(options and options.aligns)
    per_channel = 12 + (3.2 + 2 * rims) * kind.dtype.itemsize + following + aligned * kind.dtype.itemsize
    shared = 35.4 + 20 * denoise + 5 * rims + 2.5 * aligned
    # Whole pixels of two or three slices are kept while all else is, too; two cannot be transparent.
    few = {2: 12, 3: 16}.get(shape[0], 0)
    return int(pixels * (per_channel * kind.channels + shared + few))


def warm_up() -> None:
    """Compile or load the kernels of the default method, so that the first run does not wait for them."""
    rng = np.random.default_rng(0)
    fused_at_once(rng.integers(0, 255, (3, 32, 32), np.uint8))
    fused_at_once(rng.integers(0, 255, (3, 32, 32), np.uint16))


def read_ahead(slices: Slices) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield the slices in order, the next being read while one is fused."""
    with ThreadPoolExecutor(1, thread_name_prefix="focus-stack-reader") as reader:
        ahead = deque([reader.submit(slices.__getitem__, 0)])
        for k in range(len(slices)):
            image = ahead.popleft().result()
            if k + 1 < len(slices):
                ahead.append(reader.submit(slices.__getitem__, k + 1))
            yield k, image
            del image
