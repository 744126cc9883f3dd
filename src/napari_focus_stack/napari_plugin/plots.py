"""The curve of sharpness per slice, and the figures below it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from ..sharpness import SHARPNESS_MEASURES, SharpnessReport

_HEIGHT_PX = 130
_MOST_TICKS = 10


class SharpnessPlot(pg.GraphicsLayoutWidget):  # type: ignore[misc]
    """Sharpness of every slice, with the best slice marked and a line at the one in view.

    A click anywhere emits `slice_clicked` with the nearest slice.
    """

    slice_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT_PX)
        self.setToolTip("Click to go to a slice.")
        self._count = 0
        # Put together by hand, for pyqtgraph's PlotItem brings a dozen menus, each a window of its own.
        self.view_box = pg.ViewBox(enableMouse=False, enableMenu=False)
        self._axes = {side: pg.AxisItem(side, linkView=self.view_box) for side in ("left", "bottom")}
        self.addItem(self._axes["left"], 0, 0)
        self.addItem(self.view_box, 0, 1)
        self.addItem(self._axes["bottom"], 1, 1)
        self.curve = pg.PlotDataItem([], [], symbol="o", symbolSize=5, symbolPen=None)
        self._best = pg.PlotDataItem([], [], pen=None, symbol="o", symbolSize=10, symbolPen=None)
        self.line = pg.InfiniteLine(0, angle=90)
        for item in (self.curve, self._best, self.line):
            self.view_box.addItem(item)
        self.scene().sigMouseClicked.connect(self._clicked)

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        self.setBackground(background)
        self.curve.setPen(pg.mkPen(foreground, width=1))
        self.curve.setSymbolBrush(foreground)
        self._best.setSymbolBrush(highlight)
        self.line.setPen(pg.mkPen(highlight, width=1, style=Qt.PenStyle.DashLine))
        for axis in self._axes.values():
            axis.setPen(foreground)
            axis.setTextPen(foreground)

    def set_curve(self, per_slice: Sequence[float], best: int) -> None:
        """Show the sharpness of every slice."""
        self._count = len(per_slice)
        self.curve.setData(range(self._count), per_slice)
        self._best.setData([best], [per_slice[best]])
        step = -(-self._count // _MOST_TICKS)
        self._axes["bottom"].setTicks([[(k, str(k)) for k in range(0, self._count, step)]])
        self.view_box.setXRange(-0.5, self._count - 0.5, padding=0)

    def set_slice_in_view(self, k: int) -> None:
        """Move the line to slice `k`."""
        self.line.setValue(k)

    def _clicked(self, event: Any) -> None:
        if self._count:
            k = round(self.view_box.mapSceneToView(event.scenePos()).x())
            self.slice_clicked.emit(min(max(k, 0), self._count - 1))


class SharpnessView(QWidget):  # type: ignore[misc]
    """The curve, and below it the sharpness of the sources beside that of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel()
        self.plot = SharpnessPlot()
        self.figures = {name: QLabel() for name in ("mean of sources", "best slice", "fused", "gain")}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.plot)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (name, figure) in enumerate(self.figures.items()):
            figure.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(figure, row, 1, Qt.AlignmentFlag.AlignRight)
        layout.addLayout(grid)

    def show_report(self, report: SharpnessReport) -> None:
        """Show the curve and the figures of one stack."""
        title = SHARPNESS_MEASURES[report.measure].title
        self.title.setText(f"Sharpness per slice: {title}")
        self.plot.set_curve(report.per_slice, report.best_source)
        best = report.per_slice[report.best_source]
        texts = {
            "mean of sources": f"{report.mean_of_sources:.4g}",
            "best slice": f"{best:.4g} in slice {report.best_source}",
            "fused": f"{report.fused:.4g}",
            "gain": f"× {report.gain:.3g}" if isfinite(report.gain) else "not defined: no sharpness in the sources",
        }
        for name, text in texts.items():
            self.figures[name].setText(text)
