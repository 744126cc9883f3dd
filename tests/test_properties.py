"""What holds for every stack whatever, sought by Hypothesis.

In the suite every property sees the same cases each time. A campaign looks further:
``pytest tests/test_properties.py --hypothesis-profile campaign``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from unittest import mock

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_focus_stack import FocusStacker, FocusStackOptions, InputError, focus_stack, focus_stack_tiled, sharpness
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.options import OPTION_SPECS
from napari_focus_stack.sharpness import SHARPNESS_MEASURES
from test_fusion import two_halves

DTYPES = [np.dtype(code) for code in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")]
MAPS = ("image", "index", "height", "confidence")

# ---- stacks and options of every kind


def limits(dtype: np.dtype) -> tuple[float, float]:
    if dtype == np.float64:
        return -1e99, 1e99  # squares of larger numbers are infinite: such stacks are refused
    kind = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return kind.min, kind.max


def pixels(dtype: np.dtype, texture: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return pixels of a dtype, from faint texture to nothing but the largest and smallest values."""
    rng = np.random.default_rng(seed)
    low, high = limits(dtype)
    if texture == "faint":
        return rng.integers(0, 4, shape).astype(dtype)
    if texture == "plain":
        return rng.integers(0, 127, shape).astype(dtype)
    if texture == "constant":
        return np.full(shape, rng.integers(0, 100), dtype)
    if texture == "patches":
        blocks = rng.integers(0, 2, (*shape[:1], -(-shape[1] // 9), -(-shape[2] // 9), *shape[3:]))
        return (100 * blocks.repeat(9, 1).repeat(9, 2)[:, : shape[1], : shape[2]]).astype(dtype)
    if texture == "limits":
        return rng.choice(np.array([low, high, 0], dtype), shape)
    share = rng.random(shape)  # "wide": all that the dtype holds
    return (
        (low * (1 - share) + high * share).astype(dtype) if dtype.kind == "f" else rng.integers(low, high, shape, dtype)
    )


@st.composite
def stacks(draw, dtypes=DTYPES, most_slices=12, side=40, textures=None, holes=False, colour=True):
    dtype = draw(st.sampled_from(dtypes))
    slices = draw(st.integers(2, most_slices))
    shape = (slices, draw(st.integers(1, side)), draw(st.integers(1, side)))
    channels = draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5])) if colour else 0
    shape += (channels,) if channels else ()
    kinds = textures or ("faint", "plain", "constant", "patches", "limits", "wide")
    stack = pixels(dtype, draw(st.sampled_from(kinds)), shape, draw(st.integers(0, 99)))
    if holes and dtype.kind == "f":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        holed = rng.random(shape) < draw(st.sampled_from([0, 0.01, 0.3, 0.9, 0.99]))
        stack[holed] = rng.choice([np.nan, np.inf, -np.inf], int(holed.sum()))
        blank = draw(st.sets(st.integers(0, slices - 1), max_size=slices - 1))
        stack[list(blank)] = draw(st.sampled_from([np.nan, np.inf]))
        # A stack without any finite pixel is refused.
        stack[(next(k for k in range(slices) if k not in blank), *(0,) * 2)] = 1
    return stack


def option_values(name: str):
    spec = OPTION_SPECS[name]
    if spec.kind == "choice":
        return st.sampled_from(list(spec.choices))
    if spec.kind == "switch":
        return st.booleans()
    if spec.kind == "noise":
        return st.sampled_from(["auto", (0, 0), (1, 0), (0.5, 30), (0, 1e-3)])
    if spec.kind in ("integer", "channel"):
        # Numbers that every stack has room for.
        return st.just(spec.default) | st.just(0 if spec.kind == "channel" else 1)
    return st.sampled_from([spec.default, spec.low, spec.high, (spec.low + spec.high) / 3])


FLOATS = [np.dtype("f4"), np.dtype("f8")]
# What changes pixels before they are fused; little can be said of single pixels then.
ALIGNING = ("align", "match_brightness", "crop")
OPTIONS = st.fixed_dictionaries({}, optional={n: option_values(n) for n in OPTION_SPECS if n not in ALIGNING})
ALIGNING_OPTIONS = st.fixed_dictionaries({}, optional={name: option_values(name) for name in ALIGNING})
SEEDS = st.integers(0, 99)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def assert_same(one, other, names=MAPS) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_equal(dataclasses.asdict(one.sharpness), dataclasses.asdict(other.sharpness))


# ---- properties


@given(stack=stacks(holes=True), options=OPTIONS)
def test_every_run_gives_whole_maps_and_leaves_its_input(stack, options):
    before = digest(stack)
    stack.flags.writeable = False
    result = focus_stack(stack, **options)
    assert digest(stack) == before
    slices, shape = len(stack), stack.shape[1:]
    assert (result.image.shape, result.image.dtype) == (shape, stack.dtype)
    assert result.index.dtype == np.uint16
    assert result.index.max() < slices
    assert result.height.dtype == result.confidence.dtype == np.float32
    assert result.index.shape == result.height.shape == result.confidence.shape == shape[:2]
    filled = options.get("fill_height", True)
    assert np.isfinite(result.height).all() or not filled
    told = result.height[np.isfinite(result.height)]
    assert ((told >= 0) & (told <= slices - 1)).all()
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()
    assert len(result.sharpness.per_slice) == slices
    assert 0 <= result.sharpness.best_source < slices


@given(stack=stacks(holes=True), options=ALIGNING_OPTIONS)
def test_whatever_is_aligned_gives_whole_maps_and_leaves_its_input(stack, options):
    before = digest(stack)
    try:
        result = focus_stack(stack, rgb=False, **options)
    except InputError as refused:
        assert options.get("crop")
        assert "no area in common" in str(refused)  # noise may seem to have moved away altogether
        return
    finally:
        assert digest(stack) == before
    assert result.image.dtype == stack.dtype
    shape = result.image.shape[:2]
    assert shape == stack.shape[1:3] or (options.get("crop") and all(np.less_equal(shape, stack.shape[1:3])))
    assert result.index.shape == result.height.shape == result.confidence.shape == shape
    assert ((result.height >= 0) & (result.height <= len(stack) - 1)).all()
    assert ((result.confidence >= 0) & (result.confidence <= 1)).all()


@given(stack=stacks(holes=True), options=OPTIONS)
def test_a_pixel_is_unknown_only_where_no_slice_has_a_value(stack, options):
    fused = focus_stack(stack, rgb=False, **options).image
    whole = np.isfinite(stack).reshape(*stack.shape[:3], -1).all(axis=3).any(axis=0)
    assert np.isfinite(fused[whole]).all()
    assert not np.isfinite(fused[~np.isfinite(stack).any(axis=0)]).any()


@given(stack=stacks(holes=True), options=OPTIONS)
def test_no_pixel_leaves_the_range_of_its_slices(stack, options):
    if options.get("method") == "laplacian-max":
        return  # the classic rule overshoots, and is only held within the dtype
    fused = focus_stack(stack, rgb=False, **options).image
    # Of several channels only what all have is a value to methods that take pixels whole.
    known = np.isfinite(stack).all(axis=0)
    known = known if stack.ndim == 3 else np.broadcast_to(known.all(axis=-1, keepdims=True), known.shape)
    low, high = (extreme(axis=0)[known] for extreme in (stack.min, stack.max))
    if options.get("method") == "decision-map":
        low, high = low.astype(np.float64), high.astype(np.float64)
        slack = 1e-6 * np.maximum(np.abs(low), np.abs(high)).max(initial=0)  # a blend in float32
        low, high = low - slack, high + slack
    assert (fused[known] >= low).all()
    assert (fused[known] <= high).all()


@given(stack=stacks(most_slices=2), options=OPTIONS, times=st.integers(2, 6))
def test_one_slice_many_times_is_that_slice(stack, options, times):
    image = stack[0]
    fused = focus_stack([image] * times, rgb=False, **options).image
    if options.get("method") == "laplacian-max" and (image.dtype.kind == "f" or image.dtype.itemsize > 2):
        # The classic rule rebuilds every pixel; float32 rounds it.
        spread = float(np.ptp(image.astype(np.float64)))
        np.testing.assert_allclose(fused.astype(np.float64), image, rtol=1e-3, atol=1e-6 * spread)
    else:
        np.testing.assert_array_equal(fused, image)


@given(stack=stacks(holes=True), options=OPTIONS, threads=st.sampled_from(["2", "3", "5"]))
def test_threads_and_repeats_give_the_same_bytes(stack, options, threads):
    first = focus_stack(stack, **options)
    with mock.patch.dict(os.environ, NAPARI_FOCUS_STACK_THREADS=threads):
        assert_same(focus_stack(stack, **options), first)
    assert_same(focus_stack(stack, **options), first)


@given(stack=stacks(), options=OPTIONS, axes=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
def test_strides_and_byte_order_do_not_show(stack, options, axes, flips):
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    strided = np.empty([2 * stack.shape[a] for a in axes] + [*stack.shape[3:]], stack.dtype.newbyteorder(">"))
    back = tuple(int(a) for a in np.argsort(axes)) + tuple(range(3, stack.ndim))
    view = strided[::2, ::2, ::2].transpose(back)[steps]
    view[...] = stack
    assert not view.dtype.isnative or stack.dtype.itemsize == 1
    assert_same(focus_stack(view, **options), focus_stack(stack, **options))


@given(stack=stacks(holes=True), options=OPTIONS)
def test_streaming_is_the_whole(stack, options):
    whole = focus_stack(stack, **options)
    stacker = FocusStacker(stack.shape, FocusStackOptions(**options), whole.noise)
    for image in stack:
        stacker.add(image)
    for k in range(len(stack) * (stacker.visits - 1)):
        stacker.revisit(k, stack[k])
    assert_same(stacker.result(), whole)


@given(stack=stacks(FLOATS, textures=("faint", "plain", "patches"), colour=False), power=st.integers(-90, 90))
@pytest.mark.parametrize("method", FUSION_METHODS)
def test_floats_scale_by_powers_of_two(stack, power, method):
    """No gray level is special to a float stack: photons, volts and reflectance fuse alike."""
    plain = focus_stack(stack, method=method)
    scaled = focus_stack(stack * stack.dtype.type(2.0**power), method=method)
    np.testing.assert_allclose(scaled.image / stack.dtype.type(2.0**power), plain.image, rtol=1e-6, atol=1e-20)
    np.testing.assert_array_equal(scaled.index, plain.index)
    np.testing.assert_array_equal(scaled.height, plain.height)


@given(stack=stacks(FLOATS[1:], textures=("plain", "patches"), colour=False), offset=st.integers(-9999, 9999))
@pytest.mark.parametrize("method", FUSION_METHODS)
def test_an_offset_of_floats_moves_the_image_and_nothing_else(stack, offset, method):
    plain, moved = focus_stack(stack, method=method), focus_stack(stack + offset, method=method)
    np.testing.assert_allclose(moved.image - offset, plain.image, atol=0.01)


@given(stack=stacks(colour=False), seed=SEEDS)
def test_the_order_of_slices_does_not_matter(stack, seed):
    """Of the method that weighs; where a single slice is taken, that is the first of equals."""
    options = {"light": "opaque"}
    order = np.random.default_rng(seed).permutation(len(stack))
    noise = focus_stack(stack, **options).noise
    one, other = (focus_stack(s, noise=noise, **options).image.astype(np.float64) for s in (stack, stack[order]))
    step = 1 if stack.dtype.kind != "f" else 0
    spread = float(stack.astype(np.float64).max() / 2 - stack.astype(np.float64).min() / 2) * 2
    assert np.abs(one / 2 - other / 2).max() <= (step + 0.004 * min(spread, 1e308)) / 2


@given(stack=stacks(most_slices=300, side=9, colour=False))
@pytest.mark.parametrize("method", FUSION_METHODS)
def test_many_slices(stack, method):
    result = focus_stack(stack, method=method)
    assert result.index.max() < len(stack)
    if method != "laplacian-max":
        assert (result.image >= stack.min(axis=0)).all()
        assert (result.image <= stack.max(axis=0)).all()


@given(stack=stacks(side=24), options=OPTIONS)
def test_dask_is_numpy(stack, options):
    lazy = dask.array.from_array(stack, chunks=(2, 5, 7, *stack.shape[3:]))
    there, here = focus_stack(lazy, **options), focus_stack(stack, **options)
    for name in ("image", "index", "height", "confidence"):
        np.testing.assert_array_equal(np.asarray(getattr(there, name)), getattr(here, name), err_msg=name)


@given(
    stack=stacks(side=70, holes=True),
    method=st.sampled_from([name for name, method in FUSION_METHODS.items() if method.visits == 1]),
    light=st.sampled_from(["auto", "opaque", "transparent", "glowing"]),
    tile=st.integers(1, 64),
)
def test_tiled_is_the_whole(stack, method, light, tile):
    """Few and small slices, any dtype; `test_tiled.py` has the larger ones, and what may differ there."""
    options = {"method": method, "light": light, "levels": 1}
    tiled = focus_stack_tiled(stack, rgb=False, tile=tile, **options)
    whole = focus_stack(stack, rgb=False, **options)
    for name, found in zip(MAPS, dask.compute(*(getattr(tiled, name) for name in MAPS)), strict=True):
        np.testing.assert_array_equal(found, getattr(whole, name), err_msg=name)


@settings(max_examples=6, deadline=None)
@given(stack=stacks(most_slices=300, side=9, colour=False), tile=st.integers(4, 9))
def test_many_slices_are_the_same_in_tiles(stack, tile):
    tiled, whole = focus_stack_tiled(stack, tile=tile, levels=1), focus_stack(stack, levels=1)
    for name, found in zip(MAPS, dask.compute(*(getattr(tiled, name) for name in MAPS)), strict=True):
        np.testing.assert_array_equal(found, getattr(whole, name), err_msg=name)


@given(stack=stacks(colour=False), light=st.sampled_from(["opaque", "glowing"]), times=st.integers(2, 4))
@pytest.mark.parametrize("method", ["laplacian-max", "log"])
def test_slices_that_come_several_times_change_nothing(stack, light, times, method):
    """Of the methods that take the largest; those that ask how clearly a slice wins see that it does not.

    "transparent" looks at what changes from slice to slice, as "auto" does to tell it, and there nothing does.
    """
    once = focus_stack(stack, method=method, light=light)
    again = focus_stack(stack.repeat(times, axis=0), method=method, light=light, noise=once.noise)
    np.testing.assert_array_equal(again.image, once.image)
    np.testing.assert_array_equal(again.index, once.index * times)


@given(stack=stacks(most_slices=2, holes=True))
@pytest.mark.parametrize("measure", SHARPNESS_MEASURES)
def test_every_image_with_a_finite_pixel_has_a_sharpness(stack, measure):
    image = next((one for one in stack if np.isfinite(one.reshape(*one.shape[:2], -1)).any(axis=(0, 1)).all()), None)
    if image is None:
        return
    value = sharpness(image, measure, rgb=False)
    scale = float(np.abs(image[np.isfinite(image)].astype(np.float64)).max())
    assert np.isfinite(value) or scale > 1e150, "squares of the largest floats are infinite"


# ---- what was found, and stays mended


@given(stack=stacks(side=30, dtypes=[np.dtype("u1"), np.dtype("f4")], holes=True))
def test_a_halo_as_wide_as_the_image_is_the_whole_image(stack):
    """SciPy's filter read beyond its memory where the footprint was four times as wide as the image."""
    wide, wider = (focus_stack(stack, halo_radius_px=radius) for radius in (86, 100))
    np.testing.assert_array_equal(wide.confidence, wider.confidence)
    np.testing.assert_array_equal(wide.height, wider.height)


@pytest.mark.parametrize("magnitude", [1e120, 1e-120, 1e300, 5e-324])
def test_numbers_whose_squares_are_none_are_refused(magnitude):
    stack = magnitude * np.random.default_rng(0).integers(1, 9, (3, 20, 20))
    with pytest.raises(InputError, match="scale the stack to ordinary numbers first"):
        focus_stack(stack)


@given(
    seed=SEEDS,
    dtype=st.sampled_from(FLOATS),
    garbage=st.lists(st.floats(-38, 38), min_size=1, max_size=5),
    flat=st.booleans(),
    options=OPTIONS,
)
def test_wild_pixels_leave_the_maps_whole(seed, dtype, garbage, flat, options):
    """Memory that nobody wrote to holds such numbers; one of them made the whole height map NaN."""
    rng = np.random.default_rng(seed)
    stack = rng.uniform(10, 200, (4, 40, 43)).astype(dtype)
    if flat:
        stack[:] = 5
    for exponent in garbage:
        stack[tuple(rng.integers(0, stack.shape))] = rng.choice([-1, 1]) * 10.0**exponent
    result = focus_stack(stack, **{**options, "fill_height": True})
    for name in MAPS:
        assert np.isfinite(getattr(result, name)).all(), name


@pytest.mark.parametrize("garbage", [1e38, -1e38, 1e12])
def test_a_wild_pixel_does_no_harm_elsewhere(garbage):
    _, stack = two_halves()
    floats = stack.astype(np.float32)
    spoiled = floats.copy()
    spoiled[1, 30, 20] = garbage
    y, x = np.indices((96, 80))
    away = np.hypot(y - 30, x - 20) > 30
    plain, fused = focus_stack(floats, levels=2), focus_stack(spoiled, levels=2)
    assert np.mean(np.abs(fused.image - plain.image)[away] > 2) < 0.02
    assert np.mean(fused.index[away] == plain.index[away]) > 0.95
    assert fused.noise.variance(60) == pytest.approx(plain.noise.variance(60), rel=0.1)


@pytest.mark.parametrize("brightness", [1, 60_000, 1e8])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_bright_spots_on_ground_of_zero_are_found(brightness, dtype):
    """As after subtraction of the background: all but one pixel in a thousand are the same."""
    spot = np.zeros((7, 128, 128))
    spot[:, 60, 70] = 1
    spot = np.stack([gaussian_filter(one, 1 + 0.5 * abs(z - 3)) for z, one in enumerate(spot)])
    spot *= brightness / spot.max()
    spot[spot < 0.02 * brightness] = 0
    stack = spot.astype(dtype)
    if stack.max() < 10 and stack.dtype.kind == "i":
        stack *= 1000
    result = focus_stack(stack)
    assert result.image.max() == pytest.approx(stack.max(), rel=0.01)
    assert result.height[60, 70] == pytest.approx(3, abs=0.1)


def test_the_largest_floats_are_pixels_too():
    stack = np.random.default_rng(0).choice(np.array([-3.4e38, 0, 3.4e38], np.float32), (4, 40, 40))
    for method in FUSION_METHODS:
        assert np.isfinite(focus_stack(stack, method=method).image).all()
