"""Models of the motion between slices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignModel:
    """One model of motion: its title and a sentence on what it takes out."""

    title: str
    help: str


ALIGN_MODELS: dict[str, AlignModel] = {
    "none": AlignModel("None", "The slices are fused as they are."),
}
