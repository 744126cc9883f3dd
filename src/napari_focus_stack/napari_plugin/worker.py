"""A run: every position of a layer fused in a thread, one at a time, and stopped at the next slice."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.qt.threading import GeneratorWorker, create_worker

from ..errors import InputError
from ..options import FocusStackOptions
from .layers import LayerStack, Position
from .pace import Pace
from .preview import Preview, PreviewMaker, PreviewPlan

if TYPE_CHECKING:
    from ..alignment.record import Alignment
    from ..auto_choices import Chosen
    from ..noise import NoiseModel
    from ..sharpness import SharpnessReport

# How often a run looks whether it may begin, in s.
_LOOK_S = 0.05

# Index, height and confidence of one pixel.
_BYTES_OF_MAPS = 10


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: `done` of `total` visits to a slice, all positions counted."""

    done: int
    total: int
    position: int
    positions: int

    def __str__(self) -> str:
        if not self.done:
            return "starting"
        visits = self.total // self.positions
        here = f"slice {self.done - (self.position - 1) * visits}/{visits}"
        return here if self.positions == 1 else f"stack {self.position}/{self.positions} · {here}"


@dataclass(frozen=True)
class RunFailure:
    """Why a run ended without a result."""

    error: Exception


@dataclass(frozen=True)
class StackResults:
    """What a run gives for all positions of a layer, in arrays shaped like their layers.

    Attributes
    ----------
    image, index, height, confidence : arrays
        As in `FocusStackResult`, with the layer's outer axes.
    reports : dict of position to SharpnessReport
    chosen : dict of position to dict of str to Chosen
        What "auto" chose, by name of the option.
    noise : dict of position to NoiseModel
    warnings : tuple of str
        Each sentence once.
    options : FocusStackOptions
    slices, focus_axis : int
    alignments : dict of position to Alignment
        What was taken out of the slices; none where nothing was asked for.
    given : Alignment or None
        What was taken out in place of an estimate.
    seconds_per_value : float or None
        What the run took for every value of the stack; None where that tells nothing of the next one.
    """

    image: npt.NDArray[Any]
    index: npt.NDArray[np.uint16]
    height: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    reports: dict[Position, SharpnessReport]
    chosen: dict[Position, Mapping[str, Chosen]]
    noise: dict[Position, NoiseModel]
    warnings: tuple[str, ...]
    options: FocusStackOptions
    slices: int
    focus_axis: int
    alignments: dict[Position, Alignment] = field(default_factory=dict)
    given: Alignment | None = None
    seconds_per_value: float | None = None


Job = Callable[[], Generator[RunProgress | Preview, None, Any]]


def fuse_positions(
    stack: LayerStack, options: FocusStackOptions, known: Mapping[Position, Alignment] | None = None
) -> Generator[RunProgress, None, StackResults]:
    """Fuse the z-stack at every position, giving control back after every slice.

    Parameters
    ----------
    stack : LayerStack
    options : FocusStackOptions
    known : mapping of position to Alignment, optional
        Those of an earlier run, which need not be estimated again.

    Yields
    ------
    RunProgress

    Returns
    -------
    StackResults
        As the value of ``StopIteration``.

    Raises
    ------
    InputError
        If the core refuses the stack.
    """
    # The core is imported in the worker's thread, so that the window stays live meanwhile.
    from ..pipeline import focus_stack_steps

    pace = Pace()
    view = stack.at((0,) * len(stack.outer_axes))
    image = stack.result_array(view.dtype.newbyteorder("="), colour=True)
    index = stack.result_array(np.uint16, colour=False)
    height, confidence = (stack.result_array(np.float32, colour=False) for _ in range(2))
    reports: dict[Position, SharpnessReport] = {}
    chosen: dict[Position, Mapping[str, Chosen]] = {}
    noise: dict[Position, NoiseModel] = {}
    warnings: dict[str, None] = {}
    alignments: dict[Position, Alignment] = {}
    for number, position in enumerate(stack.positions):
        earlier = (known or {}).get(position)
        fusing = focus_stack_steps(stack.at(position), stack.rgb, options=options, alignment=earlier)
        with closing(fusing) as steps:
            result = yield from _counted(steps, number, stack.position_count)
        where = stack.result_index(position)
        if options.crop and result.alignment is not None:
            # One array holds all positions, whatever each of them covers.
            image[where], index[where], height[where], confidence[where] = 0, 0, np.nan, 0
        (y, x), (h, w) = result.origin, result.index.shape
        inside = slice(y, y + h), slice(x, x + w)
        image[where][inside], index[where][inside] = result.image, result.index
        height[where][inside], confidence[where][inside] = result.height, result.confidence
        if result.alignment is not None:
            alignments[position] = result.alignment
        reports[position], chosen[position] = result.sharpness, result.chosen
        noise[position] = result.noise
        warnings |= dict.fromkeys(result.warnings)
    return StackResults(
        image,
        index,
        height,
        confidence,
        reports,
        chosen,
        noise,
        tuple(warnings),
        options,
        len(view),
        stack.focus_axis,
        alignments,
        seconds_per_value=pace.seconds_per_value(stack.pixels.shape),
    )


def _counted(steps: Generator[Any, None, Any], number: int, positions: int) -> Generator[RunProgress, None, Any]:
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield RunProgress(number * step.total + step.done, positions * step.total, number + 1, positions)


class _Ticket:
    """Asks one run to stop; set in the window's thread, read in the worker's."""

    cancelled = False
    # Whether to stop once the quick look is there.
    superseded = False


class _RunWorker(GeneratorWorker):  # type: ignore[misc]
    """A worker that stops by its ticket, also when napari asks it to.

    The plain one leaves its generator, and with it the core's reader thread, to the
    garbage collector, and a RuntimeError ends it without any signal. So runs end by
    themselves when their ticket says so, and errors are returned.
    """

    ticket: _Ticket

    def quit(self) -> None:
        self.ticket.cancelled = True


def _run(job: Job, ticket: _Ticket) -> Generator[RunProgress | Preview, None, Any]:
    from ..warming import under_way

    try:
        while under_way() and not ticket.cancelled:
            time.sleep(_LOOK_S)
        with closing(job()) as steps:
            while not ticket.cancelled:
                try:
                    message = next(steps)
                except StopIteration as end:
                    return end.value
                yield message
                if ticket.superseded and isinstance(message, Preview):
                    break
        return None
    except Exception as error:
        return RunFailure(error)


def _fuse_after_preview(
    stack: LayerStack,
    options: FocusStackOptions,
    known: Mapping[Position, Alignment] | None,
    maker: PreviewMaker,
    plan: PreviewPlan,
) -> Generator[RunProgress | Preview, None, StackResults]:
    aligned = replace(stack, alignments=dict(known or {}))
    preview = yield from _quiet(maker.steps(aligned, plan), stack)
    if preview is not None:
        yield preview
    return (yield from fuse_positions(stack, options, known))


def _quiet(steps: Generator[None, None, Preview | None], stack: LayerStack) -> Generator[RunProgress, None, Any]:
    """Pass the turns of a quick look on as no progress at all, so that the run can be stopped in between."""
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield RunProgress(0, 1, 1, stack.position_count)


class FocusRunner:
    """Runs one job at a time.

    Parameters
    ----------
    on_progress : callable
        Gets a `RunProgress`, in the window's thread.
    on_end : callable
        Gets what came of the run, in the window's thread: results, a failure, or None
        where it was cancelled. The next run may be started from it.
    on_preview : callable or None
        Gets a `Preview`, in the window's thread.

    Attributes
    ----------
    options : FocusStackOptions or None
        Those of the fusion under way, or of the last one.
    previewing : bool
        Whether the run under way has its quick look still before it.
    """

    def __init__(
        self,
        on_progress: Callable[[RunProgress], None],
        on_end: Callable[[Any], None],
        on_preview: Callable[[Preview], None] | None = None,
    ) -> None:
        self.options: FocusStackOptions | None = None
        self.previewing = False
        self._on_progress = on_progress
        self._on_end = on_end
        self._on_preview = on_preview
        self._ticket: _Ticket | None = None
        self._outcome: Any = None

    @property
    def running(self) -> bool:
        """Whether a run is under way, or about to stop."""
        return self._ticket is not None

    def start(
        self,
        stack: LayerStack,
        options: FocusStackOptions,
        quick_look: tuple[PreviewMaker, PreviewPlan] | None = None,
        known: Mapping[Position, Alignment] | None = None,
    ) -> None:
        """Start to fuse; alignments that are `known` are not estimated again.

        Raises
        ------
        RuntimeError
            If a run is under way.
        """
        job: Job = partial(fuse_positions, stack, options, known)
        if quick_look is not None:
            job = partial(_fuse_after_preview, stack, options, known, *quick_look)
        self.start_job(job)
        self.options = options
        self.previewing = quick_look is not None

    def start_job(self, job: Job) -> None:
        """Start any other work that yields `RunProgress` and returns what came of it.

        Raises
        ------
        RuntimeError
            If a run is under way.
        """
        if self.running:
            raise RuntimeError("a run is under way; cancel it and wait for its end")
        self._ticket, self._outcome = _Ticket(), None
        worker = create_worker(_run, job, self._ticket, _worker_class=_RunWorker, _start_thread=False)
        worker.ticket = self._ticket
        worker.yielded.connect(self._progressed)
        worker.returned.connect(self._returned)
        worker.finished.connect(self._finished)
        worker.start()

    def cancel(self) -> None:
        """Ask the run to stop at the next slice; nothing comes of it, even if it was just done."""
        if self._ticket is not None:
            self._ticket.cancelled = True

    def supersede(self) -> None:
        """Ask the run to stop once its quick look is there: another one follows."""
        if self._ticket is not None:
            self._ticket.superseded = True

    def _progressed(self, message: RunProgress | Preview) -> None:
        if self._ticket is None or self._ticket.cancelled:
            return
        if isinstance(message, Preview):
            self.previewing = False
            if self._on_preview is not None:
                self._on_preview(message)
            if self._ticket.superseded:
                # It may have gone on to the whole before it was asked.
                self._ticket.cancelled = True
        else:
            self._on_progress(message)

    def _returned(self, outcome: Any) -> None:
        self._outcome = outcome

    def _finished(self) -> None:
        cancelled = self._ticket is not None and self._ticket.cancelled
        outcome, self._ticket, self._outcome = (None if cancelled else self._outcome), None, None
        self.previewing = False
        self._on_end(outcome)


def run_bytes(stack: LayerStack, options: FocusStackOptions | None) -> int:
    """Return about how many bytes a run needs above the stack itself, all results included.

    Raises
    ------
    InputError
        If the core refuses the stack.
    """
    from ..pipeline import memory_needed

    view = stack.at((0,) * len(stack.outer_axes))
    pixels = int(np.prod(view.shape[1:3]))
    kept = pixels * (int(np.prod(view.shape[3:])) * view.dtype.itemsize + _BYTES_OF_MAPS)
    return memory_needed(view.shape, view.dtype, options) + (stack.position_count - 1) * kept


def describe_run(stack: LayerStack, options: FocusStackOptions | None, tile_bytes: int | None = None) -> str:
    """Return the size of a stack and the memory a run needs, `tile_bytes` in tiles; or why the core refuses it."""
    from ..machine import free_memory_lately

    view = stack.at((0,) * len(stack.outer_axes))
    size = "×".join(str(n) for n in view.shape[:3])
    colour = "RGB " if stack.rgb else ""
    several = f"{stack.position_count} stacks of " if stack.position_count > 1 else ""
    try:
        needed = run_bytes(stack, options) if tile_bytes is None else tile_bytes
    except InputError as refusal:
        return str(refusal)
    free = free_memory_lately()
    tiled = "" if tile_bytes is None else " · in tiles"
    short = f", but {_readable(free)} are free" if needed > free else ""
    return f"{several}{size} {colour}{view.dtype}{tiled} · needs about {_readable(needed)}{short}"


def _readable(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
