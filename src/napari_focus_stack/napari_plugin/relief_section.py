"""The folded section on the 3-D relief: the height map as a surface, the fused image draped over it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QSlider

from ..mesh import Mesh, height_mesh
from .host import Shown
from .keyboard import name_field
from .latest import Latest
from .layers import METADATA_KEY, Position
from .section import Section, Sentence
from .turns import Turns

if TYPE_CHECKING:
    from napari.layers import Image, Surface

# From the front and above, (z, y, x), where z comes towards the camera.
_LOOK, _UP = (-0.8, -0.6, 0.0), (0.6, -0.8, 0.0)
_TEXTURE_PX = 2048
_IN_3D, _IN_2D = "Show in &3-D", "Back to &2-D"


class ReliefSection(Section):
    """One click to a relief and back.

    Attributes
    ----------
    button : QPushButton
    exaggeration : QSlider
        In tenths: 10 is true to scale.
    told : Sentence
    """

    def __init__(self) -> None:
        super().__init__("Relief")
        self.button = QPushButton(_IN_3D)
        self.button.setToolTip("The height map as a surface, with the fused image draped over it.")
        self.exaggeration = QSlider(Qt.Orientation.Horizontal)
        self.exaggeration.setRange(1, 200)
        self.exaggeration.setValue(10)
        self.exaggeration.setToolTip("Heights are drawn so many times as high as they are.")
        self.times = QLabel("× 1")
        self.turn_box = QCheckBox("Last slice &below")
        self.turn_box.setToolTip("For stacks that were focused downwards: turns hills into valleys.")
        self.told = Sentence()
        row = QHBoxLayout()
        label = QLabel("E&xaggerate")
        name_field(self.exaggeration, label)
        for widget in (label, self.exaggeration, self.times):
            row.addWidget(widget)
        self.rows.addWidget(self.button)
        self.rows.addLayout(row)
        self.rows.addWidget(self.turn_box)
        self.rows.addWidget(self.told)
        self.button.clicked.connect(self._turn)
        self.exaggeration.valueChanged.connect(self._exaggerate)
        self.turn_box.toggled.connect(self._exaggerate)
        self._latest, self._turns = Latest("The relief"), Turns(self)
        self._step, self._middle = 1.0, 0.0
        self._surface: Surface | None = None
        self._of: tuple[Shown, Position] | None = None
        self._hidden: list[Any] = []
        self._point: tuple[float, ...] = ()
        self._active: Any = None

    @property
    def busy(self) -> bool:
        """Whether a relief is being made."""
        return self._latest.busy or self._turns.pending

    def refresh(self) -> None:
        """Follow another result."""
        shown = self.host.shown_of_chosen()
        self.setVisible(shown is not None)
        if self._surface is not None and self._surface not in self.host.viewer.layers:
            self._surface = self._of = None
        in_3d = self._surface is not None and self.host.viewer.dims.ndisplay == 3
        self.button.setText(_IN_2D if in_3d else _IN_3D)
        now = None if shown is None else (shown, self.host.position_in_view(shown.choice))
        if in_3d and shown is not None and self._of is not None and (self._of[0] is not shown or self._of != now):
            self._make(shown)

    def view_moved(self) -> None:
        """Follow the time in view, and the button of the viewer that turns to 2-D."""
        self.refresh()

    def shut_down(self) -> None:
        """Leave the layers as they are."""
        self._latest.close()
        self._turns.clear()

    def _turn(self) -> None:
        viewer = self.host.viewer
        if self._surface is not None and viewer.dims.ndisplay == 3:
            viewer.dims.ndisplay = 2
            # Left in the list it would change the range of the z slider.
            surface, self._surface = self._surface, None
            viewer.layers.remove(surface)
            for layer in self._hidden:
                layer.visible = True
            self._hidden = []
            viewer.dims.point = self._point
            viewer.layers.selection.active = self._active if self._active in viewer.layers else None
            self.refresh()
            return
        shown = self.host.shown_of_chosen()
        if shown is not None:
            self._make(shown)

    def _make(self, shown: Shown) -> None:
        position = self.host.position_in_view(shown.choice)
        where = shown.choice.stack.result_index(position)
        fused = self.host.shown_layer("image")
        image = (shown.seen.image if fused is None else fused.data)[where]
        gray = None if fused is None or fused.rgb else (tuple(fused.contrast_limits), fused.colormap, fused.gamma)
        work = partial(_relief, shown.seen.height[where], image, gray)
        self._latest.request(work, partial(self._show, shown, position))

    def _show(self, shown: Shown, position: Position, made: tuple[Mesh, npt.NDArray[Any]]) -> None:
        viewer = self.host.viewer
        if shown is not self.host.shown_of_chosen():
            return
        if self._surface is None or self._surface not in viewer.layers:
            self._hidden = [layer for layer in viewer.layers if layer.visible]
            self._point, self._active = viewer.dims.point, viewer.layers.selection.active
        # Each of them takes napari 50 ms and more.
        for piece in (partial(self._add, shown, position, *made), self._look_from_above):
            self._turns.add(piece)

    def _add(self, shown: Shown, position: Position, mesh: Mesh, texture: npt.NDArray[Any]) -> None:
        viewer, choice = self.host.viewer, shown.choice
        if self.host.closed or shown is not self.host.shown_of_chosen():
            return
        if self._surface is not None and self._surface in viewer.layers:
            viewer.layers.remove(self._surface)
        for layer in self._hidden:
            layer.visible = False
        placement, axes = shown.placement.keywords, choice.stack.result_plane_axes
        self._step = abs(float(choice.layer.scale[choice.focus_axis])) * _in_unit_of(choice.layer, choice)
        self._middle = float(np.nanmean(mesh.vertices[:, 0]))
        z_scale, z_place = self._scaled()
        unit = choice.layer.units[choice.stack.plane_axes[0]]
        self._surface = viewer.add_surface(
            (mesh.vertices, mesh.faces),
            texture=texture,
            texcoords=mesh.texture_places,
            shading="none",
            name=f"{choice.layer.name} relief",
            scale=(z_scale, *(float(placement["scale"][axis]) for axis in axes)),
            translate=(z_place, *(float(placement["translate"][axis]) for axis in axes)),
            units=(unit,) * 3,
            metadata={METADATA_KEY: {"result": "relief", "source": choice.layer.name, "step_px": mesh.step_px}},
        )
        self._of = (shown, position)
        thinned = f", one every {mesh.step_px} px" if mesh.step_px > 1 else ""
        self.told.say(f"{len(mesh.vertices)} points{thinned}.")

    def _look_from_above(self) -> None:
        viewer = self.host.viewer
        if self.host.closed or self._surface is None:
            return
        if viewer.dims.ndisplay != 3:
            viewer.dims.ndisplay = 3
            viewer.reset_view()
            towards = self._towards()
            camera = getattr(viewer, "scene", viewer).camera
            camera.set_view_direction(*((towards * z, y, x) for z, y, x in (_LOOK, _UP)))
        self.refresh()

    def _towards(self) -> int:
        """Return 1 where the viewer's z comes towards the camera, as it does unless set otherwise; else -1."""
        orientation = getattr(getattr(self.host.viewer, "scene", self.host.viewer).camera, "orientation", ("towards",))
        return 1 if str(orientation[0]) == "towards" else -1

    def _scaled(self) -> tuple[float, float]:
        """Return scale and place of the surface along z."""
        # Later slices come towards the camera, unless they are to lie below.
        towards = -self._towards() if self.turn_box.isChecked() else self._towards()
        times = towards * self.exaggeration.value() / 10
        return self._step * times, self._middle * self._step * (1 - times)

    def _exaggerate(self) -> None:
        self.times.setText(f"× {self.exaggeration.value() / 10:g}")
        surface = self._surface
        if surface is not None and surface in self.host.viewer.layers:
            scale, place = np.array(surface.scale), np.array(surface.translate)
            scale[0], place[0] = self._scaled()
            surface.scale, surface.translate = scale, place


def _in_unit_of(layer: Image, choice: Any) -> float:
    """Return how many units of y make one of z, 1 where they cannot be compared."""
    z, y = layer.units[choice.focus_axis], layer.units[choice.stack.plane_axes[0]]
    try:
        return float((1 * z).to(y).magnitude)
    except Exception:
        return 1.0


def _relief(
    height: npt.NDArray[np.float32], image: npt.NDArray[Any], gray: tuple[Any, Any, float] | None
) -> tuple[Mesh, npt.NDArray[Any]]:
    step = -(-max(image.shape[:2]) // _TEXTURE_PX)
    image = image[::step, ::step]
    if gray is None:
        colour = image[..., :3]
        texture = colour if colour.dtype == np.uint8 else (255 * _stretched(colour, _range(colour))).astype(np.uint8)
    else:
        limits, colormap, gamma = gray
        texture = (255 * colormap.map(_stretched(image, limits).ravel() ** gamma)[:, :3]).astype(np.uint8)
        texture = texture.reshape(*image.shape[:2], 3)
    return height_mesh(height), np.ascontiguousarray(texture)


def _stretched(image: npt.NDArray[Any], limits: tuple[float, float]) -> npt.NDArray[np.float32]:
    low, high = limits
    return np.clip((image.astype(np.float32) - low) / max(high - low, 1e-30), 0, 1)


def _range(image: npt.NDArray[Any]) -> tuple[float, float]:
    return (0.0, float(np.iinfo(image.dtype).max)) if image.dtype.kind in "ui" else (0.0, 1.0)
