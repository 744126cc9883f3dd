"""The rows of the panel that `OPTION_SPECS` asks for: an option is written there, and nowhere else."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSlider, FloatSpinBox, LineEdit
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QAbstractSpinBox

from ..errors import InputError
from ..fusion import FUSION_METHODS
from ..options import AUTO, OPTION_SPECS, FocusStackOptions, OptionSpec

_ALL = "all"
_NUMBER_PX = 36
_COLOURS = ("red", "green", "blue")


class OptionRows:
    """One widget for each option that leaves a choice.

    Attributes
    ----------
    widgets : dict of str to magicgui widget
        By name of the option, in the order of `OPTION_SPECS`.
    """

    def __init__(self) -> None:
        self._colour = False
        self.widgets: dict[str, ValueWidget] = {
            name: self._widget(spec) for name, spec in OPTION_SPECS.items() if not _only_one_choice(spec)
        }
        self.widgets["method"].changed.connect(self._grey_what_is_ignored)

    def folded(self, advanced: bool) -> list[ValueWidget]:
        """Return the widgets that are folded away, or those that are not."""
        return [widget for name, widget in self.widgets.items() if OPTION_SPECS[name].advanced == advanced]

    def options(self) -> FocusStackOptions:
        """Return the options as they are set.

        Raises
        ------
        InputError
            If what was typed is refused.
        """
        values = {name: _entered(OPTION_SPECS[name], widget) for name, widget in self.widgets.items()}
        return FocusStackOptions.of(**values)

    def set_options(self, options: FocusStackOptions) -> None:
        """Set every widget to what an option is; each change is told as if it were made by hand."""
        for name, widget in self.widgets.items():
            value = getattr(options, name)
            if isinstance(widget, LineEdit):
                value = ", ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)
            elif isinstance(widget, ComboBox) and value not in widget.choices:
                # The channel of another stack.
                continue
            if widget.value != value:
                widget.value = value

    def set_channels(self, colour: bool) -> None:
        """Offer the channels of a colour stack; a gray one has nothing to choose."""
        self._colour = colour
        for name, widget in self.widgets.items():
            if OPTION_SPECS[name].kind == "channel":
                widget.reset_choices()
                widget.enabled = colour

    def _grey_what_is_ignored(self, method: str) -> None:
        for name in {name for other in FUSION_METHODS.values() for name in other.ignores}:
            self.widgets[name].enabled = name not in FUSION_METHODS[method].ignores

    def _channel_choices(self, _: Any) -> list[tuple[str, Any]]:
        return [(_ALL, _ALL), *((name, k) for k, name in enumerate(_COLOURS if self._colour else ()))]

    def _widget(self, spec: OptionSpec) -> ValueWidget:
        named: dict[str, Any] = {"name": spec.name, "label": spec.label, "tooltip": spec.help, "value": spec.default}
        if spec.kind == "choice":
            return ComboBox(choices=[(title, value) for value, title in spec.choices.items()], **named)
        if spec.kind == "switch":
            box = CheckBox(**named)
            box.native.setText("")
            return box
        if spec.kind == "channel":
            return ComboBox(choices=self._channel_choices, **named)
        if spec.kind == "integer" and spec.low is not None and spec.high is not None:
            numbers = [(str(n), n) for n in range(int(spec.low), int(spec.high) + 1)]
            return ComboBox(choices=[(AUTO, AUTO), *numbers] if spec.auto else numbers, **named)
        if spec.kind == "number" and spec.unit:
            number = FloatSpinBox(min=spec.low, max=spec.high, step=1, **named)
            number.native.setSuffix(f" {spec.unit}")
            return number
        if spec.kind == "number" and spec.low is not None and spec.high is not None:
            slider = FloatSlider(min=spec.low, max=spec.high, step=0.01, **named)
            give_room(slider)
            return slider
        return LineEdit(**(named | {"value": str(spec.default)}))


def give_room(slider: FloatSlider) -> None:
    """Leave the width to the slider: its number is short."""
    for number in slider.native.findChildren(QAbstractSpinBox):
        # napari's style asks for twice as much.
        number.setStyleSheet(f"min-width: {_NUMBER_PX}px; max-width: {_NUMBER_PX}px")


def _only_one_choice(spec: OptionSpec) -> bool:
    return spec.kind == "choice" and len(spec.choices) < 2


def _entered(spec: OptionSpec, widget: ValueWidget) -> Any:
    if not isinstance(widget, LineEdit):
        return widget.value
    words = str(widget.value).replace(",", " ").split()
    if spec.auto and words in ([], [AUTO]):
        return AUTO
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        raise InputError(f"{spec.name} must be numbers, got {widget.value!r}; type for example '0.5, 20'.") from None
    return numbers if spec.kind == "noise" else numbers[0] if len(numbers) == 1 else numbers
