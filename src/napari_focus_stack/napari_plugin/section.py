"""A part of the panel that folds away and tells of the result on show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QCollapsible

if TYPE_CHECKING:
    from .host import PanelHost

# Qt's QWIDGETSIZE_MAX.
_ANY_HEIGHT = (1 << 24) - 1
BELOW_TITLE_PX = 4


class Fold(QCollapsible):  # type: ignore[misc]
    """A part of the panel that folds away, and is as high as its contents ask for while it is open.

    Parameters
    ----------
    title : str
        May mark its key with ``&``.
    """

    def __init__(self, title: str) -> None:
        super().__init__(title, expandedIcon="▾", collapsedIcon="▸")
        self.setDuration(0)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.layout().setSpacing(0)
        # superqt's own holds it, too, to the height of sentences in one line.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._free_height)

    def _free_height(self, is_open: bool) -> None:
        if is_open:
            self.content().setMaximumHeight(_ANY_HEIGHT)

    def eventFilter(self, child: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Keep the height free: superqt holds it to the hint of the contents, too low where sentences wrap."""
        return False


class Section(Fold):
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
        super().__init__(title)
        body = QWidget()
        self.rows = QVBoxLayout(body)
        self.rows.setContentsMargins(0, BELOW_TITLE_PX, 0, 0)
        self.addWidget(body)
        self.toggled.connect(self.opened_or_folded)

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
