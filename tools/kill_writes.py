"""End whole runs at random moments, fill their disk, and run two at once: results are whole, old or new.

    python tools/kill_writes.py [--kills 50]

The real command line in processes of its own. With the rights to mount (Linux, superuser) the disk
that fills is a small tmpfs; otherwise a limit of file size stands for it. Linux and macOS.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

OUTPUTS = ("f.tif", "h.tif", "r.json")


def _command(stack: Path, out: Path, *more: str) -> list[str]:
    fused, height, report = (str(out / name) for name in OUTPUTS)
    files = ["-o", fused, "--height", height, "--report", report, "-q"]
    return [sys.executable, "-m", "napari_focus_stack", "fuse", str(stack), *files, *more]


def _digests(out: Path) -> dict[str, str]:
    """Return what was written: pixels, and the length of the report, which tells the time too."""
    seen = {}
    for name in OUTPUTS[:2]:
        seen[name] = hashlib.sha256(tifffile.imread(out / name).tobytes()).hexdigest()
    seen[OUTPUTS[2]] = "whole" if (out / OUTPUTS[2]).read_text().endswith("}\n") else "cut"
    return seen


def _stack(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 4000, (6, 700, 800), np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


def kill_at_random(folder: Path, kills: int) -> int:
    """Overwrite old results and kill the run, every time at another moment; return how often a file was neither."""
    out = folder / "out"
    out.mkdir()
    old_stack, new_stack = (_stack(folder / f"{seed}.tif", seed) for seed in (1, 2))
    subprocess.run(_command(new_stack, out), check=True)
    new = _digests(out)
    start = time.perf_counter()
    subprocess.run(_command(old_stack, out), check=True)
    seconds = time.perf_counter() - start
    old, kept = _digests(out), {name: (out / name).read_bytes() for name in OUTPUTS}
    inputs = [hashlib.sha256(path.read_bytes()).digest() for path in (old_stack, new_stack)]
    wrong, seen, chance = 0, {"old": 0, "new": 0, "both": 0}, random.Random(0)
    for kill in range(kills):
        for name, content in kept.items():
            (out / name).write_bytes(content)
        run = subprocess.Popen(_command(new_stack, out), stderr=subprocess.DEVNULL)
        # Most moments while it writes; kill -9, and the two signals that may be answered.
        if kill % 5:
            before = set(out.iterdir())
            while run.poll() is None and set(out.iterdir()) <= before:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.15))
        else:
            time.sleep(seconds * chance.uniform(0, 1))
        run.send_signal((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[kill % 4])
        run.wait()
        found = _digests(out)
        states = {"old" if found[name] == old[name] else "new" for name in OUTPUTS[:2]}
        wrong += not all(found[name] in (old[name], new[name]) for name in OUTPUTS)
        seen["both" if len(states) > 1 else states.pop()] += 1
    wrong += inputs != [hashlib.sha256(path.read_bytes()).digest() for path in (old_stack, new_stack)]
    hidden = len(list(out.iterdir())) - len(OUTPUTS)
    print(f"{kills} ends: {seen['old']} old, {seen['new']} new, {seen['both']} some of each, {wrong} files neither;")
    print(f"  {hidden} hidden files left behind by kill -9")
    return wrong


def fill_the_disk(folder: Path) -> int:
    """Run on disks of every size up to enough; return how often something was lost or half written."""
    stack, wrong = _stack(folder / "full.tif", 3), 0
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None and sys.platform == "linux"
    disk = folder / "disk"
    disk.mkdir()
    told = []
    for kilobytes in (64, 500, 1000, 2000, 3000, 20_000):
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir(exist_ok=True)
        if mounted:
            mounted = (
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", disk]).returncode == 0
            )
        (disk / "f.tif").write_bytes(b"old")
        command = _command(stack, disk)
        if not mounted:
            command = ["bash", "-c", f"trap '' XFSZ; ulimit -f {kilobytes}; exec \"$@\"", "-", *command]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        names = sorted(path.name for path in disk.iterdir())
        if run.returncode == 0:
            wrong += names != sorted(OUTPUTS)
        else:
            good = run.returncode == 1 and run.stderr.count("\n") == 1 and names == ["f.tif"]
            wrong += not (good and (disk / "f.tif").read_bytes() == b"old")
        told.append(f"{kilobytes} kB {'written' if run.returncode == 0 else 'refused'}")
        if mounted:
            subprocess.run(["umount", disk], check=True)
    print(f"full disk ({'tmpfs' if mounted else 'limit of file size'}): {', '.join(told)}; {wrong} wrong")
    return wrong


def run_two_at_once(folder: Path, times: int = 5) -> int:
    """Start two runs with the same outputs; return how often they did not end with whole files of one of them."""
    out, wrong = folder / "two", 0
    out.mkdir()
    stacks = [_stack(folder / f"two{seed}.tif", seed) for seed in (4, 5)]
    expected = []
    for stack in stacks:
        subprocess.run(_command(stack, out), check=True)
        expected.append(_digests(out))
    for _ in range(times):
        runs = [subprocess.Popen(_command(stack, out)) for stack in stacks]
        ends = [run.wait() for run in runs]
        found = _digests(out)
        wrong += ends != [0, 0] or any(found[name] not in {e[name] for e in expected} for name in OUTPUTS)
    print(f"two runs at once, {times} times: {wrong} wrong")
    return wrong


def run_two_in_tiles(folder: Path, times: int = 5) -> int:
    """Start two runs in tiles to one name; return how often anything but one whole image and one refusal came of it."""
    out, wrong = folder / "tiles", 0
    out.mkdir()
    stacks = [_stack(folder / f"tiles{seed}.tif", seed) for seed in (7, 8)]

    def command(stack: Path, name: str) -> list[str]:
        more = ["--tile", "128", "--levels", "2", "-q"]
        return [sys.executable, "-m", "napari_focus_stack", "fuse", str(stack), "-o", str(out / name), *more]

    for k, stack in enumerate(stacks):
        subprocess.run(command(stack, f"{k}.tif"), check=True)
    expected = [tifffile.imread(out / f"{k}.tif") for k in range(2)]
    for _ in range(times):
        runs = [subprocess.Popen(command(stack, "f.tif"), stderr=subprocess.PIPE, text=True) for stack in stacks]
        told = [run.communicate()[1] for run in runs]
        for k, run in enumerate(runs):
            refused = run.returncode == 1 and "another run is writing" in told[k]
            wrong += not (run.returncode == 0 or refused)
        wrong += not any(np.array_equal(tifffile.imread(out / "f.tif"), image) for image in expected)
        (out / "f.tif").unlink()
    wrong += sorted(path.name for path in out.iterdir()) != ["0.tif", "1.tif"]
    print(f"two runs in tiles at once, {times} times: {wrong} wrong")
    return wrong


def compile_at_once(folder: Path, processes: int = 2) -> int:
    """Let processes compile all kernels into one fresh folder, twice; return how many gave other bytes or failed."""
    stack = _stack(folder / "compile.tif", 6)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
    seen, wrong = set(), 0
    for _ in range(2):
        outs = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(processes)]
        runs = [subprocess.Popen(_command(stack, out), env=environment) for out in outs]
        wrong += sum(run.wait() != 0 for run in runs)
        seen |= {tuple(_digests(out).values()) for out in outs}
    wrong += len(seen) - 1
    print(f"{processes} processes compiling at once, and {processes} that find the kernels: {wrong} wrong")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrong = kill_at_random(folder, given.kills) + fill_the_disk(folder)
        wrong += run_two_at_once(folder) + run_two_in_tiles(folder) + compile_at_once(folder)
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
