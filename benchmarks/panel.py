"""Measure how live the panel is in a real window, as a Markdown table: needs a screen, or xvfb-run.

    xvfb-run -a -s "-screen 0 1600x1100x24" python benchmarks/panel.py [--size 1024] [--slices 10] [--undrawn]

A timer of the event loop ticks every millisecond; the longest gap between two ticks is how long the window
did not answer. Beside it: the most processor time that the window's thread used between two ticks, which other
programs do not lengthen, the longest pause of Python's garbage collector, and how many cores other programs (the
X server is one) used meanwhile: where that is much, a gap tells of them. What napari takes by itself, before the
panel is opened, comes first: no plugin's gaps can be shorter on that machine. With --undrawn the canvas is left empty,
which tells what OpenGL in software costs: a graphics card draws the same in a few milliseconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class Watch:
    """Ticks of the event loop, and pauses of the garbage collector."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.ticks: list[tuple[float, float]] = []
        self.pauses: list[tuple[float, float]] = []
        self._timer = QTimer()
        self._timer.setInterval(1)
        self._timer.timeout.connect(lambda: self.ticks.append((time.perf_counter(), time.thread_time())))
        self._timer.start()
        self.others: list[tuple[float, float]] = []
        self._slow_timer = QTimer()
        self._slow_timer.setInterval(100)
        self._slow_timer.timeout.connect(self._note_others)
        self._slow_timer.start()
        self._note_others()
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, _: dict[str, Any]) -> None:
        if phase == "start":
            self._since = time.perf_counter()
        else:
            self.pauses.append((self._since, time.perf_counter() - self._since))

    def _note_others(self) -> None:
        """Note how many seconds of processor time the programs but this one have used by now."""
        import psutil

        whole, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = whole.idle + getattr(whole, "iowait", 0)
        # Guests are part of what users took.
        guests = getattr(whole, "guest", 0) + getattr(whole, "guest_nice", 0)
        self.others.append((time.perf_counter(), sum(whole) - guests - idle - own.user - own.system))

    def other_cores(self, begin: float) -> float:
        """Return how many cores other programs used since `begin`, on average."""
        now, used = self.others[-1]
        since, before = max((note for note in self.others if note[0] <= begin), default=self.others[0])
        return (used - before) / max(now - since, 1e-3)

    def gap_ms(self, begin: float) -> tuple[float, float, float]:
        """Return the longest gap of ticks since `begin`, the most processor time in one, the longest collection."""
        # The first gap began before: what is done at once is done between the tick before it and the next one.
        before = max((tick for tick in self.ticks if tick[0] < begin), default=self.ticks[0])
        ticks = np.array([before, *(tick for tick in self.ticks if tick[0] >= begin)])
        pauses = [pause for since, pause in self.pauses if since >= begin]
        gap, busy = np.diff(ticks, axis=0).max(axis=0)
        return 1000 * float(gap), 1000 * float(busy), 1000 * max(pauses, default=0.0)


def wait(done: Callable[[], bool], seconds: float = 120) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + seconds
    while not done() and time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.0005)


def viewer_of(scene: Any) -> Any:
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 1000)
    viewer.add_image(scene.stack, name="stack", rgb=scene.rgb, scale=(1, 0.2, 0.2), axis_labels=("z", "y", "x"))
    wait(lambda: False, 2)
    return viewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of a slice, px")
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--rgb", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--undrawn", action="store_true", help="draw nothing on the canvas")
    arguments = parser.parse_args()

    # Neither read nor write the settings of who runs this.
    os.environ["NAPARI_CONFIG"] = ""
    from napari_focus_stack.synthetic import make_scene

    if arguments.undrawn:
        from vispy.scene import SceneCanvas

        SceneCanvas.on_draw = lambda canvas, event: None
    scene = make_scene("colour" if arguments.rgb else "bumps", (arguments.size,) * 2, arguments.slices)
    viewer = viewer_of(scene)
    watch = Watch()
    wait(lambda: False, 0.2)
    rows = []

    def row(what: str, begin: float, picture: float, whole: float) -> None:
        wait(lambda: False, 0.3)
        rows.append((what, picture - begin, whole - begin, *watch.gap_ms(begin), watch.other_cores(begin)))

    def used(what: str, begin: float, part: Any) -> None:
        wait(lambda: not part.busy)
        row(what, begin, time.perf_counter(), time.perf_counter())

    def at_once(what: str, act: Callable[[], Any]) -> None:
        begin = time.perf_counter()
        act()
        now = time.perf_counter()
        row(what, begin, now, now)

    alone = scene.stack[0]
    for k in range(arguments.repeat):
        at_once(f"napari alone: slice {k + 1} shown", lambda k=k: viewer.dims.set_point(0, k + 1))
    for k in range(2):
        at_once(f"napari alone: image {k + 1} added", lambda: viewer.add_image(alone, rgb=scene.rgb))
    added = viewer.layers[1:]
    for k in range(arguments.repeat):
        at_once(f"napari alone: opacity, {k + 1}", lambda k=k: setattr(added[0], "opacity", 0.9 + 0.01 * k))
    for k in range(arguments.repeat):
        at_once(f"napari alone: image replaced, {k + 1}", lambda: setattr(added[0], "data", alone.copy()))
    at_once("napari alone: shapes added", lambda: viewer.add_shapes(ndim=2))
    at_once("napari alone: 3-D", lambda: setattr(viewer.dims, "ndisplay", 3))
    at_once("napari alone: 2-D", lambda: setattr(viewer.dims, "ndisplay", 2))
    viewer.close()
    viewer = viewer_of(scene)

    begin = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-focus-stack", "Focus stacking")
    used("panel opened", begin, panel)
    # What is loaded once it is seen is loaded before it is used.
    wait(lambda: False, 2)
    wait(lambda: not any(thread.name == "focus-stack-warm-up" for thread in threading.enumerate()))
    wait(lambda: False, 0.5)
    panel.height_box.value = panel.confidence_box.value = True
    for what in ("first run, four layers added", "run, four layers updated"):
        begin = time.perf_counter()
        panel.fuse_button.native.click()
        wait(lambda: not panel.busy)
        now = time.perf_counter()
        row(what, begin, now, now)
    viewer.layers.selection.active.visible = True
    fused = viewer.layers["stack fused"]
    seen: list[float] = []
    fused.events.set_data.connect(lambda: seen.append(time.perf_counter()))
    for k in range(arguments.repeat):
        seen.clear()
        wait(lambda: False, 0.2)
        begin = time.perf_counter()
        panel.option_rows.widgets["z_preference"].value = 0.1 + 0.02 * k
        wait(lambda: not panel.busy)
        row(f"live, change {k + 1}", begin, seen[0], time.perf_counter())
    seen.clear()
    begin = time.perf_counter()
    for k in range(60):
        panel.option_rows.widgets["z_preference"].value = -0.5 + k / 60
        wait(lambda: False, 1 / 60)
    dragged = len(seen)
    wait(lambda: not panel.busy)
    row(f"live, slider dragged for 1 s: {dragged} pictures meanwhile", begin, seen[0], time.perf_counter())
    for section in panel.sections:
        begin = time.perf_counter()
        section.expand()
        row(f"section {type(section).__name__.removesuffix('Section')} opened", begin, begin, time.perf_counter())
        section.collapse()
        wait(lambda: False, 0.2)
    for what, press, part in (
        ("contours", lambda: panel.heights_seen.contour_box.setChecked(True), panel.heights_seen),
        ("retouching begun", panel.retouch.start_button.click, panel.retouch),
        ("a line begun", panel.heights_seen.line_button.click, panel.heights_seen),
        ("relief", panel.relief.button.click, panel.relief),
        ("back to 2-D", panel.relief.button.click, panel.relief),
    ):
        begin = time.perf_counter()
        press()
        used(what, begin, part)
    told = f"{', RGB' if scene.rgb else ''}{', undrawn' if arguments.undrawn else ''}"
    print(f"{arguments.slices} slices of {arguments.size} x {arguments.size} px{told}.\n")
    columns = (
        "first picture, s",
        "whole, s",
        "longest gap, ms",
        "most processor time, ms",
        "collector, ms",
        "others, cores",
    )
    print(f"| what | {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for what, picture, whole, gap, busy, pause, others in rows:
        print(f"| {what} | {picture:.2f} | {whole:.2f} | {gap:.0f} | {busy:.0f} | {pause:.0f} | {others:.2f} |")
    viewer.close()


if __name__ == "__main__":
    main()
