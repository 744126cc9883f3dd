"""The synthetic scenes: their truth is true, and light and noise behave as in a microscope."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack.errors import InputError
from napari_focus_stack.synthetic import (
    NOISE_PHOTONS,
    PHOTOGRAPHS,
    SCENES,
    BrightField,
    Camera,
    Lens,
    Surface,
    blur,
    bright_field_slices,
    detail,
    fractal,
    glowing_slices,
    in_focus,
    intensity,
    make_scene,
    opaque_slices,
    photograph,
)

LENS = Lens(radius_px_per_slice=1.6)
WEAK_PHASE = 0.2


def flat(value: float, shape: tuple[int, int] = (48, 56)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def disc(shape: tuple[int, int] = (96, 100), radius: float = 22) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    return np.clip(radius - distance + 0.5, 0, 1).astype(np.float32)


def spread_px(image: np.ndarray) -> float:
    """Standard deviation of a blurred point along y, from the lowest frequency: tails do not upset it."""
    profile = image.sum(axis=1).astype(np.float64)
    transfer = np.abs(np.fft.fft(profile)[1]) / profile.sum()
    return float(np.sqrt(-2 * np.log(transfer)) * profile.size / (2 * np.pi))


def smooth_relief(shape: tuple[int, int] = (96, 96)) -> np.ndarray:
    """A soft bump that goes on periodically, coarser than what the pupil resolves."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-((y - 48) ** 2 + (x - 48) ** 2) / (2 * 6.0**2))


@pytest.mark.parametrize("name", SCENES)
def test_each_pixel_is_true_in_the_slice_of_its_height(name):
    scene = make_scene(name, (75, 118), slices=9, noise="none", seed=3)
    distance = np.abs(np.arange(9)[:, None, None] - scene.height)
    error = (scene.stack.astype(np.float64) - scene.truth) ** 2
    error = error if error.ndim == 3 else error.mean(axis=3)
    sharp = np.median(np.sqrt(error[(distance < 0.15) & scene.textured]))
    blurred = np.median(np.sqrt(error[(distance > 2) & scene.textured]))
    assert sharp < 0.005 * scene.data_range
    assert sharp < 0.25 * blurred


@pytest.mark.parametrize("name", ["plane", "bumps", "colour", "beads"])
def test_detail_is_strongest_at_the_height(name):
    scene = make_scene(name, (96, 110), slices=8, noise="none", seed=1)
    sharpest = np.argmax([detail(plane) for plane in scene.stack], axis=0)
    error = np.abs(sharpest - scene.height)[scene.textured]
    assert error.mean() < 0.5
    assert (error > 2).mean() < 0.05


@pytest.mark.parametrize("name", SCENES)
def test_flat_ground_is_flat_and_not_textured(name):
    scene = make_scene(name, (128, 150), slices=3, seed=2)
    assert scene.textured.any()
    assert not (scene.ground & scene.textured).any()
    if scene.ground.any():
        assert np.ptp(scene.truth[scene.ground]) < 0.03 * scene.data_range


@pytest.mark.parametrize("name", SCENES)
def test_same_seed_same_bytes(name):
    first, again, other = (make_scene(name, (40, 51), slices=3, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.stack, again.stack)
    np.testing.assert_array_equal(first.truth, again.truth)
    np.testing.assert_array_equal(first.height, again.height)
    assert (first.truth != other.truth).mean() > 0.05


def test_noise_does_not_change_the_specimen():
    quiet, noisy = (make_scene("bumps", (40, 40), slices=3, noise=noise, seed=1) for noise in ("none", "high"))
    np.testing.assert_array_equal(quiet.truth, noisy.truth)
    assert not np.array_equal(quiet.stack, noisy.stack)


def test_rgb_scene_has_colour():
    scene = make_scene("colour", (64, 64), slices=3)
    assert scene.rgb
    assert scene.stack.dtype == np.uint8
    assert np.ptp(scene.truth, axis=2).mean() > 20


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("noise", ["low", "high", 5_000])
def test_variance_is_gain_times_intensity_plus_offset(noise, dtype):
    camera = Camera.of(noise, dtype)
    rng = np.random.default_rng(0)
    for radiance in (0.1, 0.4, 0.8):
        picture = camera.expose(flat(radiance, (400, 400)), rng).astype(np.float64)
        level = float(camera.gray_levels(flat(radiance, (1, 1)))[0, 0])
        assert picture.mean() == pytest.approx(level, abs=0.002 * camera.full_scale)
        assert picture.var() == pytest.approx(camera.gain * level + camera.offset, rel=0.03)


@pytest.mark.parametrize(("noise", "least", "most"), [("low", 0.006, 0.008), ("high", 0.035, 0.06)])
def test_presets_give_the_noise_they_state(noise, least, most):
    camera = Camera.of(noise, "uint16")
    picture = camera.expose(flat(0.5, (300, 300)), np.random.default_rng(0))
    assert least < picture.std() / camera.full_scale < most


def test_without_noise_the_camera_only_rounds():
    camera = Camera.of("none", "uint8")
    radiance = np.linspace(0, 1, 100, dtype=np.float32)
    picture = camera.expose(radiance, np.random.default_rng(0))
    np.testing.assert_array_equal(picture, np.rint(camera.gray_levels(radiance)))


@pytest.mark.parametrize("psf", ["disc", "gaussian"])
def test_blur_conserves_light_and_grows_with_the_radius(psf):
    spot = np.zeros((1, 121, 121), np.float32)
    spot[0, 60, 60] = 1
    for radius in (2.0, 5.0, 12.0):
        image = blur(spot, radius, psf)[0]
        assert image.sum() == pytest.approx(1, abs=1e-4)
        # A disc of radius r with a rim of 0.15 r, or a Gaussian of r / 2.
        expected = radius * (np.sqrt(1 / 4 + 0.15**2) if psf == "disc" else 1 / 2)
        assert spread_px(image) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("distance", [0.35, 1.0, 2.7, 5.0])
def test_spread_of_a_point_grows_linearly_with_its_distance_from_focus(distance):
    spot = np.zeros((97, 97), np.float32)
    spot[48, 48] = 1
    image = next(glowing_slices([Surface(spot, flat(distance, spot.shape))], 0, 1, LENS))
    assert spread_px(image) == pytest.approx(1.6 * distance * np.sqrt(1 / 4 + 0.15**2), rel=0.02)


def test_blur_is_the_same_before_and_behind_focus():
    texture = 0.5 + 0.1 * fractal((64, 64), np.random.default_rng(0))
    before, _, sharp, _, behind = opaque_slices([Surface(texture, flat(2, (64, 64)))], 5, LENS)
    np.testing.assert_allclose(before, behind, atol=1e-5)
    np.testing.assert_allclose(sharp, texture, atol=1e-6)


@pytest.mark.parametrize("focus", [0, 4, 8])
def test_every_point_of_a_gentle_slope_has_its_own_disc(focus):
    texture = 0.5 + 0.1 * fractal((64, 80), np.random.default_rng(0), 1.2)
    across = np.linspace(0, 8, 80, dtype=np.float32)
    sheet = Surface(texture, np.broadcast_to(across, texture.shape).copy())
    image = list(opaque_slices([sheet], 9, LENS))[focus]
    seen_and_light = np.zeros((2, *texture.shape))
    for x, height in enumerate(across):
        column = np.zeros((2, *texture.shape), np.float32)
        column[0, :, x], column[1, :, x] = texture[:, x], 1
        seen_and_light += blur(column, 1.6 * abs(float(height) - focus))
    # Layers laid over one another are .005 to .007 off.
    assert np.sqrt(np.mean((image - seen_and_light[0] / seen_and_light[1]) ** 2)) < 0.003


def test_surfaces_of_one_radiance_look_alike_at_any_focus():
    rng = np.random.default_rng(0)
    hills = 2 + fractal((96, 100), rng, 2)
    scene = [Surface(flat(0.6, (96, 100)), hills + 4, disc()), Surface(flat(0.6, (96, 100)), hills)]
    for image in opaque_slices(scene, 7, LENS):
        np.testing.assert_allclose(image, 0.6, atol=2e-3)


def test_a_blurred_rim_veils_the_wall_and_lets_it_shine_through():
    near, wall = flat(0.9, (96, 100)), flat(0.1, (96, 100))
    wall[:, 48:52] = 0.5
    cover = disc()
    scene = [Surface(near, flat(5, near.shape), cover), Surface(wall, flat(0, wall.shape))]
    focused_on_wall = next(opaque_slices(scene, 6, LENS))
    opacity = blur(cover[None], 1.6 * 5)[0]
    # The rim is between two layers, so its blur is right only in its second moment.
    np.testing.assert_allclose(focused_on_wall, 0.9 * opacity + (1 - opacity) * wall, atol=0.02)
    outside, inside = focused_on_wall[48, 24], focused_on_wall[48, 32]
    assert 0.15 < outside < 0.5 < inside < 0.85
    # The stripe of the wall stays sharp where it is seen through the rim.
    row = focused_on_wall[27, 40:60]
    assert row[8:12].mean() - np.r_[row[:7], row[13:]].mean() > 0.05


def test_the_light_of_a_near_thing_before_a_black_wall_is_conserved():
    cover = disc()
    scene = [Surface(flat(0.8, cover.shape), flat(4, cover.shape), cover), Surface(0 * cover, 0 * cover)]
    light = [image.sum(dtype=np.float64) for image in opaque_slices(scene, 5, LENS)]
    np.testing.assert_allclose(light, 0.8 * cover.sum(dtype=np.float64), rtol=1e-3)


def test_in_focus_the_near_surface_hides_the_far_one():
    near, far = flat(0.9, (96, 100)), flat(0.1, (96, 100))
    image = in_focus([Surface(near, near, disc()), Surface(far, far)])
    assert image[48, 50] == pytest.approx(0.9)
    assert image[2, 2] == pytest.approx(0.1)


@pytest.mark.parametrize("condenser", [0.25, 0.7])
def test_phase_is_unseen_in_focus_and_turns_its_sign_across_it(condenser):
    optics = BrightField(condenser=condenser)
    phase = np.exp(1j * WEAK_PHASE * smooth_relief())
    before, focus, behind = (intensity(phase, defocus, optics) - 1 for defocus in (-2, 0, 2))
    assert focus.std() < 0.05 * behind.std()
    assert np.corrcoef(before.ravel(), behind.ravel())[0, 1] < -0.95


def test_contrast_of_phase_grows_with_defocus_and_shrinks_with_the_condenser():
    phase = np.exp(1j * WEAK_PHASE * smooth_relief())
    narrow = [intensity(phase, defocus, BrightField(condenser=0.2)).std() for defocus in (0, 1, 2, 4)]
    assert narrow == sorted(narrow)
    assert intensity(phase, 4, BrightField(condenser=0.9)).std() < 0.8 * narrow[-1]


def test_absorption_is_strongest_in_focus_and_alike_on_both_sides():
    stain = np.exp(-0.1 * smooth_relief()).astype(np.complex64)
    before, focus, behind = (intensity(stain, defocus, BrightField()) for defocus in (-3, 0, 3))
    np.testing.assert_allclose(before, behind, atol=1e-4)
    assert focus.std() > behind.std()


def test_coarse_contrast_of_cells_is_larger_out_of_focus_than_in_it():
    scene = make_scene("cells-strong-narrow", (128, 128), slices=9, noise="none", relief=0.0)
    planes = scene.stack.astype(np.float32)
    coarse = [(gaussian_filter(plane, 2) - gaussian_filter(plane, 6)).std() for plane in planes]
    assert min(coarse[0], coarse[8]) > 1.2 * coarse[4]


@pytest.mark.parametrize("height", [1.0, 1.3])
def test_every_pixel_is_imaged_at_its_own_defocus(height):
    transmission = np.exp(0.5j * smooth_relief() - 0.1 * smooth_relief()).astype(np.complex64)
    margin = 8
    level = flat(height, (80, 80))
    level[:, 40:] += 1
    slices = list(bright_field_slices(transmission, level, 4, BrightField(), margin))
    for k, image in enumerate(slices):
        left, right = (intensity(transmission, k - height - more, BrightField())[8:-8, 8:-8] for more in (0, 1))
        np.testing.assert_allclose(image[:, :40], left[:, :40], atol=2e-3)
        np.testing.assert_allclose(image[:, 40:], right[:, 40:], atol=2e-3)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_in_the_wheel(name):
    assert (files("skimage") / "data" / f"{name}.png").is_file()
    image = photograph(name, (700, 33), np.random.default_rng(0))
    assert image.mean() == pytest.approx(0.5, abs=0.03)
    assert image.std() > 0.1


def test_fractal_noise_falls_off_as_its_slope_says():
    noise = fractal((512, 512), np.random.default_rng(0), slope=1.5, coarsest_px=1e4)
    power = np.abs(np.fft.fft2(noise * np.hanning(512)[:, None] * np.hanning(512))) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512))
    octaves = [power[(frequency > f / 1.2) & (frequency < f * 1.2)].mean() for f in (0.02, 0.2)]
    assert np.log10(octaves[0] / octaves[1]) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "moon"}, "unknown scene 'moon'; choose one of plane"),
        ({"name": "plane", "noise": "loud"}, "noise must be one of none, low, high or a positive number"),
        ({"name": "plane", "noise": -1}, "noise must be one of"),
        ({"name": "plane", "dtype": "float32"}, "uint8 or uint16, got float32"),
        ({"name": "plane", "slices": 1}, "at least 16 x 16 pixels, 2 slices"),
        ({"name": "plane", "shape": (8, 64)}, "got 8 x 64"),
        ({"name": "plane", "phase": 1.0}, "scene 'plane' has no parameter 'phase'; it has radius_px_per_slice"),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        make_scene(**arguments)


@pytest.mark.parametrize("noise", NOISE_PHOTONS)
def test_scenes_fill_the_range_without_clipping(noise):
    scene = make_scene("bumps", (96, 96), slices=3, noise=noise)
    assert ((scene.stack == 0) | (scene.stack == scene.data_range)).mean() < 1e-3
    assert np.ptp(scene.truth) > 0.5 * scene.data_range
