"""Channels that lie side by side are taken apart."""

import numpy as np
import pytest

from napari_focus_stack.planes import in_planes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_every_channel_gets_a_plane_of_its_own(channels, dtype):
    image = np.random.default_rng(channels).integers(0, 120, (37, 301, channels)).astype(dtype)
    planes = in_planes(image)
    np.testing.assert_array_equal(planes, np.moveaxis(image, -1, 0))
    assert planes.dtype == dtype
    assert planes[-1].flags.c_contiguous
    assert not planes.flags.writeable
    assert image.flags.writeable


def test_colours_of_an_image_with_alpha_are_taken_apart():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)
    np.testing.assert_array_equal(in_planes(image[..., :3]), np.moveaxis(image[..., :3], -1, 0))


def test_given_memory_is_used():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    out = np.empty((3, 20, 30), np.uint8)
    assert np.shares_memory(in_planes(image, out), out)
    np.testing.assert_array_equal(out, np.moveaxis(image, -1, 0))
