"""Tilt and roughness of surfaces whose figures are known."""

import json

import numpy as np
import pytest

from napari_focus_stack import InputError, focus_stack, level_height, measure_surface, trusted_pixels
from napari_focus_stack.surface import SURFACE_FORMS, fit_form, gaussian_filter_areal
from napari_focus_stack.synthetic import make_scene

Y, X = np.mgrid[:120, :160].astype(np.float32)
EVERYWHERE = np.ones(X.shape, bool)


def sheet(along_y=0.0, along_x=0.0, start=5.0):
    return (start + along_y * Y + along_x * X).astype(np.float32)


def wave(amplitude, period_px=40):
    """Return whole periods that begin and end on a crest: least squares find no tilt in them, as in a sine."""
    return (amplitude * np.cos(2 * np.pi * (X + 0.5) / period_px)).astype(np.float32)


def figures(parameters):
    return np.array([parameters.Sa, parameters.Sq, parameters.Sz])


# ---- roughness


@pytest.mark.parametrize("amplitude", [0.01, 1.0, 30.0])
def test_sine_on_a_tilted_plane_has_the_roughness_of_a_sine(amplitude):
    report = measure_surface(sheet(0.02, -0.03) + wave(amplitude))
    # Of a sine of amplitude A: Sa = 2A/pi, Sq = A/sqrt 2, Sz = 2A, Ssk = 0, Sku = 1.5.
    expected = [2 * amplitude / np.pi, amplitude / np.sqrt(2), 2 * amplitude]
    np.testing.assert_allclose(figures(report.levelled), expected, rtol=0.01)
    assert report.levelled.Sp == pytest.approx(amplitude, rel=0.02)
    assert report.levelled.Sv == pytest.approx(amplitude, rel=0.02)
    assert report.levelled.Ssk == pytest.approx(0, abs=0.02)
    assert report.levelled.Sku == pytest.approx(1.5, rel=0.02)


def test_plane_alone_has_no_roughness_and_its_tilt_is_told():
    report = measure_surface(sheet(0.03, 0.04), unit="µm", pixel_size=(0.5, 0.5))
    assert figures(report.levelled).max() < 1e-4
    # 0.06 along y and 0.08 along x: 0.1 in all.
    assert report.tilt_deg == pytest.approx(np.degrees(np.arctan(0.1)), rel=1e-4)
    assert report.tilt_direction_deg == pytest.approx(np.degrees(np.arctan2(0.06, 0.08)), rel=1e-4)
    assert report.raw.Sdq == pytest.approx(0.1, rel=1e-4)
    assert report.raw.Sq == pytest.approx(sheet(0.03, 0.04).std(), rel=1e-4)


@pytest.mark.parametrize(
    ("along_y", "along_x", "direction"), [(0, 1, 0), (1, 0, 90), (0, -1, 180), (-1, 0, 270), (1, -1, 135)]
)
def test_direction_is_where_the_plane_rises(along_y, along_x, direction):
    report = measure_surface(sheet(0.1 * along_y, 0.1 * along_x), pixel_size=(1, 1))
    assert abs((report.tilt_direction_deg - direction + 180) % 360 - 180) < 0.01


def test_pixels_may_be_oblong():
    # It rises by 1 for 10 px of 2 along y, and for 10 px of 1 along x.
    report = measure_surface(sheet(0.1, 0.1), pixel_size=(2, 1))
    assert report.tilt_deg == pytest.approx(np.degrees(np.arctan(np.hypot(0.05, 0.1))), rel=1e-4)
    assert report.raw.Sdq == pytest.approx(np.hypot(0.05, 0.1), rel=1e-3)


def test_z_step_scales_all_heights():
    surface = sheet(0.01, 0.02) + wave(2.0)
    slices, um = measure_surface(surface), measure_surface(surface, z_step=0.25, unit="µm")
    np.testing.assert_allclose(figures(um.raw), 0.25 * figures(slices.raw), rtol=1e-5)
    np.testing.assert_allclose(figures(um.levelled), 0.25 * figures(slices.levelled), rtol=1e-4)
    np.testing.assert_allclose(um.slope_per_px, 0.25 * np.array(slices.slope_per_px), rtol=1e-4)
    assert (slices.unit, um.unit) == ("slices", "µm")


def test_roughness_of_independent_heights_is_that_of_their_distribution():
    heights = np.random.default_rng(0).exponential(2.0, (300, 400)).astype(np.float32)
    measured = measure_surface(heights).raw
    # Exponential: mean deviation 2/e of the mean, deviation 1 of it, skewness 2, kurtosis 9.
    assert measured.Sa == pytest.approx(2 * 2 / np.e, rel=0.02)
    assert measured.Sq == pytest.approx(2.0, rel=0.02)
    assert measured.Ssk == pytest.approx(2.0, rel=0.05)
    assert measured.Sku == pytest.approx(9.0, rel=0.1)


# ---- form


def test_paraboloid_takes_out_a_dish_and_a_plane_does_not():
    dish = sheet(0.02, 0.01) + ((X - 60) ** 2 / 900 - (X - 60) * (Y - 40) / 2000 + (Y - 40) ** 2 / 1500)
    dish = dish.astype(np.float32)
    assert measure_surface(dish, form="paraboloid").levelled.Sz < 1e-3
    assert measure_surface(dish, form="plane").levelled.Sz > 1


@pytest.mark.parametrize("form", SURFACE_FORMS)
def test_levelling_takes_out_nothing_but_the_form(form):
    rough = sheet(0.02, 0.01) + wave(0.5)
    levelled = level_height(rough, EVERYWHERE, form)
    taken = rough - levelled
    assert levelled.dtype == np.float32
    np.testing.assert_allclose(taken, fit_form(rough, EVERYWHERE, form).surface(), atol=1e-5)
    if form == "none":
        np.testing.assert_array_equal(levelled, rough)
        assert levelled is not rough
    # A second time there is nothing left to take out.
    np.testing.assert_allclose(level_height(levelled, EVERYWHERE, form), levelled, atol=1e-3)


def test_beads_on_a_slide_do_not_tilt_it():
    slide = sheet(0.03, -0.01)
    loaded = slide.copy()
    loaded[:40, :60] += 8
    loaded[90:100, 100:130] -= 5
    assert (loaded != slide).mean() > 0.13
    loaded += np.random.default_rng(0).normal(0, 0.1, X.shape).astype(np.float32)
    np.testing.assert_allclose(fit_form(loaded, EVERYWHERE).slope_per_px(), (0.03, -0.01), atol=2e-4)


@pytest.mark.parametrize("shape", [(700, 512), (512, 700), (5, 40_000), (40_000, 5)])
def test_large_maps_are_fitted_on_a_part_of_their_pixels(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    noisy = 0.01 * x - 0.02 * y + np.random.default_rng(0).normal(0, 0.1, shape)
    slope = fit_form(noisy.astype(np.float32), np.ones(shape, bool)).slope_per_px()
    # Ten standard errors of a fit to all pixels of that axis.
    for found, right, n in zip(slope, (-0.02, 0.01), shape, strict=True):
        assert abs(found - right) < 10 * 0.1 / np.sqrt(min(x.size, 1 << 16)) / (n / np.sqrt(12))


# ---- trust


def test_outliers_of_low_confidence_change_nothing():
    rng = np.random.default_rng(0)
    surface = sheet(0.02, 0.01) + wave(1.0)
    confidence = np.where(rng.random(X.shape) < 0.3, 0.1, 0.9).astype(np.float32)
    spoiled = np.where(confidence < 0.5, rng.uniform(-1e3, 1e3, X.shape), surface).astype(np.float32)
    spoiled[confidence < 0.5][:10] = np.nan
    clean, report = (measure_surface(heights, confidence, pixel_size=(1, 1)) for heights in (surface, spoiled))
    assert report == clean
    assert report.trusted_share == pytest.approx(0.7, abs=0.02)
    assert measure_surface(spoiled, confidence, trust=0).levelled.Sq > 100 * clean.levelled.Sq


def test_nan_is_never_trusted():
    surface = sheet(0.02, 0.01) + wave(1.0)
    holed = surface.copy()
    holed[:, :40] = np.nan
    report = measure_surface(holed, trust=0)
    assert report.trusted_share == 0.75
    np.testing.assert_allclose(figures(report.levelled), [2 / np.pi, 1 / np.sqrt(2), 2], rtol=0.01)


def test_trust_includes_its_limit():
    confidence = np.array([[0, 0.5, 1, np.nan]], np.float32)
    height = np.zeros((1, 4), np.float32)
    assert trusted_pixels(height, confidence, 0).tolist() == [[True, True, True, False]]
    assert trusted_pixels(height, confidence, 0.5).tolist() == [[False, True, True, False]]
    assert trusted_pixels(height, confidence, 1).tolist() == [[False, False, True, False]]
    assert trusted_pixels(height).all()


def test_without_a_trusted_pixel_nothing_is_known():
    report = measure_surface(sheet(), np.zeros(X.shape, np.float32), pixel_size=(1, 1))
    assert report.trusted_share == 0
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert told["tilt_deg"] is None
    assert set(told["levelled"].values()) == {None}


def test_few_trusted_pixels_are_enough():
    trusted = np.zeros(X.shape, bool)
    trusted[7, 9] = True
    np.testing.assert_allclose(level_height(sheet(0.1, 0.1), trusted)[7, 9], 0, atol=1e-4)


# ---- filters


@pytest.mark.parametrize(
    ("period_px", "s_passes", "l_passes"), [(20, 0.5, 0.5), (10, 1 / 16, 15 / 16), (80, 0.96, 0.04)]
)
def test_filters_pass_half_of_a_wave_as_long_as_their_cutoff(period_px, s_passes, l_passes):
    x = np.mgrid[:64, :480][1]
    surface = np.sin(2 * np.pi * (x + 0.5) / period_px).astype(np.float32)
    waves = gaussian_filter_areal(surface, np.ones(surface.shape, bool), (20, 20))[:, 80:-80]
    # exp(-ln 2 (20 / period)^2) of the wave passes: 1/2 at the cutoff, 1/16 at half of it.
    assert waves.std() / surface.std() == pytest.approx(s_passes, abs=0.01)
    short = surface[:, 80:-80] - waves
    assert short.std() / surface.std() == pytest.approx(l_passes, abs=0.01)


def test_s_filter_takes_out_noise_and_l_filter_waviness():
    noise = np.random.default_rng(0).normal(0, 0.5, X.shape).astype(np.float32)
    surface = sheet(0.02, 0.01) + wave(1.0, 40)
    assert measure_surface(surface + noise, s_filter_px=8).levelled.Sq == pytest.approx(np.sqrt(0.5), rel=0.1)
    assert measure_surface(surface + noise, l_filter_px=10).levelled.Sq == pytest.approx(0.5, rel=0.1)
    # With the size of a pixel every figure is a number: records that hold NaN are unequal from Python 3.13 on.
    unfiltered = measure_surface(surface + noise, pixel_size=(1, 1))
    assert unfiltered.levelled.Sq == pytest.approx(np.sqrt(0.5 + 0.25), rel=0.02)
    assert measure_surface(surface + noise, s_filter_px=8, pixel_size=(1, 1)).raw == unfiltered.raw


def test_filters_do_not_see_what_is_not_trusted():
    surface = wave(1.0)
    holed = surface.copy()
    holed[40:60, 50:90] = 1e6
    trusted = holed == surface
    whole = gaussian_filter_areal(surface, EVERYWHERE, (12, 12))
    np.testing.assert_allclose(gaussian_filter_areal(holed, trusted, (12, 12))[80:], whole[80:], atol=1e-5)
    assert np.abs(gaussian_filter_areal(holed, trusted, (12, 12))[trusted]).max() <= 1
    # A constant stays constant up to the border and around holes.
    flat = np.where(trusted, 3, 1e6).astype(np.float32)
    np.testing.assert_allclose(gaussian_filter_areal(flat, trusted, (12, 12))[trusted], 3, rtol=1e-5)


# ---- a whole run


@pytest.mark.parametrize("noise", ["low", "high"])
def test_fused_bumps_have_the_roughness_of_the_scene(noise):
    scene = make_scene("bumps", (256, 256), 16, noise)
    result = focus_stack(scene.stack)
    found, true = (measure_surface(height, result.confidence) for height in (result.height, scene.height))
    assert found.levelled.Sq == pytest.approx(true.levelled.Sq, rel=0.04)
    assert found.levelled.Sa == pytest.approx(true.levelled.Sa, rel=0.04)
    assert found.levelled.Sz == pytest.approx(true.levelled.Sz, rel=0.15)
    np.testing.assert_allclose(found.slope_per_px, true.slope_per_px, atol=0.001)


# ---- refused


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"form": "cone"}, "unknown form 'cone'; choose one of none, plane, paraboloid"),
        ({"trust": 2}, "from 0 to 1, got 2"),
        ({"trust": float("nan")}, "from 0 to 1, got nan"),
        ({"confidence": np.ones((3, 3))}, "one shape"),
        ({"s_filter_px": 0}, "cutoff of the S-filter must be above 0"),
        ({"l_filter_px": (5, -1)}, "cutoff of the L-filter must be above 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        measure_surface(sheet(), **arguments)
