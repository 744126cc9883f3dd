from functools import partial

import numpy as np
import pytest

import napari_focus_stack
from napari_focus_stack.occlusion.rims import Occlusion
from napari_focus_stack.synthetic import make_scene

focus_stack = partial(napari_focus_stack.focus_stack, mend_rims=True)


@pytest.fixture(scope="module")
def step():
    return make_scene("step", (256, 256), 20, "low", 2)


@pytest.fixture
def as_before(monkeypatch):
    """Fuse without looking at rims."""

    def fuse(stack, **options):
        with monkeypatch.context() as patch:
            patch.setattr(Occlusion, "mend", lambda *_: None)
            return focus_stack(stack, **options)

    return fuse


def psnr(image, scene):
    error = np.mean((image.astype(np.float64) - scene.truth) ** 2)
    return 10 * np.log10(scene.data_range**2 / error)


def height_error(height, scene):
    return np.abs(height - scene.height)[scene.textured].mean()


@pytest.mark.parametrize("near_is", ["last", "first"])
def test_rims_and_the_wall_beside_them_are_mended(step, as_before, near_is):
    stack = step.stack if near_is == "last" else step.stack[::-1]
    before, now = as_before(stack), focus_stack(stack)
    assert psnr(now.image, step) > psnr(before.image, step) + 1.5
    heights = [r.height if near_is == "last" else 19 - r.height for r in (before, now)]
    assert height_error(heights[1], step) < 0.8 * height_error(heights[0], step)


def test_colour_is_mended_like_gray(step):
    """To the gray level; or nearly, where a last bit puts a pixel on the other side of a rim.

    With it the growth of all blur is another one by a little. The scene itself differs by some gray levels from one
    version of NumPy and SciPy to the next.
    """
    gray = focus_stack(step.stack, light="opaque")
    colour = focus_stack(np.repeat(step.stack[..., np.newaxis], 3, axis=-1), light="opaque")
    difference = np.abs(colour.image[..., 1] - gray.image.astype(np.float64))
    noise = np.sqrt(gray.noise.gain[0] * 32768 + gray.noise.offset[0])
    assert np.sqrt(np.mean(difference**2)) < 0.01 * noise
    assert difference.max() < 0.3 * noise


def test_floats_are_mended_like_integers(step):
    whole = focus_stack(step.stack).image.astype(np.float64)
    floats = focus_stack((step.stack / 65535).astype(np.float32)).image * 65535
    assert np.abs(floats - whole).mean() < 20


def test_the_index_follows_the_mended_height(step, as_before):
    before, now = as_before(step.stack), focus_stack(step.stack)
    moved = now.index != before.index
    assert moved.any()
    assert np.abs(now.index - now.height)[moved].mean() < 1


@pytest.mark.parametrize("noise", ["low", "high"])
@pytest.mark.parametrize("name", ["plane", "bumps", "beads", "weak-texture", "colour"])
def test_a_scene_in_which_nothing_hides_another_is_left_alone(name, noise, as_before):
    stack = make_scene(name, (160, 200), 20, noise, 3).stack
    before, now = as_before(stack), focus_stack(stack)
    np.testing.assert_array_equal(now.image, before.image)
    np.testing.assert_array_equal(now.height, before.height)


def test_noise_too_strong_to_tell_the_sides_leaves_all_as_it_is(as_before):
    stack = make_scene("step", (256, 256), 20, "high", 2).stack
    np.testing.assert_array_equal(focus_stack(stack).image, as_before(stack).image)


def test_shuffled_slices_tell_no_distance(step, as_before):
    stack = step.stack[np.random.default_rng(0).permutation(20)]
    np.testing.assert_array_equal(focus_stack(stack).image, as_before(stack).image)


def test_the_number_of_threads_changes_nothing(step, monkeypatch):
    images = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", threads)
        images.append(focus_stack(step.stack).image)
    np.testing.assert_array_equal(*images)
