"""Two hundred random actions in a real window, runs held between any two slices: nothing fails, nothing is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from napari_focus_stack.pipeline import warm_up
from window_machine import IDLE_TURNS, Faults, Patience, WindowMachine

pytestmark = pytest.mark.usefixtures("window_libraries")

STEPS = 50


def test_random_actions(make_napari_viewer, workers, qtbot, monkeypatch):
    monkeypatch.setattr("napari_focus_stack.napari_plugin.widget.warm_up", lambda: None)
    warm_up()  # or actions fall into the compiling of the first run
    faults = Faults(monkeypatch)

    class Machine(WindowMachine):
        world = SimpleNamespace(make_viewer=make_napari_viewer, qtbot=qtbot, faults=faults)

    profile = settings()
    cases = 4 if profile.derandomize else profile.max_examples
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=cases,
            stateful_step_count=STEPS,
            # A smaller failure takes minutes to find; the steps of the first one are told.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )


def test_a_wait_ends_where_nothing_goes_on():
    """Neither a stopped process nor one that others leave little of the machine has such turns without work."""
    patience = Patience()
    with pytest.raises(AssertionError, match="nothing goes on any more: a run"):
        for _ in range(3 * IDLE_TURNS):
            patience.turn("a run")
