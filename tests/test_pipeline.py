from functools import cache

import numpy as np
import pytest

from napari_focus_stack import FocusStacker, FocusStackOptions, InputError, focus_stack
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.pipeline import focus_stack_steps, memory_needed, warm_up
from napari_focus_stack.slices import Slices
from napari_focus_stack.synthetic import make_scene
from test_fusion import two_halves


def gray_stack(slices=6, shape=(50, 70), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (slices, *shape)).astype(dtype)


@cache
def scene_stack(name):
    """Return a stack that several tests look at and none writes to."""
    stack = make_scene(name, (128, 128), 10, "low", 0).stack
    stack.flags.writeable = False
    return stack


class Lazy:
    """Only what the contract asks of a stack."""

    def __init__(self, stack):
        self.stack, self.shape, self.dtype, self.asked = stack, stack.shape, stack.dtype, []

    def __getitem__(self, k):
        self.asked.append(k)
        return self.stack[k]


def dask_array(stack):
    import dask.array

    return dask.array.from_array(stack, chunks=(1, -1, -1))


def zarr_array(stack):
    import zarr

    return zarr.array(stack, chunks=(2, 20, 20))


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.asfortranarray, lambda s: s[::-1][::-1], Lazy, dask_array, zarr_array, lambda s: s.astype(">u2")],
    ids=["list", "tuple", "fortran", "strided", "lazy", "dask", "zarr", "big-endian"],
)
def test_a_stack_may_be_anything_that_has_slices(kind):
    stack = gray_stack(dtype=np.uint16)
    np.testing.assert_array_equal(focus_stack(kind(stack)).image, focus_stack(stack).image)


def test_a_read_only_stack_is_read_and_not_written():
    stack = gray_stack()
    before = stack.copy()
    stack.flags.writeable = False
    focus_stack(stack)
    np.testing.assert_array_equal(stack, before)


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_every_slice_is_visited_as_often_as_the_method_says(method):
    stack = Lazy(gray_stack(7))
    noise = focus_stack(stack.stack).noise
    seen = []
    focus_stack(stack, noise=noise, method=method, progress=lambda done, total: seen.append((done, total)))
    visits = FUSION_METHODS[method].visits
    assert stack.asked == list(range(7)) * visits
    assert seen == [(k + 1, 7 * visits) for k in range(7 * visits)]


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_streaming_is_the_whole_stack(method):
    _, stack = two_halves()
    whole = focus_stack(stack, method=method)
    stacker = FocusStacker(stack.shape, FocusStackOptions(method=method), whole.noise)
    for image in stack:
        stacker.add(image)
    if stacker.visits == 2:
        with pytest.raises(InputError, match=r"revisit\(k, slice\) for all 2, got 0"):
            stacker.result()
        for k in (1, 0):
            stacker.revisit(k, stack[k])
    streamed = stacker.result()
    for name in ("image", "index", "height", "confidence"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(whole, name))
    assert streamed.sharpness == whole.sharpness


@pytest.mark.parametrize("method", ["laplacian", "height"])
@pytest.mark.parametrize("kind", ["bumps", "cells", "both"])
def test_a_stack_in_memory_is_looked_at_twice_to_the_same_end(kind, method):
    both = kind == "both"
    stack = np.concatenate([scene_stack("bumps"), scene_stack("cells")], axis=2) if both else scene_stack(kind)
    lazy = Lazy(stack)
    here, there = focus_stack(stack, method=method), focus_stack(lazy, method=method)
    assert (here.transparent == 0, here.transparent == 1) == (kind == "bumps", kind == "cells")
    for name in ("image", "index", "height", "confidence"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    assert here.sharpness == there.sharpness
    assert here.warnings == there.warnings
    assert here.chosen == there.chosen


def test_after_a_first_look_all_slices_have_to_follow():
    stack = scene_stack("cells")
    stacker = FocusStacker(stack.shape, noise=focus_stack(stack).noise)
    assert stacker.looks_first
    for image in stack:
        stacker.look(image)
    for image in stack[:9]:
        stacker.add(image)
    with pytest.raises(InputError, match="add all of them before the result, got 9"):
        stacker.result()


def test_a_first_look_at_some_slices_decides_nothing():
    stack = scene_stack("cells")
    whole = focus_stack(stack)
    stacker = FocusStacker(stack.shape, noise=whole.noise)
    for image in stack[:4]:
        stacker.look(image)
    for image in stack:
        stacker.add(image)
    np.testing.assert_array_equal(stacker.result().image, whole.image)


@pytest.mark.parametrize(("scene", "dark"), [("beads", True), ("bumps", False), ("cells", False)])
def test_a_glimpse_spares_dark_stacks_the_first_look(scene, dark):
    stack = make_scene(scene, (128, 128), 10, "low", 0).stack
    noise = focus_stack(stack).noise
    plainly, stacker = (FocusStacker(stack.shape, noise=noise) for _ in range(2))
    stacker.glimpse(stack)
    assert stacker.looks_first != dark
    for image in stack:
        plainly.add(image)
        stacker.add(image)
    np.testing.assert_array_equal(stacker.result().image, plainly.result().image)
    np.testing.assert_array_equal(stacker.result().height, plainly.result().height)


def test_a_glimpse_tells_nothing_of_slices_with_holes():
    stack = make_scene("beads", (128, 128), 10, "low", 0).stack.astype(np.float32)
    stack[3, 16, 16] = np.nan
    stacker = FocusStacker(stack.shape, noise=focus_stack(stack).noise)
    stacker.glimpse(stack)
    assert stacker.looks_first


@pytest.mark.parametrize("value", [-np.inf, -1e30, np.nan])
def test_a_wild_pixel_does_not_make_a_bright_stack_dark(value):
    stack = scene_stack("cells").astype(np.float32)
    noise = focus_stack(stack).noise
    stack[3, 16, 16] = value
    stacker = FocusStacker(stack.shape, noise=noise)
    stacker.glimpse(stack)
    assert stacker.looks_first


@pytest.mark.parametrize("kind", ["array", "memmap", "part of a memmap", "every second column"])
def test_only_what_lies_in_memory_is_at_hand(kind, tmp_path):
    array = np.zeros((4, 8, 8), np.uint8)
    if "memmap" in kind:
        array = np.memmap(tmp_path / "stack", np.uint8, "w+", shape=array.shape)
    if kind == "part of a memmap":
        array = np.asarray(array)[1:]
    if kind == "every second column":
        array = array[:, :, ::2]
    assert Slices(array).at_hand == (kind == "array")


@pytest.mark.parametrize("kind", ["plain", "beads", "cells"])
def test_a_result_may_be_asked_for_at_any_time_and_adding_goes_on(kind):
    stack = gray_stack(8) if kind == "plain" else scene_stack(kind)
    patient, curious = FocusStacker(stack.shape), FocusStacker(stack.shape)
    for image in stack:
        patient.add(image)
        curious.add(image)
        curious.result()
    np.testing.assert_array_equal(patient.result().image, curious.result().image)
    np.testing.assert_array_equal(patient.result().height, curious.result().height)


def test_a_stream_of_unknown_length_and_a_reused_buffer():
    stack = gray_stack(5)
    buffer = np.empty_like(stack[0])
    live, known = FocusStacker(stack.shape[1:]), FocusStacker(stack.shape)
    for image in stack:
        buffer[:] = image
        live.add(buffer)
        known.add(image)
    np.testing.assert_array_equal(live.result().image, known.result().image)


@pytest.mark.parametrize("kind", ["plain", "cells", "colour", "holes"])
def test_slices_that_stay_are_worked_on_beside_the_next_to_the_same_end(kind):
    if kind == "cells":
        stack = np.asarray(make_scene("cells", (128, 128), 7, "low", 0).stack)
    else:
        stack = gray_stack(7)
    if kind == "colour":
        stack = np.stack([stack, stack[::-1], stack], axis=-1)
    if kind == "holes":
        stack = stack.astype(np.float32)
        stack[2:5, 20:30, 20:30] = np.nan
    done, left = FocusStacker(stack.shape), FocusStacker(stack.shape)
    for k, image in enumerate(stack):
        done.add(image)
        left.add(image, stays=True)
        # In the middle of the stack, and at its end.
        if k in (4, 6):
            for name in ("image", "index", "height", "confidence"):
                np.testing.assert_array_equal(getattr(left.result(), name), getattr(done.result(), name))
    assert left.result().sharpness == done.result().sharpness


def test_threads_do_not_show(monkeypatch):
    stack = gray_stack(4, (500, 301), np.uint16)
    results = []
    for threads in ("1", "2", "7"):
        monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", threads)
        results.append(focus_stack(stack))
    for other in results[1:]:
        for name in ("image", "index", "height", "confidence"):
            np.testing.assert_array_equal(getattr(other, name), getattr(results[0], name))


@pytest.mark.parametrize("slices", [2, 3, 300])
def test_few_and_many_slices(slices):
    _, pair = two_halves()
    stack = np.concatenate([pair, np.full((slices - 2, *pair.shape[1:]), 128, np.uint8)])
    result = focus_stack(stack)
    assert len(result.sharpness.per_slice) == slices
    assert set(np.unique(result.index[:, [2, -3]])) <= {0, 1}


def test_closing_the_steps_ends_the_run():
    stack = Lazy(gray_stack(50))
    steps = focus_stack_steps(stack, noise=focus_stack(stack.stack).noise)
    assert next(steps).done == 1
    steps.close()
    assert len(stack.asked) <= 3


def test_what_progress_raises_ends_the_run():
    class EnoughError(Exception):
        pass

    def stop(done, total):
        raise EnoughError

    with pytest.raises(EnoughError):
        focus_stack(gray_stack(), progress=stop)


def test_an_error_of_the_reader_reaches_the_caller():
    class Broken(Lazy):
        def __getitem__(self, k):
            if k == 3:
                raise InputError("slice 3 cannot be read.")
            return self.stack[k]

    with pytest.raises(InputError, match="slice 3"):
        focus_stack(Broken(gray_stack()))


NAN = np.full((3, 8, 8), np.nan)


@pytest.mark.parametrize(
    ("stack", "options", "sentence"),
    [
        (gray_stack(1), {}, r"at least 2 slices along z, got 1 \(shape \(1, 50, 70\)\); choose another z axis"),
        (gray_stack()[0], {}, r"must be shaped \(z, y, x\) or \(z, y, x, c\), got 2 axes"),
        (np.zeros((2, 2, 2, 2, 2)), {}, "got 5 axes"),
        (np.zeros((2, 5, 5, 64)), {}, "at most 32 channels, got 64"),
        (np.zeros((3, 0, 4)), {}, "hold pixels"),
        (np.zeros((3, 4, 4), bool), {}, "integers or floats of up to 64 bits, got bool"),
        (np.zeros((3, 4, 4), complex), {}, "integers or floats of up to 64 bits, got complex128"),
        (NAN, {}, "no finite pixel in any of 3 slices"),
        ([np.zeros((3, 3)), np.zeros((3, 4))], {}, r"shape of the first, \(3, 3\), got \(3, 4\) in slice 1"),
        ([np.zeros((3, 3)), np.zeros((3, 3), np.uint8)], {}, "dtype of the first, float64, got uint8 in slice 1"),
        ("folder", {}, "an array or a sequence of slices, got str"),
        ([], {}, "empty sequence"),
        (gray_stack(), {"rgb": True}, r"RGB stack must be shaped"),
        (np.zeros((3, 4, 4, 2)), {"rgb": True}, r"RGB slice must be shaped"),
        (gray_stack(), {"levels": 8}, "levels must be at most 7 for slices of 50 x 70 px, got 8"),
        (gray_stack(), {"reference_channel": 1}, "'all' or a number from 0 to 0 for this stack, got 1"),
        (gray_stack(), {"method": "best"}, "unknown method 'best'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(stack, options, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        focus_stack(stack, **options)
    assert "\n" not in str(refusal.value)


def test_slices_that_do_not_fit_the_stream_are_refused():
    stacker = FocusStacker((5, 20, 20))
    stacker.add(np.zeros((20, 20), np.uint8))
    with pytest.raises(InputError, match="dtype of the first, uint8, got uint16"):
        stacker.add(np.zeros((20, 20), np.uint16))
    with pytest.raises(InputError, match="expected, got shape"):
        FocusStacker((5, 20, 20)).add(np.zeros((20, 21), np.uint8))
    with pytest.raises(InputError, match="no slice was added"):
        FocusStacker((5, 20, 20)).result()


def test_slices_without_any_finite_pixel_are_passed_over():
    _, pair = two_halves()
    floats = pair.astype(np.float32)
    with_blank = np.stack([np.full_like(floats[0], np.nan), floats[0], floats[1]])
    result = focus_stack(with_blank)
    assert np.isfinite(result.image).all()
    assert np.abs(result.image - focus_stack(floats).image).mean() < 0.5
    assert result.sharpness.best_source in (1, 2)


def test_wide_dtypes_keep_what_float32_would_lose():
    _, stack = two_halves()
    moved = stack.astype(np.float64) * 1e-3 + 1e6
    plain = focus_stack(stack.astype(np.float64)).image
    assert np.abs((focus_stack(moved).image - 1e6) * 1e3 - plain).mean() < 0.3


def test_sharpness_of_the_result_beats_every_source():
    _, stack = two_halves()
    report = focus_stack(stack).sharpness
    assert report.fused > max(report.per_slice)
    assert report.gain == pytest.approx(report.fused / np.mean(report.per_slice))


def test_memory_is_told_by_pixels_and_not_by_slices():
    assert memory_needed((10, 100, 100), np.uint16) == memory_needed((1000, 100, 100), np.uint16)
    assert memory_needed((10, 200, 100), np.uint16) == 2 * memory_needed((10, 100, 100), np.uint16)


def test_warming_up_does_no_harm():
    warm_up()


def test_focus_says_that_it_means_little_where_pixels_are_negative():
    _, stack = two_halves()
    floats = stack.astype(np.float32)
    assert focus_stack(floats).warnings == ()
    assert "choose 'gradient'" in focus_stack(floats - floats.mean()).warnings[0]
    assert focus_stack(floats - floats.mean(), sharpness_measure="gradient").warnings == ()
