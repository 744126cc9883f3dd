import numpy as np

from napari_focus_stack.occlusion.disc_blur import blurred
from napari_focus_stack.synthetic.defocus import Lens, Surface, blur, opaque_slices


def test_one_radius_everywhere_is_a_plain_blur():
    image = np.random.default_rng(0).random((1, 60, 75)).astype(np.float32)
    mine = blurred(image, np.full((60, 75), 6, np.float32), np.ones((60, 75), bool))
    np.testing.assert_allclose(mine, blur(image, 6.0), atol=2e-3)


def test_every_pixel_gets_its_own_radius():
    rng = np.random.default_rng(0)
    image = blur(rng.random((1, 64, 64)).astype(np.float32), 2.0)
    radius = np.broadcast_to(np.linspace(4, 9, 64, dtype=np.float32), (64, 64)).copy()
    mine = blurred(image, radius, np.ones((64, 64), bool))
    for column in (5, 31, 58):
        expected = blur(image, float(radius[0, column]))[0, :, column]
        np.testing.assert_allclose(mine[0, :, column], expected, atol=0.01)


def test_a_wall_is_freed_from_the_veil_of_what_is_near():
    rng = np.random.default_rng(1)
    wall, near = blur(rng.random((2, 80, 80)).astype(np.float32), 1.0)
    cover = np.zeros((80, 80), np.float32)
    cover[:, :40] = 1
    flat = np.zeros((80, 80), np.float32)
    sheets = [Surface(near, flat + 10, cover), Surface(wall, flat)]
    slices = list(opaque_slices(sheets, 11, Lens(radius_px_per_slice=1.35)))
    radius = np.full((80, 80), 13.5, np.float32)
    # The near slice shows the near side as it is.
    veil, veiling = blurred(np.stack([slices[10] * cover, cover]), radius, cover == 0)
    freed = (slices[0] - veil) / (1 - veiling)
    beside = np.s_[:, 41:50]
    assert np.abs(slices[0] - wall)[beside].mean() > 0.03
    assert np.abs(freed - wall)[beside].mean() < 0.003
