"""How compiled kernels are made and run: one decorator, one pool of threads.

A kernel works on a band of rows and writes nothing outside it, so bands may run
in any order and on any number of threads and give the same pixels.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])

# Without "afn", "arcp" and "reassoc" across bands the last bits do not depend on how the rows are cut.
_FASTMATH = {"contract", "nnan", "ninf", "nsz", "reassoc"}

# Below this many pixels a second thread costs more than it brings.
_SMALLEST_BAND_PX = 1 << 16


def kernel(function: F) -> F:
    """Compile `function` at its first call; it then runs without the interpreter's lock."""
    settings: dict[str, Any] = {"nogil": True, "fastmath": _FASTMATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:
        # Raised where neither the package's folder nor the user's cache folder can be written.
        return numba.njit(**settings)(function)


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
    if threads == 1:
        function(*arguments, 0, rows)
        return
    # More bands than threads, so that a thread that is held up does not hold up the slice.
    bands = min(2 * threads, rows)
    edges = [rows * i // bands for i in range(bands + 1)]
    pool = _pool(threads)
    pending = [pool.submit(function, *arguments, a, b) for a, b in itertools.pairwise(edges)]
    for task in pending:
        task.result()
