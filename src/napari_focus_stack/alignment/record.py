"""The record of an alignment: where every slice lies and how bright it is, against a reference slice.

It is made once, kept as JSON, and applied to other channels, time points and stacks of the same run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .register import FloatArray, matrix_motion
from .warp import IDENTITY, Affine

# Farther from no zoom and no turn than this is no focus stack.
_LARGEST_SLOPE = 0.5


@dataclass(frozen=True)
class SliceAlignment:
    """Where one slice lies, and how bright it is.

    Attributes
    ----------
    matrix : tuple of two tuples of three float
        From a pixel (y, x, 1) of the reference slice to the same place in this slice.
    gain, offset : tuple of float
        For every channel; ``gain * slice + offset`` is as bright as the reference slice.
    correlation : float or None
        Of this slice, aligned, with its neighbour on the side of the reference slice, band-passed;
        None where there was no estimate, as for the reference slice itself.
    estimated : bool
        False where its place was taken from its neighbours.
    left_out : bool
        Whether it resembles none of its neighbours, and is not fused.
    """

    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    gain: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    correlation: float | None = None
    estimated: bool = True
    left_out: bool = False

    @property
    def affine(self) -> Affine:
        """The matrix as an array, shape (2, 3)."""
        return np.array(self.matrix, np.float64)

    @property
    def changes_nothing(self) -> bool:
        """Whether the slice stays as it is, to the last bit."""
        same_light = all(g == 1 for g in self.gain) and all(o == 0 for o in self.offset)
        return same_light and not self.left_out and np.array_equal(self.affine, IDENTITY)


@dataclass(frozen=True)
class Alignment:
    """Where all slices of a stack lie.

    Attributes
    ----------
    model : str
        Key of `ALIGN_MODELS` it was estimated with.
    shape : tuple of int
        (y, x) of a slice.
    reference : int
        The slice that stays where it is.
    slices : tuple of SliceAlignment
    reason : str
        What was found, in a few words.
    warnings : tuple of str
        What the user should know, a sentence each.

    Examples
    --------
    >>> still = SliceAlignment(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    >>> moved = SliceAlignment(((1.0, 0.0, 0.5), (0.0, 1.0, -2.0)))
    >>> alignment = Alignment("shift", (64, 64), 0, (still, moved))
    >>> alignment.shifts_px.tolist()
    [[0.0, 0.0], [0.5, -2.0]]
    >>> alignment.common_window()
    (slice(0, 64, None), slice(2, 64, None))
    >>> Alignment.from_dict(alignment.as_dict()) == alignment
    True
    """

    model: str
    shape: tuple[int, int]
    reference: int
    slices: tuple[SliceAlignment, ...]
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def shifts_px(self) -> FloatArray:
        """How far the middle of every slice has moved, shape (z, 2): along y and x."""
        return self._motions()[:, :2]

    @property
    def zooms(self) -> FloatArray:
        """How much larger every slice shows the same thing, shape (z,)."""
        return np.sqrt(np.linalg.det([one.affine[:, :2] for one in self.slices]))

    @property
    def turns_deg(self) -> FloatArray:
        """How far every slice is turned, from y towards x, shape (z,)."""
        half = np.hypot(*self.shape) / 2
        return np.degrees(-self._motions()[:, 3] / half)

    def _motions(self) -> FloatArray:
        return np.stack([matrix_motion(one.affine, self.shape) for one in self.slices])

    @property
    def changes_nothing(self) -> bool:
        """Whether all slices stay as they are."""
        return all(one.changes_nothing for one in self.slices)

    def common_window(self) -> tuple[slice, slice]:
        """Return rows and columns that all slices cover.

        Raises
        ------
        InputError
            If there are none.
        """
        h, w = self.shape
        edges = np.array([[0, 0, 1], [0, w - 1, 1], [h - 1, 0, 1], [h - 1, w - 1, 1]], np.float64) - [0.5, 0.5, 0]
        edges[1::2, 1] += 1
        edges[2:, 0] += 1
        low, high = np.array([-0.5, -0.5]), np.array([h - 0.5, w - 0.5])
        for one in self.slices:
            by_shape = np.linalg.inv(one.affine[:, :2])
            corners = (edges[:, :2] - one.affine[:, 2]) @ by_shape.T
            top_left, top_right, low_left, low_right = corners
            low = np.maximum(low, [max(top_left[0], top_right[0]), max(top_left[1], low_left[1])])
            high = np.minimum(high, [min(low_left[0], low_right[0]), min(top_right[1], low_right[1])])
        first, last = np.ceil(low - 1e-9).astype(int), np.floor(high + 1e-9).astype(int) + 1
        first, last = np.maximum(first, 0), np.minimum(last, [h, w])
        if (last <= first).any():
            raise InputError("the aligned slices have no area in common; do not crop, or leave out slices far off.")
        return slice(int(first[0]), int(last[0])), slice(int(first[1]), int(last[1]))

    def for_stack(self, slices: int, shape: Sequence[int], channels: int) -> Alignment:
        """Return the alignment itself, once it is sure that it fits a stack; gains of one channel serve all.

        Raises
        ------
        InputError
            If it is of another number or size of slices.
        """
        if slices and len(self) != slices:
            raise InputError(f"the alignment is of {len(self)} slices, but the stack has {slices}; estimate it anew.")
        if tuple(shape[:2]) != self.shape:
            raise InputError(
                f"the alignment is of slices of {self.shape[0]} x {self.shape[1]} px, but the stack has "
                f"{shape[0]} x {shape[1]}; estimate it anew."
            )
        if any(len(v) not in (1, channels) for one in self.slices for v in (one.gain, one.offset)):
            raise InputError(
                f"the alignment matches the brightness of {len(self.slices[0].gain)} channels, but the stack has "
                f"{channels}; estimate it anew."
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain types that survive being written as JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return it as text that `from_json` reads."""
        return json.dumps({"format": _FORMAT, **self.as_dict()}, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write it as JSON, to a temporary name that is renamed at the end."""
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        part.write_text(self.to_json(), encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Alignment:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If the file cannot be read or holds no alignment.
        """
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise InputError(f"the alignment {path} cannot be read: {reason.lower()}.") from error
        try:
            return cls.from_dict(json.loads(text))
        except ValueError as error:
            reason = str(error) if isinstance(error, InputError) else "it is no JSON"
            raise InputError(
                f"{path} holds no alignment: {reason.rstrip('.')}; name a file that --save-alignment wrote."
            ) from error

    @classmethod
    def from_dict(cls, told: Any) -> Alignment:
        """Return the record that `as_dict` told.

        Raises
        ------
        InputError
            If something is missing or is no alignment.
        """
        try:
            slices = tuple(_slice_of(one) for one in told["slices"])
            h, w = (int(n) for n in told["shape"])
            record = cls(
                str(told["model"]),
                (h, w),
                int(told["reference"]),
                slices,
                str(told.get("reason", "")),
                tuple(str(w) for w in told.get("warnings", ())),
            )
        except KeyError as missing:
            raise InputError(f"it has no {missing.args[0]!r}") from missing
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError) as wrong:
            raise InputError("its values are not as expected") from wrong
        if not slices or not 0 <= record.reference < len(slices):
            raise InputError("its reference is none of its slices")
        return record


_FORMAT = "napari-focus-stack alignment 1"


def _slice_of(told: Mapping[str, Any]) -> SliceAlignment:
    (a, b, ty), (c, d, tx) = ((float(v) for v in row) for row in told["matrix"])
    gain, offset = (tuple(float(v) for v in told[name]) for name in ("gain", "offset"))
    numbers = np.array([a, b, ty, c, d, tx, *gain, *offset])
    if not np.isfinite(numbers).all() or min(gain) <= 0 or len(gain) != len(offset):
        raise InputError("its numbers are not finite, or a gain is not above 0")
    if np.abs(np.array([a - 1, b, c, d - 1])).max() > _LARGEST_SLOPE:
        raise InputError("a slice is zoomed or turned by more than a half")
    correlation = told.get("correlation")
    return SliceAlignment(
        ((a, b, ty), (c, d, tx)),
        gain,
        offset,
        None if correlation is None else float(correlation),
        bool(told.get("estimated", True)),
        bool(told.get("left_out", False)),
    )
