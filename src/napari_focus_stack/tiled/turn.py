"""Tiles take turns, for each uses all cores and much memory; but one that another is made from comes at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_turn = threading.Lock()
_thread = threading.local()


@contextmanager
def own_turn() -> Iterator[None]:
    """Wait until no other tile of this process is fused; not where a tile under way waits for this one."""
    if getattr(_thread, "reads_a_tile", False):
        yield
        return
    with _turn:
        yield


@contextmanager
def reading_for_a_tile() -> Iterator[None]:
    """Tell that what this thread reads may have to be fused first, as of a stack of results in tiles."""
    before = getattr(_thread, "reads_a_tile", False)
    _thread.reads_a_tile = True
    try:
        yield
    finally:
        _thread.reads_a_tile = before
