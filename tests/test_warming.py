"""Kernels compiled by another process, so that a window stays live."""

import subprocess
import sys
from pathlib import Path

import pytest

import napari_focus_stack
from napari_focus_stack import warming


@pytest.fixture
def done(monkeypatch) -> list[str]:
    """Return what warming up does, in order, while neither compiles."""
    steps: list[str] = []
    monkeypatch.setattr(warming.pipeline, "warm_up", lambda: steps.append("loaded"))
    return steps


def run_in_place_of(monkeypatch, steps, error=None):
    def run(command, **_):
        steps.append(f"{Path(command[0]).name} under way: {warming.under_way()}")
        if error is not None:
            raise error

    monkeypatch.setattr(warming.subprocess, "run", run)


def test_kernels_that_are_not_on_disk_are_compiled_apart_first(monkeypatch, done):
    monkeypatch.setattr(warming, "is_on_disk", lambda _: False)
    run_in_place_of(monkeypatch, done)
    warming.warm_up_apart()
    assert done == [f"{Path(sys.executable).name} under way: True", "loaded"]
    assert not warming.under_way()


@pytest.mark.parametrize("known", [True, None], ids=["on disk", "no folder for them"])
def test_no_process_is_started_in_vain(monkeypatch, done, known):
    monkeypatch.setattr(warming, "is_on_disk", lambda _: known)
    run_in_place_of(monkeypatch, done)
    warming.warm_up_apart()
    assert done == ["loaded"]


def test_programs_that_hold_a_python_are_not_started_once_more(monkeypatch, done):
    monkeypatch.setattr(warming, "is_on_disk", lambda _: False)
    run_in_place_of(monkeypatch, done)
    monkeypatch.setattr(sys, "executable", "/opt/microscope/control")
    warming.warm_up_apart()
    monkeypatch.setattr(sys, "executable", "/opt/python")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    warming.warm_up_apart()
    assert done == ["loaded", "loaded"]


@pytest.mark.parametrize("error", [OSError("no such file"), subprocess.TimeoutExpired("python", 1)])
def test_a_process_that_fails_costs_no_run(monkeypatch, done, error):
    monkeypatch.setattr(warming, "is_on_disk", lambda _: False)
    run_in_place_of(monkeypatch, done, error)
    warming.warm_up_apart()
    assert done[1:] == ["loaded"]
    assert not warming.under_way()


def test_the_process_finds_this_package_and_nothing_of_the_folder_it_starts_in(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('a file of the user was run')")
    folder = Path(napari_focus_stack.__file__).parent
    script = warming._COMPILE.replace("warm_up()\n", "import napari_focus_stack as p; print(p.__file__)\n")
    asked = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert asked.stdout.strip() == napari_focus_stack.__file__, asked.stderr
