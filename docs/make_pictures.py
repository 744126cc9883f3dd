"""Make the pictures of the README and the documentation from the synthetic samples.

    python docs/make_pictures.py [FOLDER]

Nothing is drawn by hand: the same commit gives the same pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from napari_focus_stack import focus_stack
from napari_focus_stack.synthetic import make_scene

GAP_PX = 6

# Viridis at nine points (Smith & van der Walt 2015), enough for a smooth ramp.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)


def as_rgb(image: np.ndarray, high: float) -> np.ndarray:
    shown = np.clip(image / high * 255, 0, 255).astype(np.uint8)
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def coloured(height: np.ndarray, top: float) -> np.ndarray:
    at = np.clip(height / top, 0, 1)
    points = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(at, points, VIRIDIS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def strip(name: str, shape: tuple[int, int] = (264, 264), slices: int = 16) -> np.ndarray:
    """Return two slices, the fused image and the height map side by side."""
    scene = make_scene(name, shape, slices)
    result = focus_stack(scene.stack)
    high = float(np.percentile(scene.stack, 99.95))
    panels = [as_rgb(scene.stack[slices // 5], high), as_rgb(scene.stack[4 * slices // 5], high)]
    panels += [as_rgb(result.image, high), coloured(result.height, slices - 1)]
    gap = np.full((shape[0], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images")
    folder.mkdir(parents=True, exist_ok=True)
    strips = [strip("colour"), strip("beads")]
    gap = np.full((GAP_PX, strips[0].shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([strips[0], gap, strips[1]])).save(folder / "overview.png", optimize=True)


if __name__ == "__main__":
    main()
