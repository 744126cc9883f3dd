"""How much memory this machine has, so that a run that does not fit is refused before it starts; and giving it back."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from time import monotonic

from .errors import InputError

GIB = 2**30
_LATELY_S = 1.0
_lately = (-_LATELY_S, 0)
# Limits of a container, versions 2 and 1 of control groups.
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def total_memory() -> int:
    """Return bytes of memory: of the machine, or what a container or a process limit leaves of it."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for file in _CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            limits.append(int(Path(file).read_text()))
    if sys.platform != "win32":
        import resource

        limits += [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]
    return min(limits)


def free_memory() -> int:
    """Return about how many bytes a run may still take, swap space included."""
    import psutil

    own = psutil.Process().memory_info().rss
    available = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, RuntimeError):  # no swap to ask for in some containers
        available += int(psutil.swap_memory().free)
    return max(min(available, total_memory() - own), 0)


def free_memory_lately() -> int:
    """Return what `free_memory` told within the last second: asking takes 2 ms, too long for every turn of a window."""
    global _lately
    now = monotonic()
    if now - _lately[0] > _LATELY_S:
        _lately = now, free_memory()
    return _lately[1]


_REMEDY = "close other programs, crop the stack, or fuse it in tiles (focus_stack_tiled, fuse --memory)"


def check_memory(nbytes: int, what: str, remedy: str = _REMEDY) -> None:
    """Refuse what needs more memory than is free.

    Parameters
    ----------
    nbytes : int
    what : str
        Begins the sentence: "a run with slices of ...".
    remedy : str
        Ends it.

    Raises
    ------
    InputError
        With both numbers.
    """
    free = free_memory()
    if nbytes > free:
        raise InputError(
            f"{what} needs about {nbytes / GIB:.1f} GiB of memory, but {free / GIB:.1f} GiB are free here; {remedy}."
        )


def give_memory_back() -> None:
    """Give the system what the C library keeps of freed memory.

    With glibc 0.3 of the 2 GB of a run in tiles, and up to 7 bytes a pixel of one in memory.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
