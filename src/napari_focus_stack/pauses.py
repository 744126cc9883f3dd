"""Kernels pause while the cores are needed for something that somebody waits for: a window that is painted."""

from __future__ import annotations

import threading
from time import monotonic

_over = threading.Event()
_until = 0.0


def pause(seconds: float) -> None:
    """Let kernels begin no further band before `resume` is called, or so many seconds have passed.

    Threads that paint need each core for a moment only, but beside threads that compute they wait for it every time.

    Examples
    --------
    >>> pause(60)
    >>> resume()
    >>> give_way()
    """
    global _until
    _over.clear()
    _until = monotonic() + seconds


def resume() -> None:
    """End the pause."""
    global _until
    _until = 0.0
    _over.set()


def give_way() -> None:
    """Wait for the end of the pause, if there is one."""
    left = _until - monotonic()
    if left > 0:
        _over.wait(left)
