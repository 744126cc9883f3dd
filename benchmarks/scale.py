"""Show what a run in tiles needs: memory, time beside a run in memory, workers; and plan what nobody has here.

    python benchmarks/scale.py [--size 4096] [--slices 24] [--memory "2 GB"] [--points 20] [--workers]

The default takes about two minutes; the table in docs/large-stacks.md is of --size 16384 --points 200 --workers.
Stacks are made when they are asked for and never lie in memory. Runs that are measured have processes of their own.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_focus_stack import FocusStackOptions, focus_stack, focus_stack_tiled
from napari_focus_stack.synthetic import make_scene
from napari_focus_stack.tiled import plan_for
from peak_memory import in_a_child, watched

PERIOD_PX = 1024


@lru_cache(maxsize=1)
def period(slices: int) -> np.ndarray[Any, Any]:
    return make_scene("bumps", shape=(PERIOD_PX, PERIOD_PX), slices=slices).stack


def blocks(part: slice) -> list[slice]:
    """Return where a part of an axis lies in every period."""
    edges = [part.start, *range(part.start // PERIOD_PX * PERIOD_PX + PERIOD_PX, part.stop, PERIOD_PX), part.stop]
    return [slice(*pair) for pair in pairwise(edges)]


class Periodic:
    """One small scene over and over: any size, any part of it at once."""

    ndim = 3

    def __init__(self, size: int, slices: int) -> None:
        self._pixels = period(slices)
        self.shape, self.dtype = (slices, size, size), self._pixels.dtype

    def __reduce__(self) -> tuple[type[Periodic], tuple[int, int]]:
        """Go to other processes without pixels, which are made there anew."""
        return Periodic, (self.shape[1], self.shape[0])

    def part(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Return a part of slice `k`, copied block by block: as cheap as can be, since it is not what is measured."""
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        for y in blocks(rows):
            for x in blocks(columns):
                place = (slice(s.start - part.start, s.stop - part.start) for s, part in ((y, rows), (x, columns)))
                source = (slice(s.start % PERIOD_PX, (s.stop - 1) % PERIOD_PX + 1) for s in (y, x))
                out[tuple(place)] = self._pixels[k][tuple(source)]
        return out

    def read(self, k: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        return self.part(k, rows, columns)

    def near(self, rows: slice, columns: slice) -> Periodic:
        return self

    def __getitem__(self, k: int) -> np.ndarray[Any, Any]:
        return self.part(k, slice(0, self.shape[1]), slice(0, self.shape[2]))


def warmed(stack: Periodic) -> None:
    """Compile the kernels, which is not what is measured: those of a run in memory and of one in tiles."""
    pixels = stack._pixels[:, :256, :256]
    focus_stack(pixels)
    focus_stack_tiled(pixels, tile=128, levels=2).height.compute(scheduler="synchronous")


def measured(run: Callable[..., Any], *arguments: Any) -> tuple[Any, float, int]:
    """Return the answer of a run in a process of its own, its seconds, and the most memory that process held."""
    answer: tuple[Any, float, int] = in_a_child(_watched, run, arguments)
    return answer


def _watched(run: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float, int]:
    with watched() as peak:
        answer, seconds = run(*arguments)
    return answer, seconds, peak.most


def in_memory(size: int, slices: int) -> tuple[tuple[float, float], float]:
    """Return the seconds of runs in memory: of a stack made meanwhile, as that of the tiles is, and of an array."""
    stack = Periodic(size, slices)
    warmed(stack)
    start = time.perf_counter()
    focus_stack(stack)
    made = time.perf_counter() - start
    array = np.stack([stack[k] for k in range(slices)])
    start = time.perf_counter()
    focus_stack(array)
    return (made, time.perf_counter() - start), made


def in_tiles(size: int, slices: int, memory: str, folder: str) -> tuple[Any, float]:
    from napari_focus_stack.io.tile_files import MAPS
    from napari_focus_stack.io.tiled_files import fuse_into_zarr

    stack = Periodic(size, slices)
    warmed(stack)
    start = time.perf_counter()
    outputs = {name: Path(folder) / f"{name}.ome.zarr" for name in MAPS}
    outcome = fuse_into_zarr(stack, stack, outputs, rgb=None, options=FocusStackOptions(), memory=memory)
    return outcome.run.plan, time.perf_counter() - start


def against_memory(size: int, slices: int, memory: str, reference: int) -> float:
    """Print rates and memory; return the Mvoxel/s of the windows, every pixel as often as it is worked on.

    In memory before and after, since a machine's speed drifts: the mean of both counts.
    """
    voxels = size * size * slices
    before, *_ = measured(in_memory, reference, slices)
    with tempfile.TemporaryDirectory() as folder:
        plan, seconds, peak = measured(in_tiles, size, slices, memory, folder)
    after, *_ = measured(in_memory, reference, slices)
    rate = voxels / seconds / 1e6
    title = f"{slices} slices of {size} x {size} px, uint16 ({voxels * 2 / 1e9:.1f} GB), image and all maps to OME-Zarr"
    print(f"\n{title}.\n\n| run | s | Mvoxel/s | the tiles' rate over this |\n|---|---:|---:|---:|")
    print(
        f"| {len(plan)} tiles of {plan.side[0]} x {plan.side[1]} px, {memory} allowed | {seconds:.1f} | {rate:.0f} | |"
    )
    for name, *both in zip(("made meanwhile, as for the tiles", "an array"), before, after, strict=True):
        rate_here = reference**2 * slices / np.mean(both) / 1e6
        told = ", ".join(f"{one:.1f}" for one in both)
        print(
            f"| in memory, {reference} x {reference} px, {name} | {told} | {rate_here:.0f} | {rate / rate_here:.2f} |"
        )
    print(
        f"\nPeak memory in tiles {peak / 1e9:.2f} GB; pixels are worked on {plan.overhead:.2f} times.",
        flush=True,
    )
    return rate * plan.overhead


def on_workers(size: int, slices: int, workers: int, folder: str) -> tuple[int, float]:
    """Return tiles and seconds of a run on a cluster of this machine, one thread in every worker."""
    from distributed import Client, LocalCluster

    from napari_focus_stack.io.tile_files import MAPS
    from napari_focus_stack.io.tiled_files import fuse_into_zarr
    from napari_focus_stack.io.workers import ClusterWorkers

    stack = Periodic(size, slices)
    warmed(stack)
    outputs = {name: Path(folder) / f"{name}-{workers}.ome.zarr" for name in MAPS}
    one_thread = {"NAPARI_FOCUS_STACK_THREADS": "1"}
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", env=one_thread) as cluster,
        Client(cluster) as client,
    ):
        client.run(warmed, stack)
        start = time.perf_counter()
        outcome = fuse_into_zarr(
            stack,
            stack,
            outputs,
            rgb=None,
            options=FocusStackOptions(),
            # Decided from patches, as for an image that needs tiles: not by a run of the whole before all others.
            memory="1 GB",
            tile=2048,
            workers=ClusterWorkers(client),
        )
        return len(outcome.run.plan), time.perf_counter() - start


def cluster(size: int, slices: int) -> None:
    print(f"\n{slices} slices of {size} x {size} px on a LocalCluster, one thread in every worker.\n")
    print("| workers | tiles | s | Mvoxel/s |\n|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            tiles, seconds, _ = measured(on_workers, size, slices, workers, folder)
            print(f"| {workers} | {tiles} | {seconds:.1f} | {size**2 * slices / seconds / 1e6:.0f} |", flush=True)


def plan_only(side: int, slices: int, rate: float) -> None:
    """Print the plan of a stack that is not here; `rate` is in Mvoxel/s of one worker with this machine's cores."""
    shape, options = (slices, side, side), FocusStackOptions()
    print(f"\n{slices} slices of {side} x {side} px, uint16 ({slices * side**2 * 2 / 1e9:.0f} GB), planned only.\n")
    print(
        "| memory of a worker | tiles | px | read, GB | written, GB | scratch, GB | overhead | h, 1 worker | 10 | 100 |"
    )
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for memory in (2, 4, 16):
        plan = plan_for(shape, np.uint16, options, memory=memory * 10**9, transparent=False, chunk=(1024, 1024))
        rounds = 3
        written, scratch = side**2 * (2 + 2 + 4 + 4) * 4 / 3 / 1e9, side**2 * (6 + rounds) / 1e9
        hours = [
            -(-len(plan) // workers) * plan.seen_px / len(plan) * slices / rate / 1e6 / 3600 for workers in (1, 10, 100)
        ]
        tasks = len(plan) * (2 + 2 * rounds)
        row = [f"{memory} GB", f"{len(plan)} ({tasks} tasks)", f"{plan.side[0]} x {plan.side[1]}"]
        row += [f"{plan.seen_px * slices * 2 / 1e9:.0f}", f"{written:.0f}", f"{scratch:.0f}", f"{plan.overhead:.2f}"]
        print("| " + " | ".join([*row, *(f"{h:.2g}" for h in hours)]) + " |")


def time_points(points: int, folder: str) -> tuple[dict[str, Any], float]:
    """Fuse a series whose points are made when they are asked for, one of them broken; return what was seen."""
    from napari_focus_stack import InputError
    from napari_focus_stack.io import StackSource, fuse_batch
    from napari_focus_stack.io.positions import Positions

    stack = Periodic(512, 20)
    warmed(stack)
    process, seen = psutil.Process(), []

    def opened(i: int) -> StackSource:
        def slice_of(k: int) -> np.ndarray[Any, Any]:
            if i == points // 2:
                raise InputError(f"slice {k} is damaged.")
            return np.roll(stack[k], 7 * i, axis=1)

        seen.append(process.memory_info().rss)
        return StackSource(slice_of, [f"slice {k}" for k in range(20)], (512, 512), stack.dtype, rgb=False, files=[])

    start = time.perf_counter()
    positions = Positions("T", (points,), tuple(f"T{i}" for i in range(points)), opened)
    outputs = {
        "image": Path(folder) / "f.ome.zarr",
        "height": Path(folder) / "h.ome.zarr",
        "report": Path(folder) / "t.csv",
    }
    outcome = fuse_batch(positions, FocusStackOptions(), outputs)
    seconds = time.perf_counter() - start
    with (Path(folder) / "t.csv").open(encoding="utf-8") as file:
        failed = [row["stack"] for row in csv.DictReader(file) if row["error"]]
    settled = seen[len(seen) // 4]
    facts = {
        "fused": points - len(outcome.failures),
        "failed": failed,
        "grown_mb": (max(seen[len(seen) // 4 :]) - settled) / 1e6,
    }
    return facts, seconds


def series(points: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        facts, seconds, peak = measured(time_points, points, folder)
    print(f"\n{points} time points of 20 x 512 x 512 px to one OME-Zarr in {seconds:.0f} s: {facts['fused']} fused,")
    print(f"{', '.join(facts['failed'])} failed, as the table says; peak memory {peak / 1e9:.2f} GB, which grew by")
    print(f"{facts['grown_mb']:.0f} MB from the first quarter on.", flush=True)


def killed(size: int, slices: int) -> None:
    """Kill a run with -9 in the middle of its writing, go on with --resume, and print what is found."""
    import subprocess
    import sys

    import zarr

    stack = Periodic(size, slices)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.stack([stack[k] for k in range(slices)])
        zarr.save_array(str(folder / "stack.zarr"), pixels)
        words = [sys.executable, "-m", "napari_focus_stack", "fuse", str(folder / "stack.zarr"), "--tile", "512"]
        words += ["-o", str(folder / "image.ome.zarr"), "--height", str(folder / "height.ome.zarr")]
        run = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        journal = folder / ".image.ome.zarr.run" / "journal.jsonl"
        while not journal.is_file() or journal.read_text().count("\n") < 5:
            if run.poll() is not None:
                raise SystemExit("the run ended before it could be killed")
            time.sleep(0.001)
        run.kill()
        run.wait()
        left = [path.name for path in folder.iterdir() if not path.name.startswith((".", "stack"))]
        told = subprocess.run([*words, "--resume"], capture_output=True, text=True, check=True).stdout
        # The table is as wide as the terminal.
        known = re.findall(r"(\d+) of them known", " ".join(told.split()))
        whole = focus_stack(pixels)
        same = [
            bool(np.array_equal(zarr.open(str(folder / f"{one}.ome.zarr"), mode="r")["0"][:], getattr(whole, one)))
            for one in ("image", "height")
        ]
    print(f"\nKilled by kill -9 in the middle of {slices} x {size} x {size} px in tiles of 512 px: files under final")
    print(
        f"names {left or 'none'}. With --resume {', '.join(known)} tiles were known; pixels as in memory: {all(same)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of a slice, px")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--memory", default="1 GB", help="what a run in tiles may use")
    parser.add_argument("--reference", type=int, default=4096, help="side of the part that is fused in memory, px")
    parser.add_argument("--points", type=int, default=20, help="time points of the series")
    parser.add_argument("--workers", action="store_true", help="on a LocalCluster of one and two workers, too")
    arguments = parser.parse_args()
    size, slices = arguments.size, arguments.slices
    rate = against_memory(size, slices, arguments.memory, min(arguments.reference, size))
    plan_only(100_000, 20, rate)
    series(arguments.points)
    killed(2048, min(slices, 4))
    if arguments.workers:
        cluster(min(size, 4096), slices)


if __name__ == "__main__":
    main()
