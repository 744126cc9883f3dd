"""The rows that choose the stack and its focus axis: their choices follow the layers of the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from .layers import StackChoice, describe_axis, focus_axes, is_stack

if TYPE_CHECKING:
    from napari.viewer import Viewer


class StackRows:
    """Two rows: the layer with the z-stack, and the axis to focus along.

    Attributes
    ----------
    layer, axis : ComboBox
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.layer = ComboBox(label="&Z-stack", choices=self._layers)
        self.axis = ComboBox(label="Focus &axis", choices=self._axes)
        self._offered: list[int] = []

    def chosen(self) -> StackChoice | None:
        """Return the stack and axis that are chosen."""
        layer, axis = self.layer.value, self.axis.value
        return None if layer is None or axis is None else StackChoice(layer, axis)

    def choose_active_layer(self) -> None:
        """Choose the layer that is selected in the viewer, if it is a stack."""
        active = self._viewer.layers.selection.active
        if active is not None and is_stack(active):
            self.layer.value = active

    def offer_axes(self) -> None:
        """Offer the axes of the chosen layer, and choose the most likely one."""
        self._offered = self._axes_of_chosen()
        with self.axis.changed.blocked():
            self.axis.reset_choices()
            if self._offered:
                self.axis.value = self._offered[0]

    def tell_scale(self) -> None:
        """Offer the same axes in words that tell their scale now."""
        chosen = self.axis.value
        with self.axis.changed.blocked():
            self.axis.reset_choices()
            if chosen in self.axis.choices:
                self.axis.value = chosen

    def offer_layers(self) -> bool:
        """Offer the layers that are there now, keeping what was chosen; return whether it or its axes are gone."""
        before = self.layer.value
        with self.layer.changed.blocked():
            self.layer.reset_choices()
            # magicgui takes the first choice when the chosen one is renamed.
            if before is not None and before in self.layer.choices:
                self.layer.value = before
        return bool(self.layer.value != before) or self._offered != self._axes_of_chosen()

    def _layers(self, _: Any) -> list[tuple[str, Any]]:
        # While a layer is given another's name, both have it until napari numbers one of them: by equal texts
        # magicgui would lose a layer, and the next one would be chosen.
        found: dict[str, Any] = {}
        for layer in self._viewer.layers:
            if is_stack(layer):
                found[layer.name if layer.name not in found else f"{layer.name} [{len(found)}]"] = layer
        return list(found.items())

    def _axes_of_chosen(self) -> list[int]:
        layer = self.layer.value
        return [] if layer is None else focus_axes(layer)

    def _axes(self, _: Any) -> list[tuple[str, Any]]:
        layer = self.layer.value
        return [(describe_axis(layer, axis), axis) for axis in self._axes_of_chosen()]
