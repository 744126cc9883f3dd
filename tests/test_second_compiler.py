"""Kernels that two processes compile, one from the first of a run, the other from the last."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import napari_focus_stack
from napari_focus_stack import kernel_cache, second_compiler
from napari_focus_stack.second_compiler import _Seconded, start_python

RUN = """
import os, sys
import numpy as np
from napari_focus_stack import focus_stack, kernel_cache, second_compiler

ask = second_compiler._Seconded.compiled
def told(self, kernel):
    there = ask(self, kernel)
    print("there" if there else "here", kernel)
    return there
second_compiler._Seconded.compiled = told
focus_stack(np.random.default_rng(0).integers(0, 255, (5, 64, 64), np.uint16), light="opaque")
"""


def compiled_by(folder: Path) -> list[list[str]]:
    """Return, for each kernel that a run does not find on disk, where it was compiled and its name and types."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "NAPARI_FOCUS_STACK_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return [line.split(" ", 1) for line in run.stdout.splitlines()]


def test_two_processes_compile_a_run_and_no_kernel_twice(tmp_path):
    missed = compiled_by(tmp_path)
    here = [kernel for where, kernel in missed if where == "here"]
    assert "halve_band" in here[0], "this process begins with the first"
    on_disk = [path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")]
    assert any("double_band" in name for name in on_disk)
    assert not any("double_band" in kernel for kernel in here), "and the other with the last"
    assert compiled_by(tmp_path) == [], "all are on disk"


class Process:
    """Another process, which says what it is let say."""

    def __init__(self):
        reading, writing = os.pipe()
        self.stdin, self.stdout, self._said = io.StringIO(), os.fdopen(reading), os.fdopen(writing, "w")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stdout.close()

    def says(self, kernel):
        print(kernel, file=self._said, flush=True)

    def end(self):
        self._said.close()


@pytest.fixture
def other():
    """Return what asks for kernels, what the other process is told, and how to say what that begins."""
    process = Process()
    seconded = _Seconded(lambda: process)
    yield seconded, process.stdin, process.says
    process.end()
    if seconded.began:
        wait_until(lambda: process.stdout.closed)


def wait_until(true):
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never was")


def test_what_is_compiled_here_is_told(other):
    seconded, told, _ = other
    assert not seconded.began
    assert not seconded.compiled("a")
    assert seconded.began
    assert not seconded.compiled("b")
    assert told.getvalue() == "a\nb\n"


def test_what_is_compiled_there_is_waited_for_and_not_compiled_here(other):
    seconded, told, say = other
    seconded.compiled("a")
    say("z")
    wait_until(lambda: seconded._there == "z")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(seconded.compiled("z")))
    waiting.start()
    assert not seconded.compiled("b"), "another kernel is not waited for"
    assert answers == []
    say("y")
    waiting.join(10)
    assert answers == [True]
    assert told.getvalue() == "a\nb\n"


def test_where_no_process_can_be_started_all_is_compiled_here():
    seconded = _Seconded(lambda: None)
    assert [seconded.compiled(name) for name in "aab"] == [False, False, False]


def test_one_thread_has_no_second_process(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "1")
    before = kernel_cache.compiled_elsewhere
    with second_compiler.second_compiler("<u2", 1, {}):
        assert kernel_cache.compiled_elsewhere is before


def test_a_process_is_started_once_for_a_kind_of_run(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    monkeypatch.setattr(second_compiler, "_started", set())
    started = []
    monkeypatch.setattr(second_compiler, "start_python", lambda task, *run: started.append(run))
    before = kernel_cache.compiled_elsewhere
    for dtype in ("<u2", "<u2", "|u1"):
        with second_compiler.second_compiler(dtype, 3, {"levels": "auto", "noise": (1, 2)}):
            assert not kernel_cache.compiled_elsewhere("a kernel")
            assert not kernel_cache.compiled_elsewhere("another")
    with second_compiler.second_compiler("<f4", 1, {}):
        pass
    assert kernel_cache.compiled_elsewhere is before is kernel_cache.nowhere
    assert started == [(dtype, "3", '{"levels": "auto", "noise": [1, 2]}') for dtype in ("<u2", "|u1")]


def test_of_two_runs_at_once_the_one_that_ends_leaves_the_other_its_process(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    first, second = (second_compiler.second_compiler(dtype, 1, {}) for dtype in ("<u2", "|u1"))
    first.__enter__()
    second.__enter__()
    asked = kernel_cache.compiled_elsewhere
    first.__exit__(None, None, None)
    assert kernel_cache.compiled_elsewhere == asked
    second.__exit__(None, None, None)
    assert kernel_cache.compiled_elsewhere is kernel_cache.nowhere


def test_programs_that_hold_a_python_are_not_started_once_more(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/microscope/control")
    assert start_python("") is None
    monkeypatch.setattr(sys, "executable", "/opt/python")
    assert start_python("") is None, "it does not exist"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert start_python("") is None


def test_the_process_finds_this_package_and_nothing_of_the_folder_it_starts_in(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file of the user was run')")
    monkeypatch.chdir(tmp_path)
    with start_python("import napari_focus_stack as p; print(p.__file__)\n") as process:
        assert process.communicate(timeout=120)[0].strip() == napari_focus_stack.__file__
