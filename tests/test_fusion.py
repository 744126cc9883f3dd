"""What holds for every method."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack import focus_stack
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.fusion.baselines import region_entropy
from napari_focus_stack.islands import without_islands
from napari_focus_stack.synthetic import make_scene

every_method = pytest.mark.parametrize("method", FUSION_METHODS)
DTYPES = [
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.uint32,
    np.int32,
    np.uint64,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
]


def texture(shape=(96, 80), seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(gaussian_filter(rng.normal(size=shape), 0.8) * 60 + 64, 0, 127)


def two_halves(seed=0):
    """A texture whose left half is sharp in slice 0 and whose right half is sharp in slice 1."""
    sharp = texture(seed=seed)
    blurred = gaussian_filter(sharp, 3)
    left = np.arange(sharp.shape[1]) < sharp.shape[1] // 2
    stack = np.stack([np.where(left, sharp, blurred), np.where(left, blurred, sharp)])
    return sharp, np.clip(np.rint(stack), 0, 255).astype(np.uint8)


@every_method
def test_the_sharp_half_of_each_slice_wins(method):
    sharp, stack = two_halves()
    fused = focus_stack(stack, method=method).image
    away_from_the_seam = np.abs(np.arange(80) - 40) > 12
    error = np.abs(fused - sharp)[:, away_from_the_seam]
    blur = np.abs(stack[0] - sharp)[:, away_from_the_seam]
    # The single-pixel baseline errs wherever its Laplacian crosses zero.
    assert error.mean() < (0.6 if method == "log" else 0.1) * blur.mean()


@every_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_identical_slices_return_that_slice(method, dtype):
    image = texture().astype(dtype)
    fused = focus_stack([image] * 3, method=method).image
    assert fused.dtype == dtype
    if method == "laplacian-max" and np.dtype(dtype).kind == "f":
        # The classic rule rebuilds every pixel; float32 rounds it.
        np.testing.assert_allclose(fused, image, rtol=1e-3 if dtype == np.float16 else 1e-6, atol=1e-4)
    else:
        np.testing.assert_array_equal(fused, image)


@every_method
def test_the_order_of_the_slices_does_not_matter(method):
    _, stack = two_halves()
    stack = np.concatenate([stack, stack[:1] // 2 + 60])
    a = focus_stack(stack, method=method).image.astype(int)
    b = focus_stack(stack[[2, 0, 1]], method=method).image.astype(int)
    if method == "height":
        # A height between slices has no meaning once they are shuffled.
        assert np.median(np.abs(a - b)) == 0
    else:
        assert np.abs(a - b).max() <= 1


@every_method
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (15, 17), (33, 65), (7, 100)])
def test_tiny_and_odd_sizes(method, shape):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (3, *shape), np.uint8)
    fused = focus_stack(stack, method=method).image
    assert fused.shape == shape
    if method in ("log", "height"):
        # Pixels are taken whole.
        assert ((fused == stack).any(axis=0)).all()


@every_method
def test_gray_as_colour_gives_the_same_gray(method):
    _, stack = two_halves()
    gray = focus_stack(stack, method=method).image.astype(int)
    colour = focus_stack(np.repeat(stack[..., None], 3, axis=-1), method=method).image.astype(int)
    assert np.abs(colour - gray[..., None]).max() <= 1


@every_method
def test_alpha_neither_decides_nor_fades(method):
    _, stack = two_halves()
    rgb = np.repeat(stack[..., None], 3, axis=-1)
    alpha = np.random.default_rng(0).integers(0, 255, (*stack.shape, 1), np.uint8)
    fused = focus_stack(np.concatenate([rgb, alpha], axis=-1), method=method).image
    np.testing.assert_array_equal(fused[..., :3], focus_stack(rgb, method=method).image)
    assert (fused[..., 3] == 255).all()


@every_method
def test_holes_are_left_out_and_not_spread(method):
    _, stack = two_halves()
    floats = stack.astype(np.float32)
    whole = focus_stack(floats, method=method).image
    holed = floats.copy()
    holed[1, 40:44, 10:14] = np.nan
    holed[1, 60, 20] = np.inf
    result = focus_stack(holed, method=method)
    assert np.isfinite(result.image).all()
    # The holes lie in the blurred half: the sharp slice is there, whole.
    away_from_the_seam = np.abs(np.arange(80) - 40) > 12
    assert np.abs(result.image - whole)[:, away_from_the_seam].mean() < 0.5
    assert result.warnings == ("1 of 2 slices have NaN or infinite pixels; these were left out.",)


@pytest.mark.parametrize("method", ["laplacian", "decision-map", "height"])
def test_a_reference_channel_decides_for_all(method):
    sharp, stack = two_halves()
    other = np.full_like(stack, 100)
    other[1] = 200
    pair = np.stack([stack, other], axis=-1)
    fused = focus_stack(pair, method=method, rgb=False, reference_channel=0).image
    away = 14
    np.testing.assert_allclose(fused[20:-20, 4:away, 1].mean(), 100, atol=6)
    np.testing.assert_allclose(fused[20:-20, -away:-4, 1].mean(), 200, atol=6)
    assert np.abs(fused[..., 0] - sharp)[:, :away].mean() < 2


@pytest.mark.parametrize("name", ["bumps", "step", "beads", "colour"])
def test_shuffling_many_slices_moves_the_image_by_at_most_a_gray_level(name):
    stack = np.asarray(make_scene(name, (120, 150), 9, "low", 2).stack)
    # Light that adds is corrected by its height, which shuffling makes meaningless.
    options = {"light": "opaque"} if name == "beads" else {}
    noise = focus_stack(stack).noise
    straight = focus_stack(stack, noise=noise, **options).image.astype(int)
    order = np.random.default_rng(0).permutation(9)
    assert np.abs(focus_stack(stack[order], noise=noise, **options).image - straight).max() <= 1


@pytest.mark.parametrize("name", ["bumps", "step", "colour", "cells"])
def test_no_pixel_leaves_the_range_of_the_slices(name):
    stack = np.asarray(make_scene(name, (120, 150), 9, "high", 2).stack)
    fused = focus_stack(stack).image
    assert (fused >= stack.min(axis=0)).all()
    assert (fused <= stack.max(axis=0)).all()


def test_integers_are_clipped_and_not_wrapped():
    sharp = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 64))
    stack = np.stack([np.rint(gaussian_filter(sharp.astype(float), s)).astype(np.uint8) for s in (0, 1.5, 3)])
    fused = focus_stack(stack, method="laplacian-max").image
    # The pyramid overshoots at such edges; wrapped, 256 would be 0.
    assert (np.abs(fused.astype(int) - sharp) < 100).all()


def test_z_preference_moves_the_choice():
    rng = np.random.default_rng(0)
    stack = np.stack([gaussian_filter(rng.normal(size=(64, 64)), 1) * 200 + 1000 for _ in range(2)]).astype(np.float32)
    first = focus_stack(stack, z_preference=-0.5, noise=(0, 1)).image
    last = focus_stack(stack, z_preference=0.5, noise=(0, 1)).image
    assert np.abs(first - stack[0]).mean() < np.abs(last - stack[0]).mean()
    assert np.abs(last - stack[1]).mean() < np.abs(first - stack[1]).mean()


def test_denoise_lowers_noise_in_flat_ground_and_keeps_texture():
    rng = np.random.default_rng(0)
    scene = np.full((128, 128), 1000.0)
    scene[:, 64:] += 400 * np.sign(np.sin(np.arange(64) * 0.9))
    stack = np.rint(rng.normal(scene, 20, (2, 128, 128))).astype(np.uint16)
    plain, quiet = (focus_stack(stack, denoise=d, noise=(0, 400)).image.astype(float) for d in (0, 1))
    assert quiet[8:-8, 8:48].std() < 0.6 * plain[8:-8, 8:48].std()
    assert quiet[8:-8, 72:-8].std() == pytest.approx(scene[8:-8, 72:-8].std(), rel=0.02)


@every_method
@pytest.mark.parametrize("option", [{"denoise": 1}, {"z_preference": 0.5}], ids=str)
def test_an_option_changes_the_image_or_is_warned_of(method, option):
    rng = np.random.default_rng(0)
    stack = np.clip(two_halves()[1] + rng.normal(0, 8, (2, 96, 80)), 0, 255).astype(np.uint8)
    plain, changed = focus_stack(stack, method=method), focus_stack(stack, method=method, **option)
    (name,) = option
    ignored = name in FUSION_METHODS[method].ignores
    assert np.array_equal(plain.image, changed.image) == ignored
    assert changed.warnings == ((f"Method {method!r} makes no use of {name}.",) if ignored else ())


def test_entropy_stays_within_its_bounds():
    regions = np.random.default_rng(0).integers(0, 4, (500, 25))
    entropy = region_entropy(regions)
    counts = np.stack([(regions == v).sum(axis=1) for v in range(4)], axis=1) / 25
    expected = -np.sum(np.where(counts > 0, counts * np.log2(np.where(counts > 0, counts, 1)), 0), axis=1)
    np.testing.assert_allclose(entropy, expected, atol=1e-12)
    assert region_entropy(np.arange(25)[None])[0] == pytest.approx(np.log2(25))


def test_islands_go_and_large_regions_stay():
    choice = np.zeros((60, 60), np.uint16)
    choice[:, 30:] = 1
    choice[5:8, 5:8] = 2
    cleaned = without_islands(choice, 20)
    assert (cleaned[:, :30] == 0).all()
    assert (cleaned[:, 30:] == 1).all()


def pair_with_a_flat_patch():
    """Slice 0 is sharp but for a flat patch, where slice 1 is a little brighter; noise in both."""
    rng = np.random.default_rng(3)
    sharp = texture((160, 160))
    sharp[60:84, 60:84] = 64
    blurred = gaussian_filter(sharp, 6)
    blurred[52:92, 52:92] += 6
    return np.stack([sharp, blurred]) + rng.normal(size=(2, 160, 160))


def test_an_island_of_noise_takes_the_slice_around_it():
    stack = np.clip(np.rint(pair_with_a_flat_patch()), 0, 255).astype(np.uint8)
    fused = focus_stack(stack).image.astype(float)
    inner = (slice(66, 78), slice(66, 78))
    assert abs(fused[inner].mean() - stack[0][inner].mean()) < 0.2 * abs(
        stack[1][inner].mean() - stack[0][inner].mean()
    )


@pytest.mark.parametrize("contrast", [40, 80])
def test_a_bead_is_no_island(contrast):
    stack = pair_with_a_flat_patch()
    y, x = np.mgrid[:160, :160]
    bead = np.exp(-((y - 72) ** 2 + (x - 72) ** 2) / (2 * 1.2**2))
    stack += contrast * np.stack([gaussian_filter(bead, 4), bead])
    stack = np.clip(np.rint(stack), 0, 255)
    fused = focus_stack(stack.astype(np.uint8)).image.astype(float)
    assert abs(fused[72, 72] - stack[1, 72, 72]) < 0.3 * (stack[1, 72, 72] - stack[0, 72, 72])


@pytest.mark.parametrize("noise", ["low", "high"])
def test_a_dense_stack_beats_every_third_slice_of_it(noise):
    scene = make_scene("bumps", (128, 128), 45, noise, 2, radius_px_per_slice=0.7)
    dense, sparse = (
        np.abs(focus_stack(scene.stack[::step]).image - scene.truth)[16:-16, 16:-16].mean() for step in (1, 3)
    )
    assert dense < sparse
