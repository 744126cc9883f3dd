"""Focus stacking: one image sharp everywhere, and the height of the specimen at every pixel."""

from .alignment.record import Alignment
from .any_stack import focus_stack
from .errors import InputError
from .noise import NoiseModel, estimate_noise
from .options import FocusStackOptions
from .pipeline import estimate_alignment
from .result import FocusStackResult
from .sharpness import SharpnessReport, sharpness
from .stacker import FocusStacker
from .surface import SurfaceReport, level_height, measure_surface, trusted_pixels
from .tiled import focus_stack_tiled

__version__ = "0.1.0"

__all__ = [
    "Alignment",
    "FocusStackOptions",
    "FocusStackResult",
    "FocusStacker",
    "InputError",
    "NoiseModel",
    "SharpnessReport",
    "SurfaceReport",
    "estimate_alignment",
    "estimate_noise",
    "focus_stack",
    "focus_stack_tiled",
    "level_height",
    "measure_surface",
    "sharpness",
    "trusted_pixels",
]
