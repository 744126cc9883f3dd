"""Alignment of a stack: estimated from slice to slice, chained from the middle, applied to slices as they come.

Slices are looked at once, in order; nothing that is kept grows with their number but some figures each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..slices import SliceKind
from .brightness import LEAST_CHANGE, black_level, block_means, relative_brightness
from .record import Alignment, SliceAlignment
from .register import (
    AFFINE,
    FREEDOMS,
    PARAMETERS,
    PARTS,
    SHIFT,
    SIMILARITY,
    Bands,
    Fit,
    FloatArray,
    changes,
    fit,
    mean_square_motion,
    motion_matrix,
)
from .smooth_motion import SURE_OF_ALL, SURE_OF_TURN, steadied
from .warp import IDENTITY, Affine, composed, covered, inverted, warp

# Below it an estimate is none, and so is one of so large an expected error where slices are not clearly alike: things
# of different height disagree on the motion by pixels, and yet it is known. Noise and slices of something else
# correlate by less than 0.1, slices of a stack by more than 0.4.
_LEAST_CORRELATION = 0.2
_LARGEST_ERROR_PX = 1.0

# Shift along y and x, zoom, turn, stretch, shear: a tilted plane that is focused through feigns some stretch.
_TRUST = np.array([1.0, 1.0, 1.0, 1.0, 8.0, 8.0])

# Of these, what each step of focus does alike, and how sure they must be.
_EVEN = [False, False, True, False, False, False]
_SURELY = [SURE_OF_ALL, SURE_OF_ALL, SURE_OF_ALL, SURE_OF_TURN, SURE_OF_ALL, SURE_OF_ALL]

# Slices that correlate by this much are clearly alike. Where they do so on the median, one that does not correlate
# at all is none of them.
_ALIKE = 0.5

# As many at an end of the stack that resemble each other, but none of the others, are something else; within it, any
# number.
_MOST_STRANGE = 3

# From slice to slice, root mean square over picture and stack: less is no reason to resample anything.
_WORTH_PX = 0.1

# Blur and phase that change feign motion. Where things moved, moving them back takes away this share of what changes
# from slice to slice, at some level; in strong noise, less. So a drift through the whole stack of so many pixels of the
# finest image that was looked at is one in any case.
_LEAST_EXPLAINED = 0.2
_LONG_WAY_PX = 2.0

# Of sixteen parts of the picture, so few may all be moved alike by blur that changes.
_FEW_PIECES = 4.0
_TOLD_BY_FEW = (
    "Too little of the picture tells how slices moved from blur that changes; all were left where they are. A larger "
    "part of the field, or an alignment of a larger stack of the same run, would tell."
)

_MOST_NAMED = 8


@dataclass(frozen=True)
class AlignModel:
    """One model of motion.

    Attributes
    ----------
    title, help : str
        Its name, and a sentence on what it takes out.
    freedom : int
        Parameters of a slice's motion.
    """

    title: str
    help: str
    freedom: int


ALIGN_MODELS: dict[str, AlignModel] = {
    "none": AlignModel("None", "The slices are fused as they are.", 0),
    "auto": AlignModel("Auto", "Shift, zoom and turn, where slices move enough to matter.", SIMILARITY),
    "shift": AlignModel("Shift", "A stage that drifts.", SHIFT),
    "similarity": AlignModel(
        "Shift, zoom and turn", "Lenses that magnify as they focus, and cameras held by hand.", SIMILARITY
    ),
    "affine": AlignModel("Affine", "Shear and stretch as well.", AFFINE),
}


@dataclass(frozen=True)
class _Link:
    """What is known of how slice `to` lies on slice `of`; `rigid` is without stretch and shear."""

    of: int
    to: int
    fit: Fit
    rigid: Fit


class AlignmentEstimator:
    """Estimates the alignment of a stack; slices are added once, in order along z.

    Parameters
    ----------
    kind : SliceKind
    model : str
        A key of `ALIGN_MODELS`.
    match_brightness : str
        A key of `BRIGHTNESS_MODELS`.
    """

    def __init__(self, kind: SliceKind, model: str, match_brightness: str = "off") -> None:
        self._kind = kind
        self._model = model
        self._brightness = match_brightness
        self._links: list[_Link] = []
        self._count = 0
        # The last slice that was aligned, and one after it that was not.
        self._last: tuple[int, Bands] | None = None
        self._stray: tuple[int, Bands] | None = None
        # The last one before some that resemble only each other.
        self._earlier: tuple[int, Bands] | None = None
        self._likeness: dict[int, float] = {}
        # Pairs that resemble each other, though nothing tells how they lie.
        self._vague: list[set[int]] = []
        self._changes: FloatArray | float = 0.0
        self._blocks: list[FloatArray] = []
        self._step_px = 1

    def add(self, image: npt.ArrayLike) -> None:
        """Look at the next slice."""
        colour = self._kind.checked(image)[..., : self._kind.channels]
        if ALIGN_MODELS[self._model].freedom:
            self._add_motion(self._count, Bands.of(colour))
        if self._brightness != "off":
            self._blocks.append(block_means(colour))
        self._count += 1

    def _add_motion(self, k: int, bands: Bands) -> None:
        self._step_px = bands.scales[-1]
        if self._last is None or self._linked(self._last, k, bands):
            pass
        elif self._stray is not None and self._linked(self._stray, k, bands):
            # The one before was as good; what came before it was the stray, or the scene has changed.
            self._earlier = self._last
        elif self._earlier is not None and self._linked(self._earlier, k, bands):
            self._earlier = None
        else:
            self._stray = (k, bands)
            return
        self._last, self._stray = (k, bands), None

    def _linked(self, template: tuple[int, Bands], k: int, bands: Bands) -> bool:
        freedom = ALIGN_MODELS[self._model].freedom
        last = self._links[-1] if self._links else None
        rigid = found = fit(template[1], bands, min(freedom, SIMILARITY), last.rigid.motion if last else None)
        if freedom > SIMILARITY:
            found = fit(template[1], bands, freedom, near=rigid.motion)
        for one in (template[0], k):
            self._likeness[one] = max(self._likeness.get(one, -1.0), found.correlation)
        vague = (
            found.correlation < _ALIKE
            and self._length_px(found.errors[FREEDOMS.index(freedom)]) > _LARGEST_ERROR_PX * self._step_px
        )
        if found.correlation < _LEAST_CORRELATION:
            return False
        if vague:
            self._vague.append({template[0], k})
            return False
        self._links.append(_Link(template[0], k, found, rigid))
        if self._model == "auto":
            self._changes = self._changes + changes(template[1], bands, found)
        return True

    def _length_px(self, motion: FloatArray) -> float:
        return float(np.sqrt(mean_square_motion(motion, self._kind.shape)))

    def result(self) -> Alignment:
        """Return the alignment of the slices so far."""
        linked = _ends(self._chain())
        steps = self._steps()
        model, reason = self._decided(steps, linked)
        if model == "none":
            steps = np.zeros_like(steps)
        foreign = self._foreign(linked)
        # Also one that could not be aligned: the picture shows what the middle slice does, and as brightly.
        possible = set(range(self._count)) - foreign
        reference = min(possible, key=lambda k: (abs(k - self._count // 2), k), default=self._count // 2)
        matrices = self._chained(steps, reference)
        gains, offsets = self._brightened(reference)
        correlations = self._correlations(reference)
        slices = tuple(
            SliceAlignment(
                _rows(matrices[k]),
                tuple(float(g) for g in gains[k]),
                tuple(float(o) for o in offsets[k]),
                correlations.get(k),
                model == "none" or k in linked,
                k in foreign,
            )
            for k in range(self._count)
        )
        h, w = self._kind.shape[:2]
        warnings = () if self._model == "none" else self._warnings(steps, linked, foreign)
        told = [reason] if self._model != "none" else []
        if self._brightness != "off":
            change = float(np.abs(gains - 1).max())
            told.append(
                f"brightness matched by up to {100 * change:.0f} %" if change else "brightness as good as alike"
            )
        return Alignment(model, (h, w), reference, slices, "; ".join(told), warnings)

    def _chain(self) -> list[_Link]:
        """Return the links without those of slices that resemble each other and no others, though most do."""
        groups = _groups(self._links)
        main = max(groups, key=len, default=set())
        chain = [link for link in self._links if link.of in main]
        if 2 * len(main) <= self._count or not self._are_alike(chain):
            return self._links
        strange = [group for group in groups if _is_strange(group, main) and not self._resemble(group, main)]
        return [link for link in self._links if not any(link.of in group for group in strange)]

    def _resemble(self, group: set[int], main: set[int]) -> bool:
        return any(pair & group and pair & main for pair in self._vague)

    @staticmethod
    def _are_alike(links: list[_Link]) -> bool:
        return bool(links) and bool(np.median([link.fit.correlation for link in links]) >= _ALIKE)

    def _steps(self) -> FloatArray:
        """Return the motion from every slice to the next, made steady."""
        steps = self._steadied([link.fit for link in self._chain()])
        if steps[:, SIMILARITY:].any():
            return steps
        # What stretch and shear took of blur that changes was missing in zoom, which was off by up to 0.7 px.
        return self._steadied([link.rigid for link in self._chain()])

    def _steadied(self, fits: list[Fit]) -> FloatArray:
        """Return steady motions: what bends the picture first, then the rest as it is with that known."""
        count = max(self._count - 1, 0)
        steps = np.zeros((count, PARAMETERS))
        asked = [freedom for freedom in FREEDOMS if freedom <= ALIGN_MODELS[self._model].freedom]
        for stage, freedom in reversed(list(enumerate(asked))):
            here = slice(FREEDOMS[stage - 1] if stage else 0, freedom)
            motions, errors = np.zeros((count, PARAMETERS)), np.full((count, PARAMETERS), np.inf)
            pieces = np.full((count, PARAMETERS), np.inf)
            by_part = np.zeros((PARTS, count, PARAMETERS))
            for link, found in zip(self._chain(), fits, strict=True):
                between, slices = slice(link.of, link.to), link.to - link.of
                motions[between] = found.given(slices * steps[between].mean(axis=0), freedom) / slices
                errors[between] = found.errors[stage] / slices
                by_part[:, between] = found.by_part[stage][:, None] / slices
                pieces[between] = found.pieces
            if count:
                told = motions[:, here], errors[:, here], (_TRUST * self._step_px)[here], pieces[:, here]
                steps[:, here] = steadied(
                    *told, by_part[..., here], joined=freedom == SHIFT, even=_EVEN[here], surely=_SURELY[here]
                )
        return steps

    def _decided(self, steps: FloatArray, linked: set[int]) -> tuple[str, str]:
        """Return the model that is applied, and why."""
        size_px = float(np.sqrt(mean_square_motion(steps, self._kind.shape).mean())) if len(steps) else 0.0
        moves = f"slices move by {size_px:.2g} px from one to the next"
        if self._model == "none":
            return "none", "not asked for"
        if not linked:
            return "none", "no slice resembles its neighbours enough to be aligned"
        if 2 * len(linked) < self._count:
            return "none", "not aligned, for most slices do not resemble their neighbours enough"
        if self._is_told_by_few(steps):
            return "none" if self._model == "auto" else self._model, "left alone, for too little tells how slices move"
        if self._model != "auto":
            return self._model, moves if size_px > 0 else "no motion beyond what blur and noise feign"
        if size_px < _WORTH_PX:
            return "none", f"not aligned, for slices move by less than {_WORTH_PX:g} px from one to the next"
        explained = self._explained()
        if explained < _LEAST_EXPLAINED and self._way_px(steps) < _LONG_WAY_PX * self._step_px:
            less = f"by {size_px:.2g} px takes away only {100 * explained:.0f} % of what changes from slice to slice"
            return "none", f"not aligned, for moving slices {less}"
        return "similarity", f"aligned, for {moves}"

    def _is_told_by_few(self, steps: FloatArray) -> bool:
        """Return whether no motion is sure, and so little of the picture tells any that there may well be one."""
        pieces = [link.fit.pieces[:SHIFT].min() for link in self._chain()]
        return not steps.any() and bool(pieces) and bool(np.median(pieces) < _FEW_PIECES)

    def _explained(self) -> float:
        """Return the share of what changes from slice to slice that moving takes away, at most, of all levels."""
        as_it_lies, moved = np.asarray(self._changes)
        return max(0.0, float(np.max(1 - moved / np.maximum(as_it_lies, 1e-30))))

    def _way_px(self, steps: FloatArray) -> float:
        """Return how far the slices that are farthest apart lie from one another."""
        return self._length_px(np.ptp(np.cumsum(np.vstack([0 * steps[:1], steps]), axis=0), axis=0))

    def _chained(self, steps: FloatArray, reference: int) -> list[Affine]:
        matrices = [IDENTITY] * self._count
        for k in range(reference + 1, self._count):
            matrices[k] = composed(motion_matrix(steps[k - 1], self._kind.shape), matrices[k - 1])
        for k in range(reference - 1, -1, -1):
            matrices[k] = composed(inverted(motion_matrix(steps[k], self._kind.shape)), matrices[k + 1])
        return matrices

    def _brightened(self, reference: int) -> tuple[FloatArray, FloatArray]:
        """Return what makes every slice as bright as the reference slice; nothing, if all are nearly so."""
        nothing = np.ones((self._count, 1)), np.zeros((self._count, 1))
        if len(self._blocks) < 2:
            return nothing
        blocks = np.stack(self._blocks)
        black = black_level(blocks)
        found = self._light(blocks, black, "gain", reference)
        # The most that any pixel between black and the brightest block changes. Where all light together is the same,
        # less gain and more offset is what blur feigns.
        level = np.maximum(np.abs(blocks).max(axis=(0, 1)), 1e-30)
        if np.abs((found[0] - 1) * (level - black) / level).max() < LEAST_CHANGE:
            return nothing
        return found if self._brightness == "gain" else self._light(blocks, black, self._brightness, reference)

    def _light(
        self, blocks: FloatArray, black: FloatArray, model: str, reference: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return gain and offset of every slice, shape (z, c), chained from the reference slice."""
        light = [relative_brightness(*pair, model, black) for pair in pairwise(blocks)]
        gains, offsets = np.ones((self._count, len(black))), np.zeros((self._count, len(black)))
        for k in range(reference + 1, self._count):
            gain, offset = light[k - 1]
            # reference = g x + o, and x = (slice - offset) / gain
            gains[k] = gains[k - 1] / gain
            offsets[k] = offsets[k - 1] - gains[k] * offset
        for k in range(reference - 1, -1, -1):
            gain, offset = light[k]
            gains[k] = gains[k + 1] * gain
            offsets[k] = offsets[k + 1] + gains[k + 1] * offset
        return gains, offsets

    def _correlations(self, reference: int) -> dict[int, float]:
        return {(link.to if link.to > reference else link.of): link.fit.correlation for link in self._chain()}

    def _foreign(self, linked: set[int]) -> set[int]:
        """Return slices that resemble none of their neighbours, in a stack most of whose slices do."""
        chain = self._chain()
        if 2 * len(linked) < self._count or not self._are_alike(chain):
            return set()
        pairs = _ends(self._links) - linked
        unlike = sorted({k for k in range(self._count) if self._likeness.get(k, 0.0) < _LEAST_CORRELATION} - linked)
        return pairs.union(*(run for run in _runs(unlike) if self._breaks_off(run, chain)))

    def _breaks_off(self, run: list[int], chain: list[_Link]) -> bool:
        """Return whether slices in a row are suddenly unlike the rest, which does not just fade away into noise."""
        before, after = run[0] - 1, run[-1] + 1
        if before >= 0 and after < self._count:
            return any(link.of <= before and link.to >= after for link in chain)
        beside = max((link.fit.correlation for link in chain if {before, after} & {link.of, link.to}), default=0.0)
        return len(run) <= _MOST_STRANGE and beside >= _ALIKE

    def _warnings(self, steps: FloatArray, linked: set[int], foreign: set[int]) -> tuple[str, ...]:
        if not linked:
            return ("No slice resembles its neighbours enough to be aligned; all were left as they are.",)
        told = []
        stray = [k for k in range(self._count) if k not in linked and k not in foreign]
        if foreign:
            were = "resemble their neighbours and were" if len(foreign) > 1 else "resembles its neighbours and was"
            told.append(f"{_named(sorted(foreign))} hardly {were} left out; look at what is in there.")
        if not steps.any():
            return (*told, *self._left_alone(stray, linked, steps))
        if stray:
            were = "were moved as their" if len(stray) > 1 else "was moved as its"
            told.append(f"{_named(stray)} could not be aligned and {were} neighbours are.")
        joined = {k for link in self._chain() for k in range(link.of, link.to)}
        gaps = [k for k in range(min(linked), max(linked)) if k not in joined]
        if gaps:
            told.append(
                f"Between slices {gaps[0]} and {gaps[0] + 1} nothing tells how the stack moved; it was taken to move "
                "there as elsewhere."
            )
        return tuple(told)

    def _left_alone(self, stray: list[int], linked: set[int], steps: FloatArray) -> list[str]:
        """Return what to tell of slices of which none is moved."""
        if self._model == "auto":
            return []
        if 2 * len(linked) < self._count:
            return ["Most slices do not resemble their neighbours enough to be aligned; all were left where they are."]
        if self._is_told_by_few(steps):
            return [_TOLD_BY_FEW]
        were = "were left where they are" if len(stray) > 1 else "was left where it is"
        return [f"{_named(stray)} could not be aligned and {were}."] if stray else []


def _ends(links: list[_Link]) -> set[int]:
    return {k for link in links for k in (link.of, link.to)}


def _groups(links: list[_Link]) -> list[set[int]]:
    """Return the slices that links join, those that hang together in one set."""
    groups: list[set[int]] = []
    for link in links:
        ends = {link.of, link.to}
        groups = [*(group for group in groups if not group & ends), ends.union(*(g for g in groups if g & ends))]
    return groups


def _runs(numbers: list[int]) -> list[list[int]]:
    """Return sorted numbers as runs of such as follow one another."""
    runs: list[list[int]] = []
    for k in numbers:
        if runs and runs[-1][-1] == k - 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    return runs


def _is_strange(group: set[int], main: set[int]) -> bool:
    """Return whether slices that resemble no others are something else, rather than the stack going on after a gap."""
    if group is main:
        return False
    within = min(main) < min(group) and max(group) < max(main)
    return within or len(group) <= _MOST_STRANGE


def _named(slices: list[int]) -> str:
    more = ", …" if len(slices) > _MOST_NAMED else ""
    numbers = ", ".join(str(k) for k in slices[:_MOST_NAMED])
    return f"Slice{'s' if len(slices) > 1 else ''} {numbers}{more} (counted from 0)"


def _rows(matrix: Affine) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    (a, b, ty), (c, d, tx) = matrix.tolist()
    return (a, b, ty), (c, d, tx)


class Aligner:
    """Applies an alignment to slices as they come.

    Parameters
    ----------
    alignment : Alignment
    kind : SliceKind
        Of the slices as they are.
    crop : bool
        Whether only what all slices cover is kept.

    Attributes
    ----------
    kind : SliceKind
        Of the slices as they become.
    origin : tuple of int
        Where in a slice their first pixel lies, along y and x.
    """

    def __init__(self, alignment: Alignment, kind: SliceKind, crop: bool = False) -> None:
        alignment.for_stack(0, kind.shape, kind.channels)
        self.alignment = alignment
        self._window = alignment.common_window() if crop else tuple(slice(0, n) for n in kind.shape[:2])
        rows, columns = self._window
        self.origin = rows.start, columns.start
        shape = rows.stop - rows.start, columns.stop - columns.start, *kind.shape[2:]
        self._raw = kind
        self.kind = SliceKind(shape, kind.dtype, kind.alpha if shape[2:] == (4,) else None)
        self._cropped = crop

    def aligned(self, k: int, image: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return slice k where the reference slice lies, and which pixels it covers; None for all of them.

        Slices that were left out cover none.

        Raises
        ------
        InputError
            If there is no such slice in the alignment.
        """
        self.alignment.for_stack(0 if k < len(self.alignment) else k + 1, self._raw.shape, self._raw.channels)
        one = self.alignment.slices[k]
        source = self._raw.checked(image)
        if one.left_out:
            return source[self._window].reshape(self.kind.shape), np.zeros(self.kind.shape[:2], bool)
        if one.changes_nothing:
            return source[self._window].reshape(self.kind.shape), None
        lights = [np.broadcast_to(v, self._raw.channels) for v in (one.gain, one.offset)]
        if self._raw.alpha:
            lights = [np.append(v, neutral) for v, neutral in zip(lights, (1.0, 0.0), strict=True)]
        moved = one.affine.copy()
        moved[:, 2] += moved[:, :2] @ self.origin
        shape = self.kind.shape[:2]
        warped = warp(source, moved, *lights, shape=shape).reshape(self.kind.shape)
        mask = None if self._cropped else covered(moved, self._raw.shape[:2])
        return warped, None if mask is None or mask.all() else mask


class AlignedSlices:
    """The slices of a stack as an alignment puts them, warped when they are asked for.

    Parameters
    ----------
    stack : anything with ``shape``, ``dtype`` and whole-number indexing
        The slices as they are.
    alignment : Alignment
    crop : bool
    rgb : bool or None

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, stack: Any, alignment: Alignment, crop: bool = False, rgb: bool | None = None) -> None:
        kind = SliceKind(tuple(stack.shape)[1:], stack.dtype, rgb)
        alignment.for_stack(int(stack.shape[0]), kind.shape, kind.channels)
        self._aligner = Aligner(alignment, kind, crop)
        self._stack = stack
        self.shape = (int(stack.shape[0]), *self._aligner.kind.shape)
        self.dtype = kind.dtype

    @property
    def origin(self) -> tuple[int, int]:
        """Where in a slice the first pixel lies, along y and x."""
        return self._aligner.origin

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        """Return slice k; where it covers nothing it goes on as its mirror image."""
        if not 0 <= k < len(self):
            raise IndexError(k)
        return self._aligner.aligned(k, self._stack[k])[0]
