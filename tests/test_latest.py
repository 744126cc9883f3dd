"""Work in a thread beside the panel's runs: the last request counts, and what fails is told."""

from __future__ import annotations

import threading

import pytest

from windows import RUN_MS

pytestmark = pytest.mark.usefixtures("window_libraries")


@pytest.fixture
def latest(qtbot, workers, monkeypatch):
    from napari_focus_stack.napari_plugin import latest

    told = []
    monkeypatch.setattr(latest, "show_error", told.append)
    work = latest.Latest("Saving the results")
    work.told = told
    work.wait = lambda: qtbot.waitUntil(lambda: not work.busy, timeout=RUN_MS)
    return work


def fails():
    raise ValueError("no such thing\nand more")


def test_what_fails_is_told_once_and_again_after_a_success(latest):
    """Results that could not be saved were not there, and no word was said."""
    done = []
    for work in (fails, fails, lambda: 1, fails):
        latest.request(work, done.append)
        latest.wait()
    assert done == [1]
    assert latest.told == ["Saving the results failed: ValueError: no such thing"] * 2


def test_a_failure_that_something_newer_follows_is_not_told(latest):
    done, gate = [], threading.Event()

    def fails_late():
        assert gate.wait(60)
        fails()

    latest.request(fails_late, done.append)
    latest.request(lambda: "older", done.append)
    latest.request(lambda: "newest", done.append)
    gate.set()
    latest.wait()
    assert done == ["newest"]
    assert latest.told == []


def test_nothing_is_told_of_a_closed_panel(latest):
    latest.request(fails, print)
    latest.close()
    latest.wait()
    latest.request(fails, print)
    assert not latest.busy
    assert latest.told == []
