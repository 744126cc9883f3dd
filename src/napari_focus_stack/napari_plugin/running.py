"""Runs of the panel, by hand or Live: never two at once, the last change wins, and what is cancelled adds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from ..errors import InputError
from .in_tiles import check_fits
from .latest import sentence_of
from .layers import Position, StackChoice
from .painting import PaintedFirst
from .preview import Preview
from .quick_looks import QuickLooks
from .tiled_run import TileProgress
from .worker import FocusRunner, Job, RunFailure, RunProgress, StackResults

if TYPE_CHECKING:
    from ..alignment.record import Alignment
    from ..options import FocusStackOptions
    from .host import PanelHost
    from .in_tiles import TiledRuns
    from .panel import FocusStackPanel
    from .tiled_run import TilesDone

_LIVE_DELAY_MS = 40

# With napari's canvas, Qt composes the whole window anew for every change: 30 ms of all cores where OpenGL is software.
_BAR_EVERY_MS = 200

# A bar that is gone before it is read would flicker with every change of an option.
_LIVE_BAR_AFTER_MS = 1000


class PanelRuns:
    """Starts runs, tells how far they are, and stops them.

    Parameters
    ----------
    panel : FocusStackPanel
        Its rows tell the options, its bar how far a run is.
    host : PanelHost
        The same panel, as it tells of the stack that is chosen and of the result on show.
    tiles : TiledRuns
    on_results : callable
        Gets the stack and the results of a fusion that came to its end; it tells of the change, too.
    on_change : callable
        Called when a run began or ended.
    """

    def __init__(
        self,
        panel: FocusStackPanel,
        host: PanelHost,
        tiles: TiledRuns,
        on_results: Callable[[StackChoice, StackResults], None],
        on_change: Callable[[], None],
    ) -> None:
        self._panel, self._host, self._tiles = panel, host, tiles
        self._on_results, self._on_change = on_results, on_change
        self._runner = FocusRunner(self._show_progress, self._end, self._show_preview)
        self._quick_looks = QuickLooks(host)
        self._again = False
        self._ran_on: StackChoice | None = None
        self._job_end: Callable[[Any], None] | None = None
        self._given: Alignment | None = None
        self._live_timer = QTimer(panel.native)
        self._live_timer.setSingleShot(True)
        self._live_timer.setInterval(_LIVE_DELAY_MS)
        self._live_timer.timeout.connect(self._refresh_live)
        self._painted_first = PaintedFirst(panel.native)
        self._progress: RunProgress | None = None
        self._bar_is_due = False
        self._bar_timer = QTimer(panel.native)
        self._bar_timer.setSingleShot(True)
        self._bar_timer.timeout.connect(self._draw_bar)

    @property
    def running(self) -> bool:
        """Whether a run is under way, or about to stop."""
        return self._runner.running

    @property
    def busy(self) -> bool:
        """Whether a run is under way or about to start."""
        return self._runner.running or self._live_timer.isActive()

    @property
    def bar_is_wanted(self) -> bool:
        """Whether the bar tells of the run under way: of one that Live started, not before it has taken a while."""
        return self._runner.running and self._bar_is_due

    @property
    def outdated(self) -> bool:
        """Whether the result on show is of the chosen stack, but of other options or another alignment."""
        shown = self._host.shown_of_chosen()
        now = self._host.options(), self._host.given_alignment()
        return shown is not None and now != (shown.results.options, shown.results.given)

    def fuse(self, *, live: bool = False) -> None:
        """Fuse the chosen stack with the options as they are set; `live`, after a quick look at what is in view."""
        chosen = self._host.chosen()
        if self._host.closed or chosen is None or self._runner.running:
            return
        try:
            options = self._panel.option_rows.options()
            check_fits(chosen, options, offered=self._tiles.offered(chosen, options))
            quick_look = self._quick_looks.plan(options) if live else None
            self._given = self._host.given_alignment()
            self._runner.start(chosen.stack, options, quick_look, self._known(chosen, options, live=live))
        except InputError as refusal:
            self._fail(refusal)
            return
        self._job_end = None
        self._begin(chosen, live=live, looks_first=quick_look is not None)

    def fuse_in_tiles(self, maps: list[str], on_end: Callable[[TilesDone], None]) -> None:
        """Fuse the chosen stack tile by tile, what is in view first, into files that layers show meanwhile."""
        chosen, options = self._host.chosen(), self._host.options()
        if self._host.closed or chosen is None or options is None or self._runner.running:
            return
        try:
            job = self._tiles.job(chosen, options, maps, self._host.height_view())
        except (InputError, OSError) as refusal:
            self._fail(refusal)
            return
        self.start_job(job, on_end)

    def _known(self, chosen: StackChoice, options: FocusStackOptions, *, live: bool) -> dict[Position, Alignment]:
        """Return what need not be estimated: what is given, or what the run before found."""
        if self._given is not None:
            return dict.fromkeys(chosen.stack.positions, self._given)
        shown = self._host.shown_of_chosen() if live else None
        return {} if shown is None else shown.alignments_for(options, None)

    def start_job(self, job: Job, on_end: Callable[[Any], None]) -> bool:
        """Run other work that yields progress; `on_end` gets what it returned, unless it was cancelled or failed.

        Returns
        -------
        bool
            False where a run is under way already.
        """
        chosen = self._host.chosen()
        if self._host.closed or chosen is None or self._runner.running:
            return False
        self._runner.start_job(job)
        self._job_end = on_end
        self._begin(chosen)
        return True

    def cancel(self) -> None:
        """Stop the run at the next slice; nothing is added."""
        self._again = False
        self._stop()

    def shut_down(self) -> None:
        """Stop what is running: the panel was closed."""
        self._again = False
        self._quick_looks.lift()
        self._runner.cancel()
        self._painted_first.end()

    def stack_is_gone(self) -> None:
        """Let go of the pixels of the result on show."""
        self._quick_looks.forget()

    def layers_changed(self) -> None:
        """Stop the run if its stack was removed, or has other pixels."""
        if self._ran_on is not None and not self._ran_on.is_there(self._host.viewer):
            self.cancel()

    def option_changed(self) -> None:
        """Fuse anew while Live is on and there is a result."""
        # Not put off by further changes: while a slider is dragged, quick looks follow it.
        if self._panel.live_box.value and not self._live_timer.isActive():
            self._live_timer.start()

    def _begin(self, chosen: StackChoice, *, live: bool = False, looks_first: bool = False) -> None:
        self._ran_on, self._progress = chosen, None
        self._painted_first.begin()
        self._bar_is_due = not live
        self._bar_timer.start(_LIVE_BAR_AFTER_MS if live else _BAR_EVERY_MS)
        self._panel.say("")
        self._panel.progress_bar.value = 0
        self._panel.progress_bar.native.setFormat("starting")
        if not looks_first:
            # Else it is told with the quick look: the window is painted once for both.
            self._on_change()

    def _stop(self) -> None:
        self._runner.cancel()
        self._progress = None
        self._panel.progress_bar.native.setFormat("stopping")
        self._panel.cancel_button.enabled = False

    def _show_progress(self, progress: RunProgress) -> None:
        if not self._host.closed:
            self._progress = progress
            if not self._bar_timer.isActive():
                self._bar_timer.start(_BAR_EVERY_MS)
            if isinstance(progress, TileProgress):
                self._tiles.follow(progress)

    def _draw_bar(self) -> None:
        if self._host.closed or not self._runner.running:
            return
        if not self._bar_is_due:
            self._bar_is_due = True
            self._on_change()
        if self._progress is not None:
            bar = self._panel.progress_bar.native
            # Else Qt paints it at once for its value, and once more for its words.
            bar.setUpdatesEnabled(False)
            bar.setRange(0, self._progress.total)
            bar.setValue(self._progress.done)
            bar.setFormat(str(self._progress))
            bar.setUpdatesEnabled(True)

    def _show_preview(self, preview: Preview) -> None:
        if not self._host.closed and self._runner.options is not None:
            self._quick_looks.show(preview, self._runner.options)
            self._on_change()

    def _end(self, outcome: Any) -> None:
        ran_on, self._ran_on = self._ran_on, None
        job_end, self._job_end = self._job_end, None
        gone = self._host.closed or ran_on is None or not ran_on.is_there(self._host.viewer)
        if gone or outcome is None or isinstance(outcome, RunFailure):
            self._tiles.discard()
        if self._host.closed or ran_on is None:
            return
        self._painted_first.end()
        self._bar_timer.stop()
        if self._again:
            self._again = False
            if self._host.shown_of_chosen() is None or self.outdated:
                self.fuse(live=True)
            else:
                self._quick_looks.lift()
        elif isinstance(outcome, RunFailure):
            self._quick_looks.lift()
            self._fail(outcome.error)
        elif outcome is None or not ran_on.is_there(self._host.viewer):
            self._quick_looks.lift()
            self._panel.say("Cancelled: nothing was added.")
        elif job_end is not None:
            job_end(outcome)
        else:
            self._quick_looks.learn(outcome.seconds_per_value)
            self._on_results(ran_on, replace(outcome, given=self._given))
            return
        self._on_change()

    def _refresh_live(self) -> None:
        options = self._host.options()
        if self._host.closed:
            return
        if options is None or not self._panel.live_box.value:
            self._on_change()
            return
        if self._runner.running:
            now = options, self._host.given_alignment()
            if self._job_end is None and now != (self._runner.options, self._given):
                self._again = True
                if self._runner.previewing:
                    self._runner.supersede()
                else:
                    self._stop()
        elif self.outdated:
            self.fuse(live=True)
        else:
            self._on_change()

    def _fail(self, error: Exception) -> None:
        from napari.utils.notifications import show_error

        sentence = sentence_of(error, "Fusing")
        self._panel.say(sentence)
        show_error(sentence)
        self._on_change()
