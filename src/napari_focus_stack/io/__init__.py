"""Read stacks lazily from files, with their pixel sizes; write images and reports."""

from .batch import BatchOutcome, fuse_batch
from .files import IMAGE_ENDINGS, natural_key
from .fusing import (
    TileSettings,
    check_outputs,
    fuse_in_tiles,
    fuse_stack,
    measure_stack,
    outputs_among_slices,
    write_results,
)
from .heights import HEIGHT_UNITS, HeightSettings
from .lazy_images import lazy_images
from .lazy_stacks import LazyStack, lazy_stacks
from .positions import Positions, find_positions
from .reading import read_stack
from .report import plain, write_report
from .source import PixelSize, StackSource
from .writing import check_output, staged_outputs, write_image

__all__ = [
    "HEIGHT_UNITS",
    "IMAGE_ENDINGS",
    "BatchOutcome",
    "HeightSettings",
    "LazyStack",
    "PixelSize",
    "Positions",
    "StackSource",
    "TileSettings",
    "check_output",
    "check_outputs",
    "find_positions",
    "fuse_batch",
    "fuse_in_tiles",
    "fuse_stack",
    "lazy_images",
    "lazy_stacks",
    "measure_stack",
    "natural_key",
    "outputs_among_slices",
    "plain",
    "read_stack",
    "staged_outputs",
    "write_image",
    "write_report",
    "write_results",
]
