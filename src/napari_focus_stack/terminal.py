"""What the command line shows: sentences and a progress bar on stderr, tables on stdout."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .auto_choices import Chosen
    from .io import BatchOutcome
    from .sharpness import SharpnessReport
    from .tiled import TilePlan


def say(sentence: str) -> None:
    """Print one line on stderr."""
    print(f"napari-focus-stack: {' '.join(sentence.split())}", file=sys.stderr, flush=True)


def print_anything() -> None:
    """Let what the terminal or a pipe has no letters for be printed as an escape, not end the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_no_more() -> None:
    """Let go of a stdout that takes nothing any more; Python would complain about it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on stderr while slices go by; it is gone at the end."""
    if quiet or not (sys.stderr.isatty() or "FORCE_COLOR" in os.environ):  # what draws it takes time to load
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_summary(
    names: tuple[str, ...],
    sharpness: SharpnessReport,
    chosen: Mapping[str, Chosen],
    outputs: Mapping[str, Path],
    seconds: float,
    plan: TilePlan | None = None,
    resumed: int = 0,
    motion: str | None = None,
) -> None:
    """Print what a run gave and wrote."""
    from .auto_choices import in_words

    best = sharpness.best_source
    rows = {
        f"sharpness ({sharpness.measure}), mean of the slices": f"{sharpness.mean_of_sources:.4g}",
        "best slice": f"{best} ({Path(names[best]).name}): {sharpness.per_slice[best]:.4g}",
        "fused": f"{sharpness.fused:.4g}",
        "gain": f"\u00d7{sharpness.gain:.3g}"
        if isfinite(sharpness.gain)
        else "not defined: no sharpness in the slices",
    }
    if motion is not None and "align" not in chosen:
        rows["motion"] = motion
    if chosen:
        rows["chosen by the stack"] = in_words(chosen)
    if plan is not None:
        known = f", {resumed} of them known from before" if resumed else ""
        rows["tiles"] = f"{len(plan)} of up to {plan.side[0]} x {plan.side[1]} px{known}"
    rows["time"] = f"{seconds:.1f} s for {len(names)} slices"
    rows |= {name.replace("image", "fused image"): str(path) for name, path in outputs.items()}
    _print_table([], [list(row) for row in rows.items()])


def print_batch(outcome: BatchOutcome) -> None:
    """Print how many stacks were fused, and what was written."""
    done = [row for row in outcome.rows if not row["error"]]
    seconds = sum(row["seconds"] for row in outcome.rows)
    rows = {"stacks": f"{len(done)} fused, {len(outcome.failures)} failed", "time": f"{seconds:.1f} s"}
    rows |= {
        name.replace("image", "fused image").replace("report", "table"): str(p) for name, p in outcome.written.items()
    }
    _print_table([], [list(row) for row in rows.items()])


def print_facts(facts: Mapping[str, str], as_json: bool) -> None:
    """Print names and what belongs to them, as a table or as JSON."""
    if as_json:
        import json

        print(json.dumps(dict(facts), indent=2))
        return
    _print_table([], [list(row) for row in facts.items()])


def print_measures(names: tuple[str, ...], measure: str, values: list[float], as_json: bool) -> None:
    """Print the sharpness of every slice, as a table or as JSON."""
    best = max(range(len(values)), key=values.__getitem__)
    if as_json:
        import json

        from .io import plain

        slices = [{"slice": k, "name": n, "sharpness": v} for k, (n, v) in enumerate(zip(names, values, strict=True))]
        mean = sum(values) / len(values)
        print(json.dumps(plain({"measure": measure, "slices": slices, "mean": mean, "best_slice": best}), indent=2))
        return
    rows = [
        [str(k), Path(name).name, f"{value:.5g}", "\u25c0 sharpest" if k == best else ""]
        for k, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    _print_table(["slice", "name", measure, ""], [*rows, ["", "mean", f"{sum(values) / len(values):.5g}", ""]])


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=box.SIMPLE_HEAD if header else None, show_header=bool(header))
    for _ in range(0 if header else len(rows[0])):
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
