"""The option `mend_rims`: sharp rims of near objects, and the wall beside them without their blur.

Around a jump of the height map the pyramid mixes both sides: a near object's
strong rim hides the wall for 6 px, and the wall's slice shows the object's blur
laid over the wall. Both can be undone from the pixels of the two slices
(`TwoPeaks`): the near slice tells which side a pixel is on (`depth_edges`), and what
the near object's blur adds to the wall's slice is computed and taken away (`disc_blur`).

It is done only where the stack itself shows that the model holds: see `_Evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import SliceAnalysis
from ..height.peaks import doubled
from ..kernels import run_tasks
from ..pyramid import FloatImage, blur5, expand, push_pull, reduce, size_of
from .depth_edges import REACH, BoolImage, Jumps, find_jumps, matte, shows_detail
from .disc_blur import blurred
from .two_peaks import TwoPeaks, twice

# Sides of the pieces that are worked on, and how far they look around, in px at half size.
_PIECE, _AROUND = 128, 24

# Share of heights half way between both sides of a jump: a step has .01 to .04, slopes have .25 to .5.
_MOST_SLOPE = 0.12

# Pieces from which the evidence is gathered.
_MOST_WITNESSES = 6

# Radii of blur that are tried, in px a slice.
_GROWTHS = np.geomspace(0.35, 4.2, 7)

# The evidence: near pixels must show detail in the near slice, wall pixels must not; the veil must explain so much of
# the difference between the slices, and the other way round much less.
_LEAST_AGREEMENT, _MOST_LEAK = 0.7, 0.15
_LEAST_EXPLAINED, _MOST_EXPLAINED_BY_OTHER = 0.15, 0.35
_LEAST_PIXELS = 200

# Sides the height map is sure of: so far from its jump, in px at half size.
_SURE_SIDE = 4

# The wall is divided by what is seen of it, at least this.
_LEAST_SEEN = np.float32(0.25)

# Softness of a rim, as a lens leaves it: standard deviation in px.
_SOFTNESS_PX = 0.7

# In px: where the near side is taken whole, and where no more. Its rim spoils the pyramid so far inwards.
_WHOLE_INSIDE, _NOT_INSIDE = 6.0, 10.0

# In px at half size: the mended part fades out so far before the end of a rim's reach.
_FADE_PX = 3.0

# The veil is judged on the wall so far from the rim, in px.
_NEXT_TO_RIM_PX, _VEILED_PX = 1.5, 8.0

# Cover, blurred, from which the wall is taken from its own slice, and none below which it is left as it is.
_NO_VEIL, _VEIL = 0.01, 0.05

# In slices: heights further off than this from their side are given its height.
_OFF_SIDE = 1.5


_Window = tuple[slice, slice]


@dataclass(frozen=True)
class _Piece:
    """A part of the image around a rim, and which of its sides is taken for the near one.

    Attributes
    ----------
    core, window : tuple of slice
        The part, and the part with what is around it, at half size.
    near, wall : float32 array, shape (c, y, x)
        What the slices show in which the near side, or the wall, is in focus.
    has_near, has_wall : bool array, shape (y, x)
        Where there is such a slice.
    guide : float32 array, shape (y, x)
        The near slice in gray, filled where there is none.
    detailed : bool array, shape (y, x)
        Where the near slice shows fine detail.
    """

    core: _Window
    window: _Window
    near: FloatImage
    wall: FloatImage
    has_near: BoolImage
    has_wall: BoolImage
    guide: FloatImage
    detailed: BoolImage

    @cached_property
    def is_near(self) -> BoolImage:
        return matte(self.guide, self.detailed)


@dataclass
class _Evidence:
    """Whether one side hides the other, gathered over pieces."""

    near_pixels: int = 0
    agreeing: int = 0
    wall_pixels: int = 0
    leaking: int = 0
    difference: float = 0.0

    def __post_init__(self) -> None:
        self.unexplained = np.zeros(len(_GROWTHS))

    @property
    def plausible(self) -> bool:
        """Whether the near slice shows detail on the near side only."""
        return (
            min(self.near_pixels, self.wall_pixels) > _LEAST_PIXELS
            and self.agreeing >= _LEAST_AGREEMENT * self.near_pixels
            and self.leaking <= _MOST_LEAK * self.wall_pixels
        )

    @property
    def likeliest(self) -> int:
        """Which growth of blur explains most."""
        return int(np.argmin(self.unexplained))

    def explained(self, growth: int) -> float:
        """Return the share of the difference between the two slices that the veil explains, for a growth of blur."""
        return 1 - float(self.unexplained[growth]) / self.difference if self.difference > 0 else 0.0

    @property
    def growth(self) -> float:
        """Radius of blur, in px a slice, that explains most."""
        i = int(np.clip(self.likeliest, 1, len(_GROWTHS) - 2))
        before, least, after = self.unexplained[i - 1 : i + 2]
        step = 0.5 * (before - after) / max(before - 2 * least + after, 1e-30)
        return float(_GROWTHS[i] * (_GROWTHS[1] / _GROWTHS[0]) ** step)


class Occlusion:
    """Mends the rims of near objects in a fused image and in its height map.

    Parameters
    ----------
    peaks : TwoPeaks
    analysis : SliceAnalysis
        For its scaling, noise and deciding channels.
    """

    def __init__(self, peaks: TwoPeaks, analysis: SliceAnalysis) -> None:
        self._peaks = peaks
        self._analysis = analysis

    def mend(self, image: npt.NDArray[Any], height: FloatImage, confidence: FloatImage) -> BoolImage | None:
        """Mend a fused image and its height in place, and return where the height was mended.

        Parameters
        ----------
        image : array, shape (y, x, c), dtype of the stack
        height, confidence : float32 array
            At half size, filled.

        Returns
        -------
        bool array or None
            At half size; None where there was nothing to mend.
        """
        jumps = find_jumps(height, confidence, self._peaks.gap)
        if jumps is None:
            return None
        cores = [core for core in _cores(jumps.near) if jumps.slope(height, core) <= _MOST_SLOPE]
        judged = self._judged(jumps, cores)
        if judged is None:
            return None
        upper, growth = judged
        mended = np.zeros(height.shape, bool)

        def mend_piece(core: _Window) -> None:
            piece = self._piece(jumps, upper, core)
            self._mend_image(piece, jumps, growth, image)
            _mend_height(piece, jumps, upper, height, mended)

        run_tasks(mend_piece, cores)
        return mended

    def _judged(self, jumps: Jumps, cores: list[_Window]) -> tuple[bool, float] | None:
        """Return whether the upper side hides the lower one, and how blur grows; None if neither hides the other."""
        witnesses = cores[:: -(-len(cores) // _MOST_WITNESSES) or 1]
        found = []
        for upper in (True, False):
            pieces = run_tasks(partial(self._piece, jumps, upper), witnesses)
            found.append((_evidence(pieces, jumps, upper), pieces))
        if not any(evidence.plausible for evidence, _ in found):
            return None
        for evidence, pieces in found:
            for difference, unexplained in run_tasks(partial(self._explained, jumps), pieces):
                evidence.difference += difference
                evidence.unexplained += unexplained
        (above, _), (below, _) = found
        upper = above.explained(above.likeliest) >= below.explained(below.likeliest)
        hiding, hidden = (above, below) if upper else (below, above)
        # The lens blurs both sides alike: one growth holds for both.
        growth = hiding.likeliest
        explained = hiding.explained(growth)
        if (
            not hiding.plausible
            or growth in (0, len(_GROWTHS) - 1)
            or explained < _LEAST_EXPLAINED
            or hidden.explained(growth) > _MOST_EXPLAINED_BY_OTHER * explained
        ):
            return None
        return upper, hiding.growth

    def _piece(self, jumps: Jumps, upper: bool, core: _Window) -> _Piece:
        rows, columns = (
            slice(max(s.start - _AROUND, 0), min(s.stop + _AROUND, n))
            for s, n in zip(core, size_of(jumps.distance), strict=True)
        )
        window = rows, columns
        near_height, wall_height = (jumps.upper, jumps.lower) if upper else (jumps.lower, jumps.upper)
        near_pixels, has_near = self._peaks.pixels_at(near_height[window], window)
        wall_pixels, has_wall = self._peaks.pixels_at(wall_height[window], window)
        near, wall = self._scaled(near_pixels), self._scaled(wall_pixels)
        deciding = self._analysis.deciding
        known = has_near.astype(np.float32)
        filled = np.stack([np.where(has_near, plane, push_pull(plane, known)) for plane in near[deciding]])
        behind = wall[deciding]
        detailed = has_near & shows_detail(filled, behind, self._noise(filled), self._noise(behind))
        mean = np.asarray(filled.mean(axis=0), np.float32)
        return _Piece(core, window, near, wall, has_near, has_wall, mean, detailed)

    def _scaled(self, pixels: npt.NDArray[Any]) -> FloatImage:
        """Return pixels of the stack as float32, shape (c, y, x)."""
        planes = np.moveaxis(pixels, -1, 0)
        scaling = self._analysis.scaling
        return np.ascontiguousarray(planes if scaling.is_identity else scaling.to_kernel(planes), np.float32)

    def _gray(self, planes: FloatImage) -> FloatImage:
        return np.asarray(planes[self._analysis.deciding].mean(axis=0), np.float32)

    def _noise(self, planes: FloatImage) -> FloatImage:
        """Return the variance of the noise of the deciding channels."""
        analysis = self._analysis
        variances = [
            analysis.gain[c] * blur5(blur5(plane)) + analysis.offset[c]
            for c, plane in zip(analysis.deciding, planes, strict=True)
        ]
        return np.maximum(np.stack(variances), analysis.least_variance)

    def _explained(self, jumps: Jumps, piece: _Piece) -> tuple[float, npt.NDArray[np.float64]]:
        """Return the difference between the two slices beside the near side, and what a veil leaves of it.

        Both are sums of squares; of the second, one for every growth of blur.
        """
        from scipy import ndimage

        outside = ndimage.distance_transform_edt(~piece.is_near)
        seen = (outside > _NEXT_TO_RIM_PX) & (outside < _VEILED_PX) & piece.has_near & piece.has_wall
        seen &= twice(jumps.near[piece.window], seen.shape)
        known = reduce(seen.astype(np.float32))
        share = blur5(known)
        judged = seen[::2, ::2] & (share > 0.25)
        if not judged.any():
            return 0.0, np.zeros(len(_GROWTHS))
        near, wall = self._gray(piece.near), self._gray(piece.wall)
        difference, ground = (reduce(np.where(seen, values, np.float32(0))) for values in (wall - near, near))
        cover = piece.is_near.astype(np.float32)
        light = np.stack([reduce(near * cover), reduce(cover)])
        depth = _depth(jumps, piece.window)

        def energy(values: FloatImage) -> float:
            # The wall's own texture, which nothing explains, is smoothed away; the veil is smooth.
            mean = blur5(values)[judged] / share[judged]
            return float(np.sum(mean * mean, dtype=np.float64))

        unexplained = []
        for growth in _GROWTHS:
            veil, veiling = blurred(light, depth * np.float32(growth / 2), judged)
            unexplained.append(energy(difference - (veil * known - veiling * ground)))
        return energy(difference), np.array(unexplained)

    def _mend_image(self, piece: _Piece, jumps: Jumps, growth: float, image: npt.NDArray[Any]) -> None:
        from scipy import ndimage

        size = size_of(piece.is_near)
        cover = ndimage.gaussian_filter(piece.is_near.astype(np.float32), _SOFTNESS_PX)
        near = piece.near
        light = np.stack([reduce(plane) for plane in (*(near * cover), cover)])
        half = blurred(light, _depth(jumps, piece.window) * np.float32(growth / 2), jumps.near[piece.window])
        *veil, veiling = (expand(plane, size) for plane in half)
        wall = (piece.wall - np.stack(veil)) / np.maximum(1 - veiling, _LEAST_SEEN)
        inside = ndimage.distance_transform_edt(piece.is_near)
        near_share = np.clip((_NOT_INSIDE - inside) / (_NOT_INSIDE - _WHOLE_INSIDE), 0, 1) * piece.has_near
        wall_share = np.clip((veiling - _NO_VEIL) / (_VEIL - _NO_VEIL), 0, 1) * piece.has_wall
        distance = doubled(jumps.distance[piece.window], size)
        fade = np.clip((REACH - distance) / _FADE_PX, 0, 1)
        near_part, wall_part = fade * near_share * cover, fade * wall_share * (1 - cover)

        rows, columns = (slice(2 * s.start, min(2 * s.stop, n)) for s, n in zip(piece.core, image.shape, strict=False))
        top, left = (2 * w.start for w in piece.window)
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        scaling = self._analysis.scaling
        for c in range(image.shape[2]):
            own = scaling.to_kernel(image[rows, columns, c])
            moved = own + near_part[inner] * (near[c][inner] - own) + wall_part[inner] * (wall[c][inner] - own)
            gray = scaling.to_gray_levels(moved, image.dtype)
            touched = near_part[inner] + wall_part[inner] > 0
            image[rows, columns, c] = np.where(touched, gray, image[rows, columns, c])


def _evidence(pieces: list[_Piece], jumps: Jumps, upper: bool) -> _Evidence:
    """Return how well the detail of the near slices agrees with the height map where that is sure."""
    found = _Evidence()
    sides = (jumps.is_upper, jumps.is_lower) if upper else (jumps.is_lower, jumps.is_upper)
    for piece in pieces:
        sure = jumps.distance[piece.window] >= _SURE_SIDE
        near, wall = (side[piece.window] & sure for side in sides)
        detailed = piece.detailed[::2, ::2]
        found.near_pixels += int(near.sum())
        found.agreeing += int((near & detailed).sum())
        found.wall_pixels += int(wall.sum())
        found.leaking += int((wall & detailed).sum())
    return found


def _mend_height(piece: _Piece, jumps: Jumps, upper: bool, height: FloatImage, mended: BoolImage) -> None:
    """Give heights beside a rim that belong to the other side the height of their own."""
    inner = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(piece.core, piece.window, strict=True))
    is_upper = (piece.is_near[::2, ::2] == upper)[inner]
    side = np.where(is_upper, jumps.upper[piece.core], jumps.lower[piece.core])
    wrong = (np.abs(height[piece.core] - side) > _OFF_SIDE) & jumps.near[piece.core]
    np.copyto(height[piece.core], side, where=wrong)
    mended[piece.core] = wrong


def _depth(jumps: Jumps, window: _Window) -> FloatImage:
    return np.maximum(jumps.upper[window] - jumps.lower[window], np.float32(1))


def _cores(near: BoolImage) -> list[_Window]:
    """Return the windows, at half size, in which something is near a jump."""
    h, w = near.shape
    grid = [
        (slice(y, min(y + _PIECE, h)), slice(x, min(x + _PIECE, w)))
        for y in range(0, h, _PIECE)
        for x in range(0, w, _PIECE)
    ]
    return [window for window in grid if near[window].any()]
