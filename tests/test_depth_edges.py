import numpy as np
from scipy import ndimage

from napari_focus_stack.occlusion.depth_edges import find_jumps, matte, nearer, shows_detail, without_specks

SURE = np.ones((96, 96), np.float32)


def height_of_a_square(jump=8.0):
    height = np.full((96, 96), 4, np.float32)
    height[30:66, 30:66] += np.float32(jump)
    return height


def test_a_slope_has_no_jump():
    slope = np.broadcast_to(np.linspace(0, 19, 96, dtype=np.float32), (96, 96)).copy()
    assert find_jumps(slope, SURE, 3) is None


def test_both_heights_of_a_jump_are_known_on_either_side():
    jumps = find_jumps(height_of_a_square(), SURE, 3)
    assert jumps is not None
    near = jumps.near
    np.testing.assert_allclose(jumps.upper[near], 12, atol=0.01)
    np.testing.assert_allclose(jumps.lower[near], 4, atol=0.01)
    assert jumps.is_upper[34, 48] and jumps.is_lower[26, 48]
    assert not near[5, 5] and not near[48, 48]
    assert jumps.slope(height_of_a_square(), np.s_[0:96, 0:96]) == 0


def test_a_lower_jump_than_asked_for_is_none():
    assert find_jumps(height_of_a_square(jump=2), SURE, 3) is None


def test_a_blurred_edge_is_a_slope():
    height = ndimage.gaussian_filter(height_of_a_square(20), 6)
    jumps = find_jumps(height, SURE, 3)
    assert jumps is not None
    assert jumps.slope(height, np.s_[0:96, 0:96]) > 0.12


def test_the_rim_lies_where_the_near_slice_has_its_edge():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :120]
    truth = np.hypot(y - 60, x - 60) < 30
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (2, 120, 120)), (0, 1, 1)).astype(np.float32)
    near = ndimage.gaussian_filter(np.where(truth, 100 + 40 * texture[0], 60), 0.7).astype(np.float32)
    wall = 60 + 40 * texture[1]
    noise = np.full((120, 120), 0.5, np.float32)
    near += rng.normal(0, 0.7, near.shape).astype(np.float32)
    detailed = shows_detail(near[np.newaxis], wall[np.newaxis], noise[np.newaxis], noise[np.newaxis])
    # Detail alone reaches over the rim.
    assert (detailed & ~truth).sum() > 300
    assert (matte(near, detailed) != truth).mean() < 0.015


def test_without_an_edge_the_rim_lies_half_way():
    seeds = np.zeros((2, 5, 11), bool)
    seeds[0, :, 0] = seeds[1, :, 10] = True
    mine = nearer(*seeds, np.ones((5, 11), np.float32))
    assert mine[:, :5].all() and not mine[:, 6:].any()


def test_specks_are_regions_of_few_pixels():
    mask = np.zeros((20, 20), bool)
    mask[2:4, 2:4] = mask[10:15, 10:15] = True
    assert without_specks(mask, 5).sum() == 25
    assert not without_specks(np.zeros((3, 3), bool), 5).any()
