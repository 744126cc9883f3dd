"""The focus measure of one pixel in every slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .analysis import SliceAnalysis
from .errors import InputError
from .noise import NoiseModel
from .scaling import Scaling
from .slices import Slices, StackLike

# Around the pixel: what two levels of the pyramid and their smoothing reach.
_REACH_PX = 32

# As in `height.peaks`: below two units of noise the logarithm of energy is noise, and level 1 has at most so much.
_FLOOR, _CLEAR, _MOST_OF_NEXT = 2.0, 1.0, 128.0


@dataclass(frozen=True)
class FocusCurve:
    """The focus measure of the height map at one pixel, for every slice.

    Attributes
    ----------
    focus : float64 array, shape (slices,)
        Relative to that of noise alone, which is 1.
    peak : int
        The sharpest slice.
    """

    focus: npt.NDArray[np.float64]
    peak: int


def focus_curve(
    stack: StackLike, y: int, x: int, noise: NoiseModel, *, rgb: bool | None = None, window_px: int = 5
) -> FocusCurve:
    """Return the focus of a pixel in every slice.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c)
        One slice is read at a time. Where it has a method ``part(k, rows, columns)``, only what is near the pixel.
    y, x : int
        The pixel.
    noise : NoiseModel
        Of the run.
    rgb : bool or None
    window_px : int
        Side of the square over which the focus is averaged.

    Returns
    -------
    FocusCurve

    Raises
    ------
    InputError
        If the pixel lies outside the slices.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stack = np.full((3, 40, 40), 100, np.uint8)
    >>> stack[1] = rng.integers(0, 200, (40, 40))
    >>> focus_curve(stack, 20, 20, NoiseModel((0.0,), (4.0,), (0.0,), (200.0,))).peak
    1
    """
    slices = Slices(stack, rgb)
    height, width = slices.kind.shape[:2]
    if not (0 <= y < height and 0 <= x < width):
        raise InputError(f"expected a pixel within {height} x {width} px, got ({y}, {x}).")
    rows, columns = _around(y, height), _around(x, width)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    analysis = SliceAnalysis(
        size,
        slices.kind.channels,
        min(2, max(int(np.log2(max(min(size), 2))) - 1, 1)),
        noise,
        Scaling.of(slices.kind.dtype, noise),
        range(slices.kind.channels),
        magnitude=False,
    )
    half = window_px // 4
    window = tuple(slice(max(at // 2 - half, 0), at // 2 + half + 1) for at in (y - rows.start, x - columns.start))
    focus = np.zeros(len(slices))
    read = getattr(stack, "part", None)
    for k in range(len(slices)):
        image = read(k, rows, columns) if read else slices[k][rows, columns]
        analysis.load(np.ascontiguousarray(image.reshape(*size, -1)[..., : slices.kind.channels]))
        smooth, fine = analysis.energies[0][window], analysis.fine_energy[window]
        next_level = analysis.energies[min(1, analysis.levels - 1)][window]
        clear = smooth * ((fine + _CLEAR) / (smooth + _CLEAR))
        wide = next_level * (_MOST_OF_NEXT / (next_level + _MOST_OF_NEXT))
        focus[k] = np.mean((clear + _FLOOR) * np.sqrt(wide + _FLOOR)) / (1 + _FLOOR) ** 1.5
    return FocusCurve(focus, int(np.argmax(focus)))


def _around(at: int, length: int) -> slice:
    first = max(at - _REACH_PX, 0) // 2 * 2
    return slice(first, min(at + _REACH_PX, length))
