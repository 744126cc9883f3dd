"""Read many spoiled files and tell which made anything but a stack or a sentence of refusal.

    python tools/fuzz_reading.py --cases 20000 [--first 0]      seeded faults; every case can be run again
    python tools/fuzz_reading.py --atheris --seconds 600        guided by coverage, where Atheris is installed

Every case runs under a limit of memory and of time. Findings are kept as files in --keep.
Works on Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

MEMORY_BYTES = 3 << 30
SECONDS_A_CASE = 20
# Nothing that a file says may run code, start a program or open a connection.
FORBIDDEN = ("pickle.find_class", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec")


class TooLongError(Exception):
    """The case took longer than allowed."""


def _limit() -> None:
    def stop(*_: object) -> None:
        raise TooLongError

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(FORBIDDEN) and "llvmlite" not in str(arguments) and "numba" not in str(arguments):
            raise AssertionError(f"forbidden: {event} {arguments}")

    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.addaudithook(watch)


def _judged(path: Path) -> str:
    """Return "read", "refused", or the last line of a traceback."""
    from spoiled_files import verdict

    signal.alarm(SECONDS_A_CASE)
    try:
        return "read" if verdict(path) == "read" else "refused"
    except BaseException as error:
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        inside = next((p for p in reversed(places) if not p.startswith("spoiled")), "")
        return f"FINDING {type(error).__name__}: {str(error)[:90]} at {inside}"
    finally:
        signal.alarm(0)


def _run_cases(cases: range, wholes: list[Path], keep: Path, log: Path) -> None:
    """Run cases in this process, noting each before it starts, so that a crash is known too."""
    from spoiled_files import number_of_seed, spoil_path

    _limit()
    with log.open("a", buffering=1) as lines, tempfile.TemporaryDirectory() as folder:
        for seed in cases:
            rng, whole = number_of_seed(seed, wholes)
            target = Path(folder) / f"{seed}-{whole.name}"
            spoil_path(whole, target, rng)
            lines.write(f"{seed} ")
            judged = _judged(target)
            lines.write(f"{whole.name} {judged}\n")
            if judged.startswith("FINDING"):
                with contextlib.suppress(FileExistsError):
                    (shutil.copytree if target.is_dir() else shutil.copy)(target, keep / target.name)
            shutil.rmtree(target) if target.is_dir() else target.unlink()


def run_seeded(first: int, cases: int, keep: Path) -> int:
    """Run seeded cases in child processes; return how many findings there are."""
    from spoiled_files import whole_files

    start, log = time.perf_counter(), keep / "log.txt"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wholes = whole_files(Path(folder))
        done, end = first, first + cases
        while done < end:
            child = os.fork()
            if child == 0:
                try:
                    _run_cases(range(done, end), wholes, keep, log)
                    os._exit(0)
                finally:
                    os._exit(70)
            _, status = os.waitpid(child, 0)
            lines = log.read_text().splitlines()
            if status == 0:
                break
            seed = int(lines[-1].split()[0])
            with log.open("a") as file:
                file.write(f"{wholes[seed % len(wholes)].name} FINDING the process ended with status {status}\n")
            done = seed + 1
    rows = [line.split(" ", 2) for line in log.read_text().splitlines()]
    kinds = Counter(row[2] for row in rows)
    for kind, count in kinds.most_common():
        example = next(row[0] for row in rows if row[2] == kind)
        print(f"{count:7} {kind} (such as case {example})")
    findings = sum(count for kind, count in kinds.items() if kind.startswith("FINDING"))
    print(f"{len(rows)} cases, {findings} findings, {time.perf_counter() - start:.0f} s; kept in {keep}")
    return findings


def run_atheris(seconds: int, keep: Path) -> None:
    """Let Atheris look for bytes that reach new code; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["napari_focus_stack.io", "tifffile", "PIL"]):
        import tifffile  # noqa: F401
        from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

        import napari_focus_stack.io.reading  # noqa: F401
    from spoiled_files import KINDS, verdict, whole_files

    corpus = keep / "corpus"
    corpus.mkdir(exist_ok=True)
    for path in whole_files(Path(tempfile.mkdtemp())):
        if path.is_file():
            shutil.copy(path, corpus / path.name)
    assert KINDS
    target = Path(tempfile.mkdtemp()) / "case.bin"
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")

    def one(content: bytes) -> None:
        target.write_bytes(content)
        verdict(target)

    limits = [f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_BYTES >> 20}", f"-timeout={SECONDS_A_CASE}"]
    atheris.Setup([sys.argv[0], *limits, "-max_len=65536", f"-artifact_prefix={keep}/", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--seconds", type=int, default=300, help="of a run with Atheris")
    parser.add_argument("--keep", type=Path, default=None, help="folder for findings")
    given = parser.parse_args()
    keep = given.keep or Path(tempfile.mkdtemp(prefix="fuzz-reading-"))
    keep.mkdir(parents=True, exist_ok=True)
    if given.atheris:
        run_atheris(given.seconds, keep)
    raise SystemExit(run_seeded(given.first, given.cases, keep) > 0)


if __name__ == "__main__":
    main()
