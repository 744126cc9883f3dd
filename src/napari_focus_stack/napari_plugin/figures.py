"""What the panel tells of the result in view: the curve of sharpness, what "auto" chose, the surface."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..auto_choices import in_words
from .heights import HeightScale, HeightView, surface_in_view
from .host import Shown
from .latest import Latest
from .layers import Position

if TYPE_CHECKING:
    from ..sharpness import SharpnessReport
    from ..surface import SurfaceReport
    from .host import PanelHost
    from .panel import FocusStackPanel


class FiguresInView:
    """Keeps the figures of the panel true to the result and to where the sliders stand.

    Parameters
    ----------
    panel : FocusStackPanel
        Where the figures are seen.
    host : PanelHost
        The same panel, as it tells of the result on show.
    """

    def __init__(self, panel: FocusStackPanel, host: PanelHost) -> None:
        self._panel, self._host = panel, host
        self._measuring = Latest("Measuring the surface")
        self._report: SharpnessReport | None = None
        self._measured: tuple[Shown, Position, HeightScale, HeightView] | None = None

    @property
    def busy(self) -> bool:
        """Whether the surface is being measured."""
        return self._measuring.busy

    def shut_down(self) -> None:
        """Drop what comes of a measurement under way."""
        self._measuring.close()

    def refresh(self) -> None:
        """Follow another result."""
        shown = self._host.told_of_chosen()
        self._panel.warn(shown.warnings if shown is not None else ())
        self._show_sharpness()
        self.show_surface()

    def view_moved(self) -> None:
        """Follow the sliders: another position has figures of its own, another slice moves the line."""
        shown = self._host.shown_of_chosen()
        if shown is not None and len(shown.results.reports) > 1:
            self._show_sharpness()
            self.show_surface()
        else:
            self._mark_slice()

    def show_surface(self) -> None:
        """Measure the heights in view where the section on them is open and they have not been measured yet."""
        shown = self._host.shown_of_chosen()
        self._panel.surface_figures.setVisible(shown is not None)
        if shown is None or not self._panel.height_section.isExpanded():
            self._measured = None
            return
        choice = shown.choice
        wanted = self._host.position_in_view(choice), HeightScale.of(choice), self._host.height_view()
        if self._measured is None or self._measured[0] is not shown or self._measured[1:] != wanted:
            self._measured = (shown, *wanted)
            work = partial(surface_in_view, shown.results, choice.stack, *wanted)
            self._measuring.request(work, partial(self._tell_surface, self._measured), at_once=shown.is_small)

    def _tell_surface(self, measured: tuple[Shown, Position, HeightScale, HeightView], report: SurfaceReport) -> None:
        if not self._host.closed and measured is self._measured:
            self._panel.surface_figures.show_report(report)

    def _show_sharpness(self) -> None:
        shown = self._host.told_of_chosen()
        position = None if shown is None else self._host.position_in_view(shown.choice)
        chosen = {} if shown is None or position is None else shown.results.chosen.get(position, {})
        report = None if shown is None or position is None else shown.results.reports.get(position)
        self._panel.tell_chosen(in_words(chosen))
        self._panel.sharpness_view.setVisible(report is not None)
        if report is not None and report is not self._report:
            self._panel.sharpness_view.show_report(report)
        self._report = report
        self._mark_slice()

    def _mark_slice(self) -> None:
        shown = self._host.told_of_chosen()
        if shown is not None and shown.choice.layer in self._host.viewer.layers:
            choice = shown.choice
            k = choice.index_in_view(choice.focus_axis, self._host.viewer)
            self._panel.sharpness_view.plot.set_slice_in_view(k)
