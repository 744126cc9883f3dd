"""Where the z-stack is in a layer, and where its results belong in the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ..alignment.aligner import Aligner
    from ..alignment.record import Alignment

METADATA_KEY = "napari-focus-stack"
FOCUS_LABELS = frozenset({"z", "depth", "focus", "plane"})

Position = tuple[int, ...]


def is_stack(layer: Any) -> bool:
    """Return whether a layer is an image with an axis to focus along, and none of our own results."""
    from napari.layers import Image

    return isinstance(layer, Image) and METADATA_KEY not in layer.metadata and bool(focus_axes(layer))


def focus_axes(layer: Image) -> list[int]:
    """Return the axes that could be the focus axis, the most likely one first.

    An axis labelled z, depth, focus or plane wins; else the first axis of a 3-D layer,
    else the third from the end. Axes of one position, and those labelled y or x, are left out.
    """
    if layer.ndim < 3:
        return []
    lengths = full_resolution(layer).shape
    labels = [label.lower() for label in layer.axis_labels]
    possible = [axis for axis in range(layer.ndim) if lengths[axis] > 1 and labels[axis] not in ("y", "x")]

    def likelihood(axis: int) -> tuple[bool, bool, int]:
        return labels[axis] not in FOCUS_LABELS, axis != layer.ndim - 3, axis

    return sorted(possible, key=likelihood)


def full_resolution(layer: Image) -> Any:
    """Return the pixels of a layer as they are stored: NumPy, dask, zarr; the finest level of a pyramid."""
    return layer.data[0] if layer.multiscale else layer.data


def describe_axis(layer: Image, axis: int) -> str:
    """Return what a user needs to recognise an axis.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> layer = SimpleNamespace(ndim=3, axis_labels=("z", "y", "x"), multiscale=False, data=np.zeros((10, 8, 8)),
    ...                         scale=(0.5, 1, 1), units=("um", "um", "um"))
    >>> describe_axis(layer, 0)
    'z · 10 slices · 0.5 um'
    """
    label = layer.axis_labels[axis]
    name = f"axis {axis}" if label == str(axis - layer.ndim) else label
    unit = symbol_of(layer.units[axis]) if hasattr(layer.units[axis], "dimensionality") else layer.units[axis]
    step = "" if unit in ("px", "pixel") else f" · {layer.scale[axis]:.4g} {unit}"
    return f"{name} · {full_resolution(layer).shape[axis]} slices{step}"


def symbol_of(unit: Any) -> str:
    """Return the symbol of a unit of pint, which writes a Greek mu for the micro sign from its version 0.26 on."""
    return format(unit, "~P").replace("\u03bc", "\u00b5")


@dataclass(frozen=True)
class StackView:
    """One z-stack inside an array of any dimension, fetched a slice at a time.

    Attributes
    ----------
    pixels : array-like
        Anything with ``shape``, ``dtype`` and indexing by whole numbers and slices.
    focus_axis : int
    position : tuple of int
        Where the stack is along every other axis that is not in the picture.
    rgb : bool

    Examples
    --------
    >>> series = np.arange(120).reshape(2, 3, 4, 5)
    >>> stack = StackView(series, focus_axis=1, position=(1,), rgb=False)
    >>> stack.shape, bool((stack[2] == series[1, 2]).all())
    ((3, 4, 5), True)
    """

    pixels: Any
    focus_axis: int
    position: Position
    rgb: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x), or (z, y, x, c) for colour."""
        shape = self.pixels.shape
        kept = [self.focus_axis, *_plane_axes(len(shape) - self.rgb, self.focus_axis)]
        return tuple(int(shape[axis]) for axis in kept) + ((int(shape[-1]),) if self.rgb else ())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return np.dtype(self.pixels.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        if not 0 <= k < len(self):
            raise IndexError(k)
        where = _index(len(self.pixels.shape) - self.rgb, self.focus_axis, k, self.position)
        return np.asarray(self.pixels[where])

    def part(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return some rows and columns of slice k; the others are not read where the pixels are lazy."""
        ndim = len(self.pixels.shape) - self.rgb
        where = list(_index(ndim, self.focus_axis, k, self.position))
        for axis, some in zip(_plane_axes(ndim, self.focus_axis), (rows, columns), strict=True):
            where[axis] = some
        return np.asarray(self.pixels[tuple(where)])

    @property
    def chunks(self) -> tuple[int, int, int] | None:
        """(z, y, x) of the chunks that the pixels are stored in; None where none are known."""
        chunk = getattr(self.pixels, "chunksize", None) or getattr(self.pixels, "chunks", None)
        if not isinstance(chunk, tuple) or not all(isinstance(n, int) for n in chunk):
            return None
        y, x = _plane_axes(len(self.pixels.shape) - self.rgb, self.focus_axis)
        return chunk[self.focus_axis], chunk[y], chunk[x]


@dataclass(frozen=True)
class AlignedView(StackView):
    """The same as an alignment puts it, warped a slice at a time."""

    alignment: Alignment

    @cached_property
    def _aligner(self) -> Aligner:
        from ..alignment.aligner import Aligner
        from ..slices import SliceKind

        return Aligner(self.alignment, SliceKind(self.shape[1:], self.dtype, self.rgb))

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        return self._aligner.aligned(k, super().__getitem__(k))[0]

    def part(self, k: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return some rows and columns of slice k."""
        return self[k][rows, columns]


@dataclass(frozen=True)
class LayerStack:
    """The z-stacks of a layer: one for every position along the axes that are neither focus nor picture.

    Attributes
    ----------
    pixels : array-like
        Full resolution; read plane by plane.
    focus_axis : int
    rgb : bool
    alignments : mapping of position to Alignment
        What is taken out of the slices at these positions.
    """

    pixels: Any
    focus_axis: int
    rgb: bool
    alignments: Mapping[Position, Alignment] = field(default_factory=dict)

    @classmethod
    def of(cls, layer: Image, focus_axis: int) -> LayerStack:
        """Return the stacks of `layer` along `focus_axis`."""
        return cls(full_resolution(layer), focus_axis, bool(layer.rgb))

    @property
    def ndim(self) -> int:
        """Axes of the layer, colour not counted."""
        return len(self.pixels.shape) - self.rgb

    @property
    def plane_axes(self) -> tuple[int, int]:
        """The axes of the picture, y and x."""
        return _plane_axes(self.ndim, self.focus_axis)

    @cached_property
    def outer_axes(self) -> list[int]:
        """The axes that are neither focus nor picture, such as time and channel."""
        return [axis for axis in range(self.ndim) if axis != self.focus_axis and axis not in self.plane_axes]

    @property
    def positions(self) -> Iterator[Position]:
        """Every position along the outer axes; one, empty, where there are none."""
        return np.ndindex(*(int(self.pixels.shape[axis]) for axis in self.outer_axes))

    @property
    def position_count(self) -> int:
        """How many results a run gives."""
        return int(np.prod([self.pixels.shape[axis] for axis in self.outer_axes], dtype=int))

    def at(self, position: Position) -> StackView:
        """Return the z-stack at one position."""
        alignment = self.alignments.get(position)
        if alignment is None:
            return StackView(self.pixels, self.focus_axis, position, self.rgb)
        return AlignedView(self.pixels, self.focus_axis, position, self.rgb, alignment)

    @property
    def keeps_focus_axis(self) -> bool:
        """Whether results keep the focus axis, with length 1.

        napari lines layers up by their last axes, so only the first axis of a 3-D
        stack can go without moving the others under the wrong sliders.
        """
        return not (self.ndim == 3 and self.focus_axis == 0)

    @property
    def result_plane_axes(self) -> tuple[int, int]:
        """The axes of the picture, y and x, in an array of results."""
        return self.plane_axes if self.keeps_focus_axis else (0, 1)

    def result_array(self, dtype: npt.DTypeLike, colour: bool) -> npt.NDArray[Any]:
        """Return an empty array for one result of all positions, shaped like its layer."""
        shape = list(self.pixels.shape[: self.ndim])
        shape[self.focus_axis] = 1
        channels = list(self.pixels.shape[self.ndim :]) if colour else []
        return np.empty((shape if self.keeps_focus_axis else shape[1:]) + channels, dtype)

    def result_index(self, position: Position) -> tuple[int | slice, ...]:
        """Return where the result of one position goes in `result_array`."""
        return _index(self.ndim, self.focus_axis, 0, position) if self.keeps_focus_axis else (slice(None),) * 2


@dataclass(frozen=True)
class StackChoice:
    """The layer and the focus axis that the user has chosen, and the pixels that were in it then.

    Attributes
    ----------
    layer : napari Image layer
        Never written.
    focus_axis : int
    stack : LayerStack
        The z-stacks of the layer when it was chosen.
    """

    layer: Image
    focus_axis: int
    stack: LayerStack = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stack", LayerStack.of(self.layer, self.focus_axis))

    @property
    def key(self) -> tuple[str, int]:
        """What tells this choice from others, whatever the layer is called."""
        return str(self.layer.unique_id), self.focus_axis

    def is_there(self, viewer: Viewer) -> bool:
        """Return whether the layer is in the viewer, with the pixels that were chosen."""
        return self.layer in viewer.layers and self.has_its_pixels

    @property
    def has_its_pixels(self) -> bool:
        """Whether the layer, be it in the viewer or not, has the pixels that were chosen."""
        return full_resolution(self.layer) is self.stack.pixels

    def index_in_view(self, axis: int, viewer: Viewer) -> int:
        """Return the index along `axis` of the layer that the viewer's sliders stand on."""
        k = round(float(self._data_point(viewer)[axis]))
        return min(max(k, 0), full_resolution(self.layer).shape[axis] - 1)

    def data_point(self, viewer: Viewer, world: Sequence[float]) -> npt.NDArray[np.float64]:
        """Return where a place in the viewer's world lies in the layer, in its pixels."""
        point = np.array(tuple(world)[-self.layer.ndim :]) / self._world_per_layer_unit(viewer)
        return np.array(self.layer.world_to_data(point), float)

    def go_to_slice(self, k: int, viewer: Viewer) -> None:
        """Move the viewer's slider of the focus axis to slice `k`."""
        point = self._data_point(viewer)
        point[self.focus_axis] = k
        world = np.array(self.layer.data_to_world(point)) * self._world_per_layer_unit(viewer)
        viewer.dims.set_point(viewer.dims.ndim - self.layer.ndim + self.focus_axis, float(world[self.focus_axis]))

    def world_per_unit(self, viewer: Viewer, axis: int) -> float:
        """Return how many of the viewer's units make one of the layer's along `axis`."""
        return float(self._world_per_layer_unit(viewer)[axis])

    def _data_point(self, viewer: Viewer) -> npt.NDArray[np.float64]:
        return self.data_point(viewer, viewer.dims.point)

    def _world_per_layer_unit(self, viewer: Viewer) -> npt.NDArray[np.float64]:
        # The viewer shows layers of unlike units in the smallest of them.
        world_units = viewer.layers.extent.units
        if world_units is None or len(world_units) < self.layer.ndim:
            # None of them, or not yet those of a layer that has just got more axes.
            return np.ones(self.layer.ndim)
        pairs = zip(self.layer.units, tuple(world_units)[-self.layer.ndim :], strict=True)
        return np.array([float((1 * own).to(world).magnitude) for own, world in pairs])


def _plane_axes(ndim: int, focus_axis: int) -> tuple[int, int]:
    others = [axis for axis in range(ndim) if axis != focus_axis]
    return others[-2], others[-1]


def _index(ndim: int, focus_axis: int, k: int, position: Position) -> tuple[int | slice, ...]:
    plane = _plane_axes(ndim, focus_axis)
    outer = chain(position)
    return tuple(k if axis == focus_axis else slice(None) if axis in plane else next(outer) for axis in range(ndim))
