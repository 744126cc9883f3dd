"""Focus-index map and height map: a running peak of the focus measure, and its place between slices.

The focus measure is F = (E0 + 2) (E1 + 2)^(1/2), E0 and E1 being the energies of the
two finest Laplacian levels in units of the noise, E1 at most some 128. As a product it
follows level 0, which is sharp along z and beside edges, wherever level 0 rises above
the noise, and level 1 elsewhere. It is held at half size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis import NOTHING, SliceAnalysis
from ..kernels import kernel, run_bands, run_rows
from ..machine import give_memory_back
from ..median import median5
from ..pyramid import FloatImage
from ..sampling import sample
from ..whole_image import Whole
from .regularisation import believed, confidence_from_around, confidence_of, filled, settled, smoothed

# Added to energies, in units of the noise: below it their logarithm is noise.
_FLOOR = np.float32(2)

# Energy of level 0, in units of the noise, from where it needs less smoothing.
_CLEAR_ENERGY = np.float32(1)

# Energy at which level 1 gives way, which is seen from farther off: level 0 then has enough to decide alone.
_MOST_OF_NEXT = np.float32(128)
_MOST_OF_ALL = np.float32(1e20)

_TINY = np.float32(1e-6)
_LEAST_BEND = np.float32(1e-3)

# Share of pixels, the ones of most energy, that tell the depth of focus.
_CLEAREST = 0.02

# Energy of the peak in units of the noise: what noise alone reaches, and what it does not.
_NOISE, _CLEAR = 1.5, 2.5

# Confidence below which a height is not told by its own pixels: what is left of noise in short stacks.
TELLING = np.float32(0.05)

Told = tuple[FloatImage, FloatImage, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class HeightMaps:
    """Where the specimen is sharpest.

    Attributes
    ----------
    index : uint16 array, shape (y, x)
        The sharpest slice.
    height : float32 array, shape (y, x)
        Position of the peak, in slices.
    confidence : float32 array, shape (y, x)
        0 where nothing tells the height, 1 where it is sure; at most half where it is filled.
    """

    index: npt.NDArray[np.uint16]
    height: FloatImage
    confidence: FloatImage


Replacement = tuple[HeightMaps, npt.NDArray[np.bool_]]


class PeakTracker:
    """The largest focus measure so far at every pixel, and its neighbours along z.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of a slice, in px.
    half_shape : tuple of int
        Its half, rounded up: the size everything is held at.
    smooth : bool
        The energy is smooth over many pixels. Then neighbours agree whether they tell the height or
        not, and `maps` needs other evidence; noise is no reason to hear more than three slices.
    whole : Whole or None
        The image that the slices may be a part of.
    name : str
        What this tracker is called in its record.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        half_shape: tuple[int, int],
        *,
        smooth: bool = False,
        whole: Whole | None = None,
        name: str = "height",
    ) -> None:
        self.shape = shape
        self.smooth = smooth
        self._whole = whole or Whole()
        self._name = name
        self.count = 0
        self.index = np.zeros(half_shape, np.uint16)
        self._best, self._before, self._after, self._previous, self._mass, self._moment = (
            np.zeros(half_shape, np.float32) for _ in range(6)
        )

    def add(self, analysis: SliceAnalysis) -> None:
        """Take in the next slice."""
        energies = analysis.energies[0], analysis.fine_energy, analysis.energies[min(1, analysis.levels - 1)]
        self._track(*energies, NOTHING if analysis.valid is None else analysis.valid[1], analysis.rows[1])

    def track(self, energy: FloatImage) -> None:
        """Take in the next slice's energy in units of the noise, where there is only one."""
        self._track(energy, energy, energy, NOTHING, (0, len(energy)))

    def _track(
        self,
        finest: FloatImage,
        finest_raw: FloatImage,
        next_finest: FloatImage,
        valid: FloatImage,
        rows: tuple[int, int],
    ) -> None:
        run_rows(
            _track_band,
            rows,
            self.index.shape[1],
            finest,
            finest_raw,
            next_finest,
            valid,
            _MOST_OF_ALL if self.smooth else _MOST_OF_NEXT,
            self._best,
            self._before,
            self._after,
            self._previous,
            self._mass,
            self._moment,
            self.index,
            self.count,
        )
        self.count += 1

    def maps(
        self,
        *,
        fill: bool = True,
        smoothing_px: float = 0.0,
        halo_radius_px: float = 0.0,
        told: Told | None = None,
        mended: npt.NDArray[np.bool_] | None = None,
        replaced: Callable[[], Replacement] | None = None,
        evidence: FloatImage | None = None,
    ) -> HeightMaps:
        """Return the maps of the slices so far, at full size.

        Parameters
        ----------
        fill : bool
            Fill heights that their pixels do not tell from those around; else they are NaN.
        smoothing_px : float
            Smooth the height over so many px of the slice; jumps stay.
        halo_radius_px : float
            Distrust heights this close to a much sharper spot; 0 is off.
        told : tuple of array, or None
            What `told` returned, so that it need not be done twice; used up.
        mended : bool array or None
            Where its height stands, whatever the options say.
        replaced : callable or None
            Returns other maps at half size, and where these are to be taken. Called late, since they need room.
        evidence : float32 array or None
            How far, 0 to 1, pixels at half size tell their height; by default, how far their energy is more
            than noise. Used up.
        """
        depth = self._depth_of_focus()
        if told is not None and fill and halo_radius_px == 0:
            height, confidence, unknown = told
        else:
            height, confidence, unknown = self._told(depth, fill, halo_radius_px, evidence)
        index = self.index
        if told is not None and mended is not None:
            np.copyto(height, told[0], where=mended)
            index = index.copy()
            index[mended] = np.rint(np.clip(height[mended], 0, max(self.count - 1, 0))).astype(np.uint16)
        del told
        if smoothing_px > 0:
            height = smoothed(height, confidence + np.float32(1e-3), smoothing_px / 2, depth)
        np.clip(height, 0, max(self.count - 1, 0), out=height)
        if not fill:
            height[unknown] = np.nan
        if replaced is not None:
            other, where = replaced()
            index = np.where(where, other.index, index)
            np.copyto(height, other.height, where=where)
            np.copyto(confidence, other.confidence, where=where)
            del other
        # One after the other, since this is where a run needs most memory; what was freed is of another size.
        give_memory_back()
        full_index = repeated(index, self.shape)
        del index, unknown
        full_height = doubled(height, self.shape)
        del height
        return HeightMaps(index=full_index, height=full_height, confidence=doubled(confidence, self.shape))

    def told(self) -> Told:
        """Return height, filled; confidence; and where a pixel itself does not tell its height, all at half size."""
        return self._told(self._depth_of_focus(), True, 0.0)

    def half_heights(self) -> Callable[[tuple[slice, slice]], FloatImage]:
        """Return what gives the height of the slices so far of a window at half size.

        Filled from within the window where nothing tells it.
        """
        depth = self._depth_of_focus()
        energy = self._energy()
        evidence = _evidence(energy)
        peaks, weight = self._peaks(depth, energy)

        def of_window(window: tuple[slice, slice]) -> FloatImage:
            own = np.ascontiguousarray(peaks[window])
            if self.smooth:
                height = filled(own, np.ascontiguousarray(evidence[window]), depth)
            else:
                height = settled(own, np.ascontiguousarray(weight[window]), depth, self.count).height
            return np.clip(height, 0, max(self.count - 1, 0), out=height)

        return of_window

    def _told(
        self, depth_of_focus: float, fill: bool, halo_radius_px: float, evidence: FloatImage | None = None
    ) -> Told:
        """Return height, filled; confidence; and where a pixel itself does not tell its height."""
        doubtful = self._in_halo(halo_radius_px) if halo_radius_px > 0 else None
        energy = self._energy()
        evidence = _evidence(energy) if evidence is None else evidence
        if doubtful is not None:
            evidence[doubtful] = 0
        peaks, weight = self._peaks(depth_of_focus, energy)
        del energy
        if self.smooth:
            return filled(peaks, evidence, depth_of_focus), evidence, evidence <= 0
        relief = settled(peaks, weight, depth_of_focus, self.count, doubtful)
        del peaks, weight
        confidence = confidence_of(relief.scatter, depth_of_focus, self.count)
        confidence *= evidence
        unknown = (relief.known <= 0) | (confidence < TELLING)
        if fill:
            evidence *= relief.known
            np.maximum(confidence, confidence_from_around(evidence, depth_of_focus), out=confidence)
            if doubtful is not None:
                confidence[doubtful] = 0
        return relief.height, confidence, unknown

    def unfilled(
        self,
        halo_radius_px: float = 0.0,
        evidence: FloatImage | None = None,
        part: tuple[slice, ...] = (),
    ) -> FloatImage:
        """Return what is known before heights are filled from around, which reaches far: for `tiled.filling`.

        Parameters
        ----------
        halo_radius_px : float
        evidence : float32 array or None
            In place of its own.
        part : tuple of slice
            Rows and columns that are asked for; nothing for all.

        Returns
        -------
        float32 array, shape (6, y, x), at half size
            Each pixel's own height, how far it is believed, its weight, its confidence, its evidence
            (-1 where it is doubted), and its sharpest slice.
        """
        depth = self._depth_of_focus()
        doubtful = self._in_halo(halo_radius_px) if halo_radius_px > 0 else None
        energy = self._energy()
        evidence = _evidence(energy) if evidence is None else evidence
        if doubtful is not None:
            evidence[doubtful] = 0
        peaks, weight = self._peaks(depth, energy)
        del energy
        if self.smooth:
            calm, ones = median5(peaks), np.ones_like(peaks)
            return _stacked(part, calm, evidence, ones, evidence, evidence, self.index)
        own, scatter, known = believed(peaks, weight, depth, self.count, doubtful)
        del peaks
        confidence = confidence_of(scatter, depth, self.count)
        del scatter
        confidence *= evidence
        if doubtful is not None:
            evidence[doubtful] = -1
        return _stacked(part, own, known, weight, confidence, evidence, self.index)

    def _depth_of_focus(self) -> float:
        """Return how far from focus contrast is half of what it is in focus, about, in slices.

        From the number of slices that are nearly as sharp as the sharpest, in the clearest
        pixels. The factors bring together what 12 to 200 slices of one specimen give.
        """
        return self._whole.number(f"{self._name}: depth of focus", self._own_depth_of_focus)

    def _own_depth_of_focus(self) -> float:
        best, mass = sample(self._best), sample(self._mass)
        clearest = best >= np.quantile(best, 1 - _CLEAREST)
        return max(2 * float(np.median(mass[clearest])) - 1.1, 0.8)

    def _peaks(self, depth_of_focus: float, energy: FloatImage) -> tuple[FloatImage, FloatImage]:
        """Return the peak between slices, in slices, and its weight, as `regularisation.settled` wants it.

        From the sharpest slice and its neighbours: a parabola through F^(-1/4), which is straighter than
        the logarithm (Nayar & Nakagawa, Shape from focus, IEEE TPAMI 16, 824-831, 1994) where contrast
        falls like 1 / (1 + z^2): errors of up to 0.03 slices between slices became 0.01. Where slices are
        dense neighbours differ by noise; then from the centre of all F^8.
        """
        # What weights are made of, in their place: a kernel takes powers one by one, NumPy several at a time.
        peaks, weight = np.empty_like(self._best), energy
        dense = 0.0 if self.smooth else float(np.clip((depth_of_focus - 1.3) / 0.8, 0, 1))
        state = self._best, self._before, self._after, self._mass, self._moment, self.index
        run_bands(
            _peak_band,
            *peaks.shape,
            *state,
            self.count,
            np.float32(depth_of_focus),
            np.float32(dense),
            peaks,
            weight,
        )
        return peaks, weight

    def _energy(self) -> FloatImage:
        """Return the energy of the peak in units of the noise."""
        energy = np.maximum(self._best, _TINY)
        np.power(energy, np.float32(2 / 3), out=energy)
        energy -= _FLOOR
        return energy

    def _in_halo(self, radius_px: float) -> npt.NDArray[np.bool_]:
        from scipy import ndimage

        magnitude = np.sqrt(np.maximum(self._energy() - 1, 0))
        reach = max(round(radius_px / 2), 1)
        y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        # Not the default mode: of a footprint four times as wide as the map, SciPy 1.17 then reads beyond its memory.
        brightest = ndimage.maximum_filter(magnitude, footprint=x * x + y * y <= reach * reach, mode="constant")
        return magnitude < np.float32(0.3) * brightest


def _evidence(energy: FloatImage) -> FloatImage:
    """Return how far, 0 to 1, the energy of the peak is more than noise."""
    evidence: FloatImage = energy - np.float32(_NOISE)
    evidence /= np.float32(_CLEAR - _NOISE)
    return np.clip(evidence, 0, 1, out=evidence)


def _stacked(part: tuple[slice, ...], *maps: npt.NDArray[Any]) -> FloatImage:
    parts = [one[part] for one in maps]
    out = np.empty((len(parts), *parts[0].shape), np.float32)
    run_bands(_copy_band, *parts[0].shape, parts, out)
    return out


def _copy_band(maps: list[npt.NDArray[Any]], out: FloatImage, first: int, last: int) -> None:
    for one, own in zip(maps, out, strict=True):
        own[first:last] = one[first:last]


def repeated(half: npt.NDArray[np.uint16], shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Return a map at full size, every pixel of which is that of half the size it lies in."""
    full = np.empty(shape, np.uint16)
    run_bands(_repeat_band, *shape, half, full)
    return full


def doubled(half: FloatImage, shape: tuple[int, int]) -> FloatImage:
    """Return a map at full size: even pixels are its own, odd ones lie between two."""
    full = np.empty(shape, np.float32)
    run_bands(double_band, *shape, half, full)
    return full


@kernel
def double_band(half, full, first, last):  # type: ignore[no-untyped-def]
    """Write rows of `doubled`: the last kernel of a run."""
    h, w = half.shape
    width = full.shape[1]
    both = np.empty(w + 1, np.float32)
    for y in range(first, last):
        above = half[y // 2]
        below = half[min((y + 1) // 2, h - 1)]
        for x in range(w):
            both[x] = np.float32(0.25) * (above[x] + below[x])
        both[w] = both[w - 1]
        out = full[y]
        for x in range(width // 2):
            out[2 * x] = both[x] + both[x]
            out[2 * x + 1] = both[x] + both[x + 1]
        if width % 2 == 1:
            out[width - 1] = both[w - 1] + both[w - 1]


@kernel
def _repeat_band(half, full, first, last):  # type: ignore[no-untyped-def]
    for y in range(first, last):
        for x in range(full.shape[1]):
            full[y, x] = half[y // 2, x // 2]


@kernel
def _track_band(  # type: ignore[no-untyped-def]
    finest,
    finest_raw,
    next_finest,
    valid,
    most_of_next,
    best,
    before,
    after,
    previous,
    mass,
    moment,
    index,
    k,
    first,
    last,
):
    """Follow the peak; `mass` and `moment` are the sums of (F / best)^8 and of the same times the way from `index`.

    Energies count as much as pixels are `valid`, which may be empty.
    """
    w = best.shape[1]
    held = np.empty((3, w), np.float32)
    for y in range(first, last):
        fine, raw, other = finest[y], finest_raw[y], next_finest[y]
        if valid.shape[0] > 0:
            for x in range(w):
                held[0, x] = fine[x] * valid[y, x]
                held[1, x] = raw[x] * valid[y, x]
                held[2, x] = other[x] * valid[y, x]
            fine, raw, other = held[0], held[1], held[2]
        for x in range(w):
            smooth = fine[x]
            # Far above the noise the finest energy needs less smoothing, as in the fusion.
            clear = smooth * ((raw[x] + _CLEAR_ENERGY) / (smooth + _CLEAR_ENERGY))
            wide = other[x] * (most_of_next / (other[x] + most_of_next))
            focus = (clear + _FLOOR) * np.sqrt(wide + _FLOOR)
            old = best[y, x]
            better = focus > old
            way = np.float32(k) - np.float32(index[y, x])
            ratio = min(focus, old) / max(focus, old)
            ratio *= ratio
            ratio *= ratio
            ratio *= ratio
            mass_now = mass[y, x]
            moment_now = moment[y, x]
            mass[y, x] = mass_now * ratio + np.float32(1) if better else mass_now + ratio
            moment[y, x] = (moment_now - mass_now * way) * ratio if better else moment_now + ratio * way
            # The first slice is the peak until another one is; its neighbour above is the second.
            after[y, x] = np.float32(0) if better else (focus if way == np.float32(1) else after[y, x])
            before[y, x] = previous[y, x] if better else before[y, x]
            best[y, x] = focus if better else old
            index[y, x] = np.uint16(k) if better else index[y, x]
            previous[y, x] = focus


@kernel
def _peak_band(  # type: ignore[no-untyped-def]
    best, before, after, mass, moment, index, count, depth, dense, peaks, weight, first, last
):
    """`weight` is the energy of the peaks before."""
    for y in range(first, last):
        for x in range(best.shape[1]):
            top = max(best[y, x], _TINY)
            k = np.float32(index[y, x])
            a = np.sqrt(np.sqrt(top / max(before[y, x], _TINY)))
            b = np.sqrt(np.sqrt(top / max(after[y, x], _TINY)))
            is_first = k == np.float32(0)
            is_last = k == np.float32(count - 1)
            a, b = (b if is_first else a), (a if is_last else b)
            bend = max(a + b - np.float32(2), _LEAST_BEND)
            way = np.float32(0.5) * (a - b) / bend
            way = min(max(way, np.float32(-0.5)), np.float32(0.5))
            # All slices are heard where a whole peak lies within the stack.
            whole = k >= depth and k <= np.float32(count - 1) - depth
            centre = moment[y, x] / max(mass[y, x], np.float32(1))
            centre = min(max(centre, -depth), depth)
            way += (dense if whole else np.float32(0)) * (centre - way)
            peaks[y, x] = k + way
            # Second derivative of the logarithm of the energy, for one depth of focus.
            near = min(bend, np.float32(3)) * np.float32(8 / 3) * depth * depth
            width = depth / (np.float32(2) * max(mass[y, x], np.float32(1)) - np.float32(1.1))
            energy = max(weight[y, x], np.float32(0.01))
            weight[y, x] = np.sqrt(energy * (near + dense * (width * width - near)))
