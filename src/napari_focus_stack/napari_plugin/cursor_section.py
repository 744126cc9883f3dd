"""The folded section on the focus at the pointer: while it is open, the curve of the pixel under it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from ..focus_curve import FocusCurve, focus_curve
from .heights import SLICES, HeightScale
from .host import Shown
from .latest import Latest
from .layers import Position
from .plots import FocusPlot
from .section import Section, Sentence

if TYPE_CHECKING:
    from collections.abc import Callable

_REST_MS = 40
_HINT = "Rest the pointer on the picture; double-click goes to the sharpest slice there."

Pixel = tuple[Position, int, int]


class CursorSection(Section):
    """The focus of the pixel under the pointer in every slice, its height and confidence.

    Attributes
    ----------
    plot : FocusPlot
    told : Sentence
        Pixel, height and confidence in words.
    """

    def __init__(self) -> None:
        super().__init__("Focus at the pointer")
        self.told = Sentence(_HINT)
        self.plot = FocusPlot()
        self.rows.addWidget(self.told)
        self.rows.addWidget(self.plot)
        self.plot.hide()
        self._latest = Latest("The curve at this pixel")
        self._pointed: Pixel | None = None
        self._zooming: list[Callable[..., Any]] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._ask)
        self.plot.slice_clicked.connect(self._go_to_slice)

    def refresh(self) -> None:
        """Be there once there is a result."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        if shown is None:
            self._forget()

    def view_moved(self) -> None:
        """Let the line follow the slice in view."""
        shown = self.host.shown_of_chosen()
        if shown is not None and self.isExpanded():
            choice = shown.choice
            self.plot.set_slice_in_view(choice.index_in_view(choice.focus_axis, self.host.viewer))

    def opened_or_folded(self, is_open: bool) -> None:
        """Follow the pointer while the section is open."""
        viewer = self.host.viewer
        moved, twice = viewer.mouse_move_callbacks, viewer.mouse_double_click_callbacks
        if is_open and self._moved not in moved:
            moved.append(self._moved)
            # napari's own would zoom in as well.
            self._zooming = list(twice)
            twice[:] = [self._double_clicked]
            self.view_moved()
        elif not is_open and self._moved in moved:
            moved.remove(self._moved)
            twice[:] = self._zooming or []
            self._forget()

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        self.plot.set_colours(background, foreground, highlight)

    def shut_down(self) -> None:
        """Leave the pointer alone."""
        self._timer.stop()
        self._latest.close()
        self.opened_or_folded(False)

    def _forget(self) -> None:
        self._timer.stop()
        self._pointed = None
        self.plot.hide()
        self.told.say(_HINT)

    def pixel_at(self, world: tuple[float, ...]) -> tuple[Shown, Pixel] | None:
        """Return the pixel of the result at a place in the viewer's world; None beside it."""
        shown = self.host.shown_of_chosen()
        if shown is None or self.host.viewer.dims.ndisplay != 2:
            return None
        choice = shown.choice
        point = choice.data_point(self.host.viewer, world)
        y, x = (round(float(point[axis])) for axis in choice.stack.plane_axes)
        height, width = (int(choice.stack.pixels.shape[axis]) for axis in choice.stack.plane_axes)
        if not (0 <= y < height and 0 <= x < width):
            return None
        return shown, (self.host.position_in_view(choice), y, x)

    def _moved(self, _: Any, event: Any) -> None:
        found = self.pixel_at(event.position)
        if found is not None and found[1] != self._pointed:
            self._pointed = found[1]
            if not self._timer.isActive():
                self._timer.start()

    def _ask(self) -> None:
        shown, pixel = self.host.shown_of_chosen(), self._pointed
        if shown is None or pixel is None:
            return
        position, y, x = pixel
        if position not in shown.results.noise:
            return
        view = shown.stack.at(position)
        work = partial(focus_curve, view, y, x, shown.results.noise[position], rgb=view.rgb)
        self._latest.request(work, partial(self._show, shown, pixel))

    def _show(self, shown: Shown, pixel: Pixel, curve: FocusCurve) -> None:
        if shown is not self.host.shown_of_chosen() or not self.isExpanded() or self._pointed is None:
            return
        position, y, x = pixel
        where = (*shown.choice.stack.result_index(position),)
        height = float(shown.results.height[where][y, x])
        confidence = float(shown.results.confidence[where][y, x])
        # An axis that is not shown makes no room for its numbers.
        self.plot.show()
        self.plot.set_focus(curve.focus, height)
        self.view_moved()
        scale = HeightScale.of(shown.choice)
        in_unit = "" if scale.unit == SLICES else f" = {height * scale.step:.4g} {scale.unit}"
        known = f"height {height:.2f} slices{in_unit}, confidence {confidence:.2f}"
        self.told.say(
            f"y {y}, x {x}: sharpest in slice {curve.peak}; {known if np.isfinite(height) else 'height not known'}."
        )

    def _double_clicked(self, _: Any, event: Any) -> None:
        found = self.pixel_at(event.position)
        if found is not None:
            shown, (position, y, x) = found
            height = float(shown.results.height[shown.choice.stack.result_index(position)][y, x])
            index = int(shown.results.index[shown.choice.stack.result_index(position)][y, x])
            self._go_to_slice(round(height) if np.isfinite(height) else index)

    def _go_to_slice(self, k: int) -> None:
        shown = self.host.shown_of_chosen()
        if shown is not None:
            shown.choice.go_to_slice(k, self.host.viewer)
