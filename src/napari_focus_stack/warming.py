"""Kernels made ready in the background, so that neither the first run nor the window waits for them.

While Numba compiles, Python's collections of garbage and long calls stop all threads of the process, a window's
too, for up to 0.3 s at a time: a process of its own compiles, and this one loads what it has put on disk.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

from . import pipeline
from .height.peaks import double_band
from .kernels import is_on_disk

_LONGEST_S = 300

# This very package, since kernels are kept for their files; and nothing that lies in the folder where Python starts.
_COMPILE = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
sys.path[:] = filter(None, sys.path)
folder = sys.argv[1]
spec = spec_from_file_location("napari_focus_stack", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[spec.name] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from napari_focus_stack.pipeline import warm_up
warm_up()
"""

_compiling = threading.Lock()


def warm_up_apart() -> None:
    """Load the kernels of the default method; where they are not on disk yet, another process compiles them first.

    Where that cannot be, for want of a folder or of a Python to start, they are compiled here.
    """
    # The last kernel of a run: where it is kept, the others are.
    if is_on_disk(double_band) is False and (python := _python()) is not None:
        with _compiling, contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [python, "-c", _COMPILE, str(Path(__file__).parent)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_LONGEST_S,
                check=False,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
    pipeline.warm_up()


def under_way() -> bool:
    """Return whether another process compiles: a run that begins now would compile the same once more."""
    return _compiling.locked()


def _python() -> str | None:
    """Return the interpreter; None in a program that holds one, which may be anything once it is started."""
    python = sys.executable
    frozen = getattr(sys, "frozen", False)
    return python if python and not frozen and Path(python).stem.lower().startswith("python") else None
