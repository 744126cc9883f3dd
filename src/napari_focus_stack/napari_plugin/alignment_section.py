"""The folded section of the panel on alignment: how slices moved, as curves, as a file, and as a layer to look at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton

from ..alignment.record import Alignment
from ..errors import InputError
from .layers import LayerStack, Position, StackChoice
from .placement import own_transform
from .section import Section, Sentence

if TYPE_CHECKING:
    from .worker import RunProgress

_HEIGHT_PX = 130
_COLOURS = {"shift along y": "#4c9be8", "shift along x": "#e8a33d", "zoom, at the corners": "#7bc47f"}
_NO_ALIGNMENT = "Choose a model at Align, under More options, and fuse; or add the aligned stack."
_FILES = "Alignment (*.json)"


class AlignmentSection(Section):
    """Curves of shift and zoom along z, in px, buttons that load and save them, and one that adds the aligned stack.

    Attributes
    ----------
    add_button, load_button, save_button : QPushButton
    told, given_told : Sentence
        What was found, and which file stands in its place.
    curves : dict of str to PlotDataItem
    """

    def __init__(self) -> None:
        super().__init__("Alignment")
        self.told = Sentence(_NO_ALIGNMENT)
        self.plot = pg.GraphicsLayoutWidget()
        self.plot.setFixedHeight(_HEIGHT_PX)
        # Nothing in it is reached by keys.
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.setToolTip("How far each slice lies from the middle one, px.")
        # Put together by hand, as the curve of sharpness is: a PlotItem brings a dozen menus.
        view = pg.ViewBox(enableMouse=False, enableMenu=False)
        self._axes = [pg.AxisItem(side, linkView=view) for side in ("left", "bottom")]
        self.plot.addItem(self._axes[0], 0, 0)
        self.plot.addItem(view, 0, 1)
        self.plot.addItem(self._axes[1], 1, 1)
        self.curves = {
            name: pg.PlotDataItem([], [], pen=pg.mkPen(colour, width=2)) for name, colour in _COLOURS.items()
        }
        for curve in self.curves.values():
            view.addItem(curve)
        legend = "  ".join(f'<span style="color:{colour}">▬</span> {name}' for name, colour in _COLOURS.items())
        self.legend = Sentence(f"{legend}, px")
        self.add_button = QPushButton("Add aligned stack")
        self.add_button.setToolTip("Adds the slices as they are put back, warped when they are looked at.")
        self.load_button, self.save_button = QPushButton("Load…"), QPushButton("Save…")
        self.load_button.setToolTip(
            "Puts the slices where a file says, in place of estimating: another channel, or an earlier run."
        )
        self.save_button.setToolTip("Writes where the slices lie as JSON, for Python and the command line as well.")
        self.drop_button = QPushButton("Estimate anew")
        self.drop_button.setToolTip("Lets go of the file; the slices are looked at again.")
        self.given_told = Sentence()
        for widget in (self.told, self.given_told, self.plot, self.legend, self.add_button):
            self.rows.addWidget(widget)
        buttons = QHBoxLayout()
        for button in (self.load_button, self.save_button):
            buttons.addWidget(button)
        self.rows.addLayout(buttons)
        self.rows.addWidget(self.drop_button)
        self.add_button.clicked.connect(self._add)
        self.load_button.clicked.connect(self._ask_and_load)
        self.save_button.clicked.connect(self._ask_and_save)
        self.drop_button.clicked.connect(self._drop)
        self._given: dict[tuple[str, int], tuple[Path, Alignment]] = {}

    def refresh(self) -> None:
        """Show the alignment of the result in view."""
        shown = self.host.shown_of_chosen()
        alignment = None
        if shown is not None:
            alignment = shown.results.alignments.get(self.host.position_in_view(shown.choice))
        self.plot.setVisible(alignment is not None)
        self.legend.setVisible(alignment is not None)
        given = self.given()
        self.add_button.setEnabled(self.host.chosen() is not None)
        self.load_button.setEnabled(self.host.chosen() is not None)
        self.save_button.setEnabled(alignment is not None)
        self.drop_button.setVisible(given is not None)
        self.given_told.say("" if given is None else f"The slices lie as {given[0].name} says.")
        self.told.say(
            _NO_ALIGNMENT
            if alignment is None
            else _in_words(alignment, cropped=shown is not None and shown.results.options.crop)
        )
        if alignment is not None:
            self._show(alignment)

    def given(self) -> tuple[Path, Alignment] | None:
        """Return the file that tells where the slices of the chosen stack lie, and what it says."""
        chosen = self.host.chosen()
        return None if chosen is None else self._given.get(chosen.key)

    def load(self, path: Path) -> None:
        """Let the chosen stack lie as a file says."""
        chosen = self.host.chosen()
        if chosen is None:
            return
        view = chosen.stack.at(self.host.position_in_view(chosen))
        try:
            alignment = Alignment.load(path).for_stack(len(view), view.shape[1:3], int(np.prod(view.shape[3:])))
        except InputError as refusal:
            self.host.say(str(refusal))
            return
        self._given[chosen.key] = path, alignment
        self.host.alignment_changed()

    def save(self, path: Path) -> None:
        """Write where the slices in view lie."""
        shown = self.host.shown_of_chosen()
        alignment = None if shown is None else shown.results.alignments.get(self.host.position_in_view(shown.choice))
        if alignment is None:
            return
        path = path if path.suffix else path.with_suffix(".json")
        try:
            alignment.save(path)
        except OSError as error:
            self.host.say(f"{path.name} cannot be written: {(error.strerror or str(error)).lower()}.")
            return
        self.host.say(f"Saved where the slices lie as {path.name}.")

    def _ask_and_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load where the slices lie", "", _FILES)
        if path:
            self.load(Path(path))

    def _ask_and_save(self) -> None:
        chosen = self.host.chosen()
        name = "" if chosen is None else f"{chosen.layer.name} alignment.json"
        path, _ = QFileDialog.getSaveFileName(self, "Save where the slices lie", name, _FILES)
        if path:
            self.save(Path(path))

    def _drop(self) -> None:
        chosen = self.host.chosen()
        if chosen is not None and self._given.pop(chosen.key, None) is not None:
            self.host.alignment_changed()

    def view_moved(self) -> None:
        """Follow the sliders to another position."""
        self.refresh()

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        self.plot.setBackground(background)
        for axis in self._axes:
            axis.setPen(foreground)
            axis.setTextPen(foreground)

    def _show(self, alignment: Alignment) -> None:
        corner = np.hypot(*alignment.shape) / 2
        values = (*alignment.shifts_px.T, (alignment.zooms - 1) * corner)
        for curve, value in zip(self.curves.values(), values, strict=True):
            curve.setData(np.arange(len(alignment)), value)

    def _add(self) -> None:
        chosen, shown, options = self.host.chosen(), self.host.shown_of_chosen(), self.host.options()
        if chosen is None or options is None:
            return
        known = {} if shown is None else shown.results.alignments
        given = self.given()
        if given is not None:
            known = dict.fromkeys(chosen.stack.positions, given[1])
        # Nothing is known yet: what was chosen, or shift, zoom and turn.
        model = "similarity" if options.align == "none" else options.align
        in_view = chosen.index_in_view(chosen.focus_axis, self.host.viewer)
        job = partial(_aligned, chosen.stack, known, model, options.match_brightness, options.crop, in_view)
        self.host.start_job(job, partial(self._add_layer, chosen))

    def _add_layer(self, choice: StackChoice, made: tuple[Any, tuple[slice, ...]]) -> None:
        layer = choice.layer
        if not choice.is_there(self.host.viewer):
            return
        pixels, window = made
        origin = np.zeros(layer.ndim)
        origin[list(choice.stack.plane_axes)] = [part.start for part in window]
        keywords: dict[str, Any] = {
            name: getattr(layer, name)
            for name in ("scale", "rotate", "shear", "affine", "units", "axis_labels", "gamma", "blending", "rgb")
        }
        keywords["affine"] = layer.affine.affine_matrix
        keywords["translate"] = layer.translate + own_transform(layer) @ origin
        if not layer.rgb:
            keywords |= {"contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap}
        self.host.viewer.add_image(pixels, name=f"{layer.name} aligned", multiscale=False, **keywords)
        self.host.say("The aligned stack was added; its slices are warped as they are looked at.")


def _in_words(alignment: Alignment, *, cropped: bool) -> str:
    """Return what was found, and what of the picture is kept."""
    found = f"{alignment.reason.capitalize()}."
    if not cropped:
        return found
    rows, columns = alignment.common_window()
    kept = f"{rows.stop - rows.start} × {columns.stop - columns.start} px from y {rows.start}, x {columns.start}"
    return f"{found} Cropped to {kept}, which all slices cover; the rest is black."


def _common_window(alignments: dict[Position, Alignment]) -> tuple[slice, ...]:
    """Return rows and columns that all slices of all positions cover."""
    windows = [alignment.common_window() for alignment in alignments.values()]
    return tuple(slice(max(w[axis].start for w in windows), min(w[axis].stop for w in windows)) for axis in range(2))


def _aligned(
    stack: LayerStack,
    known: dict[Position, Alignment],
    model: str,
    match_brightness: str,
    crop: bool,
    in_view: int,
) -> Generator[RunProgress, None, tuple[Any, tuple[slice, ...]]]:
    """Return the aligned slices, lazily, and the rows and columns that are kept; estimate what is not known."""
    alignments = known or (yield from _estimated(stack, model, match_brightness))
    stack = replace(stack, alignments=alignments)
    whole = tuple(slice(0, n) for n in next(iter(alignments.values())).shape)
    window = _common_window(alignments) if crop else whole
    # What the first slice loads is loaded here, not in the window's thread.
    stack.at(next(iter(stack.positions))).part(in_view, *window)
    return aligned_pixels(stack, window), window


def _estimated(
    stack: LayerStack, model: str, match_brightness: str
) -> Generator[RunProgress, None, dict[Position, Alignment]]:
    """Estimate the alignment of every position, giving control back after every slice."""
    from ..alignment.aligner import AlignmentEstimator
    from ..slices import SliceKind
    from .worker import RunProgress

    alignments = {}
    for number, position in enumerate(stack.positions):
        view = stack.at(position)
        estimator = AlignmentEstimator(SliceKind(view.shape[1:], view.dtype, stack.rgb), model, match_brightness)
        for k in range(len(view)):
            estimator.add(view[k])
            done, total = number * len(view) + k + 1, stack.position_count * len(view)
            yield RunProgress(done, total, number + 1, stack.position_count)
        alignments[position] = estimator.result()
    return alignments


def aligned_pixels(stack: LayerStack, window: tuple[slice, ...]) -> Any:
    """Return the slices of all positions as their alignments put them: a dask array shaped like the layer.

    Parameters
    ----------
    stack : LayerStack
        With alignments.
    window : tuple of slice
        Rows and columns that are kept.
    """
    import dask
    import dask.array as da

    first = stack.at(next(iter(stack.positions)))
    shape = tuple(w.stop - w.start for w in window) + first.shape[3:]
    kept = []
    for position in stack.positions:
        view = stack.at(position)
        planes = [
            da.from_delayed(dask.delayed(view.part)(k, *window), shape, view.dtype.newbyteorder("="))
            for k in range(len(view))
        ]
        kept.append(da.stack(planes))
    outer = [int(stack.pixels.shape[axis]) for axis in stack.outer_axes]
    stacked = da.stack(kept).reshape((*outer, *kept[0].shape)) if outer else kept[0]
    order = [*stack.outer_axes, stack.focus_axis, *stack.plane_axes, *range(stack.ndim, stacked.ndim)]
    return stacked.transpose([order.index(axis) for axis in range(stacked.ndim)])
