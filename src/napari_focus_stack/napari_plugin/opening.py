"""Files as lazy layers, in µm: napari's own readers load a TIFF into memory, and tell neither sizes nor channels.

A command of the menu, and no reader: napari asks every reader of folders about every folder, and from two that read
a file on it refuses to choose one in a script.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from napari.viewer import Viewer

_FILES = "Stacks (*.tif *.tiff)"


def choose_file() -> None:
    """Ask for a TIFF file, and add its stacks to the viewer."""
    from qtpy.QtWidgets import QFileDialog

    path, _ = QFileDialog.getOpenFileName(None, "Open a z-stack, read where it is looked at", "", _FILES)
    _open_chosen(path)


def choose_folder() -> None:
    """Ask for an OME-Zarr or a folder of slices, and add its stacks to the viewer."""
    from qtpy.QtWidgets import QFileDialog

    _open_chosen(QFileDialog.getExistingDirectory(None, "Open an OME-Zarr, or a folder of slices"))


def _open_chosen(path: str) -> None:
    from napari import current_viewer

    viewer = current_viewer()
    if path and viewer is not None:
        open_lazily(viewer, Path(path))


def open_lazily(viewer: Viewer, path: Path) -> Any:
    """Add the stacks of a file to a viewer, once another thread has read its headers; return that thread's worker."""
    from napari.layers import Layer
    from napari.qt.threading import create_worker
    from napari.utils.notifications import show_error

    def add(layers: list[tuple[Any, dict[str, Any], str]]) -> None:
        for layer in layers:
            viewer.add_layer(Layer.create(*layer))

    def tell(error: Exception) -> None:
        show_error(str(error) if isinstance(error, InputError) else f"{path} cannot be opened: {error!r}")

    return create_worker(layers_of, path, _connect={"returned": add, "errored": tell})


def layers_of(path: Path) -> list[tuple[Any, dict[str, Any], str]]:
    """Return the stacks of a file as napari layer data: lazy, with sizes in µm, axes and channel names.

    Raises
    ------
    InputError
        If it holds no stack.
    """
    from ..io import lazy_stacks

    layers: list[tuple[Any, dict[str, Any], str]] = []
    for stack in lazy_stacks(path):
        size = {"Z": stack.pixel_size.z_um, "Y": stack.pixel_size.y_um, "X": stack.pixel_size.x_um}
        axes = stack.axes.removesuffix("S")
        keywords = {
            "name": stack.name,
            "rgb": stack.rgb,
            "scale": [size.get(axis) or 1.0 for axis in axes],
            "units": ["micrometer" if size.get(axis) else "pixel" for axis in axes],
            "axis_labels": list(axes.lower()),
            "multiscale": len(stack.levels) > 1,
        }
        layers.append((list(stack.levels) if len(stack.levels) > 1 else stack.levels[0], keywords, "image"))
    # Of several channels the colours add up, as napari shows them itself.
    if len(layers) > 1 and not layers[0][1]["rgb"]:
        for k, (_, keywords, _) in enumerate(layers):
            keywords |= {"blending": "additive" if k else "translucent_no_depth"}
    return layers
