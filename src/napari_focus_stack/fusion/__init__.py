"""The registry of fusion methods.

To add one, write its accumulator (`accumulator.Accumulator`, or `SecondVisit`)
and enter it here: the panel, the command line, the tests and the documentation
follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from .accumulator import Accumulator
from .baselines import DecisionMapFusion, HeightFusion, LaplacianMaxFusion, LogFusion
from .laplacian import LaplacianFusion


@dataclass(frozen=True)
class FusionMethod:
    """One way of fusing.

    Attributes
    ----------
    title, help : str
        Short name and one sentence.
    accumulator : type
        The method at work.
    visits : int
        How often it has to see every slice: 1 or 2.
    ignores : tuple of str
        Options that change nothing with it: greyed in the panel, warned of in the result.
    """

    title: str
    help: str
    accumulator: type[Accumulator]
    visits: int = 1
    ignores: tuple[str, ...] = ()


FUSION_METHODS: dict[str, FusionMethod] = {
    "laplacian": FusionMethod(
        "Laplacian pyramid",
        "The default: the sharpest detail of every size, told from noise, and nothing that is in no slice.",
        LaplacianFusion,
    ),
    "laplacian-max": FusionMethod(
        "Laplacian pyramid, largest energy",
        "The classic rule of Wang & Chang (2011): for every size of detail the slice with the most contrast wins.",
        LaplacianMaxFusion,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "log": FusionMethod(
        "Laplacian of Gaussian",
        "A simple method to compare with: every pixel from the slice with the largest Laplacian of Gaussian.",
        LogFusion,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "decision-map": FusionMethod(
        "Decision map",
        "For a few photographs: whole regions come from one slice each, blended at their edges.",
        DecisionMapFusion,
        visits=2,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "height": FusionMethod(
        "Height map",
        "Every pixel from the slice at its height in the filled height map: calm where there is no texture.",
        HeightFusion,
        visits=2,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
}
