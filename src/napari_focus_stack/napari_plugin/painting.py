"""A run makes room while the window is painted, so that it answers during a run, too."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from ..pauses import pause, resume

# No painting takes as long; if its end should be missed the run goes on.
_LONGEST_S = 0.1

# While a slider is dragged the window is painted all the time, and the run would never come to its quick look.
_APART_S = 0.15


class PaintedFirst(QObject):  # type: ignore[misc]
    """Lets the kernels of a run pause whenever the window of a widget is about to be painted.

    Beside them each step of software OpenGL waited for a core, and a picture that takes 25 ms took 50.

    Parameters
    ----------
    widget : QWidget
        Lives as long as this.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._watched: list[QWidget] = []
        self._last = 0.0
        # Due once what is about to be painted is painted.
        self._painted = QTimer(self)
        self._painted.setSingleShot(True)
        self._painted.setInterval(0)
        self._painted.timeout.connect(resume)

    def begin(self) -> None:
        """Watch the window of the widget, and the one that its dock floats above: a run begins."""
        self.end()
        window = self._widget.window()
        above = window.parentWidget()
        self._watched = [window] if above is None else [window, above.window()]
        for each in self._watched:
            each.installEventFilter(self)

    def end(self) -> None:
        """Leave the windows alone: the run has ended."""
        watched, self._watched = self._watched, []
        with suppress(RuntimeError):  # the window is gone
            for each in watched:
                each.removeEventFilter(self)
        resume()

    def eventFilter(self, window: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Pause before the window is painted."""
        if event.type() == QEvent.Type.UpdateRequest:
            before, self._last = self._last, monotonic()
            if self._last - before > _APART_S:
                pause(_LONGEST_S)
                self._painted.start()
        return False
