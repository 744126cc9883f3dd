"""Where the stack is in a layer, and where its results lie in the world."""

import itertools

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("window_libraries")


def image_layer(shape, rgb=False, **keywords):
    from napari.layers import Image

    pixels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Image(pixels, rgb=rgb, **keywords)


def world_corners(layer, lengths):
    """Return the world coordinates of the outer corners of the voxels of an array of these lengths."""
    ends = [(-0.5, length - 0.5) for length in lengths]
    return np.array([layer.data_to_world(corner) for corner in itertools.product(*ends)])


def placed(layer, focus_axis, result_shape):
    from napari.layers import Image

    from napari_focus_stack.napari_plugin.placement import place_results

    placement = place_results(layer, focus_axis)
    return Image(np.zeros(result_shape), rgb=False, **placement.keywords), placement


@pytest.mark.parametrize(
    ("labels", "shape", "expected"),
    [
        (("z", "y", "x"), (5, 8, 9), 0),
        (("Depth", "y", "x"), (5, 8, 9), 0),
        (("y", "x", "z"), (8, 9, 5), 2),
        (("plane", "t", "y", "x"), (5, 3, 8, 9), 0),
        (("t", "focus", "y", "x"), (3, 5, 8, 9), 1),
        (None, (5, 8, 9), 0),
        (None, (3, 5, 8, 9), 1),
        (("z", "t", "y", "x"), (1, 5, 8, 9), 1),
    ],
)
def test_focus_axis_is_found_by_label_then_by_place(labels, shape, expected):
    from napari_focus_stack.napari_plugin.layers import focus_axes

    assert focus_axes(image_layer(shape, axis_labels=labels))[0] == expected


def test_what_is_no_stack():
    from napari.layers import Labels

    from napari_focus_stack.napari_plugin.layers import METADATA_KEY, is_stack

    assert is_stack(image_layer((5, 8, 9)))
    assert is_stack(image_layer((5, 8, 9, 3), rgb=True))
    assert not is_stack(image_layer((8, 9)))
    assert not is_stack(image_layer((8, 9, 3), rgb=True))
    assert not is_stack(image_layer((1, 8, 9), axis_labels=("z", "y", "x")))
    assert not is_stack(Labels(np.zeros((5, 8, 9), int)))
    assert not is_stack(image_layer((5, 8, 9), metadata={METADATA_KEY: {}}))


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("focus_axis", [0, 1, 2, 3])
def test_every_slice_of_every_position_is_the_one_asked_for(focus_axis, rgb):
    from napari_focus_stack.napari_plugin.layers import LayerStack

    pixels = np.arange(2 * 3 * 4 * 5 * 3).reshape(2, 3, 4, 5, 3)
    pixels = pixels if rgb else pixels[..., 0]
    stack = LayerStack(pixels, focus_axis, rgb)
    by_axis = np.moveaxis(pixels, focus_axis, 1)  # (outer, z, y, x[, c]), for one axis is left besides the plane
    for position in stack.positions:
        view = stack.at(position)
        assert view.shape == by_axis.shape[1:]
        for k in range(len(view)):
            np.testing.assert_array_equal(view[k], by_axis[position[0], k])
    with pytest.raises(IndexError):
        view[len(view)]


def test_only_the_slice_asked_for_is_read():
    from napari_focus_stack.napari_plugin.layers import LayerStack

    class Recorder:
        shape, dtype = (3, 40, 64, 64), np.dtype("u1")
        asked = []

        def __getitem__(self, where):
            self.asked.append(where)
            return np.zeros((64, 64), "u1")

    LayerStack(Recorder(), 1, False).at((2,))[7]
    assert Recorder.asked == [(2, 7, slice(None), slice(None))]


FLAT_TRANSFORMS = {
    "plain": {},
    "scaled and moved": {"scale": (2, 0.5, 0.25), "translate": (7, -3, 11)},
    "turned in the plane": {"rotate": (0, 0, 30), "scale": (2, 0.5, 0.25), "translate": (7, -3, 11)},
    "sheared in the plane": {"shear": (0, 0, 0.3), "scale": (2, 0.5, 0.25)},
    "affine": {"affine": [[3, 0, 0, 1], [0, 0.9, -0.2, 2], [0, 0.4, 1.1, 3], [0, 0, 0, 1]], "scale": (2, 1, 1)},
}


@pytest.mark.parametrize("transform", FLAT_TRANSFORMS.values(), ids=FLAT_TRANSFORMS)
def test_2d_result_lies_exactly_over_its_stack(transform):
    layer = image_layer((6, 10, 14), units=("um", "nm", "nm"), axis_labels=("z", "y", "x"), **transform)
    result, placement = placed(layer, 0, (10, 14))
    np.testing.assert_allclose(world_corners(result, (10, 14)), world_corners(layer, (1, 10, 14))[:4, 1:], atol=1e-12)
    assert result.units == layer.units[1:]
    assert result.axis_labels == ("y", "x")
    assert placement.dropped == ""


@pytest.mark.parametrize(
    "transform",
    [
        {"scale": (3, 2, 0.5, 0.25), "translate": (1, 7, -3, 11)},
        {"rotate": np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0], "translate": (1, 2, 3, 4)},
        {"shear": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), "scale": (3, 2, 0.5, 0.25)},
        {"affine": np.vstack([np.random.default_rng(1).normal(size=(4, 5)), [0, 0, 0, 0, 1]])},
    ],
    ids=["scaled", "turned", "sheared", "affine"],
)
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_4d_result_spans_its_stack_whatever_the_transform(transform):
    layer = image_layer((3, 6, 10, 14), axis_labels=("t", "z", "y", "x"), **transform)
    result, placement = placed(layer, 1, (3, 1, 10, 14))
    np.testing.assert_allclose(world_corners(result, (3, 1, 10, 14)), world_corners(layer, (3, 6, 10, 14)), atol=1e-9)
    assert result.axis_labels == layer.axis_labels
    assert placement.dropped == ""


def test_focus_axis_behind_the_plane_is_kept():
    layer = image_layer((10, 14, 6), axis_labels=("y", "x", "z"), scale=(0.5, 0.25, 2))
    result, _ = placed(layer, 2, (10, 14, 1))
    np.testing.assert_allclose(world_corners(result, (10, 14, 1)), world_corners(layer, (10, 14, 6)))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize(
    ("transform", "word"),
    [
        ({"rotate": (20, 0, 0)}, "rotation"),
        ({"shear": (0.2, 0, 0)}, "shear"),
        ({"affine": [[1, 0, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "affine"),
    ],
)
def test_tilted_stack_says_what_was_dropped_and_keeps_its_middle(transform, word):
    layer = image_layer((7, 11, 13), scale=(2, 0.5, 0.5), translate=(5, 6, 7), **transform)
    result, placement = placed(layer, 0, (11, 13))
    assert word in placement.dropped
    assert "left out" in placement.dropped
    np.testing.assert_allclose(result.data_to_world((5, 6)), layer.data_to_world((3, 5, 6))[1:])


def test_multiscale_is_read_at_full_resolution():
    from napari.layers import Image

    from napari_focus_stack.napari_plugin.layers import full_resolution

    fine = np.zeros((4, 64, 64))
    assert full_resolution(Image([fine, fine[:, ::2, ::2]], multiscale=True)).shape == (4, 64, 64)


def test_axis_is_described_with_its_step():
    from napari_focus_stack.napari_plugin.layers import describe_axis

    labelled = image_layer((6, 8, 8), axis_labels=("z", "y", "x"), scale=(0.4, 1, 1), units=("um", "um", "um"))
    assert describe_axis(labelled, 0) == "z · 6 slices · 0.4 µm"
    assert describe_axis(image_layer((6, 8, 8)), 0) == "axis 0 · 6 slices"


def test_micrometres_have_one_name_whatever_pint_writes():
    """Layers of heights were called otherwise with pint 0.26: a script that asked for them by name found none."""
    from napari_focus_stack.napari_plugin.layers import symbol_of

    class Unit:
        def __format__(self, how):
            return "\u03bcm"

    assert symbol_of(Unit()) == "\u00b5m"
