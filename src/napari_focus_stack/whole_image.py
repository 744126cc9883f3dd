"""What is taken from the whole image, however large, while a run may see a part of it only.

A run records here every number that it takes from all pixels together. Given to
the runs of parts, the record makes them decide as the run of the whole would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Number = float | tuple[float, ...]
Value = TypeVar("Value", bound=Number)


@dataclass(eq=False)
class Whole:
    """The whole image behind a run, and which part of it the run sees.

    Attributes
    ----------
    given : mapping of str to float or tuple of float
        Numbers of the whole image, from an earlier run; empty where the run sees all of it.
    origin : tuple of int
        (y, x) of the first pixel of the part, in px.
    core : tuple of slice or None
        Rows and columns of the part that it answers for, in px from its own first pixel; what lies around them is
        there to be looked at. None for all.
    taken : dict of str to float or tuple of float
        The numbers of this run, given or its own.

    Examples
    --------
    >>> first = Whole()
    >>> first.number("mean", lambda: 5.0)
    5.0
    >>> Whole(first.taken).number("mean", lambda: 7.0)
    5.0
    """

    given: Mapping[str, Number] = field(default_factory=dict)
    origin: tuple[int, int] = (0, 0)
    core: tuple[slice, slice] | None = None
    taken: dict[str, Number] = field(default_factory=dict)

    def number(self, name: str, take: Callable[[], Value]) -> Value:
        """Return the number of this name: the given one, else what `take` returns."""
        value = self.given[name] if name in self.given else take()
        self.taken[name] = value
        return value  # type: ignore[return-value]
