"""The folded section on retouching: paint the slice that should win, and the fused image follows the stroke."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton

from ..by_map import retouch
from ..slices import SliceKind
from .host import Shown
from .latest import Latest, sentence_of
from .layers import METADATA_KEY, Position, StackView
from .placement import place_results
from .section import Section, Sentence

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.utils.colormaps import DirectLabelColormap

    from .worker import StackResults

_REST_MS = 40
_COUNT_MS = 300
_HINT = "Go to the slice that should win, and paint with napari's brush: the fused image follows."
_EVENTS = ("labels_update", "paint", "set_data", "data")

Part = tuple[slice, slice]
Patch = tuple[Position, Part, dict[str, npt.NDArray[Any]]]


class RetouchSection(Section):
    """A Labels layer of strokes for each stack: 0 where the fused image stands, k + 1 where slice k is taken.

    Attributes
    ----------
    start_button, undo_button, redo_button : QPushButton
    slice_box : QCheckBox
        Shows the slice in view in place of the results.
    told : Sentence
    """

    def __init__(self) -> None:
        super().__init__("Retouch")
        self.told = Sentence(_HINT)
        self.start_button = QPushButton("Pain&t")
        self.start_button.setToolTip("Takes up napari's brush, with the slice in view as its colour.")
        self.undo_button, self.redo_button = QPushButton("Undo"), QPushButton("Redo")
        self.slice_box = QCheckBox("See the slice while painting")
        self.slice_box.setToolTip("Hides the results, so that the slice in view is seen.")
        self.rows.addWidget(self.told)
        buttons = QHBoxLayout()
        for button in (self.start_button, self.undo_button, self.redo_button):
            buttons.addWidget(button)
        self.rows.addLayout(buttons)
        self.rows.addWidget(self.slice_box)
        self.start_button.clicked.connect(self._start)
        self.undo_button.clicked.connect(self._undo)
        self.redo_button.clicked.connect(self._redo)
        self.slice_box.toggled.connect(self._see_slice)
        self._strokes: dict[tuple[str, int], Labels] = {}
        self._applied: dict[tuple[str, int], tuple[StackResults, npt.NDArray[Any]]] = {}
        self._again = False
        self._painted_px = 0
        self._hidden: list[Image] = []
        self._latest = Latest("Retouching")
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._follow)
        self._count_timer = QTimer(self)
        self._count_timer.setSingleShot(True)
        self._count_timer.setInterval(_COUNT_MS)
        self._count_timer.timeout.connect(self._count)

    @property
    def busy(self) -> bool:
        """Whether the fused image does not follow the strokes yet."""
        return self._timer.isActive() or self._count_timer.isActive() or self._latest.busy

    def refresh(self) -> None:
        """Keep strokes through runs; where their layer is gone the fused image stands."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        strokes = self.strokes()
        for button in (self.undo_button, self.redo_button, self.slice_box):
            button.setEnabled(strokes is not None)
        if shown is None:
            return
        key = shown.choice.key
        if strokes is None:
            gone = self._strokes.pop(key, None)
            if gone is not None:
                self._disconnect(gone)
                self._applied.pop(key, None)
                self._show_unpainted(shown)
                self.told.say(_HINT)
            return
        known = self._applied.get(key)
        if known is None or known[0] is not shown.results:
            if strokes.data.shape != shown.results.index.shape:
                return
            # A new result knows no strokes: all of them are done again.
            self._applied[key] = (shown.results, np.zeros_like(strokes.data))
            self._show_unpainted(shown)
            self._follow()

    def view_moved(self) -> None:
        """Paint with the slice in view."""
        shown, strokes = self.host.shown_of_chosen(), self.strokes()
        if shown is not None and strokes is not None:
            k = shown.choice.index_in_view(shown.choice.focus_axis, self.host.viewer)
            if strokes.selected_label not in (0, k + 1):
                strokes.selected_label = k + 1
            self._tell()

    def finish(self) -> None:
        """Let the image follow at once the strokes that it does not follow yet: the panel is about to close."""
        shown, strokes = self.host.shown_of_chosen(), self.strokes()
        if shown is None or strokes is None or strokes.data.shape != shown.results.index.shape:
            return
        known = self._applied.get(shown.choice.key)
        if known is None or known[0] is not shown.results or self._latest.busy:
            # What a thread has begun comes too late, so all strokes are done again.
            self._show_unpainted(shown)
            before = np.zeros_like(strokes.data)
        elif self.busy:
            before = known[1]
        else:
            return
        self._again = False
        try:
            self._apply(shown, _patches(shown, np.asarray(strokes.data), before))
        except Exception as error:
            show_error(sentence_of(error, "Retouching"))
        else:
            self._count()

    def shut_down(self) -> None:
        """Leave the layers as they are."""
        self._timer.stop()
        self._count_timer.stop()
        self._latest.close()
        self._see_slice(False)
        for strokes in self._strokes.values():
            self._disconnect(strokes)

    def strokes(self) -> Labels | None:
        """Return the strokes on the chosen stack, if there are any."""
        chosen = self.host.chosen()
        strokes = None if chosen is None else self._strokes.get(chosen.key)
        return strokes if strokes is not None and strokes in self.host.viewer.layers else None

    def _start(self) -> None:
        shown = self.host.shown_of_chosen()
        if shown is None:
            return
        strokes = self.strokes()
        if strokes is None:
            strokes = self._adopted(shown) or self._added(shown)
            self._strokes[shown.choice.key] = strokes
            for name in _EVENTS:
                getattr(strokes.events, name).connect(self._painted)
        viewer = self.host.viewer
        viewer.layers.selection.active = strokes
        strokes.mode = "paint"
        k = shown.choice.index_in_view(shown.choice.focus_axis, viewer)
        strokes.selected_label = k + 1
        self.refresh()
        self._tell()

    def _adopted(self, shown: Shown) -> Labels | None:
        """Return the selected layer if it can be strokes: saved ones that were opened again."""
        from napari.layers import Labels

        layer = self.host.viewer.layers.selection.active
        fits = isinstance(layer, Labels) and layer.data.shape == shown.results.index.shape
        if not fits or int(np.max(layer.data)) > shown.results.slices or layer in self._strokes.values():
            return None
        layer.colormap = _slice_colours(shown.results.slices)
        return layer

    def _added(self, shown: Shown) -> Labels:
        placement = place_results(shown.choice.layer, shown.choice.focus_axis)
        return self.host.viewer.add_labels(
            np.zeros(shown.results.index.shape, np.uint16),
            name=f"{shown.choice.layer.name} retouch",
            opacity=0.3,
            colormap=_slice_colours(shown.results.slices),
            metadata={METADATA_KEY: {"result": "retouch", "source": shown.choice.layer.name}},
            **placement.keywords,
        )

    def _disconnect(self, strokes: Labels) -> None:
        for name in _EVENTS:
            getattr(strokes.events, name).disconnect(self._painted)

    def _undo(self) -> None:
        strokes = self.strokes()
        if strokes is not None:
            strokes.undo()

    def _redo(self) -> None:
        strokes = self.strokes()
        if strokes is not None:
            strokes.redo()

    def _see_slice(self, see: bool) -> None:
        if see:
            fields = (self.host.shown_layer(field) for field in ("image", "index", "height", "confidence"))
            self._hidden = [layer for layer in fields if layer is not None and layer.visible]
        for layer in self._hidden:
            layer.visible = not see

    # ---- the fused image follows ---------------------------------------------------------------

    def _painted(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _follow(self) -> None:
        """Do what changed since it was done last, one piece at a time, so that a long stroke is followed."""
        shown, strokes = self.host.shown_of_chosen(), self.strokes()
        if self.host.closed or shown is None or strokes is None:
            return
        known = self._applied.get(shown.choice.key)
        if known is None or known[0] is not shown.results or strokes.data.shape != known[1].shape:
            return
        if self._latest.busy:
            self._again = True
            return
        self._again = False
        # The whole is compared in the thread, where the brush cannot change it meanwhile.
        work = partial(_patches, shown, np.array(strokes.data), known[1])
        self._latest.request(work, partial(self._apply, shown))

    def _apply(self, shown: Shown, patches: list[Patch]) -> None:
        if self.host.shown_of_chosen() is not shown or self.strokes() is None:
            return
        stack = shown.choice.stack
        for field in ("image", "index") if patches else ():
            layer, original = self.host.shown_layer(field), getattr(shown.seen, field)
            if layer is None:
                continue
            if layer.data is original:
                # The result itself stays as it was fused.
                layer.data = original.copy()
            for position, part, pixels in patches:
                layer.data[stack.result_index(position)][part] = pixels[field]
            layer.refresh(extent=False, thumbnail=False, highlight=False)
        self._count_timer.start()
        if self._again:
            self._follow()

    def _count(self) -> None:
        """Tell how much is painted, once the brush rests."""
        shown, strokes, fused = self.host.shown_of_chosen(), self.strokes(), self.host.shown_layer("image")
        if self.host.closed or shown is None or strokes is None or fused is None:
            return
        pixels = np.bincount(strokes.data.ravel(), minlength=2)
        self._painted_px = int(pixels[1:].sum())
        told = {**fused.metadata.get(METADATA_KEY, {}), "retouched_px": self._painted_px}
        told["retouched_slices"] = [int(k) for k in np.flatnonzero(pixels[1:])]
        fused.metadata = {**fused.metadata, METADATA_KEY: told}
        for layer in (fused, self.host.shown_layer("index")):
            if layer is not None:
                layer.refresh(extent=False, data_displayed=False, highlight=False)
        self._tell()

    def _show_unpainted(self, shown: Shown) -> None:
        for field in ("image", "index"):
            layer = self.host.shown_layer(field)
            original = getattr(shown.seen, field)
            if layer is not None and layer.data is not original:
                layer.data = original
                told = {k: v for k, v in layer.metadata.get(METADATA_KEY, {}).items() if not k.startswith("retouched")}
                layer.metadata = {**layer.metadata, METADATA_KEY: told}

    def _tell(self) -> None:
        strokes = self.strokes()
        if strokes is None:
            return
        label, painted = strokes.selected_label, self._painted_px
        brush = f"The brush takes slice {label - 1}." if label else "The brush erases strokes."
        self.told.say(f"{brush} {painted} px are retouched." if painted else f"{brush} {_HINT}")


def _patches(shown: Shown, strokes: npt.NDArray[Any], before: npt.NDArray[Any]) -> list[Patch]:
    """Fuse anew where strokes differ from those before, which they then are; in what the layers show."""
    stack, results, window = shown.stack, shown.seen, shown.window
    patches = []
    for position in stack.positions:
        place = stack.result_index(position)
        here = strokes[place][window]
        part = _changed_part(here, before[place][window])
        if part is None:
            continue
        view = stack.at(position)
        kind = SliceKind((*here.shape, *view.shape[3:]), view.dtype, stack.rgb)
        read = partial(_read, view, shown.origin)
        where, image = retouch(results.image[place], here, read, kind, results.noise[position], part)
        index = np.where(here[where] > 0, here[where] - 1, results.index[place][where])
        patches.append((position, where, {"image": image, "index": index}))
    before[...] = strokes
    return patches


def _read(view: StackView, origin: tuple[int, int], k: int, *part: slice) -> npt.NDArray[Any]:
    rows, columns = (slice(some.start + first, some.stop + first) for some, first in zip(part, origin, strict=True))
    return view.part(k, rows, columns)


def _changed_part(now: npt.NDArray[Any], before: npt.NDArray[Any]) -> Part | None:
    changed = now != before
    rows = np.flatnonzero(changed.any(axis=1))
    if not rows.size:
        return None
    first, last = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(changed[first:last].any(axis=0))
    return slice(first, last), slice(int(columns[0]), int(columns[-1]) + 1)


def _slice_colours(slices: int) -> DirectLabelColormap:
    """Return a colour for every slice, that of the focus-index map."""
    from napari.utils.colormaps import DirectLabelColormap, ensure_colormap

    shades = ensure_colormap("viridis").map(np.linspace(0, 1, slices))
    colours: dict[int | None, Any] = {k + 1: shade for k, shade in enumerate(shades)}
    return DirectLabelColormap(color_dict=colours | {None: "transparent", 0: "transparent"})
