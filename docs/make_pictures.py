"""Make the pictures of the README and the documentation from the synthetic samples.

    python docs/make_pictures.py [FOLDER]

Nothing is drawn by hand: the same commit gives the same pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import uniform_filter, zoom

from napari_focus_stack import focus_stack, sharpness
from napari_focus_stack.synthetic import Motion, Scene, make_scene

Picture = np.ndarray

GAP_PX = 6
CAPTION_PX = 30
# The ground is dark, as napari's is: it goes with pages in light and in dark colours.
GROUND = (28, 30, 36)
INK = (235, 235, 235)
QUALITY = 90

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


def as_rgb(image: np.ndarray, low: float, high: float) -> Picture:
    shown = np.clip((image.astype(float) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=2)


def coloured(height: np.ndarray, low: float, high: float) -> Picture:
    at = np.clip((height - low) / (high - low), 0, 1)
    points = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(at, points, VIRIDIS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def relief(image: Picture, height_px: np.ndarray, size: tuple[int, int], elevation_deg: float = 42) -> Picture:
    """Return `image` draped over `height_px`, seen from its lower edge, as a picture of `size` (rows, columns).

    Rows are drawn from near to far; each column keeps how high up it is covered already.
    """
    sine, cosine = np.sin(np.deg2rad(elevation_deg)), np.cos(np.deg2rad(elevation_deg))
    rows, columns = height_px.shape
    top = sine * rows + cosine * float(height_px.max())
    factor = 2  # drawn at twice the size, then halved: no jagged edges
    scale = factor * min(0.96 * size[1] / columns, 0.96 * size[0] / top)
    canvas = np.full((factor * size[0], factor * size[1], 3), GROUND, np.uint8)
    place = np.arange(canvas.shape[0])[:, None]
    bottom = (canvas.shape[0] + scale * top) / 2
    covered = np.full(canvas.shape[1], canvas.shape[0])
    for nearness in np.linspace(1, 0, 2 * factor * rows):
        y = nearness * (rows - 1)
        # A row farther off is narrower.
        x = (np.arange(canvas.shape[1]) - canvas.shape[1] / 2) / (scale * (0.82 + 0.18 * nearness)) + columns / 2
        inside = (x >= 0) & (x <= columns - 1)
        at = (int(y), np.clip(x, 0, columns - 1).astype(int))
        up = scale * (sine * (rows - y) + cosine * height_px[at])
        reach = np.where(inside, bottom - up, canvas.shape[0]).astype(int)
        drawn = (place >= reach) & (place < covered) & (place < bottom)
        # The front of the block, under its nearest row, is cut plainly.
        colours = image[at] if nearness < 1 else image[at] // 3
        canvas = np.where(drawn[..., None], colours[None], canvas)
        covered = np.minimum(covered, reach)
    return np.asarray(Image.fromarray(canvas).resize(size[::-1], Image.Resampling.BOX))


def captioned(picture: Picture, caption: str) -> Picture:
    board = Image.new("RGB", (picture.shape[1], picture.shape[0] + CAPTION_PX), GROUND)
    board.paste(Image.fromarray(picture), (0, CAPTION_PX))
    ImageDraw.Draw(board).text(
        (picture.shape[1] // 2, CAPTION_PX // 2), caption, INK, ImageFont.load_default(17), anchor="mm"
    )
    return np.asarray(board)


def side_by_side(pictures: Sequence[tuple[str, Picture]]) -> Picture:
    gap = np.full((pictures[0][1].shape[0] + CAPTION_PX, GAP_PX, 3), GROUND, np.uint8)
    parts = [part for caption, picture in pictures for part in (captioned(picture, caption), gap)]
    return np.concatenate([gap, *parts], axis=1)


def save(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, quality=QUALITY, subsampling=0, optimize=True)


def hero(side: int = 300, slices: int = 16) -> Picture:
    """Return what a stack gives: a slice, the fused image, the height map, the relief."""
    scene = make_scene("colour", (side, side), slices)
    result = focus_stack(scene.stack)
    fused = as_rgb(result.image, 0, np.percentile(scene.stack, 99.95))
    height_px = (result.height - result.height.min()) * (1.6 * scene.z_step_um / scene.pixel_size_um)
    return side_by_side(
        [
            ("one slice of the stack", as_rgb(scene.stack[2 * slices // 3], 0, np.percentile(scene.stack, 99.95))),
            ("fused: sharp everywhere", fused),
            ("height", coloured(result.height, *np.percentile(result.height, (0.5, 99.5)))),
            ("relief", relief(fused, height_px, (side, side))),
        ]
    )


def heights(side: int = 256, slices: int = 20) -> Picture:
    """Return a surface whose texture fades: the fused image, its heights, and how sure they are."""
    scene = make_scene("weak-texture", (side, side), slices)
    result = focus_stack(scene.stack)
    return side_by_side(
        [
            ("fused", as_rgb(result.image, *np.percentile(result.image, (0.5, 99.5)))),
            ("height", coloured(result.height, 0, slices - 1)),
            ("confidence, black 0 to white 1", as_rgb(result.confidence, 0, 1)),
        ]
    )


@dataclass(frozen=True)
class Comparison:
    """One kind of picture: a crop of what is beside the result, and of the result, enlarged.

    Attributes
    ----------
    name : str
        Of the file.
    scene : Scene
    beside, options : dict
        Options of the run that is shown beside, and of the one that is shown last.
    captions : tuple of str
        Of the single slice, the run beside, the result.
    side : int
        Of the crop in pixels. It lies where the two runs differ most.
    """

    name: str
    scene: Scene
    beside: dict[str, object]
    options: dict[str, object]
    captions: tuple[str, str, str]
    side: int = 110

    def picture(self, shown_px: int = 220) -> Picture:
        """Return the sharpest slice of the crop, the run beside, and the result, with the same gray levels."""
        stack = self.scene.stack
        runs = [focus_stack(stack, **options).image for options in (self.beside, self.options)]
        crop = self._where_they_differ(*runs)
        details = [sharpness(np.ascontiguousarray(image[crop]), "gradient") for image in stack]
        images = [stack[int(np.argmax(details))], *runs]
        low, high = np.percentile(self.scene.truth[crop], (0.1, 99.9))
        room = 0.08 * (high - low)
        shown = [zoom(image[crop], (shown_px / self.side,) * 2 + (1,) * (image.ndim - 2), order=0) for image in images]
        return side_by_side(
            [
                (caption, as_rgb(image, low - room, high + room))
                for caption, image in zip(self.captions, shown, strict=True)
            ]
        )

    def _where_they_differ(self, one: np.ndarray, other: np.ndarray) -> tuple[slice, slice]:
        difference = np.abs(one.astype(float) - other)
        difference = difference if difference.ndim == 2 else difference.mean(axis=-1)
        half = self.side // 2
        mean = uniform_filter(difference, self.side)[half:-half, half:-half]
        y, x = (int(at) for at in np.unravel_index(np.argmax(mean), mean.shape))
        return slice(y, y + self.side), slice(x, x + self.side)


def comparisons() -> list[Comparison]:
    """Return the kinds of picture that `docs/choosing-options.md` shows."""
    shape = (256, 256)
    classic = {"method": "laplacian-max"}
    with_classic = ("sharpest slice", "classic pyramid", "default")
    return [
        Comparison("reflected", make_scene("colour", shape, 16), classic, {}, with_classic),
        Comparison("bright-field", make_scene("cells-strong", shape, 20, seed=1), classic, {}, with_classic),
        Comparison("fluorescence", make_scene("beads", shape, 20), classic, {}, with_classic),
        Comparison("noise", make_scene("bumps", shape, 16, noise="high"), classic, {}, with_classic),
        Comparison(
            "drift",
            make_scene("bumps", shape, 12, motion=Motion.drift(12, shift_px=1.5, zoom=0.005, turn_deg=0.1)),
            {},
            {"align": "auto"},
            ("sharpest slice", "Align: None", "Align: Auto"),
        ),
        Comparison(
            "rims",
            make_scene("step", shape, 20),
            {},
            {"mend_rims": True},
            ("sharpest slice", "Mend rims off", "Mend rims on"),
        ),
    ]


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "images")
    folder.mkdir(parents=True, exist_ok=True)
    save(hero(), folder / "overview.jpg")
    save(heights(), folder / "height-map.jpg")
    for comparison in comparisons():
        save(comparison.picture(), folder / f"kind-{comparison.name}.jpg")


if __name__ == "__main__":
    main()
