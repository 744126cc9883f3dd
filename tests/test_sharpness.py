"""What each measure is of images small enough to know, and what a ranking has to withstand."""

import json
import math

import numpy as np
import pytest
from scipy import ndimage

from napari_focus_stack import InputError, NoiseModel, SharpnessReport, focus_stack, sharpness
from napari_focus_stack.pyramid import laplacian_pyramid, noise_gains
from napari_focus_stack.sharpness import SHARPNESS_MEASURES, focus_from_energies

SILENT = NoiseModel((0.0,), (0.0,), (0.0,), (255.0,))

every_measure = pytest.mark.parametrize("measure", SHARPNESS_MEASURES)


@pytest.fixture(scope="module")
def texture():
    rng = np.random.default_rng(3)
    return 100 + 30 * ndimage.zoom(rng.normal(size=(48, 64)), 2, order=1)


def point(value=1.0, size=10):
    image = np.zeros((size, size))
    image[4, 5] = value
    return image


def ramp(height=12, width=12):
    y, x = np.mgrid[:height, :width]
    return 3 * x + 4 * y


# ---- known values ----


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint64", "float16", "float32", "float64"])
def test_gradient_of_a_ramp_is_its_slope_in_every_dtype(dtype):
    assert sharpness(ramp().astype(dtype)) == pytest.approx(5)


def test_gradient_is_the_mean_over_channels():
    colour = np.stack([ramp(), 2 * ramp(), 0 * ramp()], axis=-1)
    assert sharpness(colour) == pytest.approx(5)


def test_gradient_uses_central_differences_inside_and_one_sided_ones_at_the_edge():
    assert sharpness(np.array([[0.0, 0.0, 2.0, 0.0]])) == pytest.approx((0 + 1 + 0 + 2) / 4)


@pytest.mark.parametrize(
    ("measure", "energy"),
    [
        ("laplacian-variance", 4**2 + 4 * 1),  # of the stencil 1, 1, -4, 1, 1
        ("tenengrad", 2 * (4 * 1 + 2 * 2**2)),  # of Sobel's two stencils, corners 1 and sides 2
    ],
)
def test_a_point_shows_the_stencil(measure, energy):
    assert sharpness(point(3), measure) == pytest.approx(9 * energy / 100)


def test_brenner_takes_pixels_two_apart_along_both_axes():
    assert sharpness(ramp(), "brenner") == pytest.approx((6**2 + 8**2) / 2)


def test_normalised_variance_of_a_chequerboard():
    board = 10 + 4 * (-1.0) ** np.indices((8, 8)).sum(0)
    assert sharpness(board, "normalised-variance") == pytest.approx(16 / 10)


def test_focus_of_white_texture_is_its_share_in_the_second_level():
    image = np.random.default_rng(0).normal(100, 10, (512, 512))
    assert sharpness(image, "focus", noise=SILENT) == pytest.approx(noise_gains(2)[1] * (10 / 100) ** 2, rel=0.02)


def test_focus_from_a_pyramid_at_hand_is_the_same_number(texture):
    noise = NoiseModel((0.5,), (7.0,), (0.0,), (255.0,))
    energies = [float(np.mean(level**2)) for level in laplacian_pyramid(texture, 4)[:-1]]
    mean = float(texture.mean())
    ready = focus_from_energies(energies, mean, noise.variance(mean), noise_gains(4))
    assert sharpness(texture, "focus", noise=noise) == pytest.approx(ready, rel=1e-4)


# ---- what holds for every measure ----


@every_measure
def test_blur_lowers_it(measure, texture):
    values = [sharpness(ndimage.gaussian_filter(texture, s), measure, noise=SILENT) for s in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5 * values[0]


@every_measure
def test_a_flat_image_has_none(measure):
    assert sharpness(np.full((40, 50), 7, np.uint8), measure) == pytest.approx(0, abs=1e-12)


@every_measure
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 1), (17, 5)])
def test_tiny_images_have_a_finite_one(measure, shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert math.isfinite(sharpness(image, measure))


@every_measure
def test_turning_the_image_changes_nothing(measure):
    # An odd size, so that the pyramid's even pixels stay the even ones.
    image = np.random.default_rng(1).uniform(50, 200, (65, 129))
    expected = sharpness(image, measure, noise=SILENT)
    for turned in (image.T, image[::-1], image[:, ::-1]):
        assert sharpness(turned, measure, noise=SILENT) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("measure", "power"),
    [
        ("focus", 0),
        ("gradient", 1),
        ("tenengrad", 2),
        ("laplacian-variance", 2),
        ("brenner", 2),
        ("normalised-variance", 1),
    ],
)
def test_twice_the_light(measure, power, texture):
    dim, bright = (sharpness(f * texture, measure, noise=SILENT) for f in (1, 2))
    assert bright == pytest.approx(2**power * dim, rel=1e-5)


@every_measure
def test_alpha_is_left_out(measure, texture):
    colour = np.stack([texture, texture, texture], axis=-1)
    rgba = np.concatenate([colour, np.random.default_rng(0).uniform(0, 255, (*texture.shape, 1))], axis=-1)
    assert sharpness(rgba, measure) == sharpness(colour, measure)


@every_measure
def test_four_channels_that_are_no_colour_all_count(measure, texture):
    flat = np.full_like(texture, 100.0)
    image = np.stack([flat, flat, flat, texture], axis=-1)
    assert sharpness(image, measure, rgb=True) == pytest.approx(0, abs=1e-12)
    assert sharpness(image, measure, rgb=False) > 0


@every_measure
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_unknown_pixels_are_left_out_and_do_not_spread(measure, hole, texture):
    image = texture.copy()
    image[20:40, 30:70] = hole
    image[70, 100] = hole
    before = image.copy()
    clean = sharpness(texture, measure, noise=SILENT)
    assert sharpness(image, measure, noise=SILENT) == pytest.approx(clean, rel=0.1)
    assert np.array_equal(image, before, equal_nan=True)


@every_measure
def test_scattered_holes_leave_a_finite_value(measure, texture):
    image = np.where(np.indices(texture.shape).sum(0) % 2, texture, np.nan)
    assert math.isfinite(sharpness(image, measure))


@every_measure
def test_a_large_offset_or_unit_loses_nothing(measure):
    image = np.random.default_rng(2).uniform(0, 1, (64, 64))
    if measure not in ("focus", "normalised-variance"):  # both are relative to the mean
        assert sharpness(image + 1e7, measure) == pytest.approx(sharpness(image, measure), rel=1e-5)
    assert sharpness(image * 1e-30, measure, noise=SILENT) > 0
    assert not math.isnan(sharpness(image * 1e200, measure, noise=SILENT))


# ---- ranking ----


@pytest.mark.parametrize("drift", [-0.05, 0.0, 0.03])
@pytest.mark.parametrize("shot_noise", [0.0, 4.0])
def test_focus_ranks_slices_under_noise_and_drifting_light(texture, drift, shot_noise):
    rng = np.random.default_rng(0)
    scene = np.tile(texture, (3, 3))
    slices = []
    for k in range(9):
        light = ndimage.gaussian_filter(scene, 0.6 + 0.7 * abs(k - 4)) * (1 + drift) ** k
        slices.append(light + rng.normal(size=light.shape) * np.sqrt(9 + shot_noise * light))
    noise = NoiseModel((shot_noise,), (9.0,), (0.0,), (255.0,))
    values = [sharpness(s, "focus", noise=noise) for s in slices]
    assert int(np.argmax(values)) == 4
    assert values[:5] == sorted(values[:5])
    assert values[4:] == sorted(values[4:], reverse=True)


def test_focus_sees_through_noise_of_its_own_estimate():
    noisy = np.random.default_rng(0).normal(100, 20, (256, 256))
    taken_for_texture = sharpness(noisy, "focus", noise=SILENT)
    assert abs(sharpness(noisy, "focus")) < 0.05 * taken_for_texture


def test_a_run_reports_the_same_focus_as_measuring_its_slices(texture):
    stack = np.stack([ndimage.gaussian_filter(texture, s) for s in (3, 0.5, 2)]).astype(np.uint16)
    result = focus_stack(stack)
    alone = [sharpness(s, "focus", noise=result.noise) for s in stack]
    assert result.sharpness.per_slice == pytest.approx(alone, rel=0.02)
    assert result.sharpness.best_source == 1


# ---- report ----


def test_the_report_sums_up():
    report = SharpnessReport.of("gradient", [2, 6, 6, 2], 8)
    assert (report.mean_of_sources, report.best_source, report.fused, report.gain) == (4, 1, 8, 2)
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False)) == {
        "measure": "gradient",
        "per_slice": [2.0, 6.0, 6.0, 2.0],
        "mean_of_sources": 4.0,
        "best_source": 1,
        "fused": 8.0,
        "gain": 2.0,
    }


@pytest.mark.parametrize(("measure", "per_slice", "fused"), [("gradient", 0.0, 0.0), ("focus", -1e-5, -2e-4)])
def test_a_report_on_flat_or_noisy_ground_has_no_gain(measure, per_slice, fused):
    # Above its own noise bare ground measures a little less than nothing: the ratio would say 20 times sharper.
    report = SharpnessReport.of(measure, [per_slice, per_slice], fused)
    assert math.isnan(report.gain)
    assert report.as_dict()["gain"] is None


# ---- bad input ----


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones((5, 5)), {"measure": "entropy"}, "unknown sharpness measure 'entropy'; choose one of focus, gradient"),
        (np.ones((5, 5), complex), {}, "complex"),
        (np.ones((5, 5), bool), {}, "bool"),
        (np.array([["a"]]), {}, "pixels must be integers or floats"),
        (np.ones(5), {}, r"\(y, x\)"),
        (np.ones((2, 3, 4, 5)), {}, r"\(y, x\)"),
        (np.ones((0, 5)), {}, "hold pixels"),
        (np.full((5, 5), np.nan), {}, "no finite pixel"),
        (np.ones((5, 5, 2)), {"rgb": True}, "RGB"),
        (np.ones((5, 5, 3)), {"noise": SILENT}, "noise model has 1 channels, the image 3"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(image, options, message):
    with pytest.raises(InputError, match=message):
        sharpness(image, **options)
