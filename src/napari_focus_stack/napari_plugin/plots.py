"""The curves of the panel: sharpness per slice, focus at a pixel, heights along a line."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from ..sharpness import SHARPNESS_MEASURES, SharpnessReport
from .steady_label import SteadyLabel

_HEIGHT_PX = 130
_MOST_TICKS = 10
_PADDING = 0.06


class CurvePlot(pg.GraphicsLayoutWidget):  # type: ignore[misc]
    """A curve with its axes, in the colours of the viewer's theme.

    Attributes
    ----------
    curve : pyqtgraph.PlotDataItem
    view_box : pyqtgraph.ViewBox
    """

    def __init__(self, *, dots: bool = True) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT_PX)
        # What it shows is told in words beside it, and nothing in it is reached by keys.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        # Put together by hand, for pyqtgraph's PlotItem brings a dozen menus, each a window of its own.
        self.view_box = pg.ViewBox(enableMouse=False, enableMenu=False)
        self.axes = {side: pg.AxisItem(side, linkView=self.view_box) for side in ("left", "bottom")}
        self.addItem(self.axes["left"], 0, 0)
        self.addItem(self.view_box, 0, 1)
        self.addItem(self.axes["bottom"], 1, 1)
        self.curve = pg.PlotDataItem([], [], **({"symbol": "o", "symbolSize": 5, "symbolPen": None} if dots else {}))
        self.view_box.addItem(self.curve)

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        self.setBackground(background)
        self.curve.setPen(pg.mkPen(foreground, width=1))
        self.curve.setSymbolBrush(foreground)
        for axis in self.axes.values():
            axis.setPen(foreground)
            axis.setTextPen(foreground)

    def set_slices(self, values: Sequence[float] | npt.NDArray[Any], *also: float) -> None:
        """Show a value for every slice; the picture has room for the values in `also`."""
        count = len(values)
        self.curve.setData(range(count), values)
        step = -(-count // _MOST_TICKS)
        self.axes["bottom"].setTicks([[(k, str(k)) for k in range(0, count, step)]])
        self.view_box.setXRange(-0.5, count - 0.5, padding=0)
        finite = [float(value) for value in (*values, *also) if isfinite(value)]
        if finite:
            low, high = min(finite), max(finite)
            self.view_box.setYRange(low, high if high > low else low + 1, padding=_PADDING)
        # Left to pyqtgraph it is done while painting, and painted once more.
        self.view_box.prepareForPaint()


class SlicePlot(CurvePlot):
    """A curve over the slices, with a line at the slice in view.

    A click anywhere, or dragging the line, emits `slice_clicked` with the nearest slice.
    """

    slice_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Click, or drag the line, to go to a slice.")
        self.count = 0
        self.line = pg.InfiniteLine(0, angle=90, movable=True)
        self.line.sigDragged.connect(self._dragged)
        self.view_box.addItem(self.line)
        self.scene().sigMouseClicked.connect(self._clicked)

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        super().set_colours(background, foreground, highlight)
        self.line.setPen(pg.mkPen(highlight, width=2, style=Qt.PenStyle.DashLine))
        self.line.setHoverPen(pg.mkPen(foreground, width=3))

    def set_slices(self, values: Sequence[float] | npt.NDArray[Any], *also: float) -> None:
        """Show a value for every slice."""
        self.count = len(values)
        super().set_slices(values, *also)

    def set_slice_in_view(self, k: int) -> None:
        """Move the line to slice `k`."""
        self.line.setValue(k)

    def _clicked(self, event: Any) -> None:
        self._ask_for(self.view_box.mapSceneToView(event.scenePos()).x())

    def _dragged(self, line: pg.InfiniteLine) -> None:
        self._ask_for(line.value())

    def _ask_for(self, place: float) -> None:
        if self.count:
            self.slice_clicked.emit(min(max(round(place), 0), self.count - 1))


class SharpnessPlot(SlicePlot):
    """Sharpness of every slice, the best one marked, that of the fused image as a level."""

    def __init__(self) -> None:
        super().__init__()
        self.best = pg.PlotDataItem([], [], pen=None, symbol="o", symbolSize=10, symbolPen=None)
        self.level = pg.InfiniteLine(
            0, angle=0, label="fused", labelOpts={"position": 0.0, "anchors": [(0, 0), (0, 1)]}
        )
        for item in (self.best, self.level):
            self.view_box.addItem(item)

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        super().set_colours(background, foreground, highlight)
        self.best.setSymbolBrush(highlight)
        self.level.setPen(pg.mkPen(foreground, width=1, style=Qt.PenStyle.DotLine))
        self.level.label.setColor(foreground)

    def set_curve(self, report: SharpnessReport) -> None:
        """Show the sharpness of every slice and of the fused image."""
        self.set_slices(report.per_slice, report.fused)
        self.best.setData([report.best_source], [report.per_slice[report.best_source]])
        self.level.setValue(report.fused)


class FocusPlot(SlicePlot):
    """The focus of one pixel in every slice, with a line at its height."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = pg.InfiniteLine(0, angle=90)
        self.view_box.addItem(self.peak)

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        super().set_colours(background, foreground, highlight)
        self.peak.setPen(pg.mkPen(foreground, width=1, style=Qt.PenStyle.DotLine))

    def set_focus(self, focus: npt.NDArray[np.float64], height: float) -> None:
        """Show the focus of a pixel; `height` in slices, NaN where it is not known."""
        self.set_slices(focus)
        self.peak.setVisible(isfinite(height))
        if isfinite(height):
            self.peak.setValue(height)


class ProfilePlot(CurvePlot):
    """Heights along a line."""

    def __init__(self) -> None:
        super().__init__(dots=False)

    def set_profile(self, distance: npt.NDArray[np.float64], height: npt.NDArray[np.float64]) -> None:
        """Show heights over the distance; unknown ones are gaps."""
        self.curve.setData(distance, height, connect="finite")
        known = height[np.isfinite(height)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        self.view_box.setXRange(0, float(distance[-1]), padding=0)
        self.view_box.setYRange(low, high if high > low else low + 1, padding=_PADDING)


class SharpnessView(QWidget):  # type: ignore[misc]
    """The curve, and below it the sharpness of the sources beside that of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel()
        self.plot = SharpnessPlot()
        self.figures = {name: SteadyLabel() for name in ("mean of sources", "best slice", "fused", "gain")}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.plot)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (name, figure) in enumerate(self.figures.items()):
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(figure, row, 1)
        layout.addLayout(grid)

    def show_report(self, report: SharpnessReport) -> None:
        """Show the curve and the figures of one stack."""
        title = SHARPNESS_MEASURES[report.measure].title
        self.title.setText(f"Sharpness per slice: {title}")
        self.plot.set_curve(report)
        best = report.per_slice[report.best_source]
        texts = {
            "mean of sources": f"{report.mean_of_sources:.4g}",
            "best slice": f"{best:.4g} in slice {report.best_source}",
            "fused": f"{report.fused:.4g}",
            "gain": f"× {report.gain:.3g}" if isfinite(report.gain) else "not defined: no sharpness in the sources",
        }
        for name, text in texts.items():
            self.figures[name].setText(text)
