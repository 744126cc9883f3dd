"""A label for a figure that changes with every result."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget


class SteadyLabel(QWidget):  # type: ignore[misc]
    """Text at the right, which asks for another place only where it does not fit into the one it has.

    Any other text in a label has Qt lay out all that is around it anew, up to the window, and paint the window at each
    of six steps: with napari's canvas, and OpenGL in software, 25 ms each.
    """

    def __init__(self) -> None:
        super().__init__()
        # No layout holds it, so none is asked again.
        self._label = QLabel(self)
        self._label.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def text(self) -> str:
        """Return what is shown."""
        return str(self._label.text())

    def setText(self, text: str) -> None:  # noqa: N802 - the name that a label has
        """Show a text."""
        self._label.setText(text)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of the text."""
        return self._label.sizeHint()

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of the text: figures are not cut off."""
        return self._label.minimumSizeHint()

    def event(self, event: QEvent) -> bool:
        """Follow what the label asks for."""
        if event.type() == QEvent.Type.LayoutRequest:
            needed = self._label.minimumSizeHint()
            if needed.width() > self.width() or needed.height() != self.height():
                self.updateGeometry()
        return bool(super().event(event))

    def enterEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Let the text be selected; not before, for text that can be is painted twice whenever it changes."""
        super().enterEvent(event)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Keep what is selected."""
        super().leaveEvent(event)
        if not self._label.hasSelectedText():
            self._label.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Give the label all of the place."""
        super().resizeEvent(event)
        self._label.resize(self.size())
