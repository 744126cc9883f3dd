"""Where the jobs of a run in tiles are done: here one by one, or on a cluster; and how its processes read files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .reading import read_stack
from .source import StackSource


class Workers(Protocol):
    """What runs jobs: functions of plain arguments that other processes can be given."""

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job, as they end; a job is a function and its arguments."""


class HereWorkers:
    """Runs one job after the other; each uses all cores."""

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        for number, (function, *arguments) in enumerate(jobs):
            yield number, function(*arguments)


class ClusterWorkers:
    """Runs jobs on a cluster of dask.distributed; a job whose worker dies is given to another one.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, jobs: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of every job."""
        from distributed import as_completed

        futures = [self._client.submit(*job, pure=False) for job in jobs]
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
