"""Slices that moved are put back where they were, and those that did not are left alone."""

import json
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from napari_focus_stack import Alignment, FocusStacker, InputError, estimate_alignment, focus_stack
from napari_focus_stack.alignment.aligner import ALIGN_MODELS, AlignedSlices
from napari_focus_stack.alignment.brightness import black_level, block_means, relative_brightness
from napari_focus_stack.alignment.register import AFFINE, Bands, fit, matrix_motion, motion_matrix
from napari_focus_stack.alignment.smooth_motion import steadied
from napari_focus_stack.alignment.warp import _OF_DIFFERENCES, _OF_SUMS, _taps, composed, covered, inverted, warp
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.sharpness import sharpness
from napari_focus_stack.synthetic import Motion, make_scene

SHAPE, SLICES = (224, 240), 10
# Of what several tests look at and none writes to.
cached_scene = cache(make_scene)
MODELS = [name for name in ALIGN_MODELS if name != "none"]


def texture(shape=SHAPE, seed=0):
    fine = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.2)
    return 120 + 30 * fine / fine.std()


def psnr(image, truth, data_range, border_px=20):
    error = (image.astype(float) - truth)[border_px:-border_px, border_px:-border_px]
    return 10 * np.log10(data_range**2 / np.mean(error**2))


def residuals_px(alignment, motion, where):
    places = np.stack([*np.nonzero(where), np.ones(where.sum())])
    to_middle = inverted(motion.matrix(alignment.reference, where.shape))
    true = [composed(motion.matrix(k, where.shape), to_middle) for k in range(len(alignment))]
    away = [(one.affine - matrix) @ places for one, matrix in zip(alignment.slices, true, strict=True)]
    return np.array([np.hypot(*one).mean() for one in away])


@pytest.fixture(scope="module")
def drift():
    return Motion.drift(SLICES, shift_px=1.2, zoom=0.003, turn_deg=0.08, gain=0.03, jitter_px=0.2, seed=2)


@pytest.fixture(scope="module")
def moving(drift):
    return make_scene("bumps", SHAPE, SLICES, seed=5, motion=drift)


@pytest.fixture(scope="module")
def still():
    return make_scene("bumps", SHAPE, SLICES, seed=5)


# ---- warping ----


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_whole_shifts_give_the_same_pixels(dtype):
    image = np.random.default_rng(0).integers(0, 120, (70, 101, 3)).astype(dtype)
    moved = warp(image, np.array([[1.0, 0, -3], [0, 1, 7]]))
    assert moved.dtype == image.dtype
    np.testing.assert_array_equal(moved[3:, :-7], image[:-3, 7:])


def test_half_a_pixel_there_and_back_keeps_the_gradient():
    image = make_scene("colour", (128, 160), 3, "none").stack[1]
    there = warp(image, np.array([[1.0, 0, 0.5], [0, 1, 0.5]]))
    back = warp(there, np.array([[1.0, 0, -0.5], [0, 1, -0.5]]))
    inside = slice(8, -8), slice(8, -8)
    kept = sharpness(back[inside], "gradient") / sharpness(image[inside], "gradient")
    assert abs(kept - 1) < 0.005


def test_polynomials_are_the_taps():
    q = np.linspace(-0.5, 0.5, len(_taps()))[:, None]
    even, odd = (q ** np.arange(0, 8, 2) @ np.reshape(powers, (4, 4)).T for powers in (_OF_SUMS, _OF_DIFFERENCES))
    np.testing.assert_allclose(np.hstack([even + q * odd, (even - q * odd)[:, ::-1]]), _taps(), atol=2e-6)


def test_warping_agrees_with_splines():
    image = texture((90, 130))
    matrix = np.array([[1.004, 0.01, 1.3], [-0.012, 0.99, -2.7]])
    spline = ndimage.affine_transform(image, matrix[:, :2], matrix[:, 2], order=5, mode="mirror")
    assert np.abs(warp(image, matrix) - spline).max() < 0.02 * np.ptp(image)


def test_a_hole_stays_a_hole_and_spoils_nothing_else():
    image = texture((60, 60)).astype(np.float32)
    image[30, 30] = np.nan
    moved = warp(image, np.array([[1.0, 0, 0.4], [0, 1, 0.4]]))
    assert np.argwhere(np.isnan(moved)).tolist() == [[30, 30]]


def test_covered_pixels_are_those_from_within():
    inside = covered(np.array([[1.0, 0, 0.6], [0, 1, -3]]), (5, 9))
    np.testing.assert_array_equal(np.argwhere(inside.any(axis=1)).ravel(), [0, 1, 2, 3])
    np.testing.assert_array_equal(np.argwhere(inside.any(axis=0)).ravel(), range(3, 9))


# ---- one slice on another ----


def test_an_affine_motion_is_found():
    motion = np.array([3.4, -7.7, 1.5, -2.0, 0.8, 0.5])
    image = texture((260, 300))
    matrix = motion_matrix(motion, SHAPE)
    inner = tuple(slice(18, 18 + n) for n in SHAPE)
    other = ndimage.affine_transform(
        image,
        np.linalg.inv(matrix[:, :2]),
        order=5,
        output_shape=SHAPE,
        offset=18 - np.linalg.inv(matrix[:, :2]) @ matrix[:, 2],
    )
    found = fit(Bands.of(image[inner][..., None]), Bands.of(1.3 * other[..., None] + 20), AFFINE)
    np.testing.assert_allclose(found.motion, motion, atol=0.02)
    assert found.correlation > 0.99


def test_motion_and_matrix_tell_the_same():
    motion = np.array([1.0, -2.0, 3.0, 0.5, -0.25, 0.125])
    np.testing.assert_allclose(matrix_motion(motion_matrix(motion, SHAPE), SHAPE), motion)


def test_steady_course_through_a_missing_estimate():
    motions, errors = np.full((9, 1), 2.0), np.full((9, 1), 0.02)
    motions[4], errors[4] = 77.0, np.inf
    np.testing.assert_allclose(steadied(motions, errors), 2.0, atol=0.01)


def test_jitter_that_is_larger_than_errors_is_kept():
    motions = np.random.default_rng(3).normal(0, 2, (12, 1))
    np.testing.assert_allclose(steadied(motions, np.full((12, 1), 0.02)), motions, atol=0.02)


def test_what_surely_drifts_along_y_drifts_along_x_too():
    drift = np.tile([0.5, 0.08], (12, 1))
    apart, together = (steadied(drift, np.full((12, 2), 0.2), joined=joined) for joined in (False, True))
    assert np.allclose(apart, [0.5, 0], atol=0.01)
    assert np.allclose(together, [0.5, 0.08], atol=0.01)
    assert not steadied(0.1 * drift, np.full((12, 2), 0.2), joined=True).any()


def test_parts_that_disagree_alike_in_all_links_make_their_mean_no_surer():
    motion, error = np.full((12, 1), 0.3), np.full((12, 1), 0.2)
    apart = np.random.default_rng(0).standard_normal((16, 12, 1))
    alike = np.repeat(apart[:, :1], 12, axis=1)
    apart, alike = (0.2 * of / np.sqrt(15 / 16 * np.sum(of**2, axis=0)) for of in (apart, alike))
    assert steadied(motion, error, by_part=apart).all()
    assert not steadied(motion, error, by_part=alike).any()
    assert steadied(2.5 * motion, error, by_part=alike).all()


def test_zoom_that_grows_along_the_stack_is_feigned_by_blur():
    growing, error = np.linspace(0, 0.6, 12)[:, None], np.full((12, 1), 0.02)
    assert steadied(growing, error).any()
    assert not steadied(growing, error, even=[True]).any()
    assert np.allclose(steadied(0.3 + growing, error, even=[True]), 0.3 + growing, atol=0.02)


def test_gain_and_offset_of_brightness_in_spite_of_blur():
    image = (texture() + np.linspace(0, 300, SHAPE[1]))[..., None]
    other = 1.2 * ndimage.gaussian_filter(image, (3, 3, 0)) - 15
    gain, offset = relative_brightness(block_means(image), block_means(other), "gain-offset")
    assert abs(gain[0] - 1.2) < 0.01
    assert abs(offset[0] + 15) < 3


def test_where_all_is_alike_it_is_all_gain():
    image = texture()[..., None]
    blurred = ndimage.gaussian_filter(1.2 * image, (3, 3, 0))
    gain, offset = relative_brightness(block_means(image), block_means(blurred), "gain-offset")
    assert offset[0] == 0
    assert abs(gain[0] - 1.2) < 0.01


def test_what_moved_into_a_slice_is_no_gain_of_light():
    image = texture()[..., None]
    other = 1.1 * image
    other[:40, :50] += 200
    gain, _ = relative_brightness(block_means(image), block_means(other), "gain")
    assert abs(gain[0] - 1.1) < 0.01


def test_black_is_told_by_a_lamp_that_drifts_over_a_dark_ground():
    spots = np.zeros(SHAPE)
    spots[tuple(np.random.default_rng(0).integers(0, 224, (2, 30)))] = 3e5
    light = [1.04**k * (200 + ndimage.gaussian_filter(spots, 2 + abs(k - 4))) for k in range(9)]
    blocks = np.stack([block_means(one[..., None] + 1000) for one in light])
    assert abs(black_level(blocks)[0] - 1000) < 50
    assert black_level(np.stack([block_means(light[4][..., None] + 1000)] * 9)) == [0]


# ---- a stack ----


def test_slopes_that_face_the_lamp_do_not_move_sand_that_stands_still():
    bands = [Bands.of(one) for one in make_scene("colour", (256, 256), slices=12, seed=5).stack]
    steps = [fit(*pair).motion[:2] for pair in pairwise(bands)]
    assert np.hypot(*np.sum(steps, axis=0)) < 0.12  # 0.23 if contrast is not evened


@pytest.mark.parametrize("model", ["auto", "similarity", "affine"])
def test_drift_breathing_and_turn_are_found(model, moving, drift):
    alignment = estimate_alignment(moving.stack, model)
    away = residuals_px(alignment, drift, moving.textured)
    assert away.mean() < 0.15
    assert away.max() < 0.5
    assert alignment.warnings == ()
    assert all(one.correlation > 0.9 for k, one in enumerate(alignment.slices) if k != alignment.reference)


def test_where_nothing_is_stretched_affine_is_shift_zoom_and_turn(moving):
    with_stretch, without = (estimate_alignment(moving.stack, model) for model in ("affine", "similarity"))
    for one, other in zip(with_stretch.slices, without.slices, strict=True):
        np.testing.assert_array_equal(one.affine, other.affine)


def test_stretch_from_slice_to_slice_is_found():
    image, slices = texture(), 7
    stretched = [motion_matrix(np.array([0.4, 0, 0.5, 0, 1.5, -1.0]) * (k - slices // 2), SHAPE) for k in range(slices)]
    alignment = estimate_alignment(np.stack([warp(image, one) for one in stretched]), "affine")
    for k, one in enumerate(alignment.slices):
        back = stretched[k] @ np.vstack([one.affine, [0, 0, 1]])
        assert np.abs(matrix_motion(back, SHAPE)).max() < 0.15


def test_an_aligned_stack_is_fused_almost_as_well_as_a_still_one(moving, still):
    data_range = moving.data_range
    best = psnr(focus_stack(still.stack).image, still.truth, data_range)
    aligned = focus_stack(moving.stack, align="similarity", match_brightness="gain")
    gained = psnr(aligned.image, moving.truth, data_range) - psnr(
        focus_stack(moving.stack).image, moving.truth, data_range
    )
    assert gained > 10
    assert psnr(aligned.image, moving.truth, data_range) > best - 3


@pytest.mark.parametrize("model", MODELS)
def test_a_still_stack_is_left_alone_bit_for_bit(model, still):
    alignment = estimate_alignment(still.stack, model, "gain")
    assert alignment.changes_nothing
    aligned = focus_stack(still.stack, align=model, match_brightness="gain")
    np.testing.assert_array_equal(aligned.image, focus_stack(still.stack).image)


@pytest.mark.parametrize("match", ["gain", "gain-offset"])
@pytest.mark.parametrize(("scene", "seed"), [("beads", 5), ("cells", 3), ("bumps", 4)])
def test_brightness_that_does_not_drift_is_left_alone(scene, seed, match):
    stack = cached_scene(scene, (320, 320), 8, seed=seed).stack
    assert estimate_alignment(stack, "none", match).changes_nothing


def test_a_gain_of_light_leaves_the_black_of_the_camera():
    scene = make_scene("beads", (256, 256), 8, seed=3, motion=Motion.drift(8, gain=0.03))
    unmatched, matched = (focus_stack(scene.stack, match_brightness=match).image for match in ("off", "gain"))
    assert psnr(matched, scene.truth, scene.data_range) > psnr(unmatched, scene.truth, scene.data_range) + 1
    slices = estimate_alignment(scene.stack, "none", "gain").slices
    black = 0.04 * scene.data_range
    moved = [abs((one.gain[0] - 1) * black + one.offset[0]) for one in slices]
    assert max(moved) < 0.03 * black


def test_transparent_cells_that_stand_still_are_left_alone():
    scene = make_scene("cells-strong", SHAPE, 8)
    assert estimate_alignment(scene.stack, "similarity").changes_nothing


@pytest.mark.parametrize("method", [name for name, one in FUSION_METHODS.items() if one.visits == 2])
def test_no_pixel_comes_from_beyond_the_edge_of_a_slice(method):
    # The first slice is sharp, but begins at column 24: a bright bar in it would be mirrored to columns 3 to 8.
    image = np.rint(texture()).astype(np.uint8)
    image[:, :60] = 100
    image[:, 39:45] = 250
    blurred = np.rint(ndimage.gaussian_filter(image.astype(float), 3)).astype(np.uint8)
    stack = np.stack([np.roll(image, -24, 1), blurred, blurred])
    record = Alignment.from_dict(
        {
            "model": "shift",
            "shape": SHAPE,
            "reference": 1,
            "slices": [{"matrix": [[1, 0, 0], [0, 1, dx]], "gain": [1], "offset": [0]} for dx in (-24, 0, 0)],
        }
    )
    fused = focus_stack(stack, method=method, alignment=record, noise=(0, 4)).image
    assert (fused[:, 39:45] > 230).mean() > 0.9
    assert fused[:, :20].max() < 110


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_the_rim_comes_from_slices_that_cover_it(method):
    image = np.rint(texture()).astype(np.uint8)
    blurred = np.rint(ndimage.gaussian_filter(texture(), 4)).astype(np.uint8)
    stack = np.stack([np.roll(blurred, 9, 1), image, np.roll(blurred, -9, 1)])
    # The sharp slice is the reference; what was rolled in from the other side must not show.
    record = Alignment.from_dict(
        {
            "model": "shift",
            "shape": SHAPE,
            "reference": 1,
            "slices": [{"matrix": [[1, 0, 0], [0, 1, dx]], "gain": [1], "offset": [0]} for dx in (9, 0, -9)],
        }
    )
    result = focus_stack(stack, method=method, alignment=record)
    assert result.image.shape == SHAPE
    rim = np.s_[:, :8]
    assert np.abs(result.image[rim].astype(int) - image[rim]).mean() < 6
    assert (result.index[rim] == 1).mean() > 0.95
    cropped = focus_stack(stack, method=method, alignment=record, crop=True)
    assert cropped.image.shape == (SHAPE[0], SHAPE[1] - 18)
    assert cropped.origin == (0, 9)
    assert np.abs(cropped.image.astype(int) - image[:, 9:-9]).mean() < 6


@pytest.mark.parametrize("spoil", ["blank", "noise", "twice", "upside down"])
@pytest.mark.parametrize("place", [0, 4, SLICES - 1])
def test_a_slice_of_something_else_does_not_move_the_others(spoil, place, moving, drift):
    stack = moving.stack.copy()
    other = max(place - 1, 1)
    stack[place] = {
        "blank": np.full(SHAPE, 9000),
        "noise": np.random.default_rng(0).integers(0, 65535, SHAPE),
        "twice": stack[other],
        "upside down": stack[place][::-1, ::-1],
    }[spoil]
    alignment = estimate_alignment(stack, "similarity")
    away = np.delete(residuals_px(alignment, drift, moving.textured), place)
    assert away.max() < 0.8
    if spoil == "twice":
        assert alignment.warnings == ()
    else:
        assert [k for k, one in enumerate(alignment.slices) if not one.estimated] == [place]
        assert len(alignment.warnings) == 1
        assert alignment.warnings[0].startswith(f"Slice {place} (counted from 0) ")
        # An end of the stack is so blurred that it may look alike upside down.
        assert alignment.slices[place].left_out or (spoil, place) == ("upside down", SLICES - 1)
    result = focus_stack(stack, alignment=alignment)
    assert result.warnings[: len(alignment.warnings)] == alignment.warnings
    if alignment.reference == SLICES // 2 and place != SLICES // 2 - 1:
        assert psnr(result.image, moving.truth, moving.data_range) > 28


@pytest.mark.parametrize("place", [0, 3, 4, 5, 6])
def test_two_slices_upside_down_are_left_out_like_one(place, moving, drift):
    stack = moving.stack.copy()
    pair = [place, place + 1]
    stack[pair] = stack[pair][:, ::-1, ::-1]
    result = focus_stack(stack, align="similarity")
    slices = result.alignment.slices
    assert [k for k, one in enumerate(slices) if one.left_out] == pair
    assert [k for k, one in enumerate(slices) if not one.estimated] == pair
    assert len(result.alignment.warnings) == 1
    assert result.alignment.warnings[0].startswith(f"Slices {pair[0]}, {pair[1]} (counted from 0) hardly resemble")
    assert np.delete(residuals_px(result.alignment, drift, moving.textured), pair).max() < 0.8


@pytest.mark.parametrize("kind", ["upside down", "of another stack", "noise"])
@pytest.mark.parametrize("place", [0, 3, SLICES - 3])
def test_three_strange_slices_in_a_row_are_left_out_and_named(kind, place, moving, drift):
    stack = moving.stack.copy()
    three = [place, place + 1, place + 2]
    stack[three] = {
        "upside down": stack[three][:, ::-1, ::-1],
        "of another stack": cached_scene("step", SHAPE, SLICES, seed=9).stack[three],
        "noise": np.random.default_rng(0).integers(0, 65535, (3, *SHAPE)),
    }[kind]
    alignment = estimate_alignment(stack, "auto")
    assert [k for k, one in enumerate(alignment.slices) if one.left_out] == three
    named = ", ".join(map(str, three))
    assert len(alignment.warnings) == 1
    assert alignment.warnings[0].startswith(f"Slices {named} (counted from 0) hardly resemble their neighbours and")
    assert np.delete(residuals_px(alignment, drift, moving.textured), three).max() < 0.8


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("scene", "seed"), [("cells", 2), ("cells", 3), ("cells-strong", 3), ("cells-strong-narrow", 9)]
)
def test_one_or_two_cells_that_stand_still_are_left_alone(scene, seed, model):
    # What blur and phase do to a cell in a corner is growth, and growth from there a zoom and a shift of the whole.
    assert estimate_alignment(cached_scene(scene, (96, 128), 12, seed=seed).stack, model).changes_nothing


@pytest.mark.parametrize(("size", "noise"), [((96, 128), "high"), ((128, 128), "low")])
def test_slices_of_which_too_little_tells_are_not_taken_for_something_else(size, noise):
    # The last three of the first resemble the others, though nothing tells how they lie; of the second hardly two do.
    alignment = estimate_alignment(make_scene("cells-strong", size, 12, noise, seed=2).stack, "auto")
    assert not any(one.left_out for one in alignment.slices)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("size", "seed"), [((96, 128), 2), ((96, 128), 4), ((128, 128), 2)])
def test_a_little_sand_that_stands_still_is_left_alone(size, seed, model):
    # Blurred, it shows what is mirrored beside it, and seems to shrink by up to .9 px a slice: 5 dB.
    assert estimate_alignment(cached_scene("colour", size, 12, seed=seed).stack, model).changes_nothing


_FAST = {"shift_px": 1.5, "zoom": 0.005, "turn_deg": 0.1, "gain": 0.03, "jitter_px": 0.1}
_SLOW = {"shift_px": 0.5, "zoom": 0.001, "turn_deg": 0.02, "gain": 0.03, "jitter_px": 0.1}


@pytest.mark.parametrize(
    ("scene", "shape", "noise", "seed", "moved", "model"),
    [
        # No phase is seen in focus: slices before and after resemble those beside them, but not each other.
        ("cells-strong-narrow", (96, 128), "high", 3, {}, "shift"),
        ("cells-strong", (128, 128), "low", 2, _FAST, "auto"),
        # The last six fade into noise.
        ("cells-narrow", (160, 160), "high", 2, _FAST, "shift"),
    ],
)
def test_what_fades_away_is_not_taken_for_something_else(scene, shape, noise, seed, moved, model):
    stack = make_scene(scene, shape, 12, noise, seed, motion=Motion.drift(12, seed=seed, **moved) if moved else None)
    assert not any(one.left_out for one in estimate_alignment(stack.stack, model).slices)


def test_two_slices_of_many_tell_nothing_of_the_others():
    motion = Motion.drift(12, seed=2, **_SLOW)
    scene = make_scene("cells", (128, 128), 12, seed=2, motion=motion)
    alignment = estimate_alignment(scene.stack, "shift")  # moved by 7 px a slice
    assert alignment.changes_nothing
    assert alignment.warnings == (
        "Most slices do not resemble their neighbours enough to be aligned; all were left where they are.",
    )


def test_the_middle_slice_tells_place_and_light_though_it_cannot_be_aligned():
    motion = Motion.drift(12, seed=3, **_SLOW)
    scene = make_scene("cells-narrow", (96, 128), 12, "high", 3, motion=motion)
    alignment = estimate_alignment(scene.stack, "auto", "gain")
    assert not alignment.slices[6].estimated
    assert (alignment.reference, alignment.slices[6].gain) == (6, (1,))


def test_slices_that_stay_are_not_said_to_be_moved():
    alignment = estimate_alignment(make_scene("cells", (96, 128), 12, "high", seed=2).stack, "similarity")
    assert alignment.changes_nothing
    assert alignment.warnings == (
        "Slices 0, 1, 9, 10, 11 (counted from 0) could not be aligned and were left where they are.",
    )


def test_a_motion_that_too_little_tells_is_said_not_to_be_known():
    # The upper half of a single cell grows upwards.
    stack = cached_scene("cells", (96, 128), 12, seed=2).stack
    alignment = estimate_alignment(stack, "shift")
    assert alignment.reason == "left alone, for too little tells how slices move"
    assert alignment.warnings[0].startswith("Too little of the picture tells how slices moved from blur that changes")


@pytest.fixture(scope="module")
def drifting_cells():
    motion = Motion.drift(12, shift_px=1, jitter_px=0.1, seed=4)
    return motion, make_scene("cells", (160, 160), 12, seed=4, motion=motion)


@pytest.mark.parametrize("model", MODELS)
def test_few_cells_that_drift_are_put_back(model, drifting_cells):
    motion, scene = drifting_cells
    away = residuals_px(estimate_alignment(scene.stack, model), motion, scene.textured)
    assert away.mean() < 0.5  # 2.9 as they lie


def test_noise_tells_no_motion():
    # Texture in a corner, noise elsewhere: of zoom and turn only the corner tells, and little.
    rng = np.random.default_rng(0)
    corner = np.full((128, 128), 120.0)
    corner[90:, 90:] = texture((38, 38))
    one, other = (Bands.of((corner + rng.normal(0, 3, corner.shape))[..., None]) for _ in range(2))
    found = fit(one, other)
    everywhere = fit(*(Bands.of((texture((128, 128)) + rng.normal(0, 3, (128, 128)))[..., None]) for _ in range(2)))
    assert found.pieces[2] < 4 < 8 < everywhere.pieces[2]
    assert found.errors[1, 2] > 3 * everywhere.errors[1, 2]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 9), (40, 40)])
def test_nothing_to_align_by_is_said_and_changes_nothing(model, size):
    stack = np.stack([np.full(size, 100, np.uint8)] * 3)
    result = focus_stack(stack, align=model, match_brightness="gain-offset")
    assert result.alignment.changes_nothing
    assert result.warnings[0] == "No slice resembles its neighbours enough to be aligned; all were left as they are."


def test_a_picture_smaller_than_its_margins_tells_nothing():
    stack = np.random.default_rng(10).integers(0, 4, (9, 8, 13), np.uint8)
    assert estimate_alignment(stack, "auto").model == "none"


def test_auto_tells_what_it_did(moving, still):
    chosen = focus_stack(moving.stack, align="auto").chosen["align"]
    assert (chosen.value, chosen.words[:25]) == ("similarity", "aligned, for slices move ")
    chosen = focus_stack(still.stack, align="auto").chosen["align"]
    assert (chosen.value, chosen.words) == (
        "none",
        "not aligned, for slices move by less than 0.1 px from one to the next",
    )


def test_auto_leaves_alone_what_only_blur_moves():
    # Sand, focused low and high, and nothing between: every grain is lit from one side.
    pair = make_scene("colour", (192, 192), slices=8, seed=0).stack[[0, 5]]
    assert estimate_alignment(pair, "similarity").reason.startswith("slices move by 0.2")
    alignment = estimate_alignment(pair, "auto")
    assert alignment.changes_nothing
    assert alignment.reason.startswith("not aligned, for moving slices by 0.2")
    assert alignment.reason.endswith("% of what changes from slice to slice")


def test_auto_aligns_slices_that_moved_however_blur_changes():
    pair = make_scene("colour", (192, 192), slices=8, seed=4, motion=Motion.drift(8, 0.2, seed=4)).stack[[0, 7]]
    assert estimate_alignment(pair, "auto").reason.startswith("aligned, for slices move by 1.")


def test_brightness_that_drifts_is_matched(moving):
    stack = np.stack([moving.stack, moving.stack // 2], axis=-1)
    alignment = estimate_alignment(stack, "similarity", "gain-offset", rgb=False)
    means = [np.median(image, axis=(0, 1)) for image in AlignedSlices(stack, alignment, crop=True, rgb=False)]
    assert np.ptp(means, axis=0)[0] < 0.05 * means[5][0]
    assert np.shape(alignment.slices[0].gain) == (2,)


# ---- the record ----


def test_an_alignment_is_saved_and_used_again(tmp_path, moving):
    alignment = estimate_alignment(moving.stack, "similarity", "gain")
    alignment.save(tmp_path / "a.json")
    again = Alignment.load(tmp_path / "a.json")
    assert again == alignment
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
    colour = np.stack([moving.stack] * 3, axis=-1)
    first = focus_stack(moving.stack, alignment=alignment).image
    np.testing.assert_allclose(focus_stack(colour, alignment=again).image[..., 1], first, atol=1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda told: told.pop("slices"), "it has no 'slices'"),
        (lambda told: told["slices"][0].update(gain=[0.0]), "a gain is not above 0"),
        (lambda told: told["slices"][0].update(matrix=[[0, 1, 0], [1, 0, 0]]), "zoomed or turned by more than a half"),
        (lambda told: told["slices"][0].update(matrix=[1, 2]), "its values are not as expected"),
        (lambda told: told.update(reference=9), "its reference is none of its slices"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, change, sentence):
    told = estimate_alignment(np.zeros((2, 16, 16), np.uint8)).as_dict()
    change(told)
    (tmp_path / "a.json").write_text(json.dumps(told, default=list))
    with pytest.raises(InputError, match=sentence):
        Alignment.load(tmp_path / "a.json")


def test_a_record_of_another_stack_is_refused(still):
    alignment = estimate_alignment(still.stack, "shift")
    with pytest.raises(InputError, match="the alignment is of 10 slices, but the stack has 9; estimate it anew"):
        focus_stack(still.stack[:9], alignment=alignment)
    with pytest.raises(InputError, match="is of slices of 224 x 240 px, but the stack has 200 x 240"):
        focus_stack(still.stack[:, :200], alignment=alignment)


def test_a_stream_is_aligned_by_a_record(moving):
    alignment = estimate_alignment(moving.stack, "similarity")
    whole = focus_stack(moving.stack, alignment=alignment)
    stacker = FocusStacker(moving.stack.shape, noise=whole.noise, alignment=alignment)
    for image in moving.stack:
        stacker.add(image)
    np.testing.assert_array_equal(stacker.result().image, whole.image)


def test_a_stream_cannot_be_aligned_by_itself(still):
    from napari_focus_stack import FocusStackOptions

    stacker = FocusStacker(still.stack.shape, FocusStackOptions(align="shift"))
    for image in still.stack:
        stacker.add(image)
    assert stacker.result().warnings == (
        "Slices that come one by one are not aligned; give FocusStacker an alignment.",
    )


def test_aligned_slices_are_the_slices_put_back(moving, drift):
    aligned = AlignedSlices(moving.stack, estimate_alignment(moving.stack, "similarity"), crop=True)
    assert len(aligned) == aligned.shape[0] == SLICES
    rows, columns = (slice(o, o + n) for o, n in zip(aligned.origin, aligned.shape[1:], strict=True))
    reference = moving.stack[SLICES // 2]
    np.testing.assert_array_equal(aligned[SLICES // 2], reference[rows, columns])
    bands = [Bands.of(image[..., None]) for image in aligned]
    for k in range(1, SLICES):
        found = fit(bands[k - 1], bands[k])
        assert np.abs(found.motion).max() < 0.3
