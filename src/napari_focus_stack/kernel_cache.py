"""Compiled kernels on disk, whose faults cost time but never a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


def nowhere(kernel: str) -> bool:
    """Say that no other process compiles kernels."""
    return False


# Told which kernel is not on disk, and for which types; whether another process has put it there meanwhile.
compiled_elsewhere: Callable[[str], bool] = nowhere


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a kernel, told from all others."""
    return f"{function.__module__}.{function.__qualname__}"


class ForgivingCache:
    """Numba's cache of one kernel, but a file that cannot be read or written is one that is not there.

    Numba itself passes on what a file cut short by a crash, or a disk that is
    full, raises: a run would end because its program cannot be kept.

    Parameters
    ----------
    cache : numba.core.caching.FunctionCache
    kernel : str
        Its name.
    """

    def __init__(self, cache: Any, kernel: str) -> None:
        self._cache = cache
        self._kernel = kernel

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return a compiled kernel, or None: then it is compiled."""
        found = self._loaded(signature, target)
        if found is None and compiled_elsewhere(f"{self._kernel}{signature}"):
            found = self._loaded(signature, target)
        return found

    def _loaded(self, signature: Any, target: Any) -> Any:
        try:
            return _load(self._cache, signature, target)
        except Exception:  # unpickling damaged bytes raises anything
            with contextlib.suppress(Exception):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled kernel, if that can be."""
        with contextlib.suppress(Exception):
            self._cache.save_overload(signature, compiled)

    def holds_any(self) -> bool:
        """Return whether there is a compiled kernel of the source as it is now."""
        with contextlib.suppress(Exception):
            return bool(self._cache._cache_file._load_index())
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _load(cache: Any, signature: Any, target: Any) -> Any:
    """Do what ``load_overload`` of Numba's cache does, without the 0.4 s of imports that only compiling needs.

    Numba does them when it compiles. Machine code needs no more of them than where its memory comes from.
    """
    if not (hasattr(cache, "_load_overload") and hasattr(cache, "_guard_against_spurious_io_errors")):
        return cache.load_overload(signature, target)
    from numba.core.runtime import rtsys

    rtsys.initialize(target)
    with cache._guard_against_spurious_io_errors():
        return cache._load_overload(signature, target)


def forgive(dispatcher: Any) -> Any:
    """Return a kernel of Numba's ``njit(cache=True)`` with its cache made forgiving."""
    cache = getattr(dispatcher, "_cache", None)
    if cache is not None:
        dispatcher._cache = ForgivingCache(cache, name_of(dispatcher.py_func))
    return dispatcher
