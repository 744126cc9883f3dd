"""The panel without a mouse: the order of the Tab key, and names for programs that read the screen aloud."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLayout,
    QLineEdit,
    QWidget,
)

_WHOLE = (QAbstractButton, QAbstractScrollArea, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)


def read_in_order(widget: QWidget) -> None:
    """Let the Tab key go through a widget in the order in which it is laid out."""
    stops = list(tab_stops(widget))
    for before, after in itertools.pairwise(stops):
        QWidget.setTabOrder(before, after)


def tab_stops(widget: QWidget) -> Iterator[QWidget]:
    """Yield what the Tab key stops at, in the order in which it is laid out."""
    if widget.focusPolicy().value & Qt.FocusPolicy.TabFocus.value:
        yield widget
    if not isinstance(widget, _WHOLE) and widget.layout() is not None:
        yield from _stops_in(widget.layout())


def _stops_in(layout: QLayout) -> Iterator[QWidget]:
    for place in range(layout.count()):
        item = layout.itemAt(place)
        if item.widget() is not None:
            yield from tab_stops(item.widget())
        elif item.layout() is not None:
            yield from _stops_in(item.layout())


def name_field(field: QWidget, label: QLabel) -> None:
    """Tie a label to its field: its marked letter goes there, and a screen reader says it."""
    label.setBuddy(field)
    name = label.text().replace("&", "")
    for stop in (field, *tab_stops(field)):
        stop.setAccessibleName(name)
        stop.setAccessibleDescription(label.toolTip())
