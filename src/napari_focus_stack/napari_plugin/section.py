"""A part of the panel that folds away and tells of the result on show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

if TYPE_CHECKING:
    from .host import PanelHost

# Qt's QWIDGETSIZE_MAX.
_ANY_HEIGHT = (1 << 24) - 1


class Section(QCollapsible):  # type: ignore[misc]
    """A folded part of the panel.

    Parameters
    ----------
    title : str
        May mark its key with ``&``.

    Attributes
    ----------
    rows : QVBoxLayout
        Where its contents go.
    host : PanelHost
        After `attach`.
    """

    host: PanelHost

    def __init__(self, title: str) -> None:
        super().__init__(title, expandedIcon="▾", collapsedIcon="▸")
        self.setDuration(0)
        self.layout().setContentsMargins(0, 0, 0, 0)
        body = QWidget()
        self.rows = QVBoxLayout(body)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.addWidget(body)
        self.toggled.connect(self._free_height)
        self.toggled.connect(self.opened_or_folded)

    def _free_height(self, is_open: bool) -> None:
        # It is held to the height it had when it was opened, though sentences and plots come and go.
        if is_open:
            self.content().setMaximumHeight(_ANY_HEIGHT)

    def attach(self, host: PanelHost) -> None:
        """Take the panel that the section is part of."""
        self.host = host

    def refresh(self) -> None:
        """Follow another stack, another result, or the begin and end of a run."""

    def view_moved(self) -> None:
        """Follow the sliders of the viewer."""

    def opened_or_folded(self, is_open: bool) -> None:
        """Begin or leave off what is only done while the section is open."""

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""

    def shut_down(self) -> None:
        """Leave the viewer as if the section had never been there: the panel was closed."""


class Sentence(QLabel):  # type: ignore[misc]
    """A label that wraps, and is hidden while it has nothing to say."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.say(text)

    def say(self, text: str) -> None:
        """Show a sentence, or nothing."""
        self.setText(text)
        self.setVisible(bool(text))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Let a dock of 300 px hold it, however long its words are."""
        return QSize(40, super().minimumSizeHint().height())
