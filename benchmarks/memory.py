"""Measure the peak memory of a run above its input, in bytes a pixel of one slice, as a Markdown table.

    python benchmarks/memory.py [--size 4096] [--align similarity] [--match-brightness gain]

Every case runs in a process of its own, on slices made when they are asked for, so that the stack
itself never lies in memory; two slices in flight belong to the figure, as do the results.
"""

from __future__ import annotations

import argparse

import numpy as np

from peak_memory import in_a_child, watched

CASES = [
    ("uint16 gray", np.uint16, 0, 10),
    ("uint16 gray", np.uint16, 0, 40),
    ("uint8 gray", np.uint8, 0, 10),
    ("float32 gray", np.float32, 0, 10),
    ("uint8 RGB", np.uint8, 3, 10),
    ("uint16 gray", np.uint16, 0, 3),
]


class Generated:
    """A stack of rolled noise."""

    def __init__(self, size: int, slices: int, dtype: type, channels: int) -> None:
        shape = (size, size, channels) if channels else (size, size)
        self._noise = np.random.default_rng(0).integers(0, 250, shape).astype(dtype)
        self.shape = (slices, *shape)
        self.dtype = self._noise.dtype

    def __getitem__(self, k: int) -> np.ndarray:
        return np.roll(self._noise, k, axis=0)


def run(stack: Generated, options: dict[str, str]) -> tuple[float, float]:
    """Return the peak above what was there before, and what is told before a run, in bytes a pixel."""
    from napari_focus_stack import FocusStackOptions, focus_stack
    from napari_focus_stack.pipeline import memory_needed

    # Of slices enough for every step, since what is imported on the way takes as much for a small stack as for a large.
    focus_stack(Generated(64, 10, stack.dtype.type, stack.shape[3] if len(stack.shape) == 4 else 0), **options)
    with watched() as peak:
        result = focus_stack(stack, **options)
    assert result.image.shape == stack.shape[1:]
    pixels = stack.shape[1] * stack.shape[2]
    told = memory_needed(stack.shape, stack.dtype, FocusStackOptions.of(**options))
    return (peak.most - peak.before) / pixels, told / pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size",
        type=int,
        default=4096,
        help="side of a slice, px; below 3000 the allocator keeps freed blocks, and shows",
    )
    parser.add_argument("--align", default="none")
    parser.add_argument("--match-brightness", default="off")
    options = vars(parser.parse_args())
    size = options.pop("size")
    print(f"Slices of {size} x {size} px.\n")
    print("| stack | slices | bytes a pixel | told before the run |\n|---|---:|---:|---:|")
    for name, dtype, channels, slices in CASES:
        measured, told = in_a_child(run, Generated(size, slices, dtype, channels), options)
        print(f"| {name} | {slices} | {measured:.1f} | {told:.1f} |", flush=True)


if __name__ == "__main__":
    main()
