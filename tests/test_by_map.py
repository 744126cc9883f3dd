"""Images put together by a map of slices, and strokes of a brush in them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_focus_stack import InputError, focus_stack
from napari_focus_stack.by_map import STROKE_LEVELS, fuse_by_map, retouch
from napari_focus_stack.slices import SliceKind
from napari_focus_stack.synthetic import make_scene


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (160, 190), slices=8)


def error_of(image, truth):
    return float(np.sqrt(np.mean((np.asarray(image, float) - truth) ** 2)))


def reader(stack):
    return lambda k, rows, columns: stack[k][rows, columns]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_one_slice_everywhere_is_that_slice(dtype, channels):
    rng = np.random.default_rng(0)
    shape = (4, 45, 38, channels) if channels else (4, 45, 38)
    stack = (rng.random(shape) * (200 if np.dtype(dtype).kind == "u" else 1e5)).astype(dtype)
    if channels == 4:
        stack[..., 3] = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    fused = fuse_by_map(stack, np.full((45, 38), 2), rgb=channels > 0)
    assert (fused.dtype, fused.shape) == (stack.dtype, stack.shape[1:])
    np.testing.assert_allclose(fused, stack[2], rtol=1e-4, atol=0.5 if np.dtype(dtype).kind == "u" else 20)


def test_true_map_gives_the_scene_in_another_channel(scene):
    other = make_scene("bumps", (160, 190), slices=8, seed=scene.seed + 1)
    index = focus_stack(scene.stack).height
    # Another texture on another surface: its own slices are wrong for this map, those of the same surface right.
    same_surface = scene.stack[:, :, :] // 2
    fused = fuse_by_map(same_surface, index)
    assert error_of(fused, scene.truth / 2) < 0.5 * min(error_of(image, scene.truth / 2) for image in same_surface)
    assert error_of(fuse_by_map(other.stack, index), other.truth) > error_of(
        fuse_by_map(other.stack, other.height), other.truth
    )


def test_no_seam_where_slices_differ_in_brightness():
    rng = np.random.default_rng(2)
    texture = rng.normal(0, 3, (128, 128))
    stack = np.stack([texture + 100, texture + 120]).astype(np.float32)
    index = np.zeros((128, 128))
    index[:, 64:] = 1
    step = np.abs(np.diff((fuse_by_map(stack, index) - texture).mean(axis=0)))
    assert step.max() < 4
    picked = np.where(index > 0, stack[1], stack[0]) - texture
    assert np.abs(np.diff(picked.mean(axis=0))).max() == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize(
    ("index", "told"), [(np.zeros((5, 5)), "160 x 190 px is needed"), (np.full((160, 190), 8), "names slices 8 to 8")]
)
def test_map_that_does_not_fit_is_refused(scene, index, told):
    with pytest.raises(InputError, match=told):
        fuse_by_map(scene.stack, index)


def test_holes_are_filled_from_around():
    stack = np.random.default_rng(0).random((3, 40, 40)).astype(np.float32)
    stack[1, 20, 20] = np.nan
    assert np.isfinite(fuse_by_map(stack, np.ones((40, 40)))).all()


# ---- strokes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disc(scene):
    y, x = np.mgrid[:160, :190]
    return (y - 80) ** 2 + (x - 90) ** 2 < 20**2


def touched(fused, strokes, scene, noise, **more):
    kind = SliceKind(scene.stack.shape[1:], scene.stack.dtype)
    return retouch(fused, strokes, reader(scene.stack), kind, noise, **more)


def test_strokes_of_the_right_slices_mend_a_bad_image(scene, disc):
    poor = focus_stack(scene.stack, method="log")
    strokes = np.where(disc, np.rint(scene.height).astype(int) + 1, 0).astype(np.uint16)
    part, mended = touched(poor.image, strokes, scene, poor.noise)
    assert part == (slice(0, 160), slice(0, 190))
    assert error_of(mended[disc], scene.truth[disc]) < 0.6 * error_of(poor.image[disc], scene.truth[disc])
    far = np.ones_like(disc)
    far[80 - 20 - 32 : 80 + 20 + 32, 90 - 20 - 32 : 90 + 20 + 32] = False
    np.testing.assert_array_equal(mended[far], poor.image[far])


def test_no_strokes_give_the_image_itself(scene):
    result = focus_stack(scene.stack)
    nothing = np.zeros(result.index.shape, np.uint16)
    part, pixels = touched(result.image, nothing, scene, result.noise, part=(slice(70, 75), slice(3, 9)))
    np.testing.assert_array_equal(pixels, result.image[part])


@pytest.mark.parametrize("at", [(0, 0), (77, 91), (150, 180)])
def test_a_part_gives_the_pixels_of_the_whole(scene, at):
    result = focus_stack(scene.stack)
    strokes = np.zeros(result.index.shape, np.uint16)
    y, x = at
    strokes[y : y + 9, x : x + 7] = 3
    _, whole = touched(result.image, strokes, scene, result.noise)
    part, pixels = touched(result.image, strokes, scene, result.noise, part=(slice(y, y + 9), slice(x, x + 7)))
    np.testing.assert_array_equal(pixels, whole[part])
    outside = np.ones(whole.shape, bool)
    outside[part] = False
    np.testing.assert_array_equal(whole[outside], result.image[outside])
    assert part[0].stop - part[0].start <= 9 + 2 * (4 << STROKE_LEVELS) + 8
