"""The folded section of the panel on alignment: how slices moved, and the aligned stack as a layer to look at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton

from .layers import LayerStack, Position, StackChoice
from .placement import own_transform
from .section import Section, Sentence

if TYPE_CHECKING:
    from ..alignment import Alignment
    from .worker import RunProgress

_HEIGHT_PX = 130
_COLOURS = {"shift along y": "#4c9be8", "shift along x": "#e8a33d", "zoom, at the corners": "#7bc47f"}
_NO_ALIGNMENT = "Choose a model at Align, under More options, and fuse; or add the aligned stack."


class AlignmentSection(Section):
    """Curves of shift and zoom along z, in px, and a button that adds the aligned stack.

    Attributes
    ----------
    add_button : QPushButton
    told : Sentence
        What was found.
    curves : dict of str to PlotDataItem
    """

    def __init__(self) -> None:
        super().__init__("Alignment")
        self.told = Sentence(_NO_ALIGNMENT)
        self.plot = pg.GraphicsLayoutWidget()
        self.plot.setFixedHeight(_HEIGHT_PX)
        # Nothing in it can be chosen by keyboard.
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
        buttons = QHBoxLayout()
        buttons.addWidget(self.add_button)
        buttons.addStretch()
        for widget in (self.told, self.plot, self.legend):
            self.rows.addWidget(widget)
        self.rows.addLayout(buttons)
        self.add_button.clicked.connect(self._add)

    def refresh(self) -> None:
        """Show the alignment of the result in view."""
        shown = self.host.shown_of_chosen()
        alignment = None
        if shown is not None:
            alignment = shown.results.alignments.get(self.host.position_in_view(shown.choice))
        self.plot.setVisible(alignment is not None)
        self.legend.setVisible(alignment is not None)
        self.add_button.setEnabled(self.host.chosen() is not None)
        self.told.say(_NO_ALIGNMENT if alignment is None else f"{alignment.reason.capitalize()}.")
        if alignment is not None:
            self._show(alignment)

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
        if shown is not None and shown.results.alignments:
            self._add_layer(chosen, options.crop, shown.results.alignments)
            return
        # Nothing is known yet: what was chosen, or shift, zoom and turn.
        model = "similarity" if options.align == "none" else options.align
        job = partial(_estimated, chosen.stack, model, options.match_brightness)
        self.host.start_job(job, partial(self._add_layer, chosen, options.crop))

    def _add_layer(self, choice: StackChoice, crop: bool, alignments: dict[Position, Alignment]) -> None:
        layer = choice.layer
        if layer not in self.host.viewer.layers:
            return
        stack = replace(choice.stack, alignments=alignments)
        window = (
            _common_window(alignments) if crop else tuple(slice(0, n) for n in next(iter(alignments.values())).shape)
        )
        pixels = aligned_pixels(stack, window)
        origin = np.zeros(layer.ndim)
        origin[list(stack.plane_axes)] = [rows.start for rows in window]
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


def _common_window(alignments: dict[Position, Alignment]) -> tuple[slice, ...]:
    """Return rows and columns that all slices of all positions cover."""
    windows = [alignment.common_window() for alignment in alignments.values()]
    return tuple(slice(max(w[axis].start for w in windows), min(w[axis].stop for w in windows)) for axis in range(2))


def _estimated(
    stack: LayerStack, model: str, match_brightness: str
) -> Generator[RunProgress, None, dict[Position, Alignment]]:
    """Estimate the alignment of every position, giving control back after every slice."""
    from ..align import AlignmentEstimator
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
