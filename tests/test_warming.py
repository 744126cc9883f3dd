"""Kernels compiled by another process, so that a window stays live."""

import json
import subprocess
from dataclasses import asdict

import pytest

from napari_focus_stack import FocusStackOptions, warming


class Started:
    """A process that was started, and ends at once or never."""

    def __init__(self, steps, ends=True):
        self._steps, self._ends = steps, ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._steps.append("ended")

    def wait(self, timeout):
        if not self._ends:
            raise subprocess.TimeoutExpired("python", timeout)

    def kill(self):
        self._steps.append("killed")


@pytest.fixture
def warm_up(monkeypatch):
    """Return a function that warms up, and says what it does in order; neither process compiles."""

    def done(on_disk, started):
        steps = []

        def start(task):
            steps.append(f"under way: {warming.under_way()}")
            return started(steps)

        monkeypatch.setattr(warming.pipeline, "warm_up", lambda: steps.append("loaded"))
        monkeypatch.setattr(warming, "is_on_disk", lambda _: on_disk)
        monkeypatch.setattr(warming, "start_python", start)
        warming.warm_up_apart()
        assert not warming.under_way()
        return steps

    return done


def test_kernels_that_are_not_on_disk_are_compiled_apart_first(warm_up):
    assert warm_up(False, Started) == ["under way: True", "ended", "loaded"]


@pytest.mark.parametrize("known", [True, None], ids=["on disk", "no folder for them"])
def test_no_process_is_started_in_vain(warm_up, known):
    assert warm_up(known, Started) == ["loaded"]


def test_where_no_process_can_be_started_kernels_are_compiled_here(warm_up):
    assert warm_up(False, lambda steps: None) == ["under way: True", "loaded"]


def test_a_process_that_never_ends_costs_no_run(warm_up):
    assert warm_up(False, lambda steps: Started(steps, ends=False))[1:] == ["killed", "ended", "loaded"]


@pytest.mark.parametrize("asked", [{}, {"levels": 1}, {"levels": 8}, {"align": "similarity"}], ids=str)
def test_the_runs_that_kernels_are_known_from_go_to_their_end(monkeypatch, asked):
    results = []
    monkeypatch.setattr(warming, "compile_from_the_last_call", lambda *runs: results.extend(run() for run in runs))
    warming.compile_from_the_last("<u2", "1", json.dumps(asdict(FocusStackOptions(**asked)), default=list))
    two_levels = asked.get("levels") != 1
    assert [result.transparent for result in results] == [0, two_levels], "one level tells no blur from phase"
