"""The window is painted seldom, and a run makes room for it meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_focus_stack import focus_stack, machine, pauses
from napari_focus_stack.kernels import run_bands
from napari_focus_stack.napari_plugin import host, running, turns
from napari_focus_stack.synthetic import make_scene
from windows import PLUGIN, RUN_MS, HeldStack

MANY = 12
FIELDS = {"image": "fused", "index": "focus index", "height": "height", "confidence": "confidence"}


@pytest.fixture
def resumed():
    yield
    pauses.resume()


def start_bands():
    """Start bands in a thread; return what they did, and the thread."""
    done = []
    thread = threading.Thread(target=run_bands, args=(lambda *band: done.append(band), 1024, 1024))
    thread.start()
    return done, thread


@pytest.mark.usefixtures("resumed")
def test_no_band_begins_in_a_pause_and_all_are_done_after_it(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    pauses.pause(60)
    done, thread = start_bands()
    thread.join(0.05)
    assert done == []
    pauses.resume()
    thread.join(60)
    assert sorted(done) == [(0, 256), (256, 512), (512, 768), (768, 1024)]


@pytest.mark.usefixtures("resumed")
def test_a_pause_that_nobody_ends_is_over_after_its_time(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    pauses.pause(0.05)
    done, thread = start_bands()
    thread.join(60)
    assert len(done) == 4


def test_free_memory_is_asked_for_once_in_a_while(monkeypatch):
    asked, now = [], [100.0]
    monkeypatch.setattr(machine, "monotonic", lambda: now[0])
    monkeypatch.setattr(machine, "free_memory", lambda: asked.append(None) or 7)
    monkeypatch.setattr(machine, "_lately", (0.0, 0))
    assert [machine.free_memory_lately() for _ in range(3)] == [7] * 3
    now[0] += 2
    machine.free_memory_lately()
    assert len(asked) == 2


# ---- in a window -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (64, 96), slices=6)


@pytest.mark.usefixtures("window_libraries")
def test_a_figure_that_fits_has_nothing_laid_out_anew(qtbot):
    from qtpy.QtCore import QEvent, QObject
    from qtpy.QtWidgets import QHBoxLayout, QWidget

    from napari_focus_stack.napari_plugin.steady_label import SteadyLabel

    class Requests(QObject):
        count = 0

        def eventFilter(self, widget, event):  # noqa: N802 - Qt's name
            self.count += event.type() == QEvent.Type.LayoutRequest
            return False

    outer, label, requests = QWidget(), SteadyLabel(), Requests()
    QHBoxLayout(outer).addWidget(label)
    label.setText("0.0137")
    qtbot.addWidget(outer)
    outer.resize(300, 50)
    outer.show()
    qtbot.waitExposed(outer)
    qtbot.wait(50)
    outer.installEventFilter(requests)
    label.setText("12.5 in slice 3")
    qtbot.wait(50)
    assert requests.count == 0
    assert label.text() == "12.5 in slice 3"
    label.setText("too long for its place: " + 80 * "9")
    qtbot.waitUntil(lambda: label.width() >= label.minimumSizeHint().width() > 300, timeout=RUN_MS)
    assert requests.count > 0
    outer.removeEventFilter(requests)


@pytest.mark.usefixtures("resumed")
def test_kernels_pause_while_the_window_is_painted_during_a_run_alone(viewer, panel, wait_end, qtbot, scene):
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    def paint():
        QApplication.sendEvent(panel.native.window(), QEvent(QEvent.Type.UpdateRequest))
        return pauses._until > 0

    held = HeldStack(scene.stack)
    viewer.add_image(held, name="bumps", contrast_limits=(0, 65535))
    assert not paint()
    panel.fuse()
    assert paint()
    qtbot.waitUntil(lambda: pauses._until == 0, timeout=RUN_MS)
    held.let(100)
    wait_end(panel)
    assert not paint()


def test_a_run_that_live_starts_has_a_bar_only_if_it_takes_a_while(
    viewer, panel, run, qtbot, wait_end, scene, monkeypatch
):
    held = HeldStack(scene.stack)
    viewer.add_image(held, name="bumps", contrast_limits=(0, 65535))
    held.let(100)
    run(panel)
    held._turns = threading.Semaphore(0)
    bar = panel.progress_bar.native
    for after_ms, seen in ((60_000, False), (1, True)):
        monkeypatch.setattr(running, "_LIVE_BAR_AFTER_MS", after_ms)
        panel.option_rows.widgets["denoise"].value += 0.2
        qtbot.waitUntil(lambda: panel._runs.running, timeout=RUN_MS)
        assert panel.cancel_button.enabled
        qtbot.wait(100)
        assert bar.isHidden() is not seen
        panel.cancel_button.native.click()
        held.let(100)
        wait_end(panel)
        assert bar.isHidden()
        held._turns = threading.Semaphore(0)


@pytest.mark.parametrize("ending", ["panel closed", "stack removed"])
@pytest.mark.parametrize("threaded", [False, True], ids=["levelled at once", "levelled in a thread"])
def test_whenever_it_ends_between_two_turns_all_layers_show_the_same_result(
    viewer, run, qtbot, workers, scene, monkeypatch, threaded, ending
):
    if threaded:
        monkeypatch.setattr(host, "_SMALL_PX", 0)
    left = [MANY]
    take = turns.Turns._take

    def take_some(these):
        if left[0] > 0:
            left[0] -= 1
            take(these)

    monkeypatch.setattr(turns.Turns, "_take", lambda these: take_some(these))
    expected = focus_stack(scene.stack, denoise=0.5)

    def ended_after(turns_had):
        """Let a changed result have so many turns, end it, and return whether more would have come."""
        left[0] = MANY
        stack = viewer.add_image(scene.stack, name="bumps")
        dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
        panel.height_box.value = panel.confidence_box.value = True
        panel.option_rows.widgets["denoise"].value = 0
        run(panel)
        left[0] = turns_had
        panel.option_rows.widgets["denoise"].value = 0.5
        qtbot.waitUntil(lambda: not panel._runs.busy and (left[0] == 0 or not panel.busy), timeout=RUN_MS)
        more = panel.busy
        if ending == "panel closed":
            viewer.window.remove_dock_widget(dock)
        else:
            viewer.layers.remove(stack)
        for field, title in FIELDS.items():
            layer = viewer.layers[f"bumps {title}"]
            np.testing.assert_array_equal(layer.data, getattr(expected, field), err_msg=title)
            assert layer.metadata[PLUGIN]["options"]["denoise"] == 0.5
        if ending == "stack removed":
            qtbot.waitUntil(lambda: not panel.busy, timeout=RUN_MS)
            viewer.window.remove_dock_widget(dock)
        workers()
        viewer.layers.clear()
        return more

    assert 3 <= next(turns_had for turns_had in range(MANY) if not ended_after(turns_had)) < MANY - 1
