"""How compiled kernels are made and run: decorators, and one pool of threads.

A kernel works on a band of rows and writes nothing outside it, so bands may run
in any order and on any number of threads and give the same pixels.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from .kernel_cache import ForgivingCache, forgive, name_of
from .pauses import give_way

# Nothing that rounds: with "contract" or "reassoc" the last bits depended on where in its row a pixel lies, which the
# vectors of a processor (AVX-512 most of all) and what is left behind them treat differently, so that tiles differed.
_FASTMATH = {"nnan", "ninf", "nsz"}
# Sums along a row are four to eight times as fast where they may be added up in any order.
_FASTMATH_OF_SUMS = {*_FASTMATH, "reassoc"}

# Below this many pixels a second thread costs more than it brings.
_SMALLEST_BAND_PX = 1 << 16

# Of slices of 2048 x 2048 px, bands that were smaller where two jobs share the cores cost 8 % of a run.
_LARGEST_BAND_PX = 1 << 22

# As floats an eighth of a core's second-level cache, and Python's calls cost little beside the work.
_STRIP_PX = 1 << 16

_compiling = threading.Lock()
_this_thread = threading.local()

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Uncompiled:
    """A function to be compiled at the first call of any kernel.

    Importing Numba takes 0.4 s, more than all the rest: ``--help``, the plugin's
    discovery by napari and a mere import should not wait for it.
    """

    def __init__(
        self, function: Callable[..., Any], cached: bool, fastmath: set[str] = _FASTMATH, apart: bool = True
    ) -> None:
        self._function = function
        self._cached = cached
        self._fastmath = fastmath
        self._apart = apart
        self._compiled: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        if _calls is None:
            return self.compiled()(*arguments)
        if self._cached:
            _calls[self, _types(arguments)] = None
        return self._function(*arguments)

    @property
    def name(self) -> str:
        """Where the function is found."""
        return name_of(self._function)

    def compile(self, types: tuple[Any, ...]) -> None:
        """Compile the function for types of arguments, or load what is on disk."""
        cast(Any, self.compiled()).compile(types)

    def compiled(self) -> Callable[..., Any]:
        """Return the compiled function, its callees in the same module compiled too."""
        with _compiling:
            return self._resolved()

    def _resolved(self) -> Callable[..., Any]:
        if self._compiled is None:
            self._compiled = _jit(self._function, self._cached, self._fastmath, self._apart)
            # Numba takes callees from the module's names when it compiles.
            names = self._function.__globals__
            for name, value in list(names.items()):
                if isinstance(value, _Uncompiled):
                    names[name] = value._resolved()
        return self._compiled


_KERNELS: list[_Uncompiled] = []
_calls: dict[tuple[_Uncompiled, tuple[Any, ...]], None] | None = None


def calls_in(run: Callable[[], object]) -> list[tuple[_Uncompiled, tuple[Any, ...]]]:
    """Return which kernels `run` calls, and with what types, in the order of their first calls.

    It goes on in plain Python, which for some hundred pixels takes less time
    than to compile one kernel. For a process where none is compiled yet:
    compiled kernels are called unseen.
    """
    global _calls
    _calls = {}
    try:
        run()
        return list(_calls)
    finally:
        _calls = None


def _types(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    import numba

    return tuple(map(numba.typeof, arguments))


def _jit(function: Callable[..., Any], cached: bool, fastmath: set[str], apart: bool) -> Callable[..., Any]:
    import numba

    # Left as a function of its own, a row function would in the process that compiles be another machine code than
    # in those that load the kernel from disk, with other last bits.
    settings: dict[str, Any] = {
        "nogil": True,
        "fastmath": fastmath,
        "error_model": "numpy",
        "forceinline": not cached,
        "no_cfunc_wrapper": True,
        "no_cpython_wrapper": not cached,
    }
    try:
        compiled = forgive(numba.njit(cache=cached, **settings)(function))
    except RuntimeError:
        # Raised where neither the package's folder nor the user's cache folder can be written.
        compiled = numba.njit(**settings)(function)
    if cached and apart:
        _hold_apart(compiled)
    return cast(Callable[..., Any], compiled)


def _hold_apart(dispatcher: Any) -> None:
    """Tell the compiler that what a function writes lies in no other of its arguments, as `restrict` does in C.

    Otherwise loops ask at every row whether arrays overlap, with bounds so wide that neighbours in memory are taken
    for it: then a kernel took four times as long, by the luck of where its arrays lay. Numba has the flag, but no name
    for it; without it, kernels are slower.
    """
    compiler = getattr(dispatcher, "_compiler", None)
    customized = getattr(compiler, "_customize_flags", None)
    if compiler is None or customized is None:
        return

    def told(flags: Any) -> Any:
        flags = customized(flags)
        flags.noalias = True
        return flags

    compiler._customize_flags = told


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call and keep it on disk; it runs without the interpreter's lock.

    What it writes must lie in no other of its arguments.
    """
    _KERNELS.append(_Uncompiled(function, cached=True))
    return _KERNELS[-1]


def kernel_in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `kernel`, for one that may write to what it reads."""
    _KERNELS.append(_Uncompiled(function, cached=True, apart=False))
    return _KERNELS[-1]


def kernel_of_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `kernel`, for one that adds up along rows, in any order; what it writes for a pixel is no sum of several."""
    _KERNELS.append(_Uncompiled(function, cached=True, fastmath=_FASTMATH_OF_SUMS))
    return _KERNELS[-1]


def row_function_of_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `row_function`, for one that returns a sum along the row, added up in any order."""
    return _Uncompiled(function, cached=False, fastmath=_FASTMATH_OF_SUMS)


def row_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` into the kernels that call it."""
    return _Uncompiled(function, cached=False)


class _MultiplyAdd(_Uncompiled):
    """An instruction of the processor, which Numba has no name for."""

    def _resolved(self) -> Callable[..., Any]:
        if self._compiled is None:
            from numba import float32
            from numba.extending import intrinsic

            def typed(context: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Any]]:
                """Return the signature and what writes the instruction."""
                return float32(float32, float32, float32), lambda _, builder, __, numbers: builder.fma(*numbers)

            self._compiled = cast(Callable[..., Any], intrinsic(typed))
        return self._compiled


def _multiply_add(a, b, c):  # type: ignore[no-untyped-def]
    """Return a * b + c, rounded once, in float32: one instruction in place of two, for row functions and kernels.

    Written out, it is the same for every pixel wherever it lies in its row; "contract" leaves that to the compiler.
    """
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))


multiply_add = _MultiplyAdd(_multiply_add, cached=False)


def load_compiler() -> None:
    """Import what the first kernel would wait for: Numba."""
    import numba  # noqa: F401


def cache_folders() -> list[Path]:
    """Return where kernels of the modules loaded so far are kept on disk; empty where no folder may be written to."""
    paths = {cast(Any, one.compiled()).stats.cache_path for one in _KERNELS}
    return sorted(Path(path) for path in paths if path is not None)


def is_on_disk(kernel: Callable[..., Any]) -> bool | None:
    """Return whether a kernel is kept on disk as its source is now; None where it cannot be."""
    compiled: Any = kernel.compiled() if isinstance(kernel, _Uncompiled) else kernel
    cache = getattr(compiled, "_cache", None)
    return cache.holds_any() if isinstance(cache, ForgivingCache) else None


def kernels_ready() -> int:
    """Return how many kernels have been compiled or loaded by this process, for how many types of arguments each."""
    return sum(len(cast(Any, one._compiled).overloads) for one in _KERNELS if one._compiled is not None)


def thread_count() -> int:
    """Return how many threads kernels use: NAPARI_FOCUS_STACK_THREADS, else the cores this process may use."""
    asked = os.environ.get("NAPARI_FOCUS_STACK_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="focus-stack")


def strips(first: int, last: int, *, width: int = 0) -> Iterator[slice]:
    """Yield the rows from `first` to `last`, a few at a time: for NumPy, whose intermediate results add up.

    16 of them, or more where so many of this width stay in cache.
    """
    rows = max(_STRIP_PX // max(width, 1), 16) if width else 16
    for top in range(first, last, rows):
        yield slice(top, min(top + rows, last))


def run_bands(function: Callable[..., Any], rows: int, width: int, *arguments: Any) -> None:
    """Call ``function(*arguments, first, last)`` on bands that together cover `rows`.

    Parameters
    ----------
    function : callable
        A kernel, or anything that gives the interpreter's lock away.
    rows, width : int
        Size of what is written, in px.
    """
    run_rows(function, (0, rows), width, *arguments)


def run_rows(function: Callable[..., Any], rows: tuple[int, int], width: int, *arguments: Any) -> None:
    """Do what `run_bands` does from one row up to another."""
    first, last = rows
    count = last - first
    most = max(1, min(count * width // _SMALLEST_BAND_PX, count))
    # What is small needs not ask how many threads there are, which takes as long as it does.
    threads = min(threads_here(), most) if most > 1 else 1
    # More bands than threads, so that a thread that is held up does not hold up the slice; but one for one thread,
    # as long as it does not take so long that threads which other jobs leave free meanwhile should help.
    bands = min(max(2 * threads if threads > 1 else 1, count * width // _LARGEST_BAND_PX), most)
    if bands == 1:
        function(*arguments, first, last)
        return
    edges = itertools.pairwise([first + count * i // bands for i in range(bands + 1)])
    _share_out(lambda band: function(*arguments, *band), edges, lambda: min(threads_here(), most))


def run_strips(function: Callable[[slice], None], rows: int, width: int) -> None:
    """Call ``function(rows)`` on `strips` that together cover `rows`, some at a time."""
    most = max(1, rows * width // _SMALLEST_BAND_PX)
    _share_out(function, strips(0, rows, width=width), lambda: min(threads_here(), most))


def run_together(*jobs: Callable[[], None]) -> None:
    """Call all of the jobs, at the same time where there are threads enough.

    The bands of all share the threads: those of the last one at work have all of them.
    """
    share = _Share(len(jobs))
    _share_out(share.of, jobs, lambda: min(threads_here(), len(jobs)))


def run_tasks(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Return ``[function(item) for item in items]``, some at a time; bands within them share the threads."""
    answers: dict[int, Answer] = {}
    share = _Share(len(items))

    def answer(task: tuple[int, Item]) -> None:
        answers[task[0]] = share.of(lambda: function(task[1]))

    _share_out(answer, enumerate(items), lambda: min(threads_here(), len(items)))
    return [answers[i] for i in range(len(items))]


class _Share:
    """The threads that each of some jobs may use: more as others have ended.

    Parameters
    ----------
    jobs : int
        How many there are, which share what the thread that made this may use.
    """

    def __init__(self, jobs: int) -> None:
        self._above: _Share | None = getattr(_this_thread, "share", None)
        self._jobs = jobs
        # Of a list, since `append` needs no lock.
        self._ended: list[None] = []

    def threads(self) -> int:
        """Return how many threads a job may use now."""
        threads = thread_count() if self._above is None else self._above.threads()
        return -(-threads // max(self._jobs - len(self._ended), 1))

    def of(self, job: Callable[[], Answer]) -> Answer:
        """Call one of the jobs."""
        before = getattr(_this_thread, "share", None)
        _this_thread.share = self
        try:
            return job()
        finally:
            _this_thread.share = before
            self._ended.append(None)


def threads_here() -> int:
    """Return how many threads a call from this thread may use."""
    share: _Share | None = getattr(_this_thread, "share", None)
    return thread_count() if share is None else share.threads()


def _share_out(do: Callable[[Item], None], items: Iterable[Item], threads: Callable[[], int]) -> None:
    """Call `do` for every item, in this thread and others: waking one takes as long as a band of 0.1 Mpx.

    In as many as `threads` says, which is asked again before every item that this thread takes.
    """
    waiting = deque(items)
    pending: list[Future[None]] = []

    def items_left() -> Iterator[Item]:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            give_way()
            yield item

    def work() -> None:
        for item in items_left():
            do(item)

    try:
        for item in items_left():
            while len(pending) < min(threads() - 1, len(waiting)):
                pending.append(_pool(thread_count()).submit(work))
            do(item)
    except BaseException:
        for task in pending:
            # What another thread raises meanwhile must not stand in for Ctrl-C.
            if not task.cancel():
                task.exception()
        raise
    for task in pending:
        # This may be a thread of the pool: waiting for one that has not begun could wait forever.
        if not task.cancel():
            task.result()
