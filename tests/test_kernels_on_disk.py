"""Compiled kernels on disk: the first process, one that finds them there, and one that finds them spoiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Two kernels that use row functions.
SCRIPT = """
import hashlib
import numpy as np
from napari_focus_stack.pyramid import expand, reduce

rng = np.random.default_rng(0)
image = rng.normal(100, 9, (150, 181)).astype(np.float32)
coarse = reduce(image)
print(hashlib.sha256(coarse.tobytes() + expand(coarse, image.shape).tobytes()).hexdigest())
"""


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "NAPARI_FOCUS_STACK_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def told(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""
    return out


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, str]:
    """Return a cache that two processes have filled at once, and what both of them gave."""
    folder = tmp_path_factory.mktemp("kernels")
    first, second = [told(process) for process in [start(folder), start(folder)]]
    assert first == second
    return folder, first


def test_kernels_from_disk_give_the_bytes_of_those_just_compiled(filled):
    """Row functions left as functions were other machine code in the process that compiled, with other last bits."""
    folder, expected = filled
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.nbi"))
    assert told(start(folder)) == expected
    assert before == sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*.nbi")), "nothing was compiled"


def test_kernels_from_disk_wait_for_nothing_that_compiles(filled):
    """Numba imports 0.4 s of what it can compile, SciPy's linear algebra too, before it compiles anything."""
    folder, expected = filled
    ask = SCRIPT + "import sys\nprint('numba.np.linalg' in sys.modules)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "NAPARI_FOCUS_STACK_THREADS": "1"}
    asked = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    assert asked.stdout.split() == [expected.strip(), "False"], asked.stderr


def test_what_is_on_disk_is_known_without_compiling(filled):
    folder, _ = filled
    script = """
from napari_focus_stack import kernels, pyramid
from napari_focus_stack.height.peaks import double_band
print(kernels.is_on_disk(pyramid._reduce_band), kernels.is_on_disk(double_band))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    asked = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert asked.stdout.split() == ["True", "False"], asked.stderr


def test_spoiled_kernels_are_compiled_again(filled):
    folder, expected = filled
    index, code = (next(folder.rglob(f"*{name}_band*.nb{kind}")) for name, kind in (("reduce", "i"), ("expand", "c")))
    index.write_bytes(b"")
    code.write_bytes(code.read_bytes()[:1000])
    assert told(start(folder)) == expected
    assert index.stat().st_size > 0
    assert told(start(folder)) == expected


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path):
    """A file in the folder's place: as a full disk, it refuses every file."""
    from numba.core.caching import FunctionCache

    from napari_focus_stack.kernel_cache import ForgivingCache

    class Full(FunctionCache):
        def __init__(self):
            pass

        def save_overload(self, signature, compiled):
            raise OSError(28, "No space left on device")

        def _load_overload(self, signature, target):
            raise EOFError

        def flush(self):
            raise OSError(28, "No space left on device")

    cache = ForgivingCache(Full(), "a kernel")
    cache.save_overload(None, None)
    assert cache.load_overload(None, None) is None
