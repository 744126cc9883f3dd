"""The layers a run gives: added once, then updated in place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .heights import SLICES
from .layers import METADATA_KEY, StackChoice
from .placement import Placement, square_shear

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from .heights import ShownHeights
    from .worker import StackResults


@dataclass(frozen=True)
class ResultKind:
    """One kind of result layer: its field of `StackResults`, its name and how it is shown."""

    field: str
    title: str
    unit: str
    colormap: str = ""
    top: float | None = None


RESULT_KINDS = {
    kind.field: kind
    for kind in (
        ResultKind("image", "fused", "gray levels"),
        ResultKind("index", "focus index", "slice", colormap="viridis"),
        ResultKind("height", "height", SLICES, colormap="viridis"),
        ResultKind("confidence", "confidence", "0 to 1", colormap="magma", top=1.0),
    )
}


class ResultLayers:
    """The result layers of every stack that was fused in this panel.

    Layers are found again by reference, never by name: a name may be anybody's.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layers: dict[tuple[str, int], dict[str, Image]] = {}

    def show(
        self,
        fields: list[str],
        results: StackResults,
        choice: StackChoice,
        placement: Placement,
        heights: ShownHeights | None = None,
        *,
        hidden: bool = False,
        add: bool = True,
    ) -> list[Image]:
        """Add or update the layers of `results`.

        Parameters
        ----------
        fields : list of str
            Keys of `RESULT_KINDS`.
        results : StackResults
        choice : StackChoice
            What was fused; another stack gets layers of its own. The fused layer takes over its look.
        placement : Placement
        heights : ShownHeights, optional
            In place of the heights of `results`, which are in slices.
        hidden : bool
            Whether the fused layer is added hidden, as the others always are.
        add : bool
            Whether layers are added where there are none that can be updated.

        Returns
        -------
        list of napari Image layers
            Those that were added, not those that were updated.
        """
        self.forget_removed()
        shown = self._layers.setdefault(choice.key, {})
        source = choice.layer
        added = []
        for field in fields:
            kind = RESULT_KINDS[field]
            pixels = getattr(results, field)
            told = provenance(results, source, kind)
            look = look_of(kind, source, results.slices)
            if field == "height" and heights is not None:
                pixels = heights.pixels
                told |= {"unit": heights.unit, **heights.facts}
                look["contrast_limits"] = heights.limits
            metadata = {METADATA_KEY: told}
            layer = shown.get(field)
            if layer is not None and not isinstance(layer.data, np.ndarray):
                # Of a run in tiles; napari does not turn a pyramid into an array.
                self.remove(choice.key, field)
                layer = None
            if layer is not None and layer.ndim == len(placement.keywords["scale"]):
                before = layer.metadata.get(METADATA_KEY, {})
                update_layer(layer, pixels, placement, metadata)
                if field == "height":
                    _count_anew(layer, before, told, look["contrast_limits"])
            elif add:
                name = f"{source.name} {title_of(told)}"
                if hidden:
                    look["visible"] = False
                keywords = {**look, **placement.keywords, "metadata": metadata, "name": name}
                shown[field] = self._viewer.add_image(pixels, multiscale=False, **keywords)
                added.append(shown[field])
        return added

    def adopt(self, key: tuple[str, int], field: str, layer: Image) -> None:
        """Take a layer that is in the viewer for one of ours."""
        self._layers.setdefault(key, {})[field] = layer

    def get(self, key: tuple[str, int], field: str) -> Image | None:
        """Return one of our layers, if it is there."""
        layer = self._layers.get(key, {}).get(field)
        return layer if layer is not None and layer in self._viewer.layers else None

    def of(self, key: tuple[str, int]) -> dict[str, Image]:
        """Return our layers of one stack that are there, by result."""
        return {field: layer for field, layer in self._layers.get(key, {}).items() if layer in self._viewer.layers}

    def remove(self, key: tuple[str, int], field: str) -> None:
        """Remove one of our layers, if it is still there."""
        layer = self._layers.get(key, {}).pop(field, None)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def forget_removed(self) -> None:
        """Let go of the layers that the user has deleted, so that their memory is freed."""
        for shown in self._layers.values():
            for field in [field for field, layer in shown.items() if layer not in self._viewer.layers]:
                del shown[field]


def provenance(results: StackResults, source: Image, kind: ResultKind) -> dict[str, Any]:
    """Return how a result came about, in plain types that survive being written as JSON."""
    from .. import __version__

    reports = [{"position": list(position), **report.as_dict()} for position, report in results.reports.items()]
    chosen = [
        {"position": list(position), **{name: choice.value for name, choice in choices.items()}}
        for position, choices in results.chosen.items()
    ]
    return {
        "version": __version__,
        "result": kind.title,
        "unit": kind.unit,
        "source": source.name,
        "focus_axis": results.focus_axis,
        "slices": results.slices,
        "options": asdict(results.options),
        "chosen": chosen[0] if len(chosen) == 1 else chosen,
        "sharpness": reports[0] if len(reports) == 1 else reports,
        "warnings": list(results.warnings),
    }


def title_of(told: dict[str, Any]) -> str:
    """Return what a result is called: heights in a unit of length say so."""
    unit = f" ({told['unit']})" if told["result"] == "height" and told["unit"] != SLICES else ""
    return f"{told['result']}{unit}"


def _count_anew(layer: Image, before: dict[str, Any], told: dict[str, Any], limits: tuple[float, float]) -> None:
    """Let the colours, and the name, follow heights that are counted from elsewhere or in another unit."""
    if any(before.get(fact) != told.get(fact) for fact in ("unit", "zero")):
        layer.contrast_limits = limits
    if "unit" in before and layer.name.endswith(title_of(before)):
        layer.name = layer.name.removesuffix(title_of(before)) + title_of(told)


def look_of(kind: ResultKind, source: Image, slices: int) -> dict[str, Any]:
    """Return how a new layer of a result is shown."""
    return _map_look(kind, slices) if kind.colormap else _fused_look(source)


def _fused_look(source: Image) -> dict[str, Any]:
    look: dict[str, Any] = {"rgb": bool(source.rgb), "gamma": source.gamma}
    if not source.rgb:
        look |= {"contrast_limits": tuple(source.contrast_limits), "colormap": source.colormap}
    return look


def _map_look(kind: ResultKind, slices: int) -> dict[str, Any]:
    # Hidden, and above the fused layer: one click on the eye shows it.
    top = slices - 1 if kind.top is None else kind.top
    return {"rgb": False, "colormap": kind.colormap, "contrast_limits": (0, top), "visible": False}


def update_layer(
    layer: Image | Labels, pixels: npt.NDArray[Any], placement: Placement, metadata: dict[str, Any]
) -> None:
    """Show other pixels in a layer that is there, where they belong now."""
    layer.data = pixels
    for name, value in placement.keywords.items():
        present = getattr(layer, name)
        if name in ("units", "axis_labels"):
            same = tuple(present) == tuple(value)
        else:
            present = square_shear(layer) if name == "shear" else getattr(present, "affine_matrix", present)
            same = np.array_equal(present, value)
        if not same:
            setattr(layer, name, value)
    layer.metadata = {**layer.metadata, **metadata}
