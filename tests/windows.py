"""What the tests of the panel share: a real viewer with the panel in it, and a stack that lets a run wait."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

PLUGIN = "napari-focus-stack"
RUN_MS = 60_000


class HeldStack:
    """A z-stack that lets a worker read only so many planes, until it is released."""

    def __init__(self, pixels):
        self._pixels = pixels
        self.shape, self.dtype, self.ndim = pixels.shape, pixels.dtype, pixels.ndim
        self._turns = threading.Semaphore(0)
        self.reads = 0

    def let(self, planes):
        for _ in range(planes):
            self._turns.release()

    def __getitem__(self, where):
        if threading.current_thread() is not threading.main_thread():
            assert self._turns.acquire(timeout=60)
            self.reads += 1
        return self._pixels[where]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._pixels, dtype)


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def workers(qtbot, monkeypatch):
    """Let no worker outlive its test."""
    # Nothing is kept from one test to the next, nor in the home of who runs them.
    kept = SimpleNamespace(live=True, height=False, confidence=False, options="")
    monkeypatch.setattr("napari_focus_stack.napari_plugin.remembered.plugin_settings", lambda: kept)
    from superqt.utils import WorkerBase

    def done():
        return not WorkerBase._worker_set

    yield lambda: qtbot.waitUntil(done, timeout=RUN_MS)
    qtbot.waitUntil(done, timeout=RUN_MS)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("focus-stack-reader")]


@pytest.fixture
def viewer(make_napari_viewer, workers, monkeypatch):
    monkeypatch.setattr("napari_focus_stack.napari_plugin.widget.warm_up", lambda: None)
    return make_napari_viewer(strict_qt="raise")


@pytest.fixture
def panel(viewer):
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")[1]


@pytest.fixture
def wait_end(qtbot):
    """Wait for the end of a run, and of those that it is followed by."""

    def wait(panel):
        qtbot.waitUntil(lambda: not panel.busy, timeout=RUN_MS)

    return wait


@pytest.fixture
def run(wait_end):
    def press_fuse(panel):
        assert panel.fuse_button.enabled
        panel.fuse_button.native.click()
        assert not panel.fuse_button.enabled
        wait_end(panel)

    return press_fuse
