"""Score every fusion method on every synthetic scene, as one Markdown table.

    python benchmarks/quality.py [--seed N] [--size 512] [--slices 20] [--scenes ...] [--noise ...] [--methods ...]
    python benchmarks/quality.py --folder DIR [DIR ...] [--methods ...]

Pixels within 16 px of the border are left out. Errors are in per cent of the range of gray levels (255 or
65535), which every scene fills from 4 to 94 %; PSNR and SSIM take that range too.

PSNR, SSIM   of the fused image against the noise-free image in focus everywhere
height       mean error in slices, where there is texture
outliers     share of those pixels that are more than 2 slices off
ground       noise of the fused image in flat ground over that of one slice
ring         root mean square error in flat ground, 3 to 14 px from something that stands out
edge         root mean square error within 4 px of a jump in height of more than 2 slices

Folders of slices have no truth; see without_truth.py:

Q^AB/F       edges of the slices that are in the fused image, in strength and angle; 0.975 at most
kept 0, 1, 2 energy of a Laplacian level, finest first, over the largest of the slices, noise taken off
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter
from skimage.metrics import structural_similarity

from napari_focus_stack import focus_stack
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.io import read_stack
from napari_focus_stack.synthetic import NOISE_PHOTONS, SCENES, Scene, make_scene
from without_truth import LEVELS, scores

BORDER_PX = 16
OUTLIER_SLICES = 2
BEST_SLICE = "best slice"
ENOUGH_PX = 50  # fewer pixels than these make no figure


@dataclass(frozen=True)
class Fused:
    """What is scored: image (y, x[, c]) and height (y, x) in slices."""

    image: np.ndarray
    height: np.ndarray


def inside(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    mask[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = True
    return mask


def rms_percent(scene: Scene, fused: Fused, where: np.ndarray) -> float:
    """Root mean square error where asked, in per cent of the range; NaN where there is hardly a pixel."""
    where = where & inside(where.shape)
    if where.sum() < ENOUGH_PX:
        return float("nan")
    error = (fused.image.astype(np.float64) - scene.truth)[where]
    return float(100 * np.sqrt(np.mean(error**2)) / scene.data_range)


def psnr(scene: Scene, fused: Fused) -> float:
    return -20 * float(np.log10(rms_percent(scene, fused, np.ones(scene.height.shape, bool)) / 100))


def ssim(scene: Scene, fused: Fused) -> float:
    _, local = structural_similarity(
        scene.truth,
        fused.image.astype(np.float32),
        data_range=scene.data_range,
        channel_axis=-1 if scene.rgb else None,
        full=True,
    )
    return float(local[inside(local.shape)].mean())


def height_error(scene: Scene, fused: Fused) -> np.ndarray:
    known = scene.textured & inside(scene.height.shape)
    return np.abs(fused.height - scene.height)[known]


def mean_height_error(scene: Scene, fused: Fused) -> float:
    error = height_error(scene, fused)
    return float(error.mean()) if error.size >= ENOUGH_PX else float("nan")


def outliers_percent(scene: Scene, fused: Fused) -> float:
    error = height_error(scene, fused)
    return float(100 * (error > OUTLIER_SLICES).mean()) if error.size >= ENOUGH_PX else float("nan")


def noise_in(image: np.ndarray, where: np.ndarray) -> float:
    gray = image.astype(np.float64).reshape(*where.shape, -1)
    fine = gray - gaussian_filter(gray, (2, 2, 0))
    return float(np.sqrt(np.mean(fine[where] ** 2)))


def ground_noise(scene: Scene, fused: Fused) -> float:
    where = scene.ground & inside(scene.ground.shape)
    if where.sum() < ENOUGH_PX:
        return float("nan")
    # The slice whose ground is quietest: elsewhere blurred light adds to it.
    one = min(noise_in(plane, where) for plane in scene.stack)
    return noise_in(fused.image, where) / one if one > 0 else float("nan")


def ring_error(scene: Scene, fused: Fused) -> float:
    if not scene.ground.any():
        return float("nan")
    gray = scene.truth if scene.truth.ndim == 2 else scene.truth.mean(axis=2)
    contrast = np.abs(gray - np.median(gray[scene.ground])) / scene.data_range
    away = distance_transform_edt(contrast < 0.12)
    return rms_percent(scene, fused, (away > 3) & (away <= 14) & (contrast < 0.005))


def edge_error(scene: Scene, fused: Fused) -> float:
    jump = np.zeros(scene.height.shape, bool)
    for axis in (0, 1):
        step = np.abs(np.diff(scene.height, axis=axis, append=scene.height.take([-1], axis)))
        jump |= (step > OUTLIER_SLICES) & scene.textured & np.roll(scene.textured, -1, axis)
    return rms_percent(scene, fused, binary_dilation(jump, iterations=4))


COLUMNS: dict[str, tuple[Callable[[Scene, Fused], float], str]] = {
    "PSNR dB": (psnr, ".2f"),
    "SSIM": (ssim, ".4f"),
    "height": (mean_height_error, ".3f"),
    "outliers %": (outliers_percent, ".1f"),
    "ground ×": (ground_noise, ".2f"),
    "ring %": (ring_error, ".2f"),
    "edge %": (edge_error, ".2f"),
}


def best_slice(scene: Scene) -> Fused:
    """The single slice nearest to the truth: what there is without fusion."""
    error = [float(np.mean((plane.astype(np.float32) - scene.truth) ** 2)) for plane in scene.stack]
    k = int(np.argmin(error))
    return Fused(scene.stack[k], np.full(scene.height.shape, k, np.float32))


def fuse(scene: Scene, method: str) -> Fused:
    result = focus_stack(scene.stack, rgb=scene.rgb, method=method)
    return Fused(result.image, result.height)


def rows(args: argparse.Namespace) -> Iterator[str]:
    for name in args.scenes:
        for noise in args.noise:
            scene = make_scene(name, (args.size, args.size), args.slices, noise, args.seed)
            for method in args.methods:
                start = time.perf_counter()
                fused = best_slice(scene) if method == BEST_SLICE else fuse(scene, method)
                seconds = time.perf_counter() - start
                figures = [f"{score(scene, fused):{style}}" for score, style in COLUMNS.values()]
                cells = [name, noise, method, *("–" if f == "nan" else f for f in figures), f"{seconds:.2f}"]
                yield "| " + " | ".join(cells) + " |"


def folder_rows(args: argparse.Namespace) -> Iterator[str]:
    for folder in args.folder:
        with read_stack(folder) as source:
            slices = [np.asarray(source[k]) for k in range(len(source))]
        for method in args.methods:
            start = time.perf_counter()
            images = slices if method == BEST_SLICE else [focus_stack(slices, method=method).image]
            seconds = time.perf_counter() - start
            best = max((scores(slices, image) for image in images), key=lambda s: s["Q^AB/F"])
            cells = [folder.name, str(len(slices)), method, *(f"{v:.4f}" for v in best.values()), f"{seconds:.2f}"]
            yield "| " + " | ".join(cells) + " |"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    methods = [*FUSION_METHODS, BEST_SLICE]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=512, help="height and width in pixels")
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES), metavar="SCENE")
    parser.add_argument("--noise", nargs="+", default=["low", "high"], choices=list(NOISE_PHOTONS))
    parser.add_argument("--folder", nargs="+", type=Path, metavar="DIR", help="slices without truth, a folder a stack")
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods, metavar="METHOD")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    if args.folder:
        columns = ["Q^AB/F", *(f"kept {level}" for level in range(LEVELS))]
        print_table(["stack", "slices", "method", *columns, "s"], folder_rows(args))
        return
    print(f"{args.slices} slices of {args.size} x {args.size} px, seed {args.seed}.\n")
    print_table(["scene", "noise", "method", *COLUMNS, "s"], rows(args))


def print_table(head: list[str], lines: Iterator[str]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * 3 + "---:|" * (len(head) - 3))
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
