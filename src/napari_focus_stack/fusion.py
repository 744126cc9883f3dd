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
        "Noise-aware, softly weighted pyramid, held within the range of the slices. The default.",
        LaplacianFusion,
    ),
    "laplacian-max": FusionMethod(
        "Laplacian pyramid, largest energy",
        "The classic rule of Wang & Chang: the slice of the largest regional energy wins at every level.",
        LaplacianMaxFusion,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "log": FusionMethod(
        "Laplacian of Gaussian",
        "The simple baseline: every pixel from the slice of the largest Laplacian of Gaussian.",
        LogFusion,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "decision-map": FusionMethod(
        "Decision map",
        "For few slices of a photograph: a cleaned map of which slice wins, blended at its edges.",
        DecisionMapFusion,
        visits=2,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
    "height": FusionMethod(
        "Height map",
        "Every pixel from the slice that the filled height map names: quiet where there is no texture.",
        HeightFusion,
        visits=2,
        ignores=("denoise", "z_preference", "mend_rims"),
    ),
}
