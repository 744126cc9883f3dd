"""Work in a thread of which only the last request matters: curves under the pointer, strokes of a brush."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error

from ..errors import InputError

Work = Callable[[], Any]
Done = Callable[[Any], None]


@dataclass(frozen=True)
class _Failure:
    error: Exception


class Latest:
    """Runs one piece of work at a time; of those that are asked for meanwhile, the last.

    What it raises is told as the panel tells of a run that failed; once, where it is raised again and again.

    Parameters
    ----------
    name : str
        Of the work, to begin that sentence with.
    """

    def __init__(self, name: str) -> None:
        self._name, self._told = name, ""
        self._next: tuple[Work, Done] | None = None
        self._done: Done | None = None
        self._outcome: list[Any] = []
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether work is under way or waits."""
        return self._done is not None

    def request(self, work: Work, done: Done, *, at_once: bool = False) -> None:
        """Call `work` in a thread and `done` with what it returns in the window's thread.

        Brief work is done `at_once` in the window's thread, unless other work is under way.
        """
        if self._closed:
            return
        if at_once and not self.busy:
            done(work())
            return
        self._next = (work, done)
        if not self.busy:
            self._begin()

    def close(self) -> None:
        """Take no more requests, and drop what comes of those under way."""
        self._closed, self._next = True, None

    def _begin(self) -> None:
        assert self._next is not None
        (work, self._done), self._next = self._next, None
        self._outcome = []
        worker = create_worker(_quietly, work, self._outcome, _start_thread=False)
        # No closure: Qt would keep it, and with it the panel, beyond the worker.
        worker.finished.connect(self._finished)
        worker.start()

    def _finished(self) -> None:
        done, outcome = self._done, self._outcome
        self._done, self._outcome = None, []
        if self._closed:
            return
        if outcome and isinstance(outcome[0], _Failure):
            # Not where something newer is asked for, which may well succeed.
            if self._next is None:
                self._tell(outcome[0].error)
        elif outcome and done is not None:
            self._told = ""
            done(outcome[0])
        if self._next is not None and not self.busy:
            self._begin()

    def _tell(self, error: Exception) -> None:
        sentence = sentence_of(error, self._name)
        if sentence != self._told:
            self._told = sentence
            show_error(sentence)


def sentence_of(error: Exception, what: str) -> str:
    """Return how the panel tells that `what` failed: bad input by its own sentence, all else by its first line.

    Examples
    --------
    >>> sentence_of(KeyError("lost"), "Fusing")
    "Fusing failed: KeyError: 'lost'"
    """
    if isinstance(error, InputError):
        return str(error)
    return f"{what} failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _quietly(work: Work, outcome: list[Any]) -> None:
    """Note what `work` returns, or what it raises."""
    try:
        outcome.append(work())
    except Exception as error:
        outcome[:] = [_Failure(error)]
