"""Align scenes whose motion is known, and stacks that stand still, as Markdown tables.

    python benchmarks/alignment.py [--seed N] [--size 512] [--slices 20] [--scenes ...] [--noise ...] [--motions ...]
    python benchmarks/alignment.py --still | --spoilt | --time
    python benchmarks/alignment.py --folder DIR [DIR ...]

Motions, from slice to slice: "slow" 0.5 px, 0.1 % of zoom, 0.02 degrees, brightness 3 %; "fast" 1.5 px, 0.5 %,
0.1 degrees, 3 %; each step along y and x off by 0.1 px at random.

residual    distance in px between where a pixel was put and where it belongs, where there is texture: mean of all
            slices, and worst slice
in focus    the same, of pixels within 2 slices of focus only: those that are fused
none        PSNR in dB of the fused image without alignment
true        with the motion as it was, and the gains
aligned     as estimated, with match_brightness="gain"
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_focus_stack import Alignment, FocusStackResult, estimate_alignment, focus_stack, sharpness
from napari_focus_stack.alignment.aligner import ALIGN_MODELS
from napari_focus_stack.alignment.record import SliceAlignment
from napari_focus_stack.io import read_stack
from napari_focus_stack.synthetic import NOISE_PHOTONS, SCENES, Motion, Scene, make_scene

BORDER_PX = 24
IN_FOCUS_SLICES = 2
ENOUGH_PX = 200
MOTIONS = {
    "slow": {"shift_px": 0.5, "zoom": 0.001, "turn_deg": 0.02, "gain": 0.03, "jitter_px": 0.1},
    "fast": {"shift_px": 1.5, "zoom": 0.005, "turn_deg": 0.1, "gain": 0.03, "jitter_px": 0.1},
}


def residuals_px(alignment: Alignment, motion: Motion, where: np.ndarray, near: np.ndarray) -> tuple[list, list]:
    """Mean distance of every slice, over all places asked for and over those `near` focus, shape (z, places)."""
    places = np.stack([*np.nonzero(where), np.ones(where.sum())])
    everywhere, in_focus = [], []
    for k, one in enumerate(alignment.slices):
        away = np.hypot(*((one.affine - motion.matrix(k, where.shape)) @ places))
        everywhere.append(away.mean())
        if near[k].sum() > ENOUGH_PX:
            in_focus.append(away[near[k]].mean())
    return everywhere, in_focus


def known(scene: Scene, motion: Motion) -> Alignment:
    """The motion as it was; gains are those of light, the camera's black left alone."""
    black = 0.04 * scene.data_range
    slices = tuple(
        SliceAlignment(
            tuple(map(tuple, motion.matrix(k, scene.height.shape))),
            (1 / motion.gains[k],),
            (black * (1 - 1 / motion.gains[k]),),
        )
        for k in range(len(scene.stack))
    )
    return Alignment("similarity", scene.height.shape, len(slices) // 2, slices)


def psnr(scene: Scene, result: FocusStackResult) -> float:
    inside = slice(BORDER_PX, -BORDER_PX), slice(BORDER_PX, -BORDER_PX)
    error = (result.image.astype(np.float64) - scene.truth)[inside]
    return float(10 * np.log10(scene.data_range**2 / np.mean(error**2)))


def moving_rows(args: argparse.Namespace) -> Iterator[str]:
    yield "| scene | noise | motion | residual | worst | in focus | worst | none | true | aligned |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for name in args.scenes:
        for noise in args.noise:
            for called in args.motions:
                motion = Motion.drift(args.slices, seed=args.seed, **MOTIONS[called])
                scene = make_scene(name, (args.size, args.size), args.slices, noise, args.seed, motion=motion)
                textured = scene.textured if scene.textured.any() else np.ones(scene.height.shape, bool)
                far = scene.height[textured] - np.arange(args.slices)[:, None]
                alignment = estimate_alignment(scene.stack, args.model, "gain", rgb=scene.rgb)
                every, focused = residuals_px(alignment, motion, textured, np.abs(far) <= IN_FOCUS_SLICES)
                scores = [
                    psnr(scene, focus_stack(scene.stack, rgb=scene.rgb, alignment=used))
                    for used in (None, known(scene, motion), alignment)
                ]
                residual = [np.mean(every), max(every), np.mean(focused), max(focused)]
                cells = [name, noise, called, *(f"{r:.2f}" for r in residual), *(f"{s:.2f}" for s in scores)]
                yield f"| {' | '.join(cells)} |"


def still_rows(args: argparse.Namespace) -> Iterator[str]:
    yield "| scene | noise | " + " | ".join(f"{m}, px" for m in MODELS) + " | PSNR, most it changes |"
    yield "|---|---|" + "---:|" * (len(MODELS) + 1)
    for name in args.scenes:
        for noise in args.noise:
            scene = make_scene(name, (args.size, args.size), args.slices, noise, args.seed)
            plain = psnr(scene, focus_stack(scene.stack, rgb=scene.rgb))
            away, changes = [], []
            for model in MODELS:
                alignment = estimate_alignment(scene.stack, model, "gain", rgb=scene.rgb)
                still = Motion.drift(args.slices)
                everywhere = np.ones(scene.height.shape, bool)
                away.append(max(residuals_px(alignment, still, everywhere, np.zeros((args.slices, 1), bool))[0]))
                changed = not alignment.changes_nothing
                fused = psnr(scene, focus_stack(scene.stack, rgb=scene.rgb, alignment=alignment)) if changed else plain
                changes.append(fused - plain)
            cells = [name, noise, *(f"{a:.3f}" for a in away), f"{max(changes, key=abs):.3f}"]
            yield f"| {' | '.join(cells)} |"


def spoilt_rows(args: argparse.Namespace) -> Iterator[str]:
    yield "| slice | place | not estimated | worst of the others, px | PSNR | warning |"
    yield "|---|---:|---|---:|---:|---|"
    shape = (args.size, args.size)
    motion = Motion.drift(args.slices, seed=args.seed, **MOTIONS["slow"] | {"gain": 0})
    scene = make_scene("bumps", shape, args.slices, "low", args.seed, motion=motion)
    rng = np.random.default_rng(args.seed)
    for place in (0, args.slices // 3, args.slices - 3):
        kinds = {
            "as it was": scene.stack[place],
            "blank": np.full(shape, 9000),
            "noise": rng.integers(0, 65535, shape),
            "twice": scene.stack[max(place - 1, 1)],
            "upside down": scene.stack[place][::-1, ::-1],
        }
        for kind, pixels in kinds.items():
            stack = scene.stack.copy()
            stack[place] = pixels
            result = focus_stack(stack, align="similarity")
            alignment = result.alignment
            every, _ = residuals_px(alignment, motion, scene.textured, np.zeros((args.slices, 1), bool))
            poor = [str(k) for k, one in enumerate(alignment.slices) if not one.estimated]
            others = max(np.delete(every, place))
            told = alignment.warnings[0][:40] + "…" if alignment.warnings else "–"
            yield f"| {kind} | {place} | {', '.join(poor) or '–'} | {others:.2f} | {psnr(scene, result):.1f} | {told} |"


def cpu_seconds(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median processor time of cases that are run by turns: a machine that slows down slows down all of them."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds + 1):
        for name, case in cases.items():
            start = time.process_time()
            case()
            taken[name].append(time.process_time() - start)
    return {name: float(np.median(seconds[1:])) for name, seconds in taken.items()}


def time_rows(args: argparse.Namespace) -> Iterator[str]:
    yield "| slices | model | fusion, ms a slice | estimate | fusion, aligned | alignment over fusion |"
    yield "|---|---|---:|---:|---:|---:|"
    count = 8
    motion = Motion.drift(count, **MOTIONS["slow"])
    for name, side in (("bumps", 512), ("bumps", 1024), ("bumps", 2048), ("colour", 1024)):
        stack = make_scene(name, (side, side), count, motion=motion).stack
        cases: dict[str, Callable[[], object]] = {"fusion": partial(focus_stack, stack)}
        for model in TIMED:
            alignment = estimate_alignment(stack, model, "gain")
            cases[f"{model}: estimate"] = partial(estimate_alignment, stack, model, "gain")
            cases[f"{model}: aligned"] = partial(focus_stack, stack, alignment=alignment)
        ms = {case: 1000 / count * s for case, s in cpu_seconds(cases, 8 if stack[0].size <= 1024**2 else 2).items()}
        plain = ms["fusion"]
        for model in TIMED:
            estimate, aligned = ms[f"{model}: estimate"], ms[f"{model}: aligned"]
            over = (estimate + aligned - plain) / plain
            yield f"| {side}², {name} | {model} | {plain:.1f} | {estimate:.1f} | {aligned:.1f} | {over:.2f} |"


def folder_rows(args: argparse.Namespace) -> Iterator[str]:
    yield "| folder | what was found | focus, none | focus, aligned |"
    yield "|---|---|---:|---:|"
    for folder in args.folder:
        with read_stack(folder) as source:
            plain = focus_stack(source, rgb=source.rgb)
            aligned = focus_stack(source, rgb=source.rgb, align="auto", match_brightness="gain")
        scores = [f"{sharpness(result.image, 'focus'):.4g}" for result in (plain, aligned)]
        yield f"| {folder.name} | {aligned.alignment.reason} | {' | '.join(scores)} |"


MODELS = [name for name in ALIGN_MODELS if name not in ("none", "auto")]
TIMED = ("shift", "similarity", "affine", "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES)
    parser.add_argument("--noise", nargs="+", default=["low", "high"], choices=NOISE_PHOTONS)
    parser.add_argument("--motions", nargs="+", default=list(MOTIONS), choices=MOTIONS)
    parser.add_argument("--model", default="similarity", choices=MODELS)
    for name in ("still", "spoilt", "time"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--folder", nargs="+", type=Path, default=[])
    args = parser.parse_args()
    rows = moving_rows
    for asked, table in (
        (args.still, still_rows),
        (args.spoilt, spoilt_rows),
        (args.time, time_rows),
        (args.folder, folder_rows),
    ):
        rows = table if asked else rows
    for row in rows(args):
        print(row, flush=True)


if __name__ == "__main__":
    main()
