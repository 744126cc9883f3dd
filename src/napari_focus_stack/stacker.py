"""`FocusStacker`: slices go in one at a time, and a result may be asked for at any time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .alignment.record import Alignment
from .errors import InputError
from .fusion import FUSION_METHODS
from .noise import NoiseModel, estimate_noise
from .options import AUTO, FocusStackOptions
from .result import FocusStackResult, Part
from .run import Run
from .slices import SliceKind
from .whole_image import Whole

# The noise model of a stream comes from this many first slices.
_SLICES_FOR_NOISE = 3


class FocusStacker:
    """Fuse slices as they come: from files, or from a live camera.

    Parameters
    ----------
    shape : tuple of int
        Shape of the stack, (z, y, x) or (z, y, x, c), or of one slice, (y, x) or
        (y, x, c), where the number of slices is not known beforehand.
    options : FocusStackOptions or None
        None takes the defaults.
    noise : NoiseModel or None
        None estimates it from the first three slices.
    rgb : bool or None
        Whether the last axis is RGB or RGBA; None takes a last axis of 3 or 4 for that.
    alignment : Alignment or None
        Applied to the slices as they come. None leaves them as they are, whatever the options say:
        a stream cannot be looked at twice.
    whole : Whole or None
        The image that the slices are a part of; None where they are all of it.

    Raises
    ------
    InputError
        If the shape, an option or the alignment does not fit.

    Notes
    -----
    Memory is about 60 bytes for every pixel of one 16-bit gray slice, results
    included, whatever the number of slices (72 for two or three alone); `pipeline.memory_needed` tells it for
    other kinds. The order of the slices matters for the height; for the image only of transparent and of
    fluorescent specimens, and where `mend_rims` is asked for.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stack = rng.integers(0, 255, (3, 32, 32), np.uint8)
    >>> stacker = FocusStacker(stack.shape)
    >>> for image in stack:
    ...     stacker.add(image)
    >>> stacker.result().image.shape
    (32, 32)
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        options: FocusStackOptions | None = None,
        noise: NoiseModel | None = None,
        *,
        rgb: bool | None = None,
        alignment: Alignment | None = None,
        whole: Whole | None = None,
    ) -> None:
        if len(shape) not in (2, 3, 4):
            raise InputError(f"expected the shape of a stack, (z, y, x) or (z, y, x, c), got {tuple(shape)}.")
        self.options = options or FocusStackOptions()
        self.visits = FUSION_METHODS[self.options.method].visits
        self._shape = tuple(int(n) for n in shape)
        self._rgb = rgb
        self.whole = whole or Whole()
        self._noise = noise
        self._alignment = alignment
        self._pending: list[npt.NDArray[Any]] = []
        self._run: Run | None = None

    @property
    def count(self) -> int:
        """Slices added so far."""
        return len(self._pending) + (self._run.count if self._run else 0)

    def add(self, image: npt.ArrayLike, *, stays: bool = False) -> None:
        """Take in the next slice, in order along z.

        Parameters
        ----------
        image : array-like, shape (y, x) or (y, x, c)
            All slices of one shape and dtype.
        stays : bool
            Nothing changes the array before the next slice is added or a result asked for, unlike the buffer of a
            live camera. Part of the work on it is then done beside that on the next slice, which is faster; the
            result is the same.

        Raises
        ------
        InputError
            If the slice is not like the first, or the noise of the first slices
            cannot be told because no pixel is finite.
        """
        array = np.asarray(image)
        run = self._ready(array)
        if run is not None:
            run.add(array, stays=stays)
            return
        _, slices = self._kind(array)
        if self._pending:
            kind_of_first, _ = self._kind(self._pending[0])
            kind_of_first.checked(array)
        # The caller may reuse the buffer of a live camera.
        self._pending.append(array.copy())
        if len(self._pending) == min(_SLICES_FOR_NOISE, slices or _SLICES_FOR_NOISE):
            self._run = self._started()
            self._pending = []

    @property
    def looks_first(self) -> bool:
        """Whether a first look at every slice saves work, where it costs no reading."""
        if self._run is not None and not self._run.open:
            return False
        known = self._noise is not None and self.options.light == AUTO and len(self._shape) > 2
        # Slices are not warped twice.
        return known and (self._alignment is None or self._alignment.changes_nothing)

    def glimpse(self, images: Iterable[npt.ArrayLike]) -> None:
        """Take a glimpse at all slices, after which no `look` is needed if they are dark: then they are opaque.

        Needs a noise model.
        """
        arrays = [np.asarray(image) for image in images]
        run = self._ready(arrays[0])
        if run is not None:
            run.glimpse(arrays)

    def look(self, *images: npt.ArrayLike) -> None:
        """Take a first look at the next slices, in order along z: at all of them before the first `add`, or at none.

        What the light is need not be kept open then: a third of the work is not done. The result is the
        same, and may be asked for when all slices were added. Needs a noise model.
        """
        arrays = [np.asarray(image) for image in images]
        run = self._ready(arrays[0])
        if run is not None:
            run.look(arrays)

    def revisit(self, k: int, image: npt.ArrayLike) -> None:
        """Show slice k again, for methods of two `visits`; after the last `add`, in any order."""
        self._begun().revisit(k, np.asarray(image))

    def result(self) -> FocusStackResult:
        """Return the result of the slices so far; adding may go on afterwards.

        Raises
        ------
        InputError
            If no slice was added, or the method needs slices that were not shown again.
        """
        return self._begun().result()

    def part(self) -> Part:
        """Return what a part of a larger image gives, for the core of its `whole`; methods of one visit only."""
        return self._begun().part()

    def _ready(self, image: npt.NDArray[Any]) -> Run | None:
        """Return the run, begun by its first slice where the noise is known."""
        if self._run is None and self._noise is not None:
            self._run = Run(*self._kind(image), self.options, self._noise, self._alignment, self.whole)
        return self._run

    def _begun(self) -> Run:
        if self.count == 0:
            raise InputError("no slice was added yet; add at least 2.")
        # Asked before enough slices came: the noise will be estimated again from all three.
        return self._run or self._started()

    def _started(self) -> Run:
        kind, slices = self._kind(self._pending[0])
        noise = estimate_noise([kind.checked(p)[..., : kind.channels] for p in self._pending])
        run = Run(kind, slices, self.options, noise, self._alignment, self.whole)
        for image in self._pending:
            run.add(image)
        return run

    def _kind(self, image: npt.NDArray[Any]) -> tuple[SliceKind, int]:
        """Return the kind of the slices and their number, 0 if not known."""
        if self._shape == image.shape:
            if self.options.z_preference != 0:
                raise InputError("z_preference needs the number of slices; give the shape of the stack, (z, y, x).")
            return SliceKind(image.shape, image.dtype, self._rgb), 0
        if self._shape[1:] == image.shape:
            return SliceKind(image.shape, image.dtype, self._rgb), self._shape[0]
        raise InputError(f"a slice of a stack of shape {self._shape} was expected, got shape {image.shape}.")
