"""The folded section on seeing heights: colours with a scale, contours, the profile along a line that is drawn."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QCheckBox, QDoubleSpinBox, QHBoxLayout, QPushButton

from ..errors import InputError
from ..profile import HeightProfile, contour_interval, height_bands, height_profile
from .heights import HeightScale
from .host import Shown
from .latest import Latest
from .layers import METADATA_KEY
from .placement import place_results
from .plots import ProfilePlot
from .results import update_layer
from .section import Section, Sentence

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Shapes

_REST_MS = 40
# Width of a line that is drawn: seen in large pictures, too.
_LEAST_LINE_PX, _LINE_SHARE = 2, 1 / 300
_HINT = "Draw a line: the heights along it appear here."


class ProfileSection(Section):
    """Heights as colours, contours and a profile.

    Attributes
    ----------
    scale_box, contour_box : QCheckBox
    interval : QDoubleSpinBox
        Between contours, in the unit of the heights; 0 chooses a round one.
    line_button, copy_button : QPushButton
    plot : ProfilePlot
    told : Sentence
    """

    def __init__(self) -> None:
        super().__init__("Contours and profile")
        self.scale_box = QCheckBox("Colour scale")
        self.scale_box.setToolTip("Shows the heights as colours, with a scale in the picture.")
        self.contour_box = QCheckBox("Contours every")
        self.contour_box.setToolTip("Lines of equal height over the picture.")
        self.interval = QDoubleSpinBox()
        self.interval.setDecimals(3)
        self.interval.setRange(0, 1e9)
        self.interval.setSpecialValueText("auto")
        self.interval.setToolTip("In the unit of the heights.")
        self.interval.setAccessibleName("Interval of contours")
        self.line_button, self.copy_button = QPushButton("&Draw a line"), QPushButton("Copy CSV")
        self.copy_button.setToolTip("Copies distance, height and place of every point of the line.")
        self.told, self.plot = Sentence(_HINT), ProfilePlot()
        self.rows.addWidget(self.scale_box)
        for widgets in ((self.contour_box, self.interval), (self.line_button, self.copy_button)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            self.rows.addLayout(row)
        self.rows.addWidget(self.told)
        self.rows.addWidget(self.plot)
        self.plot.hide()
        self.scale_box.toggled.connect(self._show_scale)
        self.contour_box.toggled.connect(self._show_contours)
        self.interval.editingFinished.connect(self._show_contours)
        self.line_button.clicked.connect(self._draw)
        self.copy_button.clicked.connect(self._copy)
        self.copy_button.setEnabled(False)
        self._latest = Latest("The contours")
        self._lines: Shapes | None = None
        self._contours: Labels | None = None
        self._seen: tuple[Any, ...] = ()
        self.profile: HeightProfile | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._measure)

    @property
    def busy(self) -> bool:
        """Whether contours or the profile are being made."""
        return self._latest.busy or self._timer.isActive()

    def refresh(self) -> None:
        """Follow another result, and the heights as they are levelled and masked."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        layers = self.host.viewer.layers
        if self._lines is not None and self._lines not in layers:
            self._lines = None
            self._show_profile(None)
        if self._contours is not None and self._contours not in layers:
            self._contours = None
            self.contour_box.setChecked(False)
        height = self.host.shown_layer("height")
        if shown is None or height is None:
            return
        seen = (shown, id(height.data), self.host.position_in_view(shown.choice))
        if seen != self._seen:
            self._seen = seen
            self._show_scale()
            self._show_contours()
            self._changed()

    def view_moved(self) -> None:
        """Follow the time in view."""
        self.refresh()

    def set_colours(self, background: str, foreground: str, highlight: str) -> None:
        """Take over the colours of the viewer's theme."""
        self.plot.set_colours(background, foreground, highlight)

    def shut_down(self) -> None:
        """Leave the layers as they are."""
        self._timer.stop()
        self._latest.close()
        if self._lines is not None:
            self._lines.events.set_data.disconnect(self._changed)

    # ---- colours and contours ------------------------------------------------------------------

    def _show_scale(self) -> None:
        wanted = self.scale_box.isChecked()
        height = self.host.want_height() if wanted else self.host.shown_layer("height")
        if height is None:
            return
        if wanted:
            height.visible = True
        # napari has it since 0.7.
        if hasattr(height, "colorbar"):
            height.colorbar.visible = wanted

    def _show_contours(self) -> None:
        viewer = self.host.viewer
        if not self.contour_box.isChecked():
            if self._contours is not None and self._contours in viewer.layers:
                viewer.layers.remove(self._contours)
            self._contours = None
            return
        height, shown = self.host.want_height(), self.host.shown_of_chosen()
        if height is None or shown is None:
            return
        low, high = height.contrast_limits
        interval = self.interval.value() or contour_interval(float(low), float(high))
        work = partial(_bands, height.data, interval)
        self._latest.request(work, partial(self._show_bands, shown, height, interval))

    def _show_bands(self, shown: Shown, height: Image, interval: float, bands: npt.NDArray[Any] | InputError) -> None:
        if shown is not self.host.shown_of_chosen() or not self.contour_box.isChecked():
            return
        if isinstance(bands, InputError):
            self.host.say(str(bands))
            return
        told = {"result": "contours", "interval": interval, "unit": HeightScale.of(shown.choice).unit}
        name = f"{shown.choice.layer.name} contours every {interval:g} {told['unit']}"
        colours = _band_colours(int(bands.max()), height)
        if self._contours is not None and self._contours.data.shape == bands.shape:
            update_layer(self._contours, bands, shown.placement, {METADATA_KEY: told})
            self._contours.colormap = colours
            self._contours.name = name
        else:
            if self._contours is not None and self._contours in self.host.viewer.layers:
                self.host.viewer.layers.remove(self._contours)
            self._contours = self.host.viewer.add_labels(
                bands,
                name=name,
                opacity=1.0,
                colormap=colours,
                metadata={METADATA_KEY: told},
                **shown.placement.keywords,
            )
            self._contours.contour = 1
            self._contours.editable = False

    # ---- the profile ---------------------------------------------------------------------------

    def _draw(self) -> None:
        shown = self.host.shown_of_chosen()
        if shown is None:
            return
        self.host.want_height()
        viewer = self.host.viewer
        if self._lines is None:
            placement = place_results(shown.choice.layer, shown.choice.focus_axis).keywords
            self._lines = viewer.add_shapes(
                ndim=len(placement["scale"]),
                name=f"{shown.choice.layer.name} profile",
                edge_color="yellow",
                edge_width=max(_LEAST_LINE_PX, max(shown.results.index.shape) * _LINE_SHARE),
                metadata={METADATA_KEY: {"result": "profile line", "source": shown.choice.layer.name}},
                **placement,
            )
            self._lines.events.set_data.connect(self._changed)
        viewer.layers.selection.active = self._lines
        self._lines.mode = "add_line"

    def _changed(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _line(self) -> npt.NDArray[np.float64] | None:
        """Return the line that is selected, else the last one, in the coordinates of the layer."""
        if self._lines is None or not len(self._lines.data):
            return None
        chosen = max(self._lines.selected_data, default=len(self._lines.data) - 1)
        return np.asarray(self._lines.data[min(chosen, len(self._lines.data) - 1)], float)

    def _measure(self) -> None:
        shown, height, line = self.host.shown_of_chosen(), self.host.shown_layer("height"), self._line()
        if shown is None or height is None or line is None:
            self._show_profile(None)
            return
        stack = shown.choice.stack
        across = line[:, list(stack.result_plane_axes)] - shown.origin
        plane = height.data[stack.result_index(self.host.position_in_view(shown.choice))]
        size = HeightScale.of(shown.choice).pixel_size
        try:
            self._show_profile(height_profile(plane, across, size or (1.0, 1.0)))
        except InputError:
            # A line that was only begun.
            self._show_profile(None)

    def _show_profile(self, profile: HeightProfile | None) -> None:
        self.profile = profile
        self.plot.setVisible(profile is not None)
        self.copy_button.setEnabled(profile is not None)
        shown = self.host.shown_of_chosen()
        if profile is None or shown is None:
            self.told.say(_HINT)
            return
        unit, along = self._units(shown)
        self.plot.set_profile(profile.distance, profile.height)
        span = f"heights span {profile.span:.4g} {unit}" if isfinite(profile.span) else "no height is known on it"
        self.told.say(f"Line of {profile.length:.4g} {along}: {span}.")

    def _units(self, shown: Shown) -> tuple[str, str]:
        scale = HeightScale.of(shown.choice)
        return scale.unit, "px" if scale.pixel_size is None else scale.unit

    def _copy(self) -> None:
        shown = self.host.shown_of_chosen()
        if self.profile is None or shown is None:
            return
        unit, along = self._units(shown)
        rows = [f"distance ({along}),height ({unit}),y (px),x (px)"]
        for distance, height, (y, x) in zip(
            self.profile.distance, self.profile.height, self.profile.places, strict=True
        ):
            rows.append(
                f"{distance:.6g},{height:.6g},{y:.2f},{x:.2f}"
                if isfinite(height)
                else f"{distance:.6g},,{y:.2f},{x:.2f}"
            )
        QApplication.clipboard().setText("\n".join(rows) + "\n")
        self.host.say(f"Copied {len(rows) - 1} points of the profile as CSV.")


def _bands(heights: npt.NDArray[np.float32], interval: float) -> npt.NDArray[np.uint16] | InputError:
    try:
        return height_bands(heights, interval)
    except InputError as refusal:
        return refusal


def _band_colours(count: int, height: Image) -> Any:
    """Return white lines where heights are seen as colours, else those of the colour map."""
    from napari.utils.colormaps import DirectLabelColormap

    if height.visible:
        shades = np.ones((count, 4))
    else:
        shades = np.asarray(height.colormap.map(np.linspace(0, 1, max(count, 2))))
    colours: dict[int | None, Any] = {k + 1: shades[k] for k in range(count)}
    return DirectLabelColormap(color_dict=colours | {None: "transparent", 0: "transparent"})
