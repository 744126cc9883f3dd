"""What the panel is made of and how it is laid out; what it does is in `widget`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from magicgui.widgets import CheckBox, Container, ProgressBar, PushButton
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from .alignment_section import AlignmentSection
from .cursor_section import CursorSection
from .keyboard import name_field, read_in_order
from .kind_row import KindRow
from .option_rows import OptionRows
from .others_section import OthersSection
from .plots import SharpnessView
from .profile_section import ProfileSection
from .recipe_section import RecipeSection
from .relief_section import ReliefSection
from .retouch_section import RetouchSection
from .section import BELOW_TITLE_PX, Fold, Section
from .sharpness_section import SharpnessSection
from .stack_rows import StackRows
from .surface_section import HeightControls, SurfaceFigures

if TYPE_CHECKING:
    from napari.viewer import Viewer

_MARGIN_PX = 6
_COMBO_CHARACTERS = 8


class FocusStackPanel(Container):  # type: ignore[misc]
    """The rows of the panel, without behaviour.

    They lie in one Qt column that scrolls, for magicgui containers and Qt widgets take turns in it.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(labels=False)
        self.stack_rows = StackRows(viewer)
        self.stack_choice, self.axis_choice = self.stack_rows.layer, self.stack_rows.axis
        self.sample_button = PushButton(text="&Open the sample stack")
        self.option_rows = OptionRows()
        self.kind_row = KindRow(self.option_rows)
        self.preset_choice, self.reset_button = self.kind_row.choice, self.kind_row.reset_button
        self.more_options = Fold("More options")
        self.height_controls, self.surface_figures = HeightControls(), SurfaceFigures()
        self.height_section = Fold("Height map")
        self.height_box = CheckBox(
            text="Hei&ght", tooltip="Adds the focus position between slices, in the unit of the focus axis."
        )
        self.confidence_box = CheckBox(text="Confid&ence", tooltip="Adds how sure the height is, from 0 to 1.")
        self.live_box = CheckBox(
            text="L&ive", value=True, tooltip="Fuses anew when an option changes, once there is a result."
        )
        self.fuse_button = PushButton(text="F&use")
        self.cancel_button = PushButton(text="&Cancel", enabled=False)
        self.tiles_button = PushButton(
            text="Fuse in tiles",
            visible=False,
            tooltip="Needs little memory, whatever the size: what is in view comes first, and results lie in files.",
        )
        self.progress_bar = ProgressBar(min=0, max=1, value=0)
        # What lies below does not move when a run begins and ends.
        keeps_its_place = self.progress_bar.native.sizePolicy()
        keeps_its_place.setRetainSizeWhenHidden(True)
        self.progress_bar.native.setSizePolicy(keeps_its_place)
        self.description, self.status_line, self.warning_lines = _sentence(), _sentence(), _sentence()
        self.chosen_line = _sentence()
        self.sharpness_view = SharpnessView()
        self.measures = SharpnessSection()
        self.cursor = CursorSection()
        # Below the curve, in this order.
        self.retouch, self.others, self.relief = RetouchSection(), OthersSection(), ReliefSection()
        self.heights_seen, self.alignment = ProfileSection(), AlignmentSection()
        self.recipes = RecipeSection()
        self.sections: list[Section] = [
            self.measures,
            self.cursor,
            self.retouch,
            self.others,
            self.heights_seen,
            self.relief,
            self.alignment,
            self.recipes,
        ]
        self._lay_out()
        self.closing = _Closing(self.native)

    def _lay_out(self) -> None:
        column = QWidget()
        rows = QVBoxLayout(column)
        rows.setContentsMargins(_MARGIN_PX, _MARGIN_PX, _MARGIN_PX, 0)
        rows.addLayout(_form(self.stack_choice, self.axis_choice))
        rows.addWidget(self.description)
        rows.addWidget(self.sample_button.native)
        beside = {self.preset_choice: self.reset_button}
        rows.addLayout(_form(self.preset_choice, *self.option_rows.folded(advanced=False), beside=beside))
        rows.addWidget(_folded(self.more_options, _form(*self.option_rows.folded(advanced=True))))
        rows.addWidget(self.chosen_line)
        rows.addLayout(_side_by_side(QLabel("Add"), self.height_box.native, self.confidence_box.native))
        heights = self.height_controls
        height_rows = _form(heights.level, heights.trust)
        height_rows.addRow("", heights.mask.native)
        height_rows.addRow(self.surface_figures)
        rows.addWidget(_folded(self.height_section, height_rows))
        rows.addLayout(_side_by_side(self.fuse_button.native, self.cancel_button.native, self.live_box.native))
        for below in (
            self.tiles_button.native,
            self.progress_bar.native,
            self.status_line,
            self.warning_lines,
            self.sharpness_view,
            *self.sections,
        ):
            rows.addWidget(below)
        rows.addStretch()
        self.native.layout().setContentsMargins(0, 0, 0, 0)
        self.native.layout().addWidget(_ScrollArea(column))
        read_in_order(column)

    def say(self, sentence: str) -> None:
        """Show what has become of the run, or nothing."""
        _tell(self.status_line, sentence)

    def tell_chosen(self, words: str) -> None:
        """Show what "auto" chose, or nothing."""
        _tell(self.chosen_line, f"Auto: {words}" if words else "")

    def warn(self, sentences: Iterable[str]) -> None:
        """Show the warnings of a result, each once; empty ones are left out."""
        _tell(self.warning_lines, "\n".join(dict.fromkeys(sentence for sentence in sentences if sentence)))


class _Closing(QObject):  # type: ignore[misc]
    """Notices that the panel was taken out of its dock, which napari does when the dock is closed."""

    closed = Signal()

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        self._docked = False
        panel.installEventFilter(self)

    def eventFilter(self, panel: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.ParentChange:
            was_docked, self._docked = self._docked, panel.parent() is not None
            if was_docked and not self._docked:
                self.closed.emit()
        return False


class _ScrollArea(QScrollArea):  # type: ignore[misc]
    """Scrolls up and down, and is never narrower than what it holds."""

    def __init__(self, column: QWidget) -> None:
        super().__init__()
        self._least_px = 0
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(column)
        column.installEventFilter(self)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        hint = super().minimumSizeHint()
        hint.setWidth(self.widget().minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width())
        return hint

    def eventFilter(self, column: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self._give_height()
            least_px = self.minimumSizeHint().width()
            if least_px != self._least_px:
                # Not every time: it has the dock and then the window laid out and painted once more.
                self._least_px = least_px
                self.updateGeometry()
        return bool(super().eventFilter(column, event))

    def _give_height(self) -> None:
        # Qt gives no more than the least height, in which plots below sentences that wrap are cut off.
        column = self.widget()
        column.setMinimumHeight(max(column.layout().heightForWidth(self.viewport().width()), 0))


def _form(*widgets: ValueWidget, beside: Mapping[ValueWidget, PushButton] | None = None) -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    # In a dock of 300 px a long label goes above its field.
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for widget in widgets:
        label = QLabel(widget.label)
        label.setToolTip(widget.tooltip or "")
        if isinstance(widget.native, QComboBox):
            widget.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            widget.native.setMinimumContentsLength(_COMBO_CHARACTERS)
        name_field(widget.native, label)
        button = (beside or {}).get(widget)
        form.addRow(label, widget.native if button is None else _beside(widget.native, button.native))
    return form


def _folded(section: Fold, rows: QFormLayout) -> Fold:
    folded = QWidget()
    rows.setContentsMargins(0, BELOW_TITLE_PX, 0, 0)
    folded.setLayout(rows)
    section.addWidget(folded)
    return section


def _side_by_side(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _beside(field: QWidget, button: QWidget) -> QWidget:
    """Return one widget of a field that stretches and a button that does not."""
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(field, 1)
    row.addWidget(button)
    return both


def _sentence() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


def _tell(label: QLabel, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))
