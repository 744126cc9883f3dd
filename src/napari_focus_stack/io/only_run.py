"""Runs in tiles fill their files as they go: two at once to one name would mix their pixels, so one is refused."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError


@contextlib.contextmanager
def only_run(paths: Iterable[Path]) -> Iterator[None]:
    """Keep the outputs of a run from every other run, on this machine and where folders are shared with locks.

    The locks are the system's, on hidden files beside the outputs: they end with the process, however it ends.

    Raises
    ------
    InputError
        If another run is under way with one of them.
    """
    with contextlib.ExitStack() as locks:
        for path in sorted(set(paths)):
            locks.enter_context(_locked(path))
        yield


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f".{path.name[:200]}.lock")
    file = _taken(lock, path)
    try:
        yield
    finally:
        if sys.platform == "win32":
            file.close()  # what is open cannot be removed there
        with contextlib.suppress(OSError):
            lock.unlink()
        file.close()


def _taken(lock: Path, path: Path) -> BinaryIO:
    while True:
        try:
            file = lock.open("ab")
        except FileNotFoundError:
            raise InputError(f"the output folder {path.parent} does not exist; create it or choose another.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error
        try:
            _lock(file)
        except BlockingIOError:
            file.close()
            raise InputError(f"another run is writing {path}; wait for its end, or name another output.") from None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        # Another run ended in between and took the file away.
        file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return  # a file system without locks: nothing can be known there
