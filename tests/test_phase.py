"""Transparent specimens in bright field."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from napari_focus_stack import focus_stack
from napari_focus_stack.synthetic import make_scene


def decibels(image, truth):
    difference = (image.astype(float) - truth)[16:-16, 16:-16]
    return 10 * np.log10(65535**2 / np.mean(difference**2))


@pytest.mark.parametrize("name", ["cells", "cells-strong"])
def test_coarse_levels_follow_where_phase_turns_into_contrast(name):
    scene = make_scene(name, (192, 192), 16, "low", 3)
    stack = np.asarray(scene.stack)
    fused, opaque = focus_stack(stack), focus_stack(stack, light="opaque")
    best = max(decibels(image, scene.truth) for image in stack)
    assert decibels(fused.image, scene.truth) > max(best + 4, decibels(opaque.image, scene.truth) + 6)
    assert fused.transparent == 1
    assert "transparent specimen" in fused.warnings[0]
    error = np.abs(fused.height - scene.height)[scene.textured]
    assert error.mean() < 0.35
    assert np.abs(opaque.height - scene.height)[scene.textured].mean() > 1


@pytest.mark.parametrize("noise", ["low", "high"])
@pytest.mark.parametrize("name", ["bumps", "step", "beads"])
def test_opaque_and_glowing_specimens_are_left_alone(name, noise):
    stack = np.asarray(make_scene(name, (160, 160), 12, noise, 3).stack)
    fused, opaque = focus_stack(stack), focus_stack(stack, light="opaque")
    assert fused.transparent == 0
    if name != "beads":
        np.testing.assert_array_equal(fused.image, opaque.image)
    np.testing.assert_array_equal(fused.height, opaque.height)


def test_identical_slices_of_a_clear_specimen_return_that_slice():
    image = np.asarray(make_scene("cells", (96, 96), 3, "low", 0).stack)[1]
    np.testing.assert_array_equal(focus_stack([image] * 4).image, image)
    assert np.abs(focus_stack([image] * 4, light="transparent").image.astype(int) - image).max() <= 1


def test_a_blank_slice_interrupts_what_changes_along_z():
    stack = np.asarray(make_scene("cells", (128, 128), 10, "low", 0).stack).astype(np.float32)
    stack[4] = np.nan
    result = focus_stack(stack)
    assert result.transparent == 0
    assert np.isfinite(result.image).all()


def test_denoise_says_that_it_does_not_reach_a_transparent_specimen():
    stack = np.asarray(make_scene("cells", (128, 128), 10, "low", 0).stack)
    assert any("denoise" in told for told in focus_stack(stack, denoise=0.5).warnings)


def stained_smear():
    """Stain in focus in slice 6, and phase that turns its contrast over between slices 2 and 3."""
    rng = np.random.default_rng(0)
    stain, phase = (gaussian_filter(rng.standard_normal((160, 161)), 1.5) for _ in range(2))
    stain, phase = stain / stain.std(), phase / phase.std()
    slices = [
        40000 + 3000 * stain * np.exp(-((k - 6) ** 2) / 20) + 2200 * phase * np.tanh((k - 2) / 2) for k in range(10)
    ]
    return np.stack(slices) + 30 * rng.standard_normal((10, 160, 161))


def detail_energy(image):
    return float(np.mean((image - gaussian_filter(image.astype(float), 3)) ** 2))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_stained_specimen_is_as_sharp_as_in_its_best_slice(dtype):
    stack = stained_smear().astype(dtype)
    result = focus_stack(stack)
    assert result.transparent == 1
    assert "which stain makes" in result.warnings[0]
    assert detail_energy(result.image) > 0.95 * max(detail_energy(image) for image in stack)
    assert abs(np.median(result.height) - 6) < 0.3


def drifting(stack, step_px):
    moved = [shift(image.astype(float), step_px * (k - 5), mode="mirror") for k, image in enumerate(stack)]
    return np.stack(moved).round().astype(np.uint16)


@pytest.mark.parametrize("align", ["none", "shift"])
def test_a_stained_specimen_that_drifts_is_known_whether_aligned_or_not(align):
    result = focus_stack(drifting(stained_smear(), 0.25), align=align)
    assert "which stain makes" in result.warnings[0]


@pytest.mark.parametrize(("name", "step_px"), [("cells", 0.5), ("cells-strong", 0.25)])
def test_cells_that_were_aligned_are_not_taken_for_stained_ones(name, step_px):
    scene = make_scene(name, (192, 192), 10, "low", 3)
    result = focus_stack(drifting(scene.stack, step_px), align="shift")
    assert "the change of contrast along z" in result.warnings[0]
    assert decibels(result.image, scene.truth) > 42


def test_eight_bits_are_averaged_without_loss():
    stack = np.clip(stained_smear() / 256, 0, 255)
    fused = focus_stack(stack.round().astype(np.uint8)).image
    exact = focus_stack(stack.round().astype(np.float32)).image
    assert np.abs(fused - exact).max() <= 1


def beside(clear, opaque):
    """Two scenes side by side, the opaque one left, with a soft seam: stack, truth, height, texture, where clear."""
    width = clear.truth.shape[1]
    share = 1 / (1 + np.exp(-(np.arange(width) - width / 2) / 4))
    stack, truth = (b * (1 - share) + a * share for a, b in ((clear.stack, opaque.stack), (clear.truth, opaque.truth)))
    right = np.broadcast_to(share > 0.5, clear.truth.shape)
    height, textured = (
        np.where(right, a, b) for a, b in ((clear.height, opaque.height), (clear.textured, opaque.textured))
    )
    return stack.round().astype(np.uint16), truth, height, textured, right


@pytest.fixture(scope="module")
def mixed():
    return beside(*(make_scene(name, (192, 384), 16, "low", 3) for name in ("cells-strong", "bumps")))


def test_a_transparent_region_beside_an_opaque_one_is_told_from_it(mixed):
    stack, truth, height, textured, right = mixed
    both = {light: focus_stack(stack, light=light) for light in ("auto", "transparent", "opaque")}
    inside = np.zeros(right.shape, bool)
    inside[16:-16, 16:160] = inside[16:-16, 224:-16] = True

    def error(light, where):
        return np.sqrt(np.mean((both[light].image - truth)[where & inside] ** 2))

    assert error("auto", right) < min(1.1 * error("transparent", right), 0.5 * error("opaque", right))
    assert error("auto", ~right) < min(1.1 * error("opaque", ~right), 0.8 * error("transparent", ~right))
    assert 0.35 < both["auto"].transparent < 0.65
    assert "% of the picture" in both["auto"].warnings[0]
    off = np.abs(both["auto"].height - height)
    inside &= textured
    assert off[inside & ~right].mean() < 0.1
    assert off[inside & right].mean() < 0.6
    nearest = np.abs(both["auto"].index - both["auto"].height)[inside]
    assert np.mean(nearest <= 0.75) > 0.95


@pytest.mark.parametrize("shape", [(16, 16), (9, 70), (33, 47)])
def test_small_pictures_have_regions_too(shape):
    rng = np.random.default_rng(0)
    stack = np.stack([30000 + 3000 * np.tanh(k - 3) * rng.standard_normal(shape) for k in range(6)]).astype(np.uint16)
    result = focus_stack(stack)
    assert (result.image >= stack.min(axis=0)).all()
    assert (result.image <= stack.max(axis=0)).all()
    assert ((result.height >= 0) & (result.height <= 5)).all()


def test_slices_far_apart_still_show_a_transparent_specimen():
    scene = make_scene("cells-strong-narrow", (256, 256), 20, "low", 3)
    stack = np.asarray(scene.stack)[::4]
    fused, opaque = focus_stack(stack), focus_stack(stack, light="opaque")
    assert fused.transparent == 1
    assert decibels(fused.image, scene.truth) > decibels(opaque.image, scene.truth) + 5


def test_heights_of_a_transparent_specimen_show_through_strong_noise():
    scene = make_scene("cells", (384, 384), 20, "high", 5)
    height = focus_stack(np.asarray(scene.stack)).height
    error = np.abs(height - scene.height)[16:-16, 16:-16][scene.textured[16:-16, 16:-16]]
    # 1.26 where both levels count alike everywhere.
    assert error.mean() < 0.75


def test_heights_left_open_stay_open_in_both_regions(mixed):
    stack = mixed[0].copy()
    rng = np.random.default_rng(0)
    for flat in (np.s_[:, 64:128, 40:104], np.s_[:, 32:160, 264:376]):
        stack[flat] = 40000 + rng.normal(0, 30, stack[flat].shape)
    opened = np.isnan(focus_stack(stack, fill_height=False).height)
    assert opened[88:104, 64:80].mean() > 0.8
    assert opened[88:104, 312:328].mean() > 0.8
    assert opened.mean() < 0.25


@pytest.mark.parametrize("noise", ["low", "high"])
def test_the_confidence_of_transparent_specimens_tells_the_truth(noise):
    within, told = [], []
    for name in ("cells", "cells-strong-narrow"):
        scene = make_scene(name, (320, 320), 20, noise, 6)
        result = focus_stack(np.asarray(scene.stack))
        inside = np.s_[16:-16, 16:-16]
        within.append((np.abs(result.height - scene.height) <= 1)[inside].ravel())
        told.append(result.confidence[inside].ravel())
    right, confidence = np.concatenate(within), np.concatenate(told)
    for tenth in range(10):
        there = (confidence > tenth / 10) & (confidence <= (tenth + 1) / 10)
        if there.sum() > 1000:
            assert right[there].mean() > confidence[there].mean() - 0.03
    assert confidence.mean() > (0.4 if noise == "low" else 0.1)
