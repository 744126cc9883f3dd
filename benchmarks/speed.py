"""Time a run against other work on the same stack, side by side, as Markdown tables.

    python benchmarks/speed.py [--size 2048] [--slices 20] [--repeats 5]

Ratios of medians; the cases take turns, so that a machine whose speed drifts slows all of them alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from napari_focus_stack import focus_stack
from napari_focus_stack.kernels import thread_count
from napari_focus_stack.pyramid import level_count
from napari_focus_stack.synthetic import make_scene

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from reference_numpy import fuse as fuse_plainly


def random_stack(slices: int, size: int, channels: int = 0, dtype: type = np.uint16) -> np.ndarray:
    shape = (slices, size, size, channels) if channels else (slices, size, size)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def opencv_pyramid(stack: np.ndarray) -> np.ndarray:
    """Fuse by the largest regional energy with OpenCV alone, a slice at a time: no noise model, no height."""
    levels = level_count(*stack.shape[1:3])
    best: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for image in stack:
        fine = image.astype(np.float32)
        details = []
        for _ in range(levels):
            coarse = cv2.pyrDown(fine)
            details.append(fine - cv2.pyrUp(coarse, dstsize=fine.shape[1::-1]))
            fine = coarse
        energies = [cv2.GaussianBlur(d * d, (5, 5), 0) for d in details]
        if not best:
            best, kept, base = energies, details, fine / len(stack)
            continue
        base += fine / len(stack)
        for level in range(levels):
            better = energies[level] > best[level]
            cv2.copyTo(energies[level], better.astype(np.uint8), best[level])
            cv2.copyTo(details[level], better.astype(np.uint8), kept[level])
    fused = base
    for detail in reversed(kept):
        fused = detail + cv2.pyrUp(fused, dstsize=detail.shape[1::-1])
    return np.clip(np.rint(fused), 0, np.iinfo(stack.dtype).max).astype(stack.dtype)


def medians(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of every case, after one run of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def with_threads(threads: int, stack: np.ndarray) -> Callable[[], object]:
    def run() -> object:
        os.environ["NAPARI_FOCUS_STACK_THREADS"] = str(threads)
        try:
            return focus_stack(stack)
        finally:
            del os.environ["NAPARI_FOCUS_STACK_THREADS"]

    return run


def print_ratios(title: str, times: dict[str, float], subject: str) -> None:
    print(f"\n{title}\n\n| case | s | {subject} over it |\n|---|---:|---:|")
    for name, seconds in times.items():
        print(f"| {name} | {seconds:.3f} | {times[subject] / seconds:.2f} |")


def print_growth(title: str, times: dict[float, float], unit: str) -> None:
    """Print times and how far each is off the line that joins the smallest and the largest case."""
    amounts = sorted(times)
    per_unit = (times[amounts[-1]] - times[amounts[0]]) / (amounts[-1] - amounts[0])
    print(
        f"\n{title}: {1000 * per_unit:.1f} ms for each {unit} more\n\n| {unit} | s | over the line |\n|---:|---:|---:|"
    )
    for amount in amounts:
        line = times[amounts[0]] + per_unit * (amount - amounts[0])
        print(f"| {amount:g} | {times[amount]:.3f} | {times[amount] / line:.2f} |")


def in_a_process(*command: str, **environment: str) -> float:
    """Return the seconds that a Python process says or, if it says none, takes.

    It keeps its bytecode, as a package that pip installs has it.
    """
    environment = os.environ | environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=True)
    taken = time.perf_counter() - start
    words = done.stdout.split()
    return float(words[1]) if words[:1] == ["seconds"] else taken


_FIRST_CALL = """
import time
import numpy as np
from napari_focus_stack import focus_stack
stack = np.random.default_rng(0).integers(0, 65535, (5, 256, 256), np.uint16)
start = time.perf_counter()
focus_stack(stack)
print("seconds", time.perf_counter() - start)
"""


def first_calls(repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        compiling = in_a_process("-c", _FIRST_CALL, NUMBA_CACHE_DIR=cache)
        cached = [in_a_process("-c", _FIRST_CALL, NUMBA_CACHE_DIR=cache) for _ in range(repeats)]
    return {"first call ever, compiling": compiling, "first call of a process": statistics.median(cached)}


def command_line(repeats: int) -> dict[str, float]:
    """Time the command line from JPEG to TIFF, the whole process."""
    scene = make_scene("colour", (1200, 1920), 10, "low", 0)
    with tempfile.TemporaryDirectory() as folder:
        for k, image in enumerate(scene.stack):
            cv2.imwrite(f"{folder}/z{k:03}.jpg", image[..., ::-1])
        command = ("-m", "napari_focus_stack", "fuse", folder, "-o", f"{folder}/out/fused.tif")
        Path(folder, "out").mkdir()
        in_a_process(*command)
        return {"10 RGB slices of 1200 x 1920 px": statistics.median(in_a_process(*command) for _ in range(repeats))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="side of a slice, px")
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--most-mpx", type=float, default=16, help="of the growth with pixels; 64 needs 2 GB")
    arguments = parser.parse_args()
    size, slices, repeats = arguments.size, arguments.slices, max(arguments.repeats, 1)
    stack = random_stack(slices, size)
    print(f"{slices} slices of {size} x {size} px, uint16; {os.cpu_count()} cores, {thread_count()} used.")
    cases: dict[str, Callable[[], object]] = {
        "focus_stack": lambda: focus_stack(stack),
        "stack.max(axis=0)": lambda: stack.max(axis=0),
        "OpenCV pyramid": lambda: opencv_pyramid(stack),
        "light known to be opaque": lambda: focus_stack(stack, light="opaque"),
        "laplacian-max": lambda: focus_stack(stack, method="laplacian-max"),
        "one thread": with_threads(1, stack),
    }
    print_ratios("Side by side", medians(cases, repeats), "focus_stack")
    small = random_stack(10, size // 4)
    cases = {"focus_stack": lambda: focus_stack(small), "NumPy and SciPy": lambda: fuse_plainly(small)}
    print_ratios(f"The same method written plainly, 10 slices of {size // 4} px", medians(cases, 1), "focus_stack")
    colour = random_stack(max(slices // 4, 2), size, 3, np.uint8)
    gray = np.ascontiguousarray(colour[..., 0])
    kinds = medians({"RGB": lambda: focus_stack(colour), "gray": lambda: focus_stack(gray)}, repeats)
    print_ratios("Channels, 8 bits", kinds, "RGB")
    some = random_stack(160, size // 4)
    grown = medians({str(n): (lambda n=n: focus_stack(some[:n])) for n in (5, 10, 20, 40, 80, 160)}, repeats)
    print_growth(f"Slices of {size // 4} x {size // 4} px", {int(n): s for n, s in grown.items()}, "slice")
    pixels = {}
    for side in (512, 1024, 2048, 4096, 8192):
        if side * side <= arguments.most_mpx * 2**20:
            square = random_stack(5, side)
            pixels[side * side / 2**20] = medians({"": lambda square=square: focus_stack(square)}, repeats)[""]
    print_growth("5 slices", pixels, "Mpx")
    print("\n| first calls and the command line | s |\n|---|---:|")
    for name, seconds in (first_calls(repeats) | command_line(repeats)).items():
        print(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
