"""Where the jobs of a run in tiles are done: here one by one, or on a cluster; and how its processes read files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..kernels import run_tasks
from .reading import read_stack
from .source import StackSource


@dataclass(frozen=True, eq=False)
class Job:
    """What is done for one tile; small and plain, so that it can go to other processes.

    Attributes
    ----------
    make : callable
        Takes nothing, and computes.
    write : callable or None
        Takes what `make` returns, writes it, and returns what is told of it.
    small : bool
        Whether two of them together need no more memory than may be used.
    """

    make: Callable[[], Any]
    write: Callable[[Any], Any] | None = None
    small: bool = False

    def done(self) -> Any:
        """Do all of it."""
        return self.written(self.make())

    def written(self, made: Any) -> Any:
        """Do what is left of it."""
        return made if self.write is None else self.write(made)


class Workers(Protocol):
    """What runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job, as they end."""


class HereWorkers:
    """Runs one job after the other; each uses all cores. What one writes is written while the next one computes.

    Small ones, which leave cores idle, are done two at a time.
    """

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        if all(job.small for job in jobs):
            for first in range(0, len(jobs), 2):
                yield from enumerate(run_tasks(Job.done, jobs[first : first + 2]), first)
            return
        # All that computes stays in this thread, which Ctrl-C interrupts at once.
        with ThreadPoolExecutor(1, thread_name_prefix="focus-stack-writer") as writer:
            writing: Future[Any] | None = None
            for number, job in enumerate(jobs):
                made = job.make()
                # No more than one tile waits to be written, however slow the disk is.
                before, writing = writing and writing.result(), writer.submit(job.written, made)
                del made
                if number:
                    yield number - 1, before
            if writing is not None:
                yield len(jobs) - 1, writing.result()


class ClusterWorkers:
    """Runs jobs on a cluster of dask.distributed; a job whose worker dies is given to another one.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        from distributed import as_completed

        futures = [self._client.submit(job.done, pure=False) for job in jobs]
        numbers = {future.key: number for number, future in enumerate(futures)}
        try:
            for future in as_completed(futures):
                yield numbers[future.key], future.result()
        finally:
            self._client.cancel(futures)


class FileReader:
    """Reads parts of the slices that files hold; opens them anew in every process.

    Parameters
    ----------
    inputs : sequence of str
        As of `read_stack`.
    files : sequence of Path
        The files that these stand for: a process that lives on must not take what it has open for what is there now.
    """

    def __init__(self, inputs: Sequence[str | Path], files: Sequence[Path]) -> None:
        self._inputs = tuple(str(Path(entry).absolute()) if Path(entry).exists() else str(entry) for entry in inputs)
        told = [(file, file.stat()) for file in files]
        self._as_of = tuple((str(file), now.st_mtime_ns, now.st_size) for file, now in told)

    def read(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Return a part of slice `k`."""
        return _opened(self._inputs, self._as_of).part(k, rows, columns)

    def near(self, rows: slice, columns: slice) -> FileReader:
        """Return itself."""
        return self


@lru_cache(maxsize=4)
def _opened(inputs: tuple[str, ...], as_of: tuple[tuple[str, int, int], ...]) -> StackSource:
    return read_stack(inputs)
