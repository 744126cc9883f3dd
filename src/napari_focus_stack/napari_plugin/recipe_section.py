"""The folded section on doing a run again: as Python, as a command, and its results in files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QPushButton

from ..errors import InputError
from ..recipe import Recipe, as_command, as_python
from .heights import SLICES, HeightScale
from .host import Shown
from .latest import Latest
from .layers import METADATA_KEY, Position, StackChoice
from .results import RESULT_KINDS
from .section import Section, Sentence

if TYPE_CHECKING:
    from napari.layers import Image

_HINT = "Gives the code for exactly this run, or writes its results with all that is known of them."


class RecipeSection(Section):
    """Three buttons: copy as Python, copy as command line, save the results.

    Attributes
    ----------
    python_button, command_button, save_button : QPushButton
    """

    def __init__(self) -> None:
        super().__init__("This run as code and files")
        self.told = Sentence(_HINT)
        self.python_button = QPushButton("Cop&y Python")
        self.python_button.setToolTip("Copy as Python: the script that gives this result again.")
        self.command_button = QPushButton("Copy comma&nd")
        self.command_button.setToolTip("Copy as command line: the command that gives this result again.")
        self.save_button = QPushButton("&Save results…")
        self.save_button.setToolTip(
            "Writes the fused image, the maps that are shown and the strokes as OME-TIFF, with options, version and "
            "sharpness, and a report beside them."
        )
        self.rows.addWidget(self.told)
        row = QHBoxLayout()
        for button in (self.python_button, self.command_button):
            row.addWidget(button)
        self.rows.addLayout(row)
        self.rows.addWidget(self.save_button)
        self.python_button.clicked.connect(self._copy_python)
        self.command_button.clicked.connect(self._copy_command)
        self.save_button.clicked.connect(self._ask_and_save)
        self._latest = Latest("Saving the results")

    @property
    def busy(self) -> bool:
        """Whether results are being written."""
        return self._latest.busy

    def refresh(self) -> None:
        """Be there with a stack; save where there is a result."""
        self.setVisible(self.host.chosen() is not None)
        self.save_button.setEnabled(self.host.shown_of_chosen() is not None)

    def shut_down(self) -> None:
        """Write what was begun, but tell nobody."""
        self._latest.close()

    def recipe(self) -> Recipe | None:
        """Return what is needed to do the run on show again, or the one that is set where none is shown."""
        choice, shown = self.host.chosen(), self.host.shown_of_chosen()
        options = self.host.options() if shown is None else shown.results.options
        if choice is None or options is None:
            return None
        scale, view = HeightScale.of(choice), self.host.height_view()
        fused, given = self.host.shown_layer("image"), self.host.alignment_file()
        return Recipe(
            options=options,
            files=_files(choice.layer),
            layer=choice.layer.name,
            rgb=bool(choice.layer.rgb),
            focus_axis=choice.focus_axis,
            position=self.host.position_in_view(choice),
            ndim=choice.stack.ndim,
            height=self.host.shown_layer("height") is not None,
            z_step_um=None if scale.unit == SLICES else _in_um(choice),
            level=view.level,
            trust=view.trust,
            masked=view.masked,
            alignment="" if given is None else str(given),
            strokes=fused is not None and bool(fused.metadata.get(METADATA_KEY, {}).get("retouched_px")),
        )

    # Bound methods, which PySide holds weakly: a partial as a slot would keep a closed panel for good.
    def _copy_python(self) -> None:
        self._copy(as_python, "Python")

    def _copy_command(self) -> None:
        self._copy(as_command, "a command")

    def _copy(self, write: Any, what: str) -> None:
        recipe = self.recipe()
        if recipe is None:
            return
        QApplication.clipboard().setText(write(recipe))
        hint = "" if recipe.files else " The stack lies in the viewer alone: save it as stack.tif first."
        self.host.say(f"Copied this run as {what}.{hint if write is as_command else ''}")

    def _ask_and_save(self) -> None:
        chosen = self.host.chosen()
        if chosen is None:
            return
        name = f"{chosen.layer.name} fused.tif"
        path, _ = QFileDialog.getSaveFileName(self, "Save the fused image and its maps", name, "OME-TIFF (*.tif)")
        if path:
            self.save(Path(path))

    def save(self, path: Path) -> None:
        """Write the results on show: the fused image to `path`, the others and the report beside it."""
        shown = self.host.shown_of_chosen()
        if shown is None:
            return
        if shown.choice.stack.position_count > 1:
            self.host.say(
                "Files hold one stack, this result has "
                f"{shown.choice.stack.position_count}; save its layers with File ▸ Save Selected Layers."
            )
            return
        (position,) = shown.choice.stack.positions
        where = shown.choice.stack.result_index(position)
        layers = {field: self.host.shown_layer(field) for field in RESULT_KINDS}
        pixels = {field: np.array(layer.data[where]) for field, layer in layers.items() if layer is not None}
        told = {field: layer.metadata.get(METADATA_KEY, {}) for field, layer in layers.items() if layer is not None}
        strokes = self.host.strokes()
        if strokes is not None:
            pixels["retouch"] = np.array(strokes.data[where][shown.window])
            told["retouch"] = {"result": "retouch", "meaning": "0: as fused; k + 1: slice k"}
        if shown.results.options.crop:
            told = {field: {**facts, "origin_px": list(shown.origin)} for field, facts in told.items()}
        work = partial(_written, path, pixels, told, shown, position)
        self._latest.request(work, self.host.say)


def _files(layer: Image) -> tuple[str, ...]:
    path = layer.source.path
    return (str(path),) if path and Path(path).exists() else ()


def _in_um(choice: StackChoice) -> float:
    layer, axis = choice.layer, choice.focus_axis
    return abs(float((layer.scale[axis] * layer.units[axis]).to("micrometer").magnitude))


def _written(path: Path, pixels: dict[str, Any], told: dict[str, Any], shown: Shown, position: Position) -> str:
    """Write the files, all or none; return the sentence that says so."""
    import json

    from ..io import PixelSize, check_output, plain, staged_outputs, write_image, write_report

    path = path if path.suffix.lower() in (".tif", ".tiff") else path.with_name(f"{path.name}.tif")
    files = {
        field: path if field == "image" else path.with_name(f"{path.stem} {field}{path.suffix}") for field in pixels
    }
    report = path.with_name(f"{path.stem} report.json")
    choice = shown.choice
    scale = HeightScale.of(choice)
    size = PixelSize()
    if scale.pixel_size is not None:
        y, x = (
            (factor * choice.layer.units[choice.focus_axis]).to("micrometer").magnitude for factor in scale.pixel_size
        )
        size = PixelSize(_in_um(choice), float(y), float(x))
    try:
        for field, file in files.items():
            check_output(file, pixels[field].dtype)
        with staged_outputs([*files.values(), report]) as staged:
            for field, file in files.items():
                rgb = field == "image" and shown.choice.stack.rgb
                description = json.dumps(plain(told[field]))
                write_image(staged[file], pixels[field], rgb=rgb, pixel_size=size, description=description)
            facts = {key: value for key, value in told.get("image", {}).items() if key != "sharpness"}
            names = [f"slice {k}" for k in range(shown.results.slices)]
            write_report(staged[report], names=names, sharpness=shown.results.reports[position].as_dict(), **facts)
    except InputError as refusal:
        return str(refusal)
    return f"Saved {', '.join(file.name for file in files.values())} and {report.name} in {path.parent}."
