"""A user who does anything at any moment: random actions on a real viewer with the real panel, runs held half-way.

Slices are read by a run only when the machine lets them, so that every action can fall between any two of them.
"""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
from dataclasses import asdict
from time import process_time, thread_time
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from napari_focus_stack import focus_stack
from windows import PLUGIN

SHAPES = {
    "gray": ((5, 24, 32), np.uint16),
    "wide": ((6, 20, 40), np.uint8),
    "floats": ((3, 24, 32), np.float32),
    "one pixel": ((2, 1, 1), np.uint8),
    "series": ((2, 3, 20, 24), np.uint8),
    "one slice": ((1, 24, 32), np.uint16),
    "flat": ((24, 32), np.uint8),
}
# What is under way is frozen when so many turns of the window pass and no other thread of the process works, some 15 s;
# and it has no end when other threads work for so long. Wall time tells neither on a machine that is loaded or sleeps.
IDLE_TURNS = 3000
LONGEST_WORK_S = 120
LEAST_WORK_S = 0.01
FEW = st.integers(0, 11)


def textured(kind, seed=0):
    """Return pixels whose sharp slice goes from the first at the top to the last at the bottom."""
    shape, dtype = SHAPES[kind]
    rng = np.random.default_rng(seed)
    texture = rng.random(shape)
    if len(shape) > 2:
        slices, rows = shape[-3], shape[-2]
        sharp = np.arange(rows)[:, np.newaxis] * slices // rows
        distance = np.abs(np.arange(slices)[:, np.newaxis, np.newaxis] - sharp)
        texture = 0.5 + (texture - 0.5) / (1 + 2 * distance)
    if np.dtype(dtype).kind == "u":
        return (texture * 0.9 * np.iinfo(dtype).max).astype(dtype)
    texture[..., :3, :3] = np.nan
    return texture.astype(dtype)


def is_alive(widget):
    """Return whether Qt has not deleted a widget yet."""
    try:
        widget.objectName()
    except RuntimeError:
        return False
    return True


def is_ours(callback):
    """Return whether a callback is of the panel, and not one that napari made for it."""
    if isinstance(callback, tuple):  # held weakly
        owner, name = callback
        # napari connects it for every widget that has it, and leaves it there.
        return name != "reset_choices" and type(owner()).__module__.startswith("napari_focus_stack")
    return callback.__module__.startswith("napari_focus_stack")


class GatedPixels:
    """Pixels whose slices the threads of a run read only when they are let; the window reads them at once."""

    def __init__(self, pixels, gate):
        self.pixels, self._gate = pixels, gate
        self.shape, self.dtype = pixels.shape, pixels.dtype
        self.ndim, self.size = pixels.ndim, pixels.size

    def __getitem__(self, where):
        thread = threading.current_thread()
        # The threads of dask work for the window.
        if thread is not threading.main_thread() and not thread.name.startswith("ThreadPoolExecutor"):
            self._gate.pass_one()
        return self.pixels[where]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.pixels, dtype)


class Gate:
    """Lets slices through, a number of them or all."""

    def __init__(self):
        self._condition = threading.Condition()
        self._left, self.open = 0, False

    def let(self, slices):
        with self._condition:
            self._left += slices
            self._condition.notify_all()

    def set_open(self, is_open):
        with self._condition:
            self.open, self._left = is_open, 0
            self._condition.notify_all()

    def pass_one(self):
        with self._condition:
            self._condition.wait_for(lambda: self.open or self._left > 0)
            self._left -= not self.open


class Patience:
    """Waits for what other threads do, as long as they work at it."""

    def __init__(self):
        self._began = self._last = self._work()
        self._idle_turns = 0

    @staticmethod
    def _work():
        """Return the processor time of all other threads."""
        return process_time() - thread_time()

    def turn(self, pending):
        """Take note that the window had a turn and `pending` is under way still."""
        work = self._work()
        self._idle_turns += 1
        if work > self._last + LEAST_WORK_S:
            self._last, self._idle_turns = work, 0
        assert self._idle_turns < IDLE_TURNS, f"nothing goes on any more: {pending}"
        assert work < self._began + LONGEST_WORK_S, f"without an end: {pending}"


class Faults:
    """All that goes wrong where nobody sees it: in slots of Qt, in threads, in work whose errors are dropped."""

    def __init__(self, monkeypatch):
        from napari.utils.notifications import notification_manager

        from napari_focus_stack.napari_plugin import latest

        self.found = []
        self._notifications = notification_manager

        def in_slot(kind, error, trace):
            self.found.append(error)

        def in_thread(failure):
            self.found.append(failure.exc_value)

        def unraisable(failure):
            self.found.append(failure.exc_value or failure.err_msg)

        def loudly(work, outcome, quietly=latest._quietly):
            def watched():
                try:
                    return work()
                except Exception as error:
                    self.found.append(error)
                    raise

            quietly(watched, outcome)

        monkeypatch.setattr(sys, "excepthook", in_slot)
        monkeypatch.setattr(threading, "excepthook", in_thread)
        monkeypatch.setattr(sys, "unraisablehook", unraisable)
        monkeypatch.setattr(latest, "_quietly", loudly)
        self._notifications.records.clear()

    def check(self, panel):
        records, self._notifications.records[:] = list(self._notifications.records), []
        for record in records:
            error = getattr(record, "exception", None)
            if error is not None:
                self.found.append(error)
            elif "failed" in record.message:
                self.found.append(record.message)
        if panel is not None and "failed" in panel.status_line.text():
            self.found.append(panel.status_line.text())
        if self.found:
            first = self.found[0]
            self.found.clear()
            raise first if isinstance(first, BaseException) else AssertionError(first)


class WindowMachine(RuleBasedStateMachine):
    """Subclasses set `world`: make_viewer, qtbot, faults."""

    world: SimpleNamespace

    def __init__(self):
        super().__init__()
        self.gate = Gate()
        self.inputs = []
        self.late = []
        self.seed = 0
        self.panel = self.dock = self.chosen = None

    # ---- beginning and end -----------------------------------------------------------------------

    @initialize()
    def open_viewer(self):
        self.viewer = self.world.make_viewer()
        self.viewer.layers.events.inserted.connect(self._inserted)
        self.open_panel()
        self.add("gray")

    def open_panel(self):
        self.chosen = None
        self.dock, self.panel = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Focus stacking")
        self.turn()

    def teardown(self):
        """Close the viewer, whatever is under way: nothing may be left of it."""
        from qtpy.QtCore import QTimer
        from superqt.utils import WorkerBase

        try:
            if self.panel is None:
                return
            panel, viewer = self.panel, self.viewer
            viewer.close()
            self.gate.set_open(True)
            self.wait_while(lambda: list(WorkerBase._worker_set))
            self.turn()
            if sys.exc_info()[0] is not None:
                return
            self.world.faults.check(None)
            assert panel.closed
            assert not panel._runs.running
            if is_alive(panel.native):
                timers = [timer for timer in panel.native.findChildren(QTimer) if timer.isActive()]
                assert not timers, timers
            callbacks = self.callbacks_of_ours()
            assert not callbacks, callbacks
            self.check_threads()
            self.check_inputs()
        finally:
            self.gate.set_open(True)
            self.panel = self.dock = self.viewer = panel = viewer = None
            self.turn()
            gc.collect()

    def callbacks_of_ours(self):
        events = self.viewer.layers.events
        emitters = [events, *(getattr(events, name) for name in ("inserted", "removed", "reordered", "changed"))]
        emitters += [self.viewer.dims.events.point, self.viewer.events.theme]
        found = [callback for emitter in emitters for callback in emitter.callbacks]
        found += [*self.viewer.mouse_move_callbacks, *self.viewer.mouse_double_click_callbacks]
        return [callback for callback in found if is_ours(callback)]

    # ---- what holds after every action -----------------------------------------------------------

    @invariant()
    def nothing_failed(self):
        if self.panel is not None:
            self.turn()
            self.world.faults.check(self.panel)
            assert not self.late, f"results of a stack that is gone were added: {self.late}"

    def _inserted(self, event):
        told = event.value.metadata.get(PLUGIN)
        if told and told.get("source") not in [layer.name for layer in self.viewer.layers]:
            self.late.append((event.value.name, told.get("source")))

    def turn(self):
        from qtpy.QtWidgets import QApplication

        for _ in range(3):
            QApplication.processEvents()

    def check_inputs(self):
        for pixels, digest in self.inputs:
            assert hashlib.sha256(pixels.tobytes()).digest() == digest, "the input was written to"

    def check_threads(self):
        left = [t.name for t in threading.enumerate() if t.name.startswith("focus-stack-reader")]
        assert not left, left

    def busy(self):
        """Return what is under way."""
        from superqt.utils import WorkerBase

        parts = [self.panel, *self.panel.sections]
        return [*WorkerBase._worker_set, *(type(part).__name__ for part in parts if getattr(part, "busy", False))]

    def wait_while(self, under_way):
        patience = Patience()
        while pending := under_way():
            patience.turn(pending)
            self.world.qtbot.wait(5)

    def settle(self):
        """Let everything end; then the panel can be used."""
        from napari_focus_stack.napari_plugin.layers import is_stack

        self.gate.set_open(True)
        self.wait_while(self.busy)
        self.turn()
        self.gate.set_open(False)
        self.nothing_failed()
        self.check_threads()
        self.check_inputs()
        panel, chosen = self.panel, self.panel.chosen()
        stacks = [layer for layer in self.viewer.layers if is_stack(layer)]
        assert set(panel.stack_choice.choices) == set(stacks)
        box = panel.stack_choice.native
        assert {box.itemText(row) for row in range(box.count())} == {layer.name for layer in stacks}
        if self.chosen in stacks:
            assert panel.stack_choice.value is self.chosen, "another stack was chosen by no one"
        assert not panel.cancel_button.enabled
        assert panel.progress_bar.native.isHidden()
        assert panel.fuse_button.enabled == bool(stacks)
        if not stacks:
            assert chosen is None
            assert "open a z-stack" in panel.description.text()
            return
        assert chosen.layer in stacks
        shape = chosen.stack.at((0,) * len(chosen.stack.outer_axes)).shape
        assert "×".join(map(str, shape[:3])) in panel.description.text(), (shape, panel.description.text())
        shown = panel.shown_of_chosen()
        if shown is not None:
            assert shown.results.index.shape == chosen.stack.result_array(np.uint16, colour=False).shape

    # ---- layers ----------------------------------------------------------------------------------

    def pixels(self, kind, rgb=False):
        self.seed += 1
        pixels = textured(kind, self.seed)
        if rgb:
            pixels = np.stack([pixels] * 3, axis=-1)
        self.inputs.append((pixels, hashlib.sha256(pixels.tobytes()).digest()))
        return pixels

    def layer(self, which):
        layers = self.viewer.layers
        return layers[which % len(layers)] if len(layers) else None

    def stack(self, which):
        """Return a layer that is nobody's result."""
        images = [layer for layer in self.viewer.layers if type(layer).__name__ == "Image"]
        found = [layer for layer in images if PLUGIN not in layer.metadata]
        return found[which % len(found)] if found else None

    @rule(kind=st.sampled_from([*SHAPES, "rgb", "pyramid", "sized", "points"]))
    def add(self, kind):
        if len(self.viewer.layers) > 12:
            return
        if kind == "points":
            self.viewer.add_points(np.zeros((1, 3)), name=kind)
        elif kind == "rgb":
            pixels = GatedPixels(self.pixels("wide", rgb=True), self.gate)
            self.viewer.add_image(pixels, rgb=True, name=kind)
        elif kind == "pyramid":
            fine = self.pixels("gray")
            levels = [GatedPixels(fine, self.gate), np.ascontiguousarray(fine[:, ::2, ::2])]
            self.viewer.add_image(levels, multiscale=True, name=kind, contrast_limits=(0, 65535))
        else:
            keywords = {"scale": (2, 0.5, 0.25), "units": ("um",) * 3} if kind == "sized" else {}
            pixels = self.pixels("gray" if kind == "sized" else kind)
            limits = (0, float(np.nanmax(pixels)) or 1)
            self.viewer.add_image(GatedPixels(pixels, self.gate), name=kind, contrast_limits=limits, **keywords)

    @rule(which=FEW)
    def remove(self, which):
        layer = self.layer(which)
        if layer is not None:
            self.viewer.layers.remove(layer)

    @rule(which=FEW, name=st.sampled_from(["gray", "a", "", "Ü \n", "gray fused"]))
    def rename(self, which, name):
        layer = self.layer(which)
        if layer is not None:
            layer.name = name

    @rule(which=FEW, to=FEW)
    def move(self, which, to):
        if len(self.viewer.layers) > 1:
            self.viewer.layers.move(which % len(self.viewer.layers), to % len(self.viewer.layers))

    @rule(which=FEW, kind=st.sampled_from([*SHAPES]))
    def replace_pixels(self, which, kind):
        layer = self.stack(which)
        if layer is not None and not layer.multiscale:
            kind = "wide" if layer.rgb else kind
            layer.data = GatedPixels(self.pixels(kind, rgb=layer.rgb), self.gate)

    @rule(which=FEW)
    def turn_pixels(self, which):
        layer = self.stack(which)
        if layer is not None and not layer.multiscale and not layer.rgb:
            pixels = self.pixels("gray").T
            layer.data = GatedPixels(pixels, self.gate)

    @rule(which=FEW)
    def hide_or_show(self, which):
        layer = self.layer(which)
        if layer is not None:
            layer.visible = not layer.visible

    @rule(which=FEW, factor=st.sampled_from([0.5, 2.0, -1.0]), shift=st.integers(-3, 3))
    def rescale(self, which, factor, shift):
        layer = self.layer(which)
        if layer is not None:
            scale = np.array(layer.scale)
            scale[-3:] *= factor
            layer.scale = scale
            layer.translate = np.array(layer.translate) + shift

    @rule(which=FEW, unit=st.sampled_from(["um", "pixel", "nm"]))
    def set_unit(self, which, unit):
        layer = self.layer(which)
        if layer is not None:
            layer.units = (unit,) * layer.ndim

    @rule(which=FEW, labels=st.sampled_from(["tzyx", "tyzx", "tzxy", "abcd"]))
    def label_axes(self, which, labels):
        layer = self.stack(which)
        if layer is not None and layer.ndim <= 4:
            layer.axis_labels = tuple(labels[-layer.ndim :])

    @rule(which=FEW)
    def select(self, which):
        self.viewer.layers.selection.active = self.layer(which)

    # ---- the view --------------------------------------------------------------------------------

    @rule()
    def transpose(self):
        self.viewer.dims.transpose()

    @rule()
    def roll(self):
        self.viewer.dims.roll()

    @rule()
    def toggle_3d(self):
        self.viewer.dims.ndisplay = 5 - self.viewer.dims.ndisplay

    @rule(axis=st.integers(0, 3), where=st.integers(-2, 12))
    def slide(self, axis, where):
        if axis < self.viewer.dims.ndim:
            self.viewer.dims.set_point(axis, where)

    @rule(theme=st.sampled_from(["dark", "light"]))
    def set_theme(self, theme):
        self.viewer.theme = theme

    # ---- runs ------------------------------------------------------------------------------------

    @rule(slices=st.integers(1, 9))
    def let(self, slices):
        self.gate.let(slices)
        self.world.qtbot.wait(20)

    @rule()
    def fuse(self):
        self.panel.fuse_button.native.click()

    @rule()
    def cancel(self):
        self.panel.cancel_button.native.click()

    @rule()
    def wait_for_all(self):
        self.settle()

    @rule()
    def fuse_and_compare(self):
        """What a run gives is what the core gives of the very same pixels."""
        self.settle()
        panel, chosen, options = self.panel, self.panel.chosen(), self.panel.options()
        if chosen is None or options is None:
            return
        panel.fuse_button.native.click()
        running = panel._runs.running
        self.settle()
        shown = panel.shown_of_chosen()
        if not running or shown is None or panel.status_line.text().startswith("focus stacking"):
            # Refused in a sentence.
            assert panel.status_line.text()
            return
        stack = chosen.stack
        position = (0,) * len(stack.outer_axes)
        view = stack.at(position)
        slices = np.stack([view[k] for k in range(len(view))])
        expected = focus_stack(slices, stack.rgb, **asdict(options))
        where = stack.result_index(position)
        fused = shown.results.image[where]
        if not options.crop:
            np.testing.assert_array_equal(fused, expected.image)
            np.testing.assert_array_equal(shown.results.index[where], expected.index)
        layer = panel.shown_layer("image")
        axes = list(stack.plane_axes)
        ours = axes if stack.keeps_focus_axis else [0, 1]
        np.testing.assert_array_equal(np.abs(layer.scale[ours]), np.abs(chosen.layer.scale[axes]))
        if panel.strokes() is None:
            np.testing.assert_array_equal(np.asarray(layer.data)[where], fused)

    # ---- the panel -------------------------------------------------------------------------------

    @rule(which=FEW)
    def choose_stack(self, which):
        choices = self.panel.stack_choice.choices
        if choices:
            self.chosen = self.panel.stack_choice.value = choices[which % len(choices)]

    @rule(which=FEW)
    def choose_axis(self, which):
        choices = self.panel.axis_choice.choices
        if choices:
            self.panel.axis_choice.value = choices[which % len(choices)]

    @rule(choice=st.sampled_from(["method log", "method laplacian", "align shift", "align none", "denoise 1"]))
    def set_option(self, choice):
        name, value = choice.split()
        value = float(value) if value.isdigit() else value
        self.panel.option_rows.widgets[name].value = value

    @rule()
    def reset(self):
        self.panel.reset_button.native.click()

    @rule(box=st.sampled_from(["live_box", "height_box", "confidence_box"]))
    def tick(self, box):
        getattr(self.panel, box).native.click()

    @rule(level=st.sampled_from(["none", "plane"]), masked=st.booleans())
    def set_heights(self, level, masked):
        self.panel.height_controls.level.value = level
        self.panel.height_controls.mask.value = masked

    @rule(which=FEW)
    def fold_section(self, which):
        section = [*self.panel.sections, self.panel.height_section][which % (len(self.panel.sections) + 1)]
        (section.collapse if section.isExpanded() else section.expand)()

    @rule(
        button=st.sampled_from(
            [
                "measures.measure_button",
                "measures.copy_button",
                "retouch.start_button",
                "retouch.undo_button",
                "retouch.redo_button",
                "retouch.slice_box",
                "others.apply_button",
                "relief.button",
                "relief.turn_box",
                "heights_seen.scale_box",
                "heights_seen.contour_box",
                "heights_seen.line_button",
                "heights_seen.copy_button",
                "alignment.add_button",
                "recipes.python_button",
                "recipes.command_button",
            ]
        )
    )
    def press(self, button):
        section, name = button.split(".")
        getattr(getattr(self.panel, section), name).click()

    @rule(value=st.integers(1, 200))
    def exaggerate(self, value):
        self.panel.relief.exaggeration.setValue(value)

    @rule(label=st.integers(0, 6))
    def paint(self, label):
        strokes = self.panel.strokes()
        if strokes is not None:
            strokes.paint((0,) * strokes.ndim, label)

    @rule()
    def draw_line(self):
        lines = self.panel.heights_seen._lines
        if lines is not None:
            corners = np.zeros((2, lines.ndim))
            corners[1, -2:] = 15
            lines.add_lines(corners)

    @rule(y=st.floats(-2, 30), x=st.floats(-2, 30), twice=st.booleans())
    def point_at(self, y, x, twice):
        at = np.array(self.viewer.dims.point)
        at[-2:] = y, x
        event = SimpleNamespace(position=tuple(at))
        for callback in list(self.viewer.mouse_move_callbacks):
            callback(self.viewer, event)
        if twice and self.panel.cursor._moved in self.viewer.mouse_move_callbacks:
            self.panel.cursor._double_clicked(self.viewer, event)

    @rule(k=st.integers(0, 5))
    def click_curve(self, k):
        if not self.panel.sharpness_view.isHidden():
            self.panel.sharpness_view.plot.slice_clicked.emit(k)

    @rule()
    def reopen_panel(self):
        """Close the dock, with a run under way or not, and open it again."""
        old = self.panel
        self.viewer.window.remove_dock_widget(self.dock)
        assert old.closed
        old = self.panel = self.dock = None
        self.open_panel()
