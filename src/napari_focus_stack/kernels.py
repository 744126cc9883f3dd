"""How compiled kernels are made and run: two decorators, one pool of threads.

A kernel works on a band of rows and writes nothing outside it, so bands may run
in any order and on any number of threads and give the same pixels.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

# All of "fast" but "afn" and "arcp", with which the last bits would depend on how the rows are cut.
_FASTMATH = {"contract", "nnan", "ninf", "nsz", "reassoc"}

# Below this many pixels a second thread costs more than it brings.
_SMALLEST_BAND_PX = 1 << 16

_compiling = threading.Lock()
_this_thread = threading.local()

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Uncompiled:
    """A function to be compiled at the first call of any kernel.

    Importing Numba takes 0.4 s, more than all the rest: ``--help``, the plugin's
    discovery by napari and a mere import should not wait for it.
    """

    def __init__(self, function: Callable[..., Any], cached: bool) -> None:
        self._function = function
        self._cached = cached
        self._compiled: Callable[..., Any] | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled()(*arguments)

    def compiled(self) -> Callable[..., Any]:
        """Return the compiled function, its callees in the same module compiled too."""
        with _compiling:
            return self._resolved()

    def _resolved(self) -> Callable[..., Any]:
        if self._compiled is None:
            self._compiled = _jit(self._function, self._cached)
            # Numba takes callees from the module's names when it compiles.
            names = self._function.__globals__
            for name, value in list(names.items()):
                if isinstance(value, _Uncompiled):
                    names[name] = value._resolved()
        return self._compiled


def _jit(function: Callable[..., Any], cached: bool) -> Callable[..., Any]:
    import numba

    settings: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return cast(Callable[..., Any], numba.njit(cache=cached, **settings)(function))
    except RuntimeError:
        # Raised where neither the package's folder nor the user's cache folder can be written.
        return cast(Callable[..., Any], numba.njit(**settings)(function))


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call and keep it on disk; it runs without the interpreter's lock."""
    return _Uncompiled(function, cached=True)


def row_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` into the kernels that call it."""
    return _Uncompiled(function, cached=False)


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


def strips(first: int, last: int, rows: int = 16) -> Iterator[slice]:
    """Yield the rows from `first` to `last`, a few at a time: for NumPy, whose intermediate results add up."""
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
    threads = min(thread_count(), max(1, rows * width // _SMALLEST_BAND_PX), rows)
    if threads == 1 or getattr(_this_thread, "busy", False):
        function(*arguments, 0, rows)
        return
    # More bands than threads, so that a thread that is held up does not hold up the slice.
    bands = min(2 * threads, rows)
    edges = [rows * i // bands for i in range(bands + 1)]
    pool = _pool(threads)
    pending = [pool.submit(function, *arguments, a, b) for a, b in itertools.pairwise(edges)]
    for task in pending:
        task.result()


def run_tasks(function: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Return ``[function(item) for item in items]``, some at a time; bands within them run in the same thread."""
    threads = min(thread_count(), len(items))
    if threads <= 1:
        return [function(item) for item in items]

    def task(item: Item) -> Answer:
        # Waiting for other threads of the pool from within it could wait forever.
        _this_thread.busy = True
        try:
            return function(item)
        finally:
            _this_thread.busy = False

    return list(_pool(thread_count()).map(task, items))
