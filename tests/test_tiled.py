"""Tiles give the pixels of a run in memory, whatever their shape and that of the image and its chunks."""

import threading

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_focus_stack import (
    InputError,
    analysis,
    focus_stack,
    focus_stack_tiled,
    level_height,
    measure_surface,
    trusted_pixels,
)
from napari_focus_stack.fusion import whole_pixels
from napari_focus_stack.synthetic import make_scene
from napari_focus_stack.tiled import plan_tiles

# Of `fusion.whole_pixels`: what is near enough to decide, smaller than it is in use.
SEEN_BY_SMALL_TILES = {"_LONGEST_PX": 14, "_FARTHEST_PX": 8, "_CELL_LEVELS": 1, "_CELL_PASSES": 1}

MAPS = ("image", "index", "height", "confidence")


def stack_of(shape, slices, seed=0, dtype=np.uint16, channels=0):
    """Return a slope with a bare patch in which no height is known, larger than what a tile sees."""
    rng = np.random.default_rng(seed)
    h, w = shape
    texture = gaussian_filter(rng.normal(size=shape), 1)
    texture[h // 8 : h // 2, w // 8 : w // 2] = 0
    y, x = np.mgrid[:h, :w]
    height = (slices - 1) * (y / h + x / w) / 2
    blurred = np.stack([gaussian_filter(texture, k) if k else texture for k in range(slices)])
    levels = [np.rint(np.abs(height - k)).astype(int) for k in range(slices)]
    images = [np.take_along_axis(blurred, level[np.newaxis], 0)[0] for level in levels]
    noisy = np.stack([1000 + 900 * image + rng.normal(0, 9, shape) for image in images])
    if channels:
        noisy = np.stack([noisy, noisy[:, ::-1], noisy[:, :, ::-1]], axis=-1)
    return (
        noisy.astype(dtype) if np.dtype(dtype).kind == "f" else (noisy / (16 if dtype == np.uint8 else 1)).astype(dtype)
    )


def computed(result):
    return dict(zip(MAPS, dask.compute(*(getattr(result, name) for name in MAPS)), strict=True))


def assert_same(whole, tiled):
    for name in MAPS:
        np.testing.assert_array_equal(tiled[name], getattr(whole, name), err_msg=name)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(st.integers(150, 420), st.integers(150, 420)),
    slices=st.integers(4, 5),
    levels=st.integers(1, 3),
    chunks=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    tile=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    seed=st.integers(0, 9),
)
def test_tiles_give_the_pixels_of_a_run_in_memory(shape, slices, levels, chunks, tile, dtype, seed):
    stack = stack_of(shape, slices, seed, dtype)
    lazy = da.from_array(stack, chunks=(1, *chunks))
    assert_same(focus_stack(stack, levels=levels), computed(focus_stack_tiled(lazy, tile=tile, levels=levels)))


def half_bare(shape, slices, seed):
    """Return slices each of which is sharp somewhere, half of the picture bare: there any slice wins, in islands."""
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=shape), 0.7)
    bare, where = (gaussian_filter(rng.normal(size=shape), size) for size in (20, 25))
    texture[bare > np.median(bare)] = 0
    where = np.searchsorted(np.quantile(where, np.arange(1, slices) / slices), where)
    blurred = gaussian_filter(texture, 1.5)
    images = np.stack([np.where(where == k, texture, blurred) for k in range(slices)])
    return (1000 + 300 * images + rng.normal(0, 9, (slices, *shape))).astype(np.uint16)


@settings(max_examples=5, deadline=None)
@given(
    shape=st.tuples(st.integers(300, 520), st.integers(300, 520)),
    slices=st.integers(2, 3),
    levels=st.integers(1, 3),
    chunks=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    tile=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    seed=st.integers(0, 99),
)
def test_of_few_slices_tiles_give_the_pixels_of_a_run_in_memory(shape, slices, levels, chunks, tile, seed):
    """Small regions take after larger ones near them: what is near and small is here less than a tile sees."""
    stack = half_bare(shape, slices, seed)
    lazy = da.from_array(stack, chunks=(1, *chunks))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SEEN_BY_SMALL_TILES.items():
            patched.setattr(whole_pixels, name, value)
        assert whole_pixels.reach_px() < 128
        assert_same(focus_stack(stack, levels=levels), computed(focus_stack_tiled(lazy, tile=tile, levels=levels)))


def test_of_few_slices_tiles_of_six_levels_see_no_further_than_of_many():
    assert whole_pixels.reach_px() <= 8 << 6


def with_holes(stack, seed):
    """Return floats that are NaN in a large part of all slices, infinite in parts of one each, and in single pixels."""
    rng = np.random.default_rng(seed)
    h, w = stack.shape[1:3]
    holed = stack.astype(np.float32)
    holed[:, h // 4 : 3 * h // 4, w // 3 :] = np.nan
    for one in holed:
        y, x = rng.integers(h - 60), rng.integers(w - 60)
        one[y : y + rng.integers(30, 200), x : x + rng.integers(30, 200)] = np.inf
        one[rng.integers(h, size=9), rng.integers(w, size=9)] = -np.inf
    return holed


@settings(max_examples=5, deadline=None)
@given(
    shape=st.tuples(st.integers(200, 420), st.integers(200, 420)),
    slices=st.integers(2, 5),
    levels=st.integers(1, 3),
    chunks=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    tile=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    seed=st.integers(0, 99),
)
def test_holes_larger_than_what_a_tile_sees_are_filled_alike(shape, slices, levels, chunks, tile, seed):
    stack = with_holes(stack_of(shape, slices, seed), seed)
    lazy = da.from_array(stack, chunks=(1, *chunks))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(analysis, "_MEND_LEVELS", 2)
        assert analysis.mending_reach_px() == 16
        for name, value in SEEN_BY_SMALL_TILES.items():
            patched.setattr(whole_pixels, name, value)
        assert_same(focus_stack(stack, levels=levels), computed(focus_stack_tiled(lazy, tile=tile, levels=levels)))


@pytest.mark.parametrize(
    "options",
    [{"method": "laplacian-max"}, {"method": "log"}, {"light": "transparent"}, {"fill_height": False}],
    ids=str,
)
def test_holes_are_filled_alike_with_every_option(options):
    stack = with_holes(stack_of((600, 440), 5), 3)
    assert_same(
        focus_stack(stack, levels=2, **options), computed(focus_stack_tiled(stack, tile=192, levels=2, **options))
    )


@pytest.mark.parametrize(
    "options",
    [
        {"method": "laplacian-max"},
        {"method": "log"},
        {"denoise": 0.4, "z_preference": 0.2},
        {"fill_height": False, "height_smoothing_px": 5.0},
        {"halo_radius_px": 9.0, "sharpness_measure": "gradient"},
        {"light": "transparent"},
        {"light": "transparent", "fill_height": False},
        {"noise": (0.5, 20.0)},
        {"reference_channel": 0},
    ],
    ids=str,
)
def test_every_option_does(options):
    stack = stack_of((700, 640), 5 if options.get("light") else 4)
    assert_same(
        focus_stack(stack, levels=2, **options), computed(focus_stack_tiled(stack, tile=192, levels=2, **options))
    )


def test_heights_of_a_transparent_specimen_end_where_they_do_in_memory():
    """Half way between the last two slices; fits go beyond that a little."""
    stack = with_holes(stack_of((420, 400), 5), 3)
    options = {"levels": 2, "light": "transparent"}
    assert_same(focus_stack(stack, **options), computed(focus_stack_tiled(stack, tile=256, **options)))


def test_pictures_transparent_in_part_do():
    scenes = ("cells", 1300), ("bumps", 1200)
    cells, bumps = (make_scene(name, (400, width), 6, seed=2).stack for name, width in scenes)
    stack = np.concatenate([cells, bumps], axis=2)
    tiled = focus_stack_tiled(stack, tile=512, levels=2)
    assert tiled.run.filling.mixed
    # Not all of the picture is seen by any tile.
    assert max(tile.window_x[1] - tile.window_x[0] for tile in tiled.plan) < 2500
    assert_same(focus_stack(stack, levels=2), computed(tiled))


def test_a_dask_array_is_fused_when_results_are_asked_for():
    stack = stack_of((300, 260), 5)
    read = []

    def seen(block, block_info):
        read.append(block_info[0]["chunk-location"])
        return block

    lazy = focus_stack(da.from_array(stack, chunks=(1, 150, 130)).map_blocks(seen, dtype=stack.dtype), levels=2)
    assert all(isinstance(getattr(lazy, name), da.Array) for name in MAPS)
    whole, decided = focus_stack(stack, levels=2), len(read)
    assert_same(whole, computed(lazy))
    assert len(read) > decided
    np.testing.assert_allclose(lazy.sharpness.per_slice, whole.sharpness.per_slice, rtol=1e-5)
    assert lazy.sharpness.gain == pytest.approx(whole.sharpness.gain, rel=1e-4)
    assert (lazy.noise, lazy.chosen, lazy.transparent) == (whole.noise, whole.chosen, whole.transparent)
    assert measure_surface(lazy.height, lazy.confidence) == measure_surface(whole.height, whole.confidence)
    levelled = [level_height(one.height, trusted_pixels(one.height, one.confidence)) for one in (lazy, whole)]
    np.testing.assert_array_equal(*levelled)


@pytest.mark.parametrize(
    "options", [{"method": "height"}, {"align": "shift"}, {"progress": print}], ids=["h", "a", "p"]
)
def test_what_needs_the_whole_image_of_a_dask_array_is_fused_at_once(options):
    stack = stack_of((64, 60), 4)
    there, here = focus_stack(da.from_array(stack), **options), focus_stack(stack, **options)
    for name in MAPS:
        assert isinstance(getattr(there, name), np.ndarray)
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))


def test_colour_does():
    stack = stack_of((500, 470), 4, dtype=np.uint8, channels=3)
    assert_same(focus_stack(stack, levels=2), computed(focus_stack_tiled(stack, tile=128, levels=2)))


def test_the_report_is_that_of_a_run_in_memory():
    stack = stack_of((512, 384), 4)
    whole = focus_stack(stack, levels=2).sharpness
    tiled = focus_stack_tiled(stack, tile=128, levels=2).sharpness()
    np.testing.assert_allclose(tiled.per_slice, whole.per_slice, rtol=1e-5)
    assert tiled.fused == pytest.approx(whole.fused, rel=1e-5)


def test_pixels_corrected_after_the_mean_of_the_slices_are_the_same():
    """Beside a jump of depth veils are lifted."""
    stack = make_scene("step", shape=(240, 1400), slices=8).stack
    tiled = focus_stack_tiled(stack, tile=512, levels=3)
    assert tiled.plan.counts == (1, 2)
    assert_same(focus_stack(stack, levels=3), computed(tiled))


@settings(max_examples=8, deadline=None)
@given(
    scene=st.sampled_from(["step", "bumps", "beads", "colour"]),
    shape=st.tuples(st.integers(150, 420), st.integers(150, 420)),
    slices=st.integers(7, 9),
    levels=st.integers(3, 4),
    tile=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    seed=st.integers(0, 9),
)
def test_so_they_are_in_small_blocks(scene, shape, slices, levels, tile, seed):
    with pytest.MonkeyPatch.context() as patch:
        for name, px in (("_SIDE_PX", 64), ("_AROUND_PX", 24)):
            patch.setattr(f"napari_focus_stack.fusion.blocks.{name}", px)
        stack = make_scene(scene, shape, slices, seed=seed).stack
        whole = focus_stack(stack, levels=levels)
        assert_same(whole, computed(focus_stack_tiled(stack, tile=tile, levels=levels)))


def test_blocks_leave_no_seams():
    """Neighbouring blocks see the same for some px beyond their border: corrections meet there."""
    stack = make_scene("step", (256, 640), slices=12).stack
    whole = focus_stack(stack).image.astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_focus_stack.fusion.blocks._SIDE_PX", 160)
        image = focus_stack(stack).image.astype(float)
    step = np.abs(np.diff(image - whole, axis=1))
    assert 0 < step[:, 319].mean() < 2 * step.mean() + 1


@pytest.mark.parametrize("options", [{}, {"denoise": 0.4, "halo_radius_px": 9.0}, {"method": "log"}], ids=str)
def test_rows_far_from_a_core_need_no_fine_levels(options):
    """A tile of five levels sees 256 px around its core, of which the finest level asks for less than half."""
    stack = stack_of((900, 330), 6)
    whole = focus_stack(stack, levels=5, **options)
    assert_same(whole, computed(focus_stack_tiled(stack, tile=(192, 330), levels=5, **options)))


def test_a_sample_decides_like_the_whole():
    """Beyond the memory budget 16 patches tell what the whole would: the pixels hardly change."""
    stack = stack_of((2200, 2100), 4)
    whole, tiled = focus_stack(stack, levels=3), focus_stack_tiled(stack, memory="700 MB", levels=3)
    assert len(tiled.plan) > 1
    exact = focus_stack_tiled(stack, memory="4 GB", tile=1024, levels=3).run.decisions
    assert tiled.run.decisions.noise.offset[0] == pytest.approx(exact.noise.offset[0], rel=0.1)
    found = computed(tiled)
    assert np.mean(np.abs(found["image"].astype(int) - whole.image) > 9) < 1e-3  # one standard deviation of noise
    assert np.mean(np.abs(found["height"] - whole.height)) < 0.02


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    halo=st.integers(0, 600),
    levels=st.integers(3, 6),
    memory=st.integers(800, 3000),
    chunk=st.one_of(st.none(), st.tuples(st.integers(1, 3000), st.integers(1, 3000))),
)
def test_a_plan_covers_every_pixel_once_and_keeps_its_memory(shape, halo, levels, memory, chunk):
    align = 1 << levels
    plan = plan_tiles(shape, halo=halo, align=align, bytes_per_px=61, memory=memory * 10**6, chunk=chunk)
    assert plan.peak_bytes <= memory * 10**6
    assert sum(tile.area_px for tile in plan) == shape[0] * shape[1]
    assert sum(tile.window_px for tile in plan) == plan.seen_px
    for tile in plan:
        assert tile.window_px <= plan.largest_window_px
        for (start, stop), (first, last), size in zip(
            (tile.y, tile.x), (tile.window_y, tile.window_x), shape, strict=True
        ):
            assert start % align == first % align == 0
            assert start - first >= halo or first == 0
            assert last - stop >= halo or last == size


def test_chunks_are_not_cut_where_that_costs_little():
    plan = plan_tiles((20_000, 20_000), halo=512, align=64, bytes_per_px=61, memory=4 * 10**9, chunk=(1024, 1024))
    assert plan.side[0] % 1024 == plan.side[1] % 1024 == 0


def test_too_little_memory_is_said_before_anything_runs():
    with pytest.raises(InputError, match=r"a tile needs at least \d\.\d+ GB of memory"):
        plan_tiles((9000, 9000), halo=512, align=64, bytes_per_px=61, memory=10**8)
    with pytest.raises(InputError, match="memory must be a number of bytes"):
        focus_stack_tiled(stack_of((64, 64), 3), memory="much")


@pytest.mark.parametrize("options", [{"method": "height"}, {"mend_rims": True}], ids=str)
def test_what_needs_the_whole_image_is_refused(options):
    with pytest.raises(InputError, match="cannot run in tiles"):
        focus_stack_tiled(stack_of((64, 64), 3), **options)


def test_nothing_runs_before_it_is_asked_for():
    asked = []

    class Counted:
        shape, dtype, ndim = (3, 600, 600), np.dtype(np.uint16), 3

        def __getitem__(self, key):
            asked.append(key)
            return stack[key]

    stack = stack_of((600, 600), 3)
    decisions = focus_stack_tiled(stack, tile=128, levels=2).run.decisions
    result = focus_stack_tiled(Counted(), tile=128, levels=2, decisions=decisions)
    assert asked == []
    corner = result.image[:100, :100].compute()
    assert len(asked) == 3  # slices of a single tile
    np.testing.assert_array_equal(corner, focus_stack(stack, levels=2).image[:100, :100])


@pytest.mark.parametrize("stacked", [da.stack, list])
def test_results_in_tiles_may_be_fused_in_tiles(stacked):
    """One tile at a time: the tile that waited for those it is made from kept them waiting, for ever."""
    lazy = [focus_stack_tiled(stack_of((90, 150), 2, seed), tile=64, levels=1).image for seed in range(2)]
    found = []
    nested = focus_stack_tiled(stacked(lazy), tile=64, levels=1)
    run = threading.Thread(target=lambda: found.append(computed(nested)), daemon=True)
    run.start()
    run.join(60)
    assert found, "it waits for itself"
    at_hand = computed(focus_stack_tiled(np.stack(dask.compute(*lazy)), tile=64, levels=1))
    for name in MAPS:
        np.testing.assert_array_equal(found[0][name], at_hand[name], err_msg=name)
