"""Compiled kernels on disk, whose faults cost time but never a run."""

from __future__ import annotations

import contextlib
from typing import Any


class ForgivingCache:
    """Numba's cache of one kernel, but a file that cannot be read or written is one that is not there.

    Numba itself passes on what a file cut short by a crash, or a disk that is
    full, raises: a run would end because its program cannot be kept.

    Parameters
    ----------
    cache : numba.core.caching.FunctionCache
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return a compiled kernel, or None: then it is compiled."""
        try:
            return self._cache.load_overload(signature, target)
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


def forgive(dispatcher: Any) -> Any:
    """Return a kernel of Numba's ``njit(cache=True)`` with its cache made forgiving."""
    cache = getattr(dispatcher, "_cache", None)
    if cache is not None:
        dispatcher._cache = ForgivingCache(cache)
    return dispatcher
