"""The folded section of the panel on the height map: what is taken out, what is trusted, how rough the surface is."""

from __future__ import annotations

from math import hypot, isnan

from magicgui.widgets import CheckBox, ComboBox, FloatSlider
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from ..surface import DEFAULT_TRUST, SURFACE_FORMS, SurfaceReport
from .heights import HeightView
from .option_rows import give_room

_PARAMETERS = {
    "Sa": "Mean of the absolute height about the mean (ISO 25178-2).",
    "Sq": "Root of the mean squared height about the mean (ISO 25178-2).",
    "Sz": "Highest peak above the deepest pit (ISO 25178-2): one wrong pixel decides it.",
}
_TILT_HELP = "Of the fitted plane, and where it rises: 0° is along x (right), 90° along y (down)."


class HeightControls:
    """The rows on the height map.

    Attributes
    ----------
    level : ComboBox
    trust : FloatSlider
    mask : CheckBox
    """

    def __init__(self) -> None:
        self.level = ComboBox(
            label="Level",
            choices=[(form.title, name) for name, form in SURFACE_FORMS.items()],
            tooltip="The form that is taken out of the Height layer.",
        )
        # Not while it is dragged: a large map takes a while.
        self.trust = FloatSlider(
            label="Trust from",
            min=0,
            max=1,
            step=0.01,
            value=DEFAULT_TRUST,
            tracking=False,
            tooltip="Heights of less confidence count neither in the form nor in the figures.",
        )
        give_room(self.trust)
        self.mask = CheckBox(
            text="Mask the rest", tooltip="Makes heights that are not trusted NaN in the Height layer."
        )

    def view(self) -> HeightView:
        """Return what is chosen."""
        return HeightView(str(self.level.value), float(self.trust.value), bool(self.mask.value))


class SurfaceFigures(QWidget):  # type: ignore[misc]
    """Sa, Sq and Sz as measured and with the form taken out, the tilt, and how much is trusted.

    Attributes
    ----------
    raw, levelled : dict of str to QLabel
        By name of the parameter.
    tilt, trusted : QLabel
    """

    def __init__(self) -> None:
        super().__init__()
        self.unit, self.raw_title, self.levelled_title = QLabel(), _number(), _number()
        self.raw, self.levelled = ({name: _number() for name in _PARAMETERS} for _ in range(2))
        self.tilt, self.trusted = _number(), _number()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        rows: list[tuple[QLabel, ...]] = [(self.unit, self.raw_title, self.levelled_title)]
        rows += [(_name(name, text), self.raw[name], self.levelled[name]) for name, text in _PARAMETERS.items()]
        rows += [
            (_name("Tilt", _TILT_HELP), self.tilt),
            (_name("Trusted", "Share of the pixels that count."), self.trusted),
        ]
        for row, (name, *values) in enumerate(rows):
            grid.addWidget(name, row, 0)
            for column, value in enumerate(values, 1):
                grid.addWidget(value, row, column, 1, 3 - len(values))

    def show_report(self, report: SurfaceReport) -> None:
        """Show the figures of one height map."""
        self.unit.setText(report.unit)
        self.raw_title.setText("raw")
        self.levelled_title.setText(f"{report.form} removed")
        for labels, parameters in ((self.raw, report.raw), (self.levelled, report.levelled)):
            for name, label in labels.items():
                label.setText(_text(getattr(parameters, name)))
        self.tilt.setText(_tilt_text(report))
        self.trusted.setText(f"{100 * report.trusted_share:.1f} %")


def _tilt_text(report: SurfaceReport) -> str:
    if not report.trusted_share:
        return "–"
    if isnan(report.tilt_deg):
        return f"{hypot(*report.slope_per_px):.3g} {report.unit} per px"
    return f"{report.tilt_deg:.3g}°, rises towards {report.tilt_direction_deg:.0f}°"


def _text(value: float) -> str:
    return "–" if isnan(value) else f"{value:.4g}"


def _name(name: str, text: str) -> QLabel:
    label = QLabel(name)
    label.setToolTip(text)
    return label


def _number() -> QLabel:
    label = QLabel()
    label.setAlignment(Qt.AlignmentFlag.AlignRight)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
