"""The row on kinds of pictures: a preset sets the options that belong together, and a changed option leaves it."""

from __future__ import annotations

from magicgui.widgets import ComboBox, PushButton

from ..errors import InputError
from ..options import FocusStackOptions
from ..presets import PRESETS, preset_of
from .option_rows import OptionRows

_MAGICGUI_S_NONE = "-----"


class KindRow:
    """A choice of presets, and a button that sets every option to its default.

    Attributes
    ----------
    choice : ComboBox
    reset_button : PushButton
    """

    def __init__(self, rows: OptionRows) -> None:
        self._rows = rows
        self.choice = ComboBox(
            label="&Kind",
            choices=[(preset.title, name) for name, preset in PRESETS.items()],
            nullable=True,
            value=None,
            tooltip="\n".join(f"{preset.title}: {preset.help}" for preset in PRESETS.values()),
        )
        self._name_none()
        self.reset_button = PushButton(text="&Reset", tooltip="Sets every option to its default.")
        self.choice.changed.connect(self._chosen)
        self.reset_button.changed.connect(self._reset)

    def follow_options(self) -> None:
        """Name the preset that the options are; none where they were changed since."""
        try:
            preset = preset_of(self._rows.options())
        except InputError:
            preset = None
        self._name_none()
        with self.choice.changed.blocked():
            self.choice.value = preset

    def _name_none(self) -> None:
        """Name the choice of no preset, which magicgui names anew whenever choices are reset."""
        names = self.choice.native
        none = names.findText(_MAGICGUI_S_NONE)
        if none >= 0:
            names.setItemText(none, "Custom")

    def _chosen(self, name: str | None) -> None:
        if name is None:
            return
        try:
            measure = self._rows.options().sharpness_measure
        except InputError:
            measure = FocusStackOptions().sharpness_measure
        self._rows.set_options(FocusStackOptions.of(PRESETS[name].options, sharpness_measure=measure))

    def _reset(self) -> None:
        self._rows.set_options(FocusStackOptions())
