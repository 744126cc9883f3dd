"""The peak of a process's memory while something runs in it, and processes of their own to measure it in."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil


class Peak:
    """Resident memory in bytes: before, and the most that was seen since."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.before = self.most = self._process.memory_info().rss

    def look(self) -> None:
        self.most = max(self.most, self._process.memory_info().rss)


@contextlib.contextmanager
def watched() -> Iterator[Peak]:
    """Look at this process's memory every millisecond until the block ends."""
    peak, running = Peak(), True

    def watch() -> None:
        while running:
            peak.look()
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        running = False
        watcher.join()


def in_a_child(run: Callable[..., Any], *arguments: Any) -> Any:
    """Return what ``run(*arguments)`` does in a new process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_answer, args=(there, run, arguments))
    child.start()
    there.close()  # else a child that died would be waited for
    answer = here.recv()
    child.join()
    return answer


def _answer(pipe: Any, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    pipe.send(run(*arguments))
