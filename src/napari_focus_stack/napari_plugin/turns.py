"""Work for the window that would hold it up if it were done at once: a piece for each turn of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer

# Long enough for what the last piece asked to be painted, and for keys and mouse, to come in between.
_BETWEEN_MS = 15


class Turns(QObject):  # type: ignore[misc]
    """Calls functions in order, one for each turn of the event loop, so that the window answers in between.

    Adding a layer costs napari some 50 ms, so four of them at once are felt.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_BETWEEN_MS)
        self._timer.timeout.connect(self._take)

    @property
    def pending(self) -> bool:
        """Whether anything waits for its turn."""
        return bool(self._waiting)

    def add(self, piece: Callable[[], None], *, first: bool = False) -> None:
        """Call `piece` in a turn of its own, after those added before, or `first` of all."""
        self._waiting.insert(0 if first else len(self._waiting), piece)
        if not self._timer.isActive():
            self._timer.start()

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._timer.stop()

    def _take(self) -> None:
        piece = self._waiting.popleft() if self._waiting else None
        try:
            if piece is not None:
                piece()
        finally:
            if self._waiting:
                self._timer.start()
