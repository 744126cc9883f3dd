"""Scenes with known truth: z-stacks as light and a camera make them, with the sharp image and the height.

Tests, benchmarks, sample data and documents share them. Opaque sheets are blurred and
composited from front to back (`defocus`), glowing ones add, transparent ones are imaged
by wave optics (`wave`); a camera with photon and read noise takes the slices (`camera`).
"""

from .camera import NOISE_PHOTONS, Camera
from .defocus import Lens, Surface, blur, glowing_slices, in_focus, opaque_slices
from .motion import Motion
from .scenes import SCENES, Scene, SceneKind, make_scene
from .specimen import Specimen, detail
from .textures import PHOTOGRAPHS, contrast, fractal, photograph
from .wave import BrightField, bright_field_slices, intensity

__all__ = [
    "NOISE_PHOTONS",
    "PHOTOGRAPHS",
    "SCENES",
    "BrightField",
    "Camera",
    "Lens",
    "Motion",
    "Scene",
    "SceneKind",
    "Specimen",
    "Surface",
    "blur",
    "bright_field_slices",
    "contrast",
    "detail",
    "fractal",
    "glowing_slices",
    "in_focus",
    "intensity",
    "make_scene",
    "opaque_slices",
    "photograph",
]
