"""The folded section on sharpness: every measure in a table, and the figures as CSV."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from math import isfinite
from typing import Any

import numpy.typing as npt
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QAbstractItemView, QApplication, QHBoxLayout, QHeaderView, QPushButton, QTableWidget
from qtpy.QtWidgets import QTableWidgetItem as Cell

from ..measure_table import MeasureTable, measure_all_steps
from ..noise import NoiseModel
from ..sharpness import SHARPNESS_MEASURES, SharpnessReport
from .host import Shown
from .layers import LayerStack, Position
from .section import Section
from .worker import RunProgress

_COLUMNS = ("measure", "mean", "best", "fused", "gain")


class SharpnessSection(Section):
    """All measures of the stack and position in view.

    Attributes
    ----------
    table : QTableWidget
        A row for each measure; choosing one shows its curve.
    measure_button, copy_button : QPushButton
    """

    report_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__("All measures")
        self.measure_button = QPushButton("Measure all")
        self.measure_button.setToolTip("Measures every slice and the fused image with every measure.")
        self.copy_button = QPushButton("Copy CSV")
        self.copy_button.setToolTip("Copies what is known of every slice, the mean, the fused image and the gain.")
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setTabKeyNavigation(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumWidth(100)
        # In 300 px every pixel counts.
        self.table.setStyleSheet("QTableView::item { padding: 0px } QHeaderView::section { padding: 1px }")
        self.table.setAccessibleName("All measures")
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.table.setToolTip("Choose a row to see its curve.")
        buttons = QHBoxLayout()
        buttons.addWidget(self.measure_button)
        buttons.addWidget(self.copy_button)
        self.rows.addLayout(buttons)
        self.rows.addWidget(self.table)
        self.measure_button.clicked.connect(self._measure)
        self.copy_button.clicked.connect(self._copy)
        self.table.itemSelectionChanged.connect(self._choose)
        self._known: tuple[Shown, Position, MeasureTable] | None = None
        self._filled: MeasureTable | None = None

    def refresh(self) -> None:
        """Show what is known of the result and the position in view."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        table = None if shown is None else self.table_in_view(shown)
        if table is not self._filled:
            self._fill(table)

    def view_moved(self) -> None:
        """Show the position in view."""
        self.refresh()

    def table_in_view(self, shown: Shown) -> MeasureTable | None:
        """Return what is known of the position in view: all measures, or the chosen one alone."""
        position = self.host.position_in_view(shown.choice)
        if self._known is not None and self._known[0] is shown and self._known[1] == position:
            return self._known[2]
        report = shown.results.reports.get(position)
        if report is None:
            return None
        self._known = (shown, position, MeasureTable({report.measure: report}))
        return self._known[2]

    def _measure(self) -> None:
        shown = self.host.shown_of_chosen()
        if shown is None:
            return
        position = self.host.position_in_view(shown.choice)
        stack, results = shown.stack, shown.results
        fused = results.image[stack.result_index(position)]
        job = partial(
            _measured, stack, position, fused, results.noise[position], results.reports[position], results.slices
        )

        def done(table: MeasureTable) -> None:
            self._known = (shown, position, table)
            self.refresh()

        self.host.start_job(job, done)

    def _copy(self) -> None:
        shown = self.host.shown_of_chosen()
        table = None if shown is None else self.table_in_view(shown)
        if table is not None:
            QApplication.clipboard().setText(table.as_csv())
            self.host.say(f"Copied the sharpness of {len(next(iter(table.reports.values())).per_slice)} slices as CSV.")

    def _fill(self, table: MeasureTable | None) -> None:
        self._filled = table
        self.table.blockSignals(True)
        reports = [] if table is None else list(table.reports.values())
        self.table.setRowCount(len(reports))
        for row, report in enumerate(reports):
            texts = (
                SHARPNESS_MEASURES[report.measure].title,
                _short(report.mean_of_sources),
                f"{report.best_source}",
                _short(report.fused),
                _short(report.gain) if isfinite(report.gain) else "–",
            )
            for column, text in enumerate(texts):
                cell = Cell(text)
                cell.setToolTip(SHARPNESS_MEASURES[report.measure].help)
                if column:
                    cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, cell)
        self.table.resizeRowsToContents()
        self._fit()
        self.table.clearSelection()
        self.table.blockSignals(False)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Give names that wrap the lines they need."""
        super().resizeEvent(event)
        self.table.resizeRowsToContents()
        self._fit()

    def _fit(self) -> None:
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + self.table.verticalHeader().length() + 2 * self.table.frameWidth() + 2)

    def _choose(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        if rows and self._filled is not None:
            report: SharpnessReport = list(self._filled.reports.values())[rows[0].row()]
            self.report_chosen.emit(report)


def _short(value: float) -> str:
    """Return a number as short as the table needs: two digits where many zeros come first."""
    if abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _measured(
    stack: LayerStack,
    position: Position,
    fused: npt.NDArray[Any],
    noise: NoiseModel,
    report: SharpnessReport,
    slices: int,
) -> Generator[RunProgress, None, MeasureTable]:
    steps = measure_all_steps(stack.at(position), fused, noise, rgb=stack.rgb, known=report)
    with closing(steps):
        while True:
            try:
                done = next(steps)
            except StopIteration as end:
                return end.value
            yield RunProgress(done, slices + 1, 1, 1)
