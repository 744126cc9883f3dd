"""Measure how live the panel is in a real window, as a Markdown table: needs a screen, or xvfb-run.

    xvfb-run -a -s "-screen 0 1600x1100x24" python benchmarks/panel.py [--size 1024] [--slices 10] [--undrawn] [--live]

A timer of the event loop ticks every millisecond; the longest gap between two ticks is how long the window
did not answer. Beside it: the longest painting of the window, which is napari's and Qt's, the longest gap when
painting is taken off, the most processor time that the window's thread used between two ticks, which other
programs do not lengthen, the longest pause of Python's garbage collector, and how many cores other programs (the
X server is one) used meanwhile: where that is much, a gap tells of them. What napari takes by itself, before the
panel is opened, comes first, and by turns with Live in the same window an image that is replaced without any run:
no plugin's gaps can be shorter on that machine. Before all of it, how evenly the machine works: one that is
virtual is stopped at times, and nothing in it tells. With --undrawn the canvas is left empty,
which tells what OpenGL in software costs: a graphics card draws the same in a few milliseconds. With --live nothing
but Live and what napari takes beside it is measured.
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


def unevenness(seconds: float = 4, stretch_s: float = 0.04) -> tuple[float, float]:
    """Return the part of all stretches in which even work took twice its time or longer, and how many times at most."""
    pieces = []
    began = time.thread_time()
    while began < seconds:
        sum(range(20_000))
        now = time.thread_time()
        pieces.append(now - began)
        began = now
    usual = float(np.median(pieces))
    count = max(round(stretch_s / usual), 1)
    whole = np.array(pieces[: len(pieces) // count * count]).reshape(-1, count).mean(axis=1) / usual
    return float((whole >= 2).mean()), float(whole.max())


def paintings_of(window: Any) -> tuple[Any, list[tuple[float, float]]]:
    """Return what notes when a window is painted anew, to be kept, and the list of beginnings and ends."""
    from qtpy.QtCore import QEvent, QObject

    class Paintings(QObject):  # type: ignore[misc]
        """Lets the window paint itself as it would, between two looks at the clock."""

        under_way = False

        def eventFilter(self, window: Any, event: Any) -> bool:  # noqa: N802 - Qt's name
            if event.type() != QEvent.Type.UpdateRequest or self.under_way:
                return False
            self.under_way, began = True, time.perf_counter()
            try:
                window.event(event)
            finally:
                self.under_way = False
            noted.append((began, time.perf_counter()))
            return True

    noted: list[tuple[float, float]] = []
    paintings = Paintings()
    window.installEventFilter(paintings)
    return paintings, noted


class Watch:
    """Ticks of the event loop, paintings of the window, and pauses of the garbage collector."""

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
        self.paintings: list[tuple[float, float]] = []
        gc.callbacks.append(self._collecting)

    def follow(self, window: Any) -> None:
        """Watch another window being painted."""
        self._paintings, self.paintings = paintings_of(window)

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

    def longest_ms(self, begin: float) -> tuple[float, ...]:
        """Return what was longest since `begin`: a gap of ticks, a painting, a gap without paintings, and so on."""
        # The first gap began before: what is done at once is done between the tick before it and the next one.
        before = max((tick for tick in self.ticks if tick[0] < begin), default=self.ticks[0])
        ticks = np.array([before, *(tick for tick in self.ticks if tick[0] >= begin)])
        paintings = np.array([painting for painting in self.paintings if painting[0] >= before[0]]).reshape(-1, 2)
        painted = np.diff(paintings, axis=1)[:, 0]
        # Between two ticks a painting is done or not begun.
        gaps, busy = np.diff(ticks, axis=0).T
        within = np.bincount(np.searchsorted(ticks[1:, 0], paintings[:, 0]), painted, len(gaps))[: len(gaps)]
        pauses = [pause for since, pause in self.pauses if since >= begin]
        longest = gaps.max(), painted.max(initial=0), (gaps - within).max(), busy.max(), max(pauses, default=0.0)
        return tuple(1000 * float(each) for each in longest)


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


class Rows:
    """The table: what was done, how long it took, and what the window's watch says of it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._rows: list[tuple[Any, ...]] = []

    def add(self, what: str, begin: float, picture: float, whole: float) -> None:
        """Add a row on what began at `begin`, gave its first picture and was done, by the clock."""
        wait(lambda: False, 0.3)
        watch = self._watch
        self._rows.append((what, picture - begin, whole - begin, *watch.longest_ms(begin), watch.other_cores(begin)))

    def used(self, what: str, begin: float, part: Any) -> None:
        """Add a row on a part of the panel once it is no longer busy."""
        wait(lambda: not part.busy)
        self.add(what, begin, time.perf_counter(), time.perf_counter())

    def at_once(self, what: str, act: Callable[[], Any]) -> None:
        """Act, and add a row on it."""
        begin = time.perf_counter()
        act()
        now = time.perf_counter()
        self.add(what, begin, now, now)

    def print(self, *groups: str) -> None:
        """Print the table, and in a line each the gaps of rows whose names begin alike."""
        print(f"| what | {' | '.join(COLUMNS)} |")
        print(f"|---{len(COLUMNS) * '|---:'}|")
        for what, picture, whole, *longest, others in self._rows:
            told = " | ".join(f"{each:.0f}" for each in longest)
            print(f"| {what} | {picture:.2f} | {whole:.2f} | {told} | {others:.2f} |")
        for group in groups:
            alike = [row for row in self._rows if row[0].startswith(group)]
            # Where another program took much of a core, gaps tell of it.
            quiet = np.array([row[3:6] for row in alike if row[-1] < 0.15]).reshape(-1, 3)
            print(f"\n{group}: {len(quiet)} of {len(alike)} beside which no other program was at work")
            for column, name in zip(quiet.T if len(quiet) else (), COLUMNS[2:5], strict=False):
                each = ", ".join(f"{gap:.0f}" for gap in sorted(column))
                print(f"- {name}: {each}; median {np.median(column):.0f}")


COLUMNS = (
    "first picture, s",
    "whole, s",
    "longest gap, ms",
    "longest painting, ms",
    "longest gap without painting, ms",
    "most processor time, ms",
    "collector, ms",
    "others, cores",
)


def napari_alone(viewer: Any, scene: Any, rows: Rows, repeat: int) -> None:
    """Measure what napari does for anybody, in a window without the panel."""
    alone = scene.stack[0]
    for k in range(repeat):
        rows.at_once(f"napari alone: slice {k + 1} shown", lambda k=k: viewer.dims.set_point(0, k + 1))
    for k in range(2):
        rows.at_once(f"napari alone: image {k + 1} added", lambda: viewer.add_image(alone, rgb=scene.rgb))
    added = viewer.layers[1:]
    for k in range(repeat):
        rows.at_once(f"napari alone: opacity, {k + 1}", lambda k=k: setattr(added[0], "opacity", 0.9 + 0.01 * k))
    for k in range(repeat):
        rows.at_once(f"napari alone: image replaced, {k + 1}", lambda: setattr(added[0], "data", alone.copy()))
    rows.at_once("napari alone: shapes added", lambda: viewer.add_shapes(ndim=2))
    rows.at_once("napari alone: 3-D", lambda: setattr(viewer.dims, "ndisplay", 3))
    rows.at_once("napari alone: 2-D", lambda: setattr(viewer.dims, "ndisplay", 2))


def panel_opened(viewer: Any, rows: Rows) -> Any:
    """Open the panel, and fuse twice."""
    begin = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-focus-stack", "Focus stacking")
    rows.used("panel opened", begin, panel)
    # What is loaded once it is seen is loaded before it is used.
    wait(lambda: False, 2)
    wait(lambda: not any(thread.name == "focus-stack-warm-up" for thread in threading.enumerate()))
    wait(lambda: False, 0.5)
    panel.height_box.value = panel.confidence_box.value = True
    for what in ("first run, four layers added", "run, four layers updated"):
        begin = time.perf_counter()
        panel.fuse_button.native.click()
        rows.used(what, begin, panel)
    viewer.layers.selection.active.visible = True
    return panel


def live(viewer: Any, panel: Any, rows: Rows, repeat: int) -> None:
    """Change an option, and by turns have napari replace an image as often as Live does, without a run."""
    fused, option = viewer.layers["stack fused"], panel.option_rows.widgets["z_preference"]
    seen: list[float] = []
    fused.events.set_data.connect(lambda: seen.append(time.perf_counter()))
    for k in range(repeat):
        seen.clear()
        wait(lambda: False, 0.2)
        begin = time.perf_counter()
        option.value = 0.1 + 0.4 * k / repeat
        wait(lambda: not panel.busy)
        rows.add(f"live, change {k + 1}", begin, seen[0], time.perf_counter())
        begin = time.perf_counter()
        for _ in range(4):
            fused.data = fused.data.copy()
            wait(lambda: False, 0.1)
        rows.add(f"no run, image replaced four times, {k + 1}", begin, begin, time.perf_counter())
    seen.clear()
    begin = time.perf_counter()
    for k in range(60):
        option.value = -0.5 + k / 60
        wait(lambda: False, 1 / 60)
    dragged = len(seen)
    wait(lambda: not panel.busy)
    rows.add(f"slider dragged for 1 s: {dragged} pictures meanwhile", begin, seen[0], time.perf_counter())


def sections(panel: Any, rows: Rows) -> None:
    """Open each section, and use those that draw."""
    for section in panel.sections:
        begin = time.perf_counter()
        section.expand()
        rows.add(f"section {type(section).__name__.removesuffix('Section')} opened", begin, begin, time.perf_counter())
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
        rows.used(what, begin, part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of a slice, px")
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--rgb", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--undrawn", action="store_true", help="draw nothing on the canvas")
    parser.add_argument("--live", action="store_true", help="measure nothing but Live")
    arguments = parser.parse_args()

    # Neither read nor write the settings of who runs this.
    os.environ["NAPARI_CONFIG"] = ""
    from napari_focus_stack.synthetic import make_scene

    if arguments.undrawn:
        from vispy.scene import SceneCanvas

        SceneCanvas.on_draw = lambda canvas, event: None
    scene = make_scene("colour" if arguments.rgb else "bumps", (arguments.size,) * 2, arguments.slices)
    part, times = unevenness()
    viewer = viewer_of(scene)
    watch = Watch()
    watch.follow(viewer.window._qt_window)
    rows = Rows(watch)
    wait(lambda: False, 0.2)
    if not arguments.live:
        napari_alone(viewer, scene, rows, arguments.repeat)
        viewer.close()
        viewer = viewer_of(scene)
        watch.follow(viewer.window._qt_window)
    panel = panel_opened(viewer, rows)
    live(viewer, panel, rows, arguments.repeat)
    if not arguments.live:
        sections(panel, rows)
    told = f"{', RGB' if scene.rgb else ''}{', undrawn' if arguments.undrawn else ''}"
    print(f"{arguments.slices} slices of {arguments.size} x {arguments.size} px{told}.")
    print(f"Even work took twice its time or longer in {part:.1%} of stretches of 40 ms, {times:.1f} times at most.\n")
    rows.print("live, change", "no run, image replaced")
    viewer.close()


if __name__ == "__main__":
    main()
