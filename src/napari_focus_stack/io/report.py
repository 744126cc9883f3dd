"""The report of a run: JSON with everything, or CSV with the sharpness of every slice."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def write_report(path: str | Path, *, names: Sequence[str], sharpness: Mapping[str, Any], **facts: Any) -> None:
    """Write how sharp the slices and the fused image are, and how it was made.

    Parameters
    ----------
    path : path
        .csv has one row a slice, then the mean of the slices and the fused image;
        .json also has `facts`.
    names : sequence of str
        One for each slice.
    sharpness : mapping
        Keys measure, per_slice, mean_of_sources, best_source, fused, gain.
    **facts
        Whatever else belongs to the run: options, noise, warnings, seconds.
        Records become objects; NaN becomes null.
    """
    if Path(path).suffix.lower() == ".csv":
        _write_csv(Path(path), names, sharpness)
        return
    report = plain({"slices": list(names), "sharpness": dict(sharpness), **facts})
    Path(path).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: records and mappings as dict, NaN and infinity as None.

    Examples
    --------
    >>> plain({"gain": float("nan"), "slices": (1, 2)})
    {'gain': None, 'slices': [1, 2]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _write_csv(path: Path, names: Sequence[str], sharpness: Mapping[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["slice", "name", str(sharpness["measure"])])
        rows.writerows(zip(range(len(names)), names, sharpness["per_slice"], strict=True))
        rows.writerow(["mean", "", sharpness["mean_of_sources"]])
        rows.writerow(["fused", "", sharpness["fused"]])
