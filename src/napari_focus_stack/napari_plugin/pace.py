"""How fast work goes that will be done again: what is compiled or loaded for it once tells nothing of the next time."""

from __future__ import annotations

from math import prod
from time import perf_counter

from ..kernels import kernels_ready

# Of the default method on two cores, until a run has told.
SECONDS_PER_VALUE = 25e-9


class Pace:
    """Measures work from the moment it is made."""

    def __init__(self) -> None:
        self._ready, self._began = kernels_ready(), perf_counter()

    def seconds_per_value(self, shape: tuple[int, ...]) -> float | None:
        """Return what work on an array took for every value; None where kernels were made ready meanwhile."""
        seconds = perf_counter() - self._began
        return seconds / max(prod(shape), 1) if kernels_ready() == self._ready else None
