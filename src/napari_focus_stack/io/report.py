"""The report of a run: JSON with everything, or CSV with the sharpness of every slice and the surface."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..surface import SurfaceReport

_WITHOUT_UNIT = ("Ssk", "Sku", "Sdq")


def write_report(
    path: str | Path,
    *,
    names: Sequence[str],
    sharpness: Mapping[str, Any],
    surface: SurfaceReport | None = None,
    **facts: Any,
) -> None:
    """Write how sharp the slices and the fused image are, how rough the surface is, and how it was made.

    Parameters
    ----------
    path : path
        .csv has one row a slice, then the mean of the slices, the fused image, and one row
        a figure of the surface: its name, what it is of and its unit, its value. .json also has `facts`.
    names : sequence of str
        One for each slice.
    sharpness : mapping
        Keys measure, per_slice, mean_of_sources, best_source, fused, gain.
    surface : SurfaceReport, optional
    **facts
        Whatever else belongs to the run: options, noise, warnings, seconds.
        Records become objects; NaN becomes null.
    """
    if Path(path).suffix.lower() == ".csv":
        _write_csv(Path(path), names, sharpness, surface)
        return
    if surface is not None:
        facts = {"surface": surface.as_dict(), **facts}
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


def _write_csv(path: Path, names: Sequence[str], sharpness: Mapping[str, Any], surface: SurfaceReport | None) -> None:
    # A file's name may hold bytes that are no text.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        rows = csv.writer(file)
        rows.writerow(["slice", "name", str(sharpness["measure"])])
        rows.writerows(zip(range(len(names)), names, sharpness["per_slice"], strict=True))
        rows.writerow(["mean", "", sharpness["mean_of_sources"]])
        rows.writerow(["fused", "", sharpness["fused"]])
        if surface is not None:
            rows.writerows(_surface_rows(surface))


def _surface_rows(surface: SurfaceReport) -> Iterator[tuple[str, str, float | str]]:
    """Yield name, what it is of with its unit, and value of every figure; "" for what is not known."""

    def known(value: float) -> float | str:
        return value if math.isfinite(value) else ""

    yield "trusted", f"share of pixels of confidence {surface.trust:g} and more", known(surface.trusted_share)
    yield "tilt", "plane; deg", known(surface.tilt_deg)
    yield "tilt direction", "plane; deg from x towards y", known(surface.tilt_direction_deg)
    filters = [
        f", {letter}-filter"
        for letter, cutoff in (("S", surface.s_filter_px), ("L", surface.l_filter_px))
        if cutoff is not None
    ]
    for of, parameters in (("raw", surface.raw), (f"{surface.form} removed{''.join(filters)}", surface.levelled)):
        for name, value in asdict(parameters).items():
            unit = "" if name in _WITHOUT_UNIT else f"; {surface.unit}"
            yield name, of + unit, known(value)
