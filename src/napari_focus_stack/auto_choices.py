"""What "auto" chose, for every option that may be left to the stack: a value, and words for people.

An option that is given an "auto" needs its entry in `AUTOMATIC`: the panel, the
command line, the report and the layers' metadata show it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .noise import NoiseModel
from .options import AUTO, FocusStackOptions


@dataclass(frozen=True)
class Chosen:
    """A choice that was made for the user.

    Attributes
    ----------
    value : object
        Plain: a number, a word or a tuple of numbers, as the option itself takes it.
    words : str
        The same for people, short enough for one line with the others.
    """

    value: Any
    words: str


@dataclass(frozen=True)
class RunFacts:
    """What a run knows of its stack at the end.

    Attributes
    ----------
    levels : int
        Detail levels of the pyramid.
    noise : NoiseModel
        In gray levels.
    transparent : float
        How far the specimen was treated as a transparent one in bright field, 0 to 1.
    glowing : bool
        Whether light from all heights was taken to add, as in fluorescence.
    align, align_reason : str
        The model of motion that was applied, and why.
    """

    levels: int
    noise: NoiseModel
    transparent: float
    glowing: bool = False
    align: str = "none"
    align_reason: str = "not aligned"


def _levels(facts: RunFacts) -> Chosen:
    return Chosen(facts.levels, f"{facts.levels} level{'s' if facts.levels > 1 else ''}")


def _noise(facts: RunFacts) -> Chosen:
    gain, offset = (sum(line) / len(line) for line in (facts.noise.gain, facts.noise.offset))
    return Chosen((gain, offset), f"noise {100 * facts.noise.relative:.2g} % of the range at mid gray")


def _light(facts: RunFacts) -> Chosen:
    if facts.glowing:
        return Chosen("glowing", "fluorescence, light adds")
    if facts.transparent <= 0:
        return Chosen("opaque", "opaque specimen")
    part = "" if facts.transparent >= 1 else f", to {100 * facts.transparent:.0f} %"
    return Chosen("transparent" if facts.transparent > 0.5 else "opaque", f"transparent specimen{part}")


def _align(facts: RunFacts) -> Chosen:
    return Chosen(facts.align, facts.align_reason)


AUTOMATIC: Mapping[str, Callable[[RunFacts], Chosen]] = {
    "align": _align,
    "levels": _levels,
    "noise": _noise,
    "light": _light,
}


def chosen_values(options: FocusStackOptions, facts: RunFacts) -> dict[str, Chosen]:
    """Return the choice made for every option that is set to "auto", by name.

    Parameters
    ----------
    options : FocusStackOptions
    facts : RunFacts

    Examples
    --------
    >>> noise = NoiseModel((0.5,), (20.0,), (10.0,), (210.0,))
    >>> facts = RunFacts(levels=6, noise=noise, transparent=0.0)
    >>> in_words(chosen_values(FocusStackOptions(), facts))
    '6 levels · noise 4.3 % of the range at mid gray · opaque specimen'
    >>> list(chosen_values(FocusStackOptions(levels=4, light="opaque"), facts))
    ['noise']
    """
    return {name: choose(facts) for name, choose in AUTOMATIC.items() if getattr(options, name) == AUTO}


def in_words(chosen: Mapping[str, Chosen]) -> str:
    """Return choices as one line; empty where nothing was left to the stack."""
    return " · ".join(choice.words for choice in chosen.values())
