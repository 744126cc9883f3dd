"""The folded section on other layers: the decision of this stack applied to other channels and times."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtWidgets import QComboBox, QPushButton

from ..by_map import fuse_by_map_steps
from .host import Shown
from .layers import METADATA_KEY, LayerStack, Position, StackChoice, focus_axes, is_stack
from .placement import place_results
from .results import RESULT_KINDS, provenance, update_layer
from .section import Section, Sentence
from .worker import RunProgress

if TYPE_CHECKING:
    from napari.layers import Image

_HINT = "Fuses another channel, or the other times, by the heights of this result."
_NOTHING = "No other layer has slices of this number and size: open another channel of this stack."
_OWN = "all positions of this layer"


class OthersSection(Section):
    """Applies the map of the result on show to other stacks of the same shape.

    Attributes
    ----------
    choice : QComboBox
        The layers that fit.
    apply_button : QPushButton
    told : Sentence
    """

    def __init__(self) -> None:
        super().__init__("Other channels and times")
        self.told = Sentence(_HINT)
        self.choice = QComboBox()
        self.choice.setToolTip("Layers whose slices have the number and size of this stack's.")
        self.choice.setAccessibleName("Layer to fuse by this map")
        self.choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.choice.setMinimumContentsLength(8)
        self.apply_button = QPushButton("Apply this map")
        for widget in (self.told, self.choice, self.apply_button):
            self.rows.addWidget(widget)
        self.apply_button.clicked.connect(self._apply)
        self._offered: list[StackChoice] = []
        self._made: dict[tuple[Any, Any], Image] = {}

    def refresh(self) -> None:
        """Offer the layers that fit now."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        self._made = {key: layer for key, layer in self._made.items() if layer in self.host.viewer.layers}
        offered = [] if shown is None else self._fitting(shown)
        if [(other.key, other.layer.name) for other in offered] != [
            (other.key, self.choice.itemText(row)) for row, other in enumerate(self._offered)
        ]:
            before = self.choice.currentText()
            self.choice.clear()
            own = None if shown is None else shown.choice.key
            self.choice.addItems([_OWN if other.key == own else other.layer.name for other in offered])
            self.choice.setCurrentIndex(max(self.choice.findText(before), 0))
            self._offered = offered
        self.apply_button.setEnabled(bool(offered))
        for widget in (self.choice, self.apply_button):
            widget.setVisible(bool(offered))
        self.told.say(_HINT if offered else _NOTHING)

    def _fitting(self, shown: Shown) -> list[StackChoice]:
        wanted = _plane_shape(shown.choice.stack)
        found = [shown.choice] if shown.choice.stack.position_count > 1 else []
        for layer in self.host.viewer.layers:
            if layer is shown.choice.layer or not is_stack(layer):
                continue
            for axis in focus_axes(layer):
                other = StackChoice(layer, axis)
                if _plane_shape(other.stack) == wanted:
                    found.append(other)
                    break
        return found

    def _apply(self) -> None:
        shown = self.host.shown_of_chosen()
        row = self.choice.currentIndex()
        if shown is None or not 0 <= row < len(self._offered):
            return
        target = self._offered[row]
        maps = self._maps(shown, target)
        here = shown.results.alignments.get(self.host.position_in_view(shown.choice))
        moved = {} if here is None else {p: shown.results.alignments.get(p, here) for p in maps}
        job = partial(_fused_by_map, replace(target.stack, alignments=moved), maps, shown.results.slices)
        self.host.start_job(job, partial(self._show, shown, target))

    def _maps(self, shown: Shown, target: StackChoice) -> dict[Position, npt.NDArray[Any]]:
        """Return a map for every position of the target: its own where this stack has the same positions."""
        stack, here = shown.choice.stack, self.host.position_in_view(shown.choice)
        own = set(stack.positions)
        alike = target.key != shown.choice.key and own == set(target.stack.positions)
        maps = {}
        for position in target.stack.positions:
            where = stack.result_index(position if alike else here)
            height, index = shown.results.height[where], shown.results.index[where]
            known = np.isfinite(height)
            maps[position] = np.where(known, np.rint(np.where(known, height, 0)), index)
        return maps

    def _show(self, shown: Shown, target: StackChoice, image: npt.NDArray[Any]) -> None:
        viewer = self.host.viewer
        if not target.is_there(viewer):
            return
        told = provenance(shown.results, shown.choice.layer, RESULT_KINDS["image"])
        told |= {"result": "fused by another map", "source": target.layer.name, "map_of": shown.choice.layer.name}
        placement = place_results(target.layer, target.focus_axis)
        metadata = {METADATA_KEY: told}
        key = (shown.choice.key, target.key)
        layer = self._made.get(key)
        if layer is not None and layer in viewer.layers and layer.ndim == len(placement.keywords["scale"]):
            update_layer(layer, image, placement, metadata)
            return
        source = target.layer
        look: dict[str, Any] = {"rgb": bool(source.rgb), "gamma": source.gamma, "blending": source.blending}
        if not source.rgb:
            look |= {"contrast_limits": tuple(source.contrast_limits), "colormap": source.colormap}
        name = f"{source.name} fused by {shown.choice.layer.name}"
        if target.key == shown.choice.key:
            name = f"{source.name} fused by the map in view"
        self._made[key] = viewer.add_image(
            image, multiscale=False, name=name, metadata=metadata, **look, **placement.keywords
        )


def _plane_shape(stack: LayerStack) -> tuple[int, ...]:
    return tuple(int(stack.pixels.shape[axis]) for axis in (stack.focus_axis, *stack.plane_axes))


def _fused_by_map(
    stack: LayerStack, maps: dict[Position, npt.NDArray[Any]], slices: int
) -> Generator[RunProgress, None, npt.NDArray[Any]]:
    image = stack.result_array(stack.at(next(iter(maps))).dtype.newbyteorder("="), colour=True)
    for number, (position, index) in enumerate(maps.items()):
        with closing(fuse_by_map_steps(stack.at(position), index, stack.rgb)) as steps:
            while True:
                try:
                    done = next(steps)
                except StopIteration as end:
                    image[stack.result_index(position)] = end.value
                    break
                yield RunProgress(number * slices + done, len(maps) * slices, number + 1, len(maps))
    return image
