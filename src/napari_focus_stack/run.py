"""A run at work: analyses the slices one by one, and gives a result when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .alignment.aligner import Aligner
from .alignment.record import Alignment
from .analysis import SliceAnalysis
from .auto_choices import RunFacts, chosen_values
from .errors import InputError
from .fusion import FUSION_METHODS
from .fusion.accumulator import FusionSetting, SecondVisit
from .fusion.blocks import block_reach_px
from .fusion.laplacian import LaplacianFusion
from .fusion.veil import LEAST_SLICES
from .fusion.whole_pixels import MOST_SLICES
from .height.peaks import HeightMaps, PeakTracker, Replacement, Told, repeated
from .kernels import run_tasks, run_together
from .machine import give_memory_back
from .noise import NoiseModel
from .occlusion.rims import Occlusion
from .occlusion.two_peaks import TwoPeaks
from .options import AUTO, OPTION_SPECS, FocusStackOptions
from .pyramid import FloatImage, level_count, noise_gains
from .result import FocusStackResult, Part
from .scaling import Scaling
from .sharpness import FOCUS_LEVEL, SharpnessReport, focus_from_energies, sharpness
from .slices import SliceKind
from .transparent.phase import LEAST_LEVELS, PhaseTracker, at_half_size, surely_dark
from .whole_image import Whole

# How far around a pixel lies what decides about its height, in px.
HEIGHT_REACH_PX = 64

# Gray slices of so many pixels give memory back at no cost that shows.
_LARGE_PX = 1 << 22

# Of so many rows and columns each one tells how bright a stack is.
_GLIMPSED = 16


class Run:
    """What a `FocusStacker` does once it knows its noise; its methods are those of the stacker."""

    def __init__(
        self,
        kind: SliceKind,
        slices: int,
        options: FocusStackOptions,
        noise: NoiseModel,
        alignment: Alignment | None,
        whole: Whole,
    ) -> None:
        self.whole = whole
        self.aligner: Aligner | None = None
        if alignment is not None:
            alignment.for_stack(slices, kind.shape, kind.channels)
            self.aligner = Aligner(alignment, kind, options.crop)
            kind = self.aligner.kind
        height, width = kind.shape[:2]
        self.kind = kind
        self.options = options
        self.noise = _chosen_noise(noise, options, kind.channels)
        # What lies far from all that is known, of float stacks; told by the first slice.
        self._far = np.zeros(kind.channels, np.float32)
        self._new_analysis = partial(
            SliceAnalysis,
            (height, width),
            kind.channels,
            chosen_levels(options, height, width),
            self.noise,
            Scaling.of(kind.dtype, self.noise),
            deciding_channels(options, kind.channels),
            magnitude=slices <= MOST_SLICES,
            far=self._far,
        )
        self.analysis = self._new_analysis()
        self.tracker = PeakTracker((height, width), self.analysis.shapes[1], whole=whole)
        self.per_slice: list[float] = []
        self.per_slice_of_core: list[tuple[float, ...]] = []
        self.with_holes = 0
        self._slices = slices
        # What is still to be done with the slice that was analysed last, and a second analysis, so that the next slice
        # can be analysed meanwhile.
        self._left: list[Callable[[], None]] = []
        self._last = self.analysis
        self._other: SliceAnalysis | None = None
        self._maps: HeightMaps | None = None
        self._told: Told | None = None
        self._mended: npt.NDArray[np.bool_] | None = None
        self._revisited: set[int] = set()
        light = options.light
        # Two slices do not tell blur from phase, nor does a pyramid without a second level.
        if slices == 2 or self.analysis.levels < LEAST_LEVELS:
            light = light if light == "glowing" else "opaque"
        # Whether a first look is to tell the light.
        self.open = light == AUTO
        self._first_look: PhaseTracker | None = None
        self._looking: list[SliceAnalysis] = []
        self._looked = 0
        self._light, self._sure = light, False
        # Of a part it is known what all of the stack is.
        if light == AUTO and whole.given.get("phase: largest share") == 0:
            self._light, self._sure = "opaque", True
        elif light == AUTO and whole.given.get("phase: smallest share") == 1:
            self._light, self._sure = "transparent", True

    def _begin(self) -> None:
        """Make ready for the first slice, when it is there: after the first look, if one was taken."""
        self._use_first_look()
        options, slices, (height, width) = self.options, self._slices, self.kind.shape[:2]
        light = self._light
        self.phase = None if light in ("opaque", "glowing") else self._phase(light)
        self.surely_transparent = self._sure and light == "transparent"
        self.method = FUSION_METHODS[options.method].accumulator(
            FusionSetting(
                slices=slices,
                channels=self.kind.channels,
                dtype=self.kind.dtype,
                noise=self.noise,
                analysis=self.analysis,
                phase=self.phase,
                glowing=self.tracker if options.light in (AUTO, "glowing") else None,
                surely_glowing=options.light == "glowing",
                surely_transparent=self.surely_transparent,
                z_preference=options.z_preference,
                denoise=options.denoise,
                whole=self.whole,
            )
        )
        self._leave_out_rows(self.analysis)
        # Rims need a jump of several slices; an unknown number may turn out to be many.
        far = slices == 0 or slices > MOST_SLICES
        rims = options.mend_rims and far and options.method == "laplacian" and options.light != "glowing"
        self.two_peaks = (
            TwoPeaks((height, width), self.analysis.shapes[1], slices, self.kind.channels, self.kind.dtype)
            if rims
            else None
        )

    def _leave_out_rows(self, analysis: SliceAnalysis) -> None:
        """Leave out the finest levels' work on rows that say nothing of the core."""
        core, given = self.whole.core, self.whole.given
        glowing = any(number != 0 for name, number in given.items() if name.startswith("glow: dark ground"))
        # Of regions, light that adds and phase more is looked at.
        if core is None or self.phase is not None or glowing or self.options.light == "glowing":
            return
        if not isinstance(self.method, LaplacianFusion) or self._slices <= MOST_SLICES:
            return
        reach_px = HEIGHT_REACH_PX + int(np.ceil(self.options.halo_radius_px))
        analysis.work_on(core[0], max(reach_px, block_reach_px() if self._slices >= LEAST_SLICES else 0))

    def _phase(self, light: str, *, only_share: bool = False) -> PhaseTracker:
        gray_range = self.analysis.scaling.gray_range(self.noise)
        return PhaseTracker(self.analysis, light, gray_range, only_share=only_share, whole=self.whole)

    def look(self, images: Sequence[npt.NDArray[Any]]) -> None:
        """Take a first look at the next slices, all of them at once: each needs one thread then, and no other waits."""
        if not self.open or self.count:
            return
        if self._first_look is None:
            self._first_look = self._phase(AUTO, only_share=True)
            self._looking = [self.analysis]
        self._looking += [self._new_analysis() for _ in images[len(self._looking) :]]
        colours = [self._colour(self._looked + k, image) for k, image in enumerate(images)]
        run_tasks(lambda k: self._looking[k].glance(*colours[k], planes=False), range(len(images)))
        seen = self._looking[: len(images)]
        self._first_look.interrupted |= any(_blank(analysis) for analysis in seen)
        self._first_look.add_to_share(seen)
        for analysis in seen:
            analysis.let_go()
        self._looked += len(images)

    def glimpse(self, images: Sequence[npt.NDArray[Any]]) -> None:
        """Spare the first look where some pixels of all slices tell that the stack is too dark to be transparent."""
        if not self.open or self.count:
            return
        some = [self.kind.checked(image)[::_GLIMPSED, ::_GLIMPSED, self.analysis.deciding] for image in images]
        scaling = self.analysis.scaling
        gray_range = scaling.gray_range(self.noise)
        # Within the range, since one wild or infinite pixel would decide alone.
        intensity = float(np.mean([np.clip(scaling.to_kernel(pixels), *gray_range).mean() for pixels in some]))
        if surely_dark(intensity, gray_range):
            self._light, self._sure, self.open = "opaque", True, False

    def _use_first_look(self) -> None:
        """Leave out what is of no use in the light that the first look has found."""
        look, self._first_look, self._looking = self._first_look, None, []
        if look is None or self._looked != self._slices:
            return
        share = look.share()
        if share.max() == 0:
            self._light, self._sure = "opaque", True
        elif share.min() == 1:
            self._light, self._sure = "transparent", True

    def _colour(self, k: int, image: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return slice k without alpha, checked and aligned, and which pixels it covers; None for all of them."""
        covered = None
        if self.aligner is not None:
            image, covered = self.aligner.aligned(k, image)
        colour = np.ascontiguousarray(self.kind.checked(image)[..., : self.kind.channels])
        if k == 0 and colour.dtype.kind == "f":
            self._far[:] = self.whole.number("holes: median", lambda: self._median(colour))
        return colour, covered

    def _median(self, colour: npt.NDArray[Any]) -> tuple[float, ...]:
        """Return the median of each channel, scaled, of a slice's finite pixels; 0 without any."""
        some = self.analysis.scaling.to_kernel(colour[::4, ::4].reshape(-1, self.kind.channels))
        known = [channel[np.isfinite(channel)] for channel in some.T]
        return tuple(float(np.median(channel)) if channel.size else 0.0 for channel in known)

    @property
    def count(self) -> int:
        """Slices added so far."""
        return len(self.per_slice)

    def add(self, image: npt.NDArray[Any], *, stays: bool = False) -> None:
        """Take in the next slice; of one that `stays` as it is, a part is done beside the next one."""
        if self._maps is not None:
            raise InputError("a slice cannot be added after slices were shown again; start a new stack.")
        if self.count == 0:
            self._begin()
        k = self.count
        colour, covered = self._colour(k, image)
        analysis = self._last = self._unused_analysis()
        left, self._left = self._left, []
        # Two chains of work that do not wait for each other at every step.
        run_together(partial(self._analyse, analysis, colour, covered, briefly=self.surely_transparent), *left)
        self.with_holes += analysis.holes
        if self.phase is not None:
            self.phase.interrupted |= _blank(analysis)
        core = self.whole.core
        self.per_slice.append(self._measured(analysis, colour) if core is None else 0.0)
        self._left = list(self._jobs(k, analysis, colour))
        if core is not None:

            def measure() -> None:
                self.per_slice_of_core.append(self._measured_core(analysis, colour, core))

            self._left.append(measure)
        if not stays:
            self._catch_up()

    def _unused_analysis(self) -> SliceAnalysis:
        """Return an analysis that nothing is left to be done with."""
        if not self._left:
            return self.analysis
        if self._other is None:
            self._other = self._new_analysis()
            self._leave_out_rows(self._other)
        return self._other if self._last is self.analysis else self.analysis

    def _catch_up(self) -> None:
        """Do what is left to be done with the last slice, and hold nothing of it."""
        left, self._left = self._left, []
        run_together(*left)
        self.analysis.let_go()
        self._last, self._other = self.analysis, None

    def _analyse(
        self,
        analysis: SliceAnalysis,
        colour: npt.NDArray[Any],
        covered: npt.NDArray[np.bool_] | None = None,
        *,
        briefly: bool,
        planes: bool = True,
    ) -> None:
        """Analyse a slice; briefly where its sharpness and its change along z are all that is asked for."""
        if briefly and analysis.levels >= LEAST_LEVELS:
            analysis.glance(colour, covered, energy=True, planes=planes)
        else:
            analysis.load(colour, covered)

    def _jobs(self, k: int, analysis: SliceAnalysis, colour: npt.NDArray[Any]) -> Iterator[Callable[[], None]]:
        """Yield all that is to be done with slice k once it is analysed, the longest job first."""
        method = self.method
        pyramid = method if isinstance(method, LaplacianFusion) else None
        phase = self.phase
        if phase is not None:

            def follow() -> None:
                phase.add(analysis)
                if pyramid is not None:
                    pyramid.follow(k, analysis)

            yield follow
        if pyramid is not None:
            yield from pyramid.parts_of_adding(k, colour, analysis)
        else:
            yield lambda: method.add(k, colour, analysis)
        if not self.surely_transparent:
            yield lambda: self.tracker.add(analysis)
        if self.two_peaks is not None:
            yield partial(self.two_peaks.add, colour, analysis)

    def revisit(self, k: int, image: npt.NDArray[Any]) -> None:
        """Take in slice k again, for methods of two visits."""
        method = self._second_visit()
        self._catch_up()
        if self._maps is None:
            self._maps = self._height_maps()
            method.decide(self._maps)
        method.revisit(k, *self._colour(k, image))
        self._revisited.add(k)

    def result(self) -> FocusStackResult:
        """Return the result of the slices so far."""
        if FUSION_METHODS[self.options.method].visits == 2 and len(self._revisited) < self.count:
            raise InputError(
                f"method {self.options.method!r} needs every slice a second time: call revisit(k, slice) for all "
                f"{self.count}, got {len(self._revisited)}; or use focus_stack."
            )
        if self.surely_transparent and self.count < self._slices:
            raise InputError(
                f"a first look was taken at {self._slices} slices; add all of them before the result, got {self.count}."
            )
        self._catch_up()
        height, width = self.kind.shape[:2]
        if self.aligner is not None or self.kind.channels > 1 or height * width >= _LARGE_PX:
            # What adding used is of other sizes than what the result needs. Small gray slices need little anyway, and
            # runs of them are up to 4 % faster without.
            give_memory_back()
        transparent = self._transparent()
        fused, measured, maps = self._image_and_maps()
        return FocusStackResult(
            image=self._shaped(fused),
            index=maps.index,
            height=maps.height,
            confidence=maps.confidence,
            sharpness=SharpnessReport.of(self.options.sharpness_measure, self.per_slice, measured),
            noise=self.noise,
            options=self.options,
            transparent=transparent,
            warnings=self._warnings(transparent),
            chosen=chosen_values(self.options, self._facts(transparent)),
            alignment=self.aligner.alignment if self.aligner else None,
            origin=self.aligner.origin if self.aligner else (0, 0),
        )

    def _image_and_maps(self) -> tuple[npt.NDArray[Any], float, HeightMaps]:
        """Return the fused image, its sharpness, and the maps."""
        fused: list[tuple[npt.NDArray[Any], float]] = []
        maps: list[HeightMaps] = []

        def fuse() -> None:
            image = self.method.image()
            self._mend_rims(image)
            # The planes, which the method may have rebuilt the image in, are free again, and all buffers of the
            # analysis make room for the maps.
            self.analysis.release()
            self._analyse(self.analysis, image, briefly=True, planes=False)
            fused.append((image, self._measured(self.analysis, image)))
            self.analysis.release()

        def find() -> None:
            maps.append(self._maps or self._height_maps())

        if self.phase is None and self.two_peaks is None:
            # Neither needs the other, and without phase there is room for both.
            run_together(fuse, find)
        else:
            fuse()
            find()
        return *fused[0], maps[0]

    def part(self) -> Part:
        """Return what the pixels of the core have, of a run that sees a part of an image."""
        self._catch_up()
        h, w = self.kind.shape[:2]
        core = self.whole.core or (slice(0, h), slice(0, w))
        image = self.method.image()
        self._analyse(self.analysis, image, briefly=True, planes=False)
        fused = self._measured_core(self.analysis, image, core)
        self.analysis.release()
        half = tuple(slice(c.start // 2, -(-c.stop // 2)) for c in core)
        size = core[0].stop - core[0].start, core[1].stop - core[1].start
        return Part(
            image=self._shaped(image[core]),
            fused=fused,
            # Behind the image and not beside it: parts are as large as fits the memory, of which most is needed here.
            unfilled=self._unfilled(core),
            index=repeated(np.ascontiguousarray(self.tracker.index[half]), size),
            per_slice=tuple(self.per_slice_of_core),
            warnings=self._warnings(self._transparent()),
        )

    def _unfilled(self, core: tuple[slice, slice]) -> FloatImage:
        """Return what is known of a core before heights are filled.

        Where only some regions are transparent, their maps are added, filled from within the part.
        """

        def of_map(scale: int) -> tuple[slice, slice]:
            rows, columns = (slice(c.start // scale, -(-c.stop // scale)) for c in core)
            return rows, columns

        radius_px, phase = self.options.halo_radius_px, self.phase
        if phase is None or phase.largest_share() <= 0.5:
            return self.tracker.unfilled(radius_px, part=of_map(2))
        if phase.smallest_share() > 0.5:
            return np.ascontiguousarray(phase.unfilled(radius_px)[(slice(None), *of_map(4))])
        smoothing_px, fill = self.options.height_smoothing_px, self.options.fill_height
        maps = phase.half_maps(fill=fill, smoothing_px=smoothing_px, halo_radius_px=radius_px)
        where = at_half_size(phase.share(), self.analysis.shapes) > 0.5
        other = [one[of_map(2)] for one in (where, maps.height, maps.confidence, maps.index)]
        own = self.tracker.unfilled(radius_px, part=of_map(2))
        return np.concatenate([own, np.stack(other, dtype=np.float32)])

    def _second_visit(self) -> SecondVisit:
        if FUSION_METHODS[self.options.method].visits != 2:
            raise InputError(f"method {self.options.method!r} needs every slice only once.")
        return self.method  # type: ignore[return-value]

    def _facts(self, transparent: float) -> RunFacts:
        glowing = isinstance(self.method, LaplacianFusion) and self.method.added_light
        facts = RunFacts(self.analysis.levels, self.noise, transparent, glowing)
        if self.aligner is None:
            return facts
        alignment = self.aligner.alignment
        return replace(facts, align=alignment.model, align_reason=alignment.reason)

    def _transparent(self) -> float:
        return self.phase.mean_share() if self.phase is not None else 0.0

    def _mend_rims(self, fused: npt.NDArray[Any]) -> None:
        self._told = self._mended = None
        if self.two_peaks is None or self.with_holes or self.count <= MOST_SLICES or self._transparent() > 0:
            return
        if isinstance(self.method, LaplacianFusion) and self.method.added_light:
            return
        self.analysis.release()
        self._told = self.tracker.told()
        height, confidence, _ = self._told
        self._mended = Occlusion(self.two_peaks, self.analysis).mend(fused, height, confidence)

    def _height_maps(self) -> HeightMaps:
        fill, smoothing_px = self.options.fill_height, self.options.height_smoothing_px
        halo_radius_px = self.options.halo_radius_px
        phase, replaced = self.phase, None
        if phase is not None and phase.largest_share() > 0.5:
            if phase.smallest_share() > 0.5:
                return phase.maps(fill=fill, smoothing_px=smoothing_px, halo_radius_px=halo_radius_px)

            def replaced() -> Replacement:
                maps = phase.half_maps(fill=fill, smoothing_px=smoothing_px, halo_radius_px=halo_radius_px)
                return maps, at_half_size(phase.share(), self.analysis.shapes) > 0.5

        return self.tracker.maps(
            fill=fill,
            smoothing_px=smoothing_px,
            halo_radius_px=halo_radius_px,
            told=self._handed_over(),
            mended=self._mended,
            replaced=replaced,
        )

    def _handed_over(self) -> Told | None:
        """Return the height at half size and what belongs to it, and keep no hold of them."""
        told, self._told = self._told, None
        return told

    def _measured(self, analysis: SliceAnalysis, colour: npt.NDArray[Any]) -> float:
        """Return the chosen measure of an image and its analysis."""
        if _blank(analysis):
            return 0.0
        if self.options.sharpness_measure != "focus":
            return sharpness(colour, self.options.sharpness_measure, rgb=False, noise=self.noise)
        # The mean above black: a float stack's scaled zero is its darkest pixel, not black.
        black = -analysis.scaling.shift * analysis.scaling.scale
        return focus_from_energies(
            analysis.level_energies,
            analysis.mean_intensity - black,
            analysis.noise_variance(),
            analysis.noise_gains,
        )

    def _measured_core(
        self, analysis: SliceAnalysis, colour: npt.NDArray[Any], core: tuple[slice, slice]
    ) -> tuple[float, ...]:
        """Return what the measure of an image and its analysis is made of, in a core."""
        if self.options.sharpness_measure != "focus":
            known = analysis.valid is None or analysis.valid[0][core].any()
            own = np.ascontiguousarray(colour[core])
            return (sharpness(own, self.options.sharpness_measure, rgb=False, noise=self.noise) if known else 0.0,)
        return analysis.energy_and_intensity(min(FOCUS_LEVEL, analysis.levels - 1), core)

    def _shaped(self, colour: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.kind.alpha:
            opaque = 1 if self.kind.dtype.kind == "f" else np.iinfo(self.kind.dtype).max
            alpha = np.full((*colour.shape[:2], 1), opaque, self.kind.dtype)
            colour = np.concatenate([colour, alpha], axis=2)
        return colour.reshape(*colour.shape[:2], *self.kind.shape[2:])

    def _warnings(self, transparent: float) -> tuple[str, ...]:
        told = list(self.aligner.alignment.warnings) if self.aligner else []
        if self.aligner is None and (self.options.align != "none" or self.options.match_brightness != "off"):
            told.append("Slices that come one by one are not aligned; give FocusStacker an alignment.")
        if self.with_holes:
            told.append(f"{self.with_holes} of {self.count} slices have NaN or infinite pixels; these were left out.")
        if self.options.sharpness_measure == "focus" and min(self.noise.low) < 0:
            told.append(
                "The measure 'focus' is relative to the mean intensity, which says little where pixels are negative; "
                "choose 'gradient'."
            )
        if transparent > 0 and self.phase is not None and self.options.light == AUTO:
            led = (
                "contrast itself, which stain makes," if self.phase.stain() > 0.5 else "the change of contrast along z"
            )
            shows = "The stack" if transparent > 0.99 else f"About {100 * transparent:.0f} % of the picture"
            told.append(
                f"{shows} shows a transparent specimen in bright field: {led} decided, for all levels together; "
                "choose light 'opaque' if that is wrong."
            )
        ignored = [
            name
            for name in FUSION_METHODS[self.options.method].ignores
            if getattr(self.options, name) != OPTION_SPECS[name].default
        ]
        if ignored:
            told.append(f"Method {self.options.method!r} makes no use of {' and '.join(ignored)}.")
        elif transparent > 0.5 and self.options.denoise > 0:
            told.append("denoise does not reach transparent specimens, whose neighbouring slices are averaged anyway.")
        return tuple(told)


def whole_sharpness(
    options: FocusStackOptions, noise: NoiseModel, kind: SliceKind, parts: Sequence[Part], areas: Sequence[int]
) -> SharpnessReport:
    """Return the report of an image from those of its parts, whose areas are what they count.

    "focus" and "gradient" are those of the whole image; measures with a variance are the mean of those of the parts.
    """
    weights = np.array(areas, np.float64) / sum(areas)
    per_slice = np.tensordot(weights, np.array([part.per_slice for part in parts]), 1)
    fused = weights @ np.array([part.fused for part in parts])
    if options.sharpness_measure != "focus":
        return SharpnessReport.of(options.sharpness_measure, per_slice[:, 0].tolist(), float(fused[0]))
    scaling = Scaling.of(kind.dtype, noise)
    gain, offset = (line[deciding_channels(options, kind.channels)] for line in scaling.noise_line(noise))
    levels = FOCUS_LEVEL + 1 if options.levels != 1 else 1

    def focus(energy: float, intensity: float) -> float:
        variance = float(np.mean(np.maximum(gain * intensity + offset, 0)))
        return focus_from_energies(
            [energy] * levels, intensity + scaling.shift * scaling.scale, variance, noise_gains(levels)
        )

    return SharpnessReport.of("focus", [focus(*pair) for pair in per_slice], focus(*fused))


def chosen_levels(options: FocusStackOptions, height: int, width: int) -> int:
    """Return the number of detail levels for a slice of this size.

    Raises
    ------
    InputError
        If the user asked for more than halve the slice to a single pixel.
    """
    if options.levels == AUTO:
        return level_count(height, width)
    most = max(int(np.ceil(np.log2(max(height, width)))), 1)
    if int(options.levels) > most:
        raise InputError(
            f"levels must be at most {most} for slices of {height} x {width} px, got {options.levels}; "
            "take fewer, or 'auto'."
        )
    return int(options.levels)


def deciding_channels(options: FocusStackOptions, channels: int) -> list[int]:
    """Return the channels whose focus decides.

    Raises
    ------
    InputError
        If the reference channel does not exist.
    """
    if options.reference_channel == "all":
        return list(range(channels))
    if int(options.reference_channel) >= channels:
        raise InputError(
            f"reference_channel must be 'all' or a number from 0 to {channels - 1} for this stack, "
            f"got {options.reference_channel}."
        )
    return [int(options.reference_channel)]


def _blank(analysis: SliceAnalysis) -> bool:
    """Return whether no pixel of the slice that was loaded last is finite."""
    return analysis.valid is not None and not analysis.valid[0].any()


def _chosen_noise(noise: NoiseModel, options: FocusStackOptions, channels: int) -> NoiseModel:
    if len(noise.gain) != channels:
        raise InputError(f"the noise model must have one entry for each of {channels} channels, got {len(noise.gain)}.")
    if isinstance(options.noise, str):
        return noise
    gain, offset = options.noise
    return NoiseModel((gain,) * channels, (offset,) * channels, noise.low, noise.high)
