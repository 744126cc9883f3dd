"""The scenes by name, and the stack a camera takes of them."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import cells, fluorescence, surfaces
from .camera import Camera
from .motion import Motion
from .specimen import FloatImage, Mask, Specimen


@dataclass(frozen=True, eq=False)
class Scene:
    """A z-stack, and what a perfect fusion of it would give.

    Attributes
    ----------
    name : str
        Its name in `SCENES`.
    stack : uint8 or uint16 array, shape (z, y, x) or (z, y, x, 3)
        Slice `k` has its focus at height `k`.
    truth : float32 array, shape (y, x) or (y, x, 3)
        The image in focus everywhere, without noise, in the gray levels of `stack`.
    height : float32 array, shape (y, x)
        Where each pixel is in focus, in slices. Larger is nearer to the lens.
    textured : bool array, shape (y, x)
        Where there is detail enough for the height to be known.
    ground : bool array, shape (y, x)
        Where there is nothing to see, in focus or far from it.
    gain, offset : float
        Noise of every channel: ``variance = gain * intensity + offset``, in gray levels.
    z_step_um, pixel_size_um : float
        Distance between slices and between pixels, in µm.
    seed : int
    """

    name: str
    stack: npt.NDArray[Any]
    truth: FloatImage
    height: FloatImage
    textured: Mask
    ground: Mask
    gain: float
    offset: float
    z_step_um: float
    pixel_size_um: float
    seed: int

    @property
    def rgb(self) -> bool:
        """Whether the stack is in colour."""
        return self.stack.ndim == 4

    @property
    def data_range(self) -> int:
        """Range of gray levels of the dtype, which the scene fills: 255 or 65535."""
        return int(np.iinfo(self.stack.dtype).max)


@dataclass(frozen=True)
class SceneKind:
    """An entry of `SCENES`.

    Attributes
    ----------
    title, help : str
        Name for people; one sentence on what it shows.
    build : callable
        ``build(shape, slices, rng, **parameters)`` gives a `Specimen` of so many pixels (y, x) and
        slices, drawn by a `numpy.random.Generator`.
    parameters : dict
        Passed to `build` unless the caller gives others.
    dtype : str
        Of the stack unless the caller asks for another.
    """

    title: str
    help: str
    build: Callable[..., Specimen]
    parameters: dict[str, Any] = field(default_factory=dict)
    dtype: str = "uint16"


SCENES: dict[str, SceneKind] = {
    "plane": SceneKind("Tilted plane", "A flat sheet tilted through the whole stack.", surfaces.plane),
    "bumps": SceneKind("Bumps", "A rough opaque surface with smooth bumps and hollows.", surfaces.bumps),
    "step": SceneKind("Step with occlusion", "Foreground shapes that hide part of a far wall.", surfaces.step),
    "beads": SceneKind(
        "Beads and filaments", "Fluorescent beads and filaments at all heights on a dark ground.", fluorescence.beads
    ),
    "weak-texture": SceneKind(
        "Weak and missing texture", "Bumps whose texture fades to nothing in patches.", surfaces.weak_texture
    ),
    "colour": SceneKind(
        "Sand in colour", "Rounded grains of several minerals in reflected light, RGB.", surfaces.colour, dtype="uint8"
    ),
    "cells": SceneKind("Transparent cells", "Weak phase, condenser at 0.6 of the objective's aperture.", cells.cells),
    "cells-strong": SceneKind(
        "Transparent cells, strong phase",
        "Two and a half times the phase, same condenser.",
        cells.cells,
        {"phase": 1.5},
    ),
    "cells-narrow": SceneKind(
        "Transparent cells, narrow condenser",
        "Weak phase, condenser closed to 0.25: nearly coherent light.",
        cells.cells,
        {"condenser": 0.25},
    ),
    "cells-strong-narrow": SceneKind(
        "Transparent cells, strong phase, narrow condenser",
        "Two and a half times the phase, condenser closed to 0.25.",
        cells.cells,
        {"phase": 1.5, "condenser": 0.25},
    ),
}


def make_scene(
    name: str,
    shape: tuple[int, int] = (512, 512),
    slices: int = 20,
    noise: str | float = "low",
    seed: int = 0,
    dtype: npt.DTypeLike | None = None,
    motion: Motion | None = None,
    **parameters: Any,
) -> Scene:
    """Make a focus stack whose sharp image and height are known.

    The same arguments give the same bytes. Noise is drawn apart from the
    scene, so the same seed shows the same specimen at every noise.

    Parameters
    ----------
    name : str
        A key of `SCENES`.
    shape : tuple of int
        (y, x) in pixels, at least 16.
    slices : int
        At least 2.
    noise : str or float
        "none", "low" (0.7 % of black to white at mid gray), "high" (4 %), or the photons of a white pixel.
    seed : int
        Of specimen and noise, 0 or more.
    dtype : uint8 or uint16, optional
        Gray scenes are uint16, colour ones uint8.
    motion : Motion, optional
        How slices move and change in brightness; truth and height are those of the middle one.
    **parameters
        Of the scene itself: `phase`, `condenser`, ...

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        If the name, the noise or a parameter is unknown, or shape, slices or seed are too small.

    Examples
    --------
    >>> scene = make_scene("plane", (48, 64), slices=5)
    >>> scene.stack.shape, scene.stack.dtype.name
    ((5, 48, 64), 'uint16')
    """
    kind = _kind(name)
    if min(shape) < 16 or slices < 2 or seed < 0:
        raise InputError(
            f"a scene needs at least 16 x 16 pixels, 2 slices and a seed of 0 or more, "
            f"got {shape[0]} x {shape[1]}, {slices} and {seed}."
        )
    camera = Camera.of(noise, kind.dtype if dtype is None else dtype)
    rng = np.random.default_rng([seed, zlib.crc32(kind.build.__name__.encode())])
    margin_px = 0 if motion is None else motion.margin_px(shape)
    specimen = _specimen(kind, name, (shape[0] + 2 * margin_px, shape[1] + 2 * margin_px), slices, rng, parameters)
    if motion is not None:
        specimen = motion.moved(specimen, shape, margin_px)
    stack = np.empty((slices, *specimen.truth.shape), camera.dtype)
    for k, image in enumerate(specimen.images):
        stack[k] = camera.expose(image, np.random.default_rng([seed, k, zlib.crc32(name.encode())]))
    return Scene(
        name=name,
        stack=stack,
        truth=camera.gray_levels(specimen.truth),
        height=specimen.height,
        textured=specimen.textured,
        ground=specimen.ground,
        gain=camera.gain,
        offset=camera.offset,
        z_step_um=specimen.z_step_um,
        pixel_size_um=specimen.pixel_size_um,
        seed=seed,
    )


def _kind(name: str) -> SceneKind:
    if name not in SCENES:
        raise InputError(f"unknown scene {name!r}; choose one of {', '.join(SCENES)}.")
    return SCENES[name]


def _specimen(
    kind: SceneKind,
    name: str,
    shape: tuple[int, int],
    slices: int,
    rng: np.random.Generator,
    parameters: dict[str, Any],
) -> Specimen:
    known = [*inspect.signature(kind.build).parameters][3:]  # after shape, slices and rng
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        raise InputError(f"scene {name!r} has no parameter {unknown[0]!r}; it has {', '.join(known)}.")
    return kind.build(shape, slices, rng, **{**kind.parameters, **parameters})
