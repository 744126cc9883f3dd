"""What the sections of the panel see of it: the viewer, the chosen stack and the result on show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from .layers import LayerStack, Position, StackChoice
from .placement import Placement, place_results

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ..alignment.record import Alignment
    from ..options import FocusStackOptions
    from .heights import HeightView
    from .results import ResultLayers
    from .worker import Job, StackResults


# Levelling a height map of 1 Mpx takes up to 130 ms, measuring it 140 ms: as small as this it is done at once.
_SMALL_PX = 1 << 18


@dataclass(frozen=True, eq=False)
class Shown:
    """The result that the panel tells about; every run has another one."""

    choice: StackChoice
    results: StackResults
    warnings: tuple[str, ...]

    @property
    def stack(self) -> LayerStack:
        """The z-stacks of the layer, as they lay when they were fused."""
        return replace(self.choice.stack, alignments=self.results.alignments)

    @property
    def is_small(self) -> bool:
        """Whether its height map is levelled and measured in no time."""
        return self.results.height.size <= _SMALL_PX

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of a slice that layers of results show: all, unless results were cropped."""
        y, x = (int(self.choice.stack.pixels.shape[axis]) for axis in self.choice.stack.plane_axes)
        alignments = self.results.alignments.values()
        if not self.results.options.crop or not alignments:
            return slice(0, y), slice(0, x)
        # One layer holds all positions, whatever each of them covers.
        windows = zip(*(alignment.common_window() for alignment in alignments), strict=True)
        rows, columns = (slice(min(one.start for one in some), max(one.stop for one in some)) for some in windows)
        return rows, columns

    @property
    def origin(self) -> tuple[int, int]:
        """The first pixel of the layers of results, in a slice."""
        rows, columns = self.window
        return rows.start, columns.start

    @cached_property
    def seen(self) -> StackResults:
        """The results as their layers show them: the same pixels, within the window."""
        if not self.results.options.crop:
            return self.results
        part: list[slice] = [slice(None)] * self.results.index.ndim
        y, x = self.choice.stack.result_plane_axes
        part[y], part[x] = self.window
        fields = ("image", "index", "height", "confidence")
        return replace(self.results, **{field: getattr(self.results, field)[tuple(part)] for field in fields})

    @property
    def placement(self) -> Placement:
        """Where the layers of results belong."""
        return place_results(self.choice.layer, self.choice.focus_axis, self.origin)

    def alignments_for(self, options: FocusStackOptions, given: Alignment | None) -> dict[Position, Alignment]:
        """Return where its slices lie, if `options` and the alignment that is `given` ask for the same; else none."""
        before = self.results.options
        alike = (before.align, before.match_brightness) == (options.align, options.match_brightness)
        return self.results.alignments if alike and given == self.results.given else {}


class PanelHost(Protocol):
    """The panel, as its sections see it."""

    @property
    def viewer(self) -> Viewer:
        """The viewer it is docked in."""

    @property
    def result_layers(self) -> ResultLayers:
        """The layers of results."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more part in the viewer."""

    def chosen(self) -> StackChoice | None:
        """Return the stack and axis that are chosen."""

    def shown_of_chosen(self) -> Shown | None:
        """Return the result on show if it is of the stack and the axis that are chosen now."""

    def told_of_chosen(self) -> Shown | None:
        """Return the same, be it one in tiles, whose pixels lie in files: for its figures."""

    def shown_layer(self, field: str) -> Image | None:
        """Return the layer of one result of the chosen stack, if it is there."""

    def height_view(self) -> HeightView:
        """Return how heights are levelled and masked."""

    def strokes(self) -> Labels | None:
        """Return the strokes of retouching on the chosen stack, if there are any."""

    def want_height(self) -> Image | None:
        """Return the layer of heights, added if it was not there; None without a result."""

    def position_in_view(self, choice: StackChoice) -> Position:
        """Return where the sliders stand along the axes that are neither focus nor picture."""

    def options(self) -> FocusStackOptions | None:
        """Return the options as set, or None while what is typed is refused."""

    def given_alignment(self) -> Alignment | None:
        """Return where the slices of the chosen stack lie, in place of what is estimated; None without."""

    def alignment_file(self) -> Path | None:
        """Return the file that the given alignment was read from."""

    def alignment_changed(self) -> None:
        """Take note that another alignment is given, or none any more."""

    def start_job(self, job: Job, on_end: Callable[[Any], None]) -> bool:
        """Run work that yields progress, as a fusion does; False where one is under way."""

    def say(self, sentence: str) -> None:
        """Show a sentence on what has become of a run."""
