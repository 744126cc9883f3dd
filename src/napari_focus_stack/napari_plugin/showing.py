"""The result on show: its layers are renewed in a few turns of the event loop, and added one in each where they are not
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from .collector import put_off_full_collection
from .heights import HeightScale, HeightView, ShownHeights, shown_heights
from .host import Shown
from .latest import Latest
from .layers import StackChoice
from .placement import place_results
from .results import ResultLayers
from .turns import Turns

if TYPE_CHECKING:
    from magicgui.widgets import CheckBox
    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtCore import QObject

    from .worker import StackResults


class ResultOnShow:
    """Brings the results of a run to the viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QObject
        Lives as long as the panel.
    maps : mapping of str to CheckBox
        The results that are shown only while their box is ticked.
    height_view : callable
        Returns how heights are levelled and masked.
    heights_shown : callable
        Called once the Height layer shows other heights.

    Attributes
    ----------
    shown : Shown or None
        The result that the panel tells about.
    layers : ResultLayers
    """

    def __init__(
        self,
        viewer: Viewer,
        parent: QObject,
        maps: Mapping[str, CheckBox],
        height_view: Callable[[], HeightView],
        heights_shown: Callable[[], None],
    ) -> None:
        self.shown: Shown | None = None
        self.layers = ResultLayers(viewer)
        self._viewer, self._maps = viewer, maps
        self._height_view, self._heights_shown = height_view, heights_shown
        self._levelling, self._turns = Latest("Levelling the heights"), Turns(parent)
        self._active: Layer | None = None
        # The results whose layers still show the run before.
        self._behind: set[str] = set()
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether layers are still to be added or updated."""
        return self._turns.pending or self._levelling.busy

    def of(self, choice: StackChoice | None) -> Shown | None:
        """Return the result on show if it is of this stack and axis, whose pixels are still there."""
        if self.shown is None or choice is None or choice.key != self.shown.choice.key:
            return None
        return self.shown if self.shown.choice.is_there(self._viewer) else None

    def show(self, choice: StackChoice, results: StackResults, tell: Callable[[], None]) -> None:
        """Show the results of a run in place of those before, and `tell` of them, in some turns of the event loop."""
        dropped = place_results(choice.layer, choice.focus_axis).dropped
        self.shown = Shown(choice, results, (dropped, *results.warnings))
        self._behind = {"image", "index", *self._wanted()}
        there = self.layers.of(choice.key)
        # A changed layer takes napari up to 10 ms, the window painted anew 25: all of it is too long for one turn.
        if "image" in there:
            self.show_layer("image")
        else:
            put_off_full_collection()
            self._turns.add(partial(self.show_layer, "image"))
        maps = [field for field in ("index", *self._wanted()) if field != "height"]
        self._turns.add(partial(self._renew, [field for field in maps if field in there]))
        for field in maps:
            if field not in there:
                self._turns.add(partial(self.show_layer, field))
        # Not before both have changed, for strokes of retouching go over both.
        self._turns.add(tell)
        if "height" in self._behind:
            self._turns.add(partial(self.show_layer, "height"))

    def give_way(self, choice: StackChoice) -> None:
        """Let another result of a stack be shown, whose layers took the place of ours."""
        if self.of(choice) is not None:
            self.shown, self._behind = None, set()
            self._turns.clear()

    def finish(self) -> None:
        """Renew at once the layers whose turn has not come, so that all show the same result; add none."""
        shown, self._behind, behind = self.shown, set(), self._behind
        self._turns.clear()
        if shown is None:
            return
        for field in behind & self.layers.of(shown.choice.key).keys():
            heights = self._heights_of(shown)() if field == "height" else None
            self.layers.show([field], shown.seen, shown.choice, shown.placement, heights, add=False)

    def show_layer(self, field: str) -> None:
        """Add or update the layer of one result."""
        shown = self.shown
        if self._closed or shown is None:
            return
        if field == "height":
            work = self._heights_of(shown)
            if shown.is_small:
                self._levelling.request(work, partial(self._show_heights, shown), at_once=True)
            else:
                self._levelling.request(work, partial(self._heights_there, shown))
            return
        self._add_or_update(field, shown)

    def show_maps(self) -> None:
        """Show the maps whose boxes are ticked, and take away those that are not."""
        if self._closed or self.shown is None:
            return
        for field in self._maps:
            if field in self._wanted():
                self.show_layer(field)
            else:
                self.layers.remove(self.shown.choice.key, field)

    def level_anew(self) -> None:
        """Show the heights as they are to be levelled and masked now."""
        if self._maps["height"].value:
            self.show_layer("height")

    def forget_removed(self) -> bool:
        """Let go of layers that are gone; return whether the stack of the result on show is one of them."""
        self.layers.forget_removed()
        if self.shown is None or self.shown.choice.is_there(self._viewer):
            return False
        if self.shown.choice.has_its_pixels:
            self.finish()
        self.shown, self._behind = None, set()
        self._turns.clear()
        return True

    def shut_down(self) -> None:
        """Add nothing any more."""
        self._closed = True
        self._turns.clear()
        self._levelling.close()

    def _renew(self, fields: Iterable[str]) -> None:
        for field in fields:
            self.show_layer(field)

    def _heights_of(self, shown: Shown) -> Callable[[], ShownHeights]:
        choice = shown.choice
        return partial(shown_heights, shown.seen, choice.stack, HeightScale.of(choice), self._height_view())

    def _wanted(self) -> list[str]:
        return [field for field, box in self._maps.items() if box.value]

    def _heights_there(self, shown: Shown, heights: ShownHeights) -> None:
        if shown is self.shown:
            self._turns.add(partial(self._show_heights, shown, heights))

    def _show_heights(self, shown: Shown, heights: ShownHeights) -> None:
        if self._closed or shown is not self.shown or not self._maps["height"].value:
            return
        self._add_or_update("height", shown, heights)
        self._heights_shown()

    def _add_or_update(self, field: str, shown: Shown, heights: ShownHeights | None = None) -> None:
        self._behind.discard(field)
        choice, selection = shown.choice, self._viewer.layers.selection
        active = selection.active
        added = self.layers.show([field], shown.seen, choice, shown.placement, heights, hidden=True)
        if added and field == "image":
            # To add it and to draw it are two pieces.
            self._turns.add(partial(self._reveal, added[0]), first=True)
        if added and field != "image" and self._active is None:
            # napari selects what is added, but maps are hidden, and the brush belongs to another layer.
            self._active = active
            self._turns.add(self._select_again)

    def _reveal(self, layer: Layer) -> None:
        if layer in self._viewer.layers:
            layer.visible = True

    def _select_again(self) -> None:
        active, self._active = self._active, None
        if active is not None and active in self._viewer.layers and not self._closed:
            self._viewer.layers.selection.active = active
