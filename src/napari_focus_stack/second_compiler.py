"""Another process that compiles the kernels of a run from the last one back, while this one begins with the first.

Numba compiles in Python, so that threads of one process cannot share the work.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from . import kernel_cache
from .kernels import calls_in, thread_count

# One kernel takes a second or two; a process that was stopped is not waited for.
_LONGEST_S = 60

# This very package, since kernels are kept for their files; and nothing that lies in the folder where Python starts.
_THIS_PACKAGE = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
sys.path[:] = filter(None, sys.path)
folder = sys.argv[1]
spec = spec_from_file_location("napari_focus_stack", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[spec.name] = package = module_from_spec(spec)
spec.loader.exec_module(package)
"""

_COMPILE_A_RUN = """
from napari_focus_stack.warming import compile_from_the_last
compile_from_the_last(*sys.argv[2:])
"""

_started: set[tuple[str, ...]] = set()


def start_python(task: str, *arguments: str) -> subprocess.Popen[str] | None:
    """Start a Python that has loaded this very package and does a task; None where there is none to be started."""
    python = sys.executable
    # A program that holds a Python may be anything once it is started.
    if not python or getattr(sys, "frozen", False) or not Path(python).stem.lower().startswith("python"):
        return None
    with contextlib.suppress(OSError):
        return subprocess.Popen(
            [python, "-c", _THIS_PACKAGE + task, str(Path(__file__).parent), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    return None


@contextlib.contextmanager
def second_compiler(dtype: str, channels: int, options: dict[str, Any]) -> Iterator[None]:
    """Have a second process at hand while a run goes on: it is started when a kernel is not on disk.

    Parameters
    ----------
    dtype, channels
        Of the slices.
    options : dict
        Of the run.
    """
    if thread_count() == 1:
        yield
        return
    run = (dtype, str(channels), json.dumps(options, default=list, sort_keys=True))

    def start() -> subprocess.Popen[str] | None:
        if run in _started:
            return None
        _started.add(run)
        return start_python(_COMPILE_A_RUN, *run)

    asked = _Seconded(start).compiled
    kernel_cache.compiled_elsewhere = asked
    try:
        yield
    finally:
        # Not where a run in another thread has begun meanwhile.
        if kernel_cache.compiled_elsewhere == asked:
            kernel_cache.compiled_elsewhere = kernel_cache.nowhere


class _Seconded:
    """What a second process compiles and this one does, which they tell each other: a line when a kernel is begun.

    Parameters
    ----------
    start : callable
        Returns the process, or None.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[str] | None]) -> None:
        self.began = False
        self._start = start
        self._process: subprocess.Popen[str] | None = None
        self._there = ""
        self._changed = threading.Condition()

    def compiled(self, kernel: str) -> bool:
        """Return whether the process was at work on a kernel, which it has ended now."""
        with self._changed:
            if not self.began:
                self.began = True
                self._process = self._start()
                if self._process is not None:
                    threading.Thread(target=self._listen, name="focus-stack-compiler", daemon=True).start()
            if self._there != kernel:
                self._tell(kernel)
                return False
            self._changed.wait_for(lambda: self._there != kernel, _LONGEST_S)
            return True

    def _tell(self, kernel: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # It may have ended.
            with contextlib.suppress(OSError, ValueError):
                print(kernel, file=self._process.stdin, flush=True)

    def _listen(self) -> None:
        assert self._process is not None
        with self._process as process:
            for line in process.stdout or ():
                self._at(line.strip())
            self._at("")

    def _at(self, kernel: str) -> None:
        with self._changed:
            self._there = kernel
            self._changed.notify_all()


def compile_from_the_last_call(*runs: Callable[[], object]) -> None:
    """Compile the kernels that some runs call, of each the last one first, and tell which one is begun.

    Parameters
    ----------
    *runs : callable
        They go on in plain Python.
    """
    begun_there: set[str] = set()
    threading.Thread(target=lambda: begun_there.update(map(str.strip, sys.stdin)), daemon=True).start()
    # All runs before anything is compiled.
    recorded = [calls_in(run) for run in runs]
    for kernel, types in dict.fromkeys(chain.from_iterable(reversed(calls) for calls in recorded)):
        name = f"{kernel.name}{types}"
        if name not in begun_there:
            print(name, flush=True)
            kernel.compile(types)
