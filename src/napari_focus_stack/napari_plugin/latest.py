"""Work in a thread of which only the last request matters: curves under the pointer, strokes of a brush."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker

Work = Callable[[], Any]
Done = Callable[[Any], None]


class Latest:
    """Runs one piece of work at a time; of those that are asked for meanwhile, the last."""

    def __init__(self) -> None:
        self._next: tuple[Work, Done] | None = None
        self._running = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether work is under way or waits."""
        return self._running

    def request(self, work: Work, done: Done) -> None:
        """Call `work` in a thread and `done` with what it returns in the window's thread, unless it failed."""
        if self._closed:
            return
        self._next = (work, done)
        if not self._running:
            self._begin()

    def close(self) -> None:
        """Take no more requests, and drop what comes of those under way."""
        self._closed, self._next = True, None

    def _begin(self) -> None:
        assert self._next is not None
        (work, done), self._next = self._next, None
        self._running = True
        outcome: list[Any] = []
        worker = create_worker(_quietly, work, outcome, _start_thread=False)

        def finished() -> None:
            self._running = False
            if self._closed:
                return
            if outcome:
                done(outcome[0])
            if self._next is not None and not self._running:
                self._begin()

        worker.finished.connect(finished)
        worker.start()


def _quietly(work: Work, outcome: list[Any]) -> None:
    """Note what `work` returns; what it raises is dropped, for the next request may well succeed."""
    try:
        outcome.append(work())
    except Exception:
        outcome.clear()
