"""Measures every slice and the fused image with every sharpness measure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from .noise import NoiseModel
from .sharpness import SHARPNESS_MEASURES, SharpnessReport, sharpness
from .slices import Slices, StackLike


@dataclass(frozen=True)
class MeasureTable:
    """Reports by name of the measure, all of one stack.

    Attributes
    ----------
    reports : mapping of str to SharpnessReport
    """

    reports: Mapping[str, SharpnessReport]

    def as_csv(self) -> str:
        """Return one row a slice, then the mean of the slices, the fused image and the gain; a column a measure.

        Examples
        --------
        >>> print(MeasureTable({"gradient": SharpnessReport.of("gradient", [1.0, 3.0], 5.0)}).as_csv(), end="")
        slice,gradient
        0,1.0
        1,3.0
        mean of slices,2.0
        fused,5.0
        gain,2.5
        """
        reports = list(self.reports.values())
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["slice", *self.reports])
        per_slice = zip(*(report.per_slice for report in reports), strict=True)
        rows.writerows([k, *values] for k, values in enumerate(per_slice))
        rows.writerow(["mean of slices", *(report.mean_of_sources for report in reports)])
        rows.writerow(["fused", *(report.fused for report in reports)])
        rows.writerow(["gain", *("" if math.isnan(report.gain) else report.gain for report in reports)])
        return text.getvalue()


def measure_all_steps(
    stack: StackLike | Sequence[Any],
    fused: npt.NDArray[Any],
    noise: NoiseModel | None = None,
    *,
    rgb: bool | None = None,
    known: SharpnessReport | None = None,
) -> Generator[int, None, MeasureTable]:
    """Measure every slice and the fused image with every measure.

    Parameters
    ----------
    stack : array-like or sequence of slices
        As of `focus_stack`; read a slice at a time.
    fused : array, shape (y, x) or (y, x, c)
    noise : NoiseModel or None
        For "focus"; None estimates it from each image, so that figures compare less well.
    rgb : bool or None
    known : SharpnessReport or None
        Of a run: its measure is not measured again.

    Yields
    ------
    int
        How many images are done, of one more than there are slices.

    Returns
    -------
    MeasureTable
        As the value of ``StopIteration``.
    """
    slices = Slices(stack, rgb)
    names = [name for name in SHARPNESS_MEASURES if known is None or name != known.measure]
    values: dict[str, list[float]] = {name: [] for name in names}
    for k in range(len(slices) + 1):
        image = fused if k == len(slices) else slices[k]
        for name in names:
            values[name].append(sharpness(image, name, rgb=rgb, noise=noise))
        yield k + 1
    reports = {name: SharpnessReport.of(name, measured[:-1], measured[-1]) for name, measured in values.items()}
    if known is not None:
        reports[known.measure] = known
    return MeasureTable({name: reports[name] for name in SHARPNESS_MEASURES})
