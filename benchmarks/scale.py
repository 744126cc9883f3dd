"""Show what a run in tiles needs: memory, time beside a run in memory, workers; and plan what nobody has here.

    python benchmarks/scale.py [--size 4096] [--slices 24] [--memory "2 GB"] [--points 20] [--workers]

The default takes about a minute; the table in docs/large-stacks.md is of --size 16384 --points 200 --workers.
Stacks are made when they are asked for and never lie in memory. Runs that are measured have processes of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_focus_stack import FocusStackOptions, focus_stack
from napari_focus_stack.synthetic import make_scene

PERIOD_PX = 1024


class Periodic:
    """One small scene over and over: any size, any part of it at once."""

    ndim = 3

    def __init__(self, size: int, slices: int) -> None:
        scene = make_scene("bumps", shape=(PERIOD_PX, PERIOD_PX), slices=slices)
        # Four of them, so that a part is one copy out of a wrapped view.
        self._pixels = np.tile(np.asarray(scene.stack).astype(np.uint16), (1, 1, 1))
        self.shape, self.dtype = (slices, size, size), np.dtype(np.uint16)

    def part(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        return np.take(
            np.take(self._pixels[k], np.arange(rows.start, rows.stop), axis=0, mode="wrap"),
            np.arange(columns.start, columns.stop),
            axis=1,
            mode="wrap",
        )

    def read(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        return self.part(k, rows, columns)

    def near(self, rows: slice, columns: slice) -> Periodic:
        return self

    def __getitem__(self, k: int) -> np.ndarray[Any, Any]:
        return self.part(k, slice(0, self.shape[1]), slice(0, self.shape[2]))


def warmed(stack: Periodic) -> None:
    """Compile the kernels, which is not what is measured."""
    focus_stack(stack._pixels[:, :128, :128])


def measured(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float, int]:
    """Return the answer of a run in a process of its own, its seconds, and the most memory that process held."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_child, args=(there, run, arguments))
    child.start()
    answer: tuple[Any, float, int] = here.recv()
    child.join()
    return answer


def _child(pipe: Any, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    process, peak, running = psutil.Process(), 0, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer, seconds = run(*arguments)
    running = False
    watcher.join()
    pipe.send((answer, seconds, peak))


def in_memory(size: int, slices: int) -> tuple[None, float]:
    stack = Periodic(size, slices)
    warmed(stack)
    start = time.perf_counter()
    focus_stack(stack)
    return None, time.perf_counter() - start


def in_tiles(size: int, slices: int, memory: str, folder: str) -> tuple[Any, float]:
    from napari_focus_stack.io.tiled_files import MAPS, fuse_into_zarr

    stack = Periodic(size, slices)
    warmed(stack)
    start = time.perf_counter()
    outputs = {name: Path(folder) / f"{name}.ome.zarr" for name in MAPS}
    outcome = fuse_into_zarr(stack, stack, outputs, rgb=None, options=FocusStackOptions(), memory=memory)
    return outcome.run.plan, time.perf_counter() - start


def against_memory(size: int, slices: int, memory: str, reference: int) -> None:
    voxels = size * size * slices
    with tempfile.TemporaryDirectory() as folder:
        plan, seconds, peak = measured(in_tiles, size, slices, memory, folder)
    _, seconds_in_memory, peak_in_memory = measured(in_memory, reference, slices)
    rate, rate_in_memory = voxels / seconds / 1e6, reference**2 * slices / seconds_in_memory / 1e6
    title = f"{slices} slices of {size} x {size} px, uint16 ({voxels * 2 / 1e9:.1f} GB), image and all maps to OME-Zarr"
    tiles = f"{len(plan)} tiles of {plan.side[0]} x {plan.side[1]} px, {memory} allowed"
    print(f"\n{title}.\n\n| run | s | Mvoxel/s | peak memory, GB |\n|---|---:|---:|---:|")
    for name, *numbers in (
        (f"in memory, {reference} x {reference} px of it", seconds_in_memory, rate_in_memory, peak_in_memory / 1e9),
        (tiles, seconds, rate, peak / 1e9),
    ):
        print("| {} | {:.1f} | {:.0f} | {:.2f} |".format(name, *numbers))
    print(
        f"\nRate over that in memory: {rate / rate_in_memory:.2f}; pixels are worked on {plan.overhead:.2f} times.",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of a slice, px")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--memory", default="2 GB", help="what a run in tiles may use")
    parser.add_argument("--reference", type=int, default=4096, help="side of the part that is fused in memory, px")
    arguments = parser.parse_args()
    against_memory(arguments.size, arguments.slices, arguments.memory, min(arguments.reference, arguments.size))


if __name__ == "__main__":
    main()
