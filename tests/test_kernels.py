"""Work that is shared out is done once, whatever the number of threads, and its errors arrive."""

import gc
import re
import sys
import threading
import time
import weakref

import numba
import numpy as np
import pytest

from napari_focus_stack import focus_stack, kernels
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.kernels import (
    kernels_ready,
    multiply_add,
    run_bands,
    run_strips,
    run_tasks,
    run_together,
    threads_here,
)
from napari_focus_stack.synthetic import make_scene


@pytest.fixture(params=["1", "2", "3"])
def threads(request, monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", request.param)
    return int(request.param)


def count(rows, first, last):
    rows[first:last] += 1


def test_bands_cover_every_row_once(threads):
    rows = np.zeros(1001, int)
    run_bands(count, len(rows), 1000, rows)
    assert (rows == 1).all()


def test_strips_cover_every_row_once(threads):
    rows = np.zeros(1001, int)

    def add(strip):
        rows[strip] += 1

    run_strips(add, len(rows), 1000)
    assert (rows == 1).all()


def test_bands_within_jobs_within_jobs(threads):
    rows = np.zeros((4, 1001), int)

    def job(i):
        return lambda: run_bands(count, rows.shape[1], 1000, rows[i])

    run_together(lambda: run_together(job(0), job(1)), lambda: run_together(job(2), job(3)))
    assert (rows == 1).all()


def test_answers_come_in_the_order_of_the_items(threads):
    assert run_tasks(lambda n: n * n, range(20)) == [n * n for n in range(20)]


def test_jobs_run_at_the_same_time_where_there_are_threads(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    both = threading.Barrier(2, timeout=60)
    run_together(both.wait, both.wait)


def test_the_last_job_at_work_has_all_threads(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    both = threading.Barrier(2, timeout=60)
    shares = []

    def outlasting():
        shares.append(threads_here())
        both.wait()
        deadline = time.monotonic() + 60
        while threads_here() == 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        shares.append(threads_here())

    run_together(outlasting, both.wait)
    assert shares == [1, 2]


def test_threads_that_other_jobs_leave_free_help_with_bands(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    both = threading.Barrier(2, timeout=60)
    at_work = set()

    def band(first, last):
        at_work.add(threading.get_ident())
        deadline = time.monotonic() + 60
        # The first one until the other job has ended, the second one until a thread has come to help.
        while threads_here() == 1 or (first > 0 and len(at_work) == 1):
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def outlasting():
        both.wait()
        run_bands(band, 1000, 1000)

    run_together(outlasting, both.wait)
    assert len(at_work) == 2


def test_threads_that_other_jobs_leave_free_help_with_tasks(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    begun = threading.Event()
    at_work = set()

    def task(_):
        begun.set()
        at_work.add(threading.get_ident())
        time.sleep(0 if len(at_work) == 2 else 0.001)

    run_together(lambda: run_tasks(task, range(10_000)), lambda: begun.wait(60))
    assert len(at_work) == 2


def test_what_was_worked_on_is_not_held(threads):
    """Slices of a large stack would wait for the garbage collector."""
    rows = np.zeros(1001, int)
    held = weakref.ref(rows)
    run_together(lambda rows=rows: run_bands(count, 1001, 1000, rows), lambda: None)
    gc.disable()
    try:
        del rows
        deadline = time.monotonic() + 60
        while held() is not None:  # a thread of the pool may be about to let go
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        gc.enable()


@pytest.mark.parametrize("bad", [0, 1])
def test_when_an_error_arrives_no_job_is_at_work(threads, bad):
    begun, ended = [], []

    def slow():
        begun.append(1)
        time.sleep(0.05)
        ended.append(1)

    def fail():
        time.sleep(0.01)
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        run_together(*((fail, slow) if bad == 0 else (slow, fail)))
    assert begun == ended


def test_an_error_in_a_band_arrives(threads):
    def fail(first, last):
        raise ValueError("in a band")

    with pytest.raises(ValueError, match="in a band"):
        run_bands(fail, 1000, 1000)


def test_multiply_add_rounds_once():
    compiled = multiply_add.compiled()
    e = np.float32(2**-12)
    # Rounded before it is added to, the square is 1 + 2 e.
    assert numba.njit(lambda a, b, c: compiled(a, b, c))(1 + e, 1 + e, -1 - 2 * e) == e * e


def test_a_kernel_is_told_of_when_it_is_made_ready_and_not_when_it_is_called_again(monkeypatch):
    monkeypatch.setattr(kernels, "_KERNELS", [])

    @kernels.kernel
    def last(row):
        return row[-1]

    assert kernels_ready() == 0
    for dtype, ready in ((np.float32, 1), (np.float32, 1), (np.float64, 2)):
        assert last(np.ones(3, dtype)) == 1
        assert kernels_ready() == ready


@pytest.mark.parametrize("apart", [False, True])
def test_the_compiler_is_told_that_arguments_lie_apart(apart):
    def doubled(source, target):
        for x in range(source.shape[0]):
            target[x] = source[x] + source[x]

    compiled = numba.njit(doubled)
    if apart:
        kernels._hold_apart(compiled)
    compiled(np.ones(9), np.ones(9))
    (code,) = compiled.inspect_llvm().values()
    declared = next(line for line in code.splitlines() if line.startswith("define"))
    assert bool(re.search(r"noalias[^,]*%arg\.target\.", declared)) == apart


class Watched:
    """A kernel that says whether what it wrote lies in another of its arguments."""

    def __init__(self, compiled, found):
        self._compiled = compiled
        self._found = found

    def __call__(self, *arguments):
        arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        before = [array.copy() for array in arrays]
        self._compiled(*arguments)
        name = self._compiled.py_func.__name__
        for i, (array, old) in enumerate(zip(arrays, before, strict=True)):
            written = array.tobytes() != old.tobytes()
            others = arrays[:i] + arrays[i + 1 :]
            self._found.setdefault(name, False)
            self._found[name] |= written and any(np.may_share_memory(array, other) for other in others)

    def __getattr__(self, name):
        return getattr(self._compiled, name)


def test_what_a_kernel_writes_lies_in_no_other_of_its_arguments(monkeypatch):
    stack = make_scene("bumps", (97, 130), 9, "low", 0).stack
    holes = stack.astype(np.float32)
    holes[2, 10:14, 20:30] = np.nan

    def run():
        for method in FUSION_METHODS:
            focus_stack(stack, method=method, denoise=0.5)
        focus_stack(holes)
        focus_stack(stack, align="affine", mend_rims=True)
        focus_stack(stack[:2])
        focus_stack(make_scene("cells", (97, 130), 9, "low", 0).stack)
        focus_stack(make_scene("colour", (97, 130), 9, "low", 0).stack)

    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "1")
    run()
    apart = {id(one._compiled) for one in kernels._KERNELS if one._apart}
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("napari_focus_stack"):
            for label, value in list(vars(module).items()):
                if id(value) in apart:
                    monkeypatch.setattr(module, label, Watched(value, found))
    run()
    assert len(found) > 25
    assert [name for name, overlaps in found.items() if overlaps] == []
