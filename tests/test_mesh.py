"""The surface of a height map."""

from __future__ import annotations

import numpy as np
import pytest

from napari_focus_stack.mesh import height_mesh


@pytest.mark.parametrize("shape", [(40, 50), (41, 33)])
@pytest.mark.parametrize("most", [10**6, 300])
def test_surface_spans_the_image_and_keeps_a_plane(shape, most):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    mesh = height_mesh(0.5 * y + 0.25 * x, most)
    assert len(mesh.vertices) <= max(most, 1) * 1.3
    assert mesh.vertices[:, 1:].min(axis=0).tolist() == [0, 0]
    assert mesh.vertices[:, 1:].max(axis=0).tolist() == [shape[0] - 1, shape[1] - 1]
    inner = (
        (mesh.vertices[:, 1:] > 5).all(axis=1)
        & (mesh.vertices[:, 1] < shape[0] - 6)
        & (mesh.vertices[:, 2] < shape[1] - 6)
    )
    z, at_y, at_x = mesh.vertices[inner].T
    np.testing.assert_allclose(z, 0.5 * at_y + 0.25 * at_x, atol=1e-4)
    # The triangles cover the whole of it, once.
    a, b, c = (mesh.vertices[mesh.faces[:, k], 1:] for k in range(3))
    area = 0.5 * np.abs((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))
    assert area.sum() == pytest.approx((shape[0] - 1) * (shape[1] - 1))
    assert (np.abs(mesh.texture_places - 0.5) < 0.5).all()


def test_unknown_heights_are_holes_and_spikes_are_thinned_away():
    height = np.full((60, 60), 3, np.float32)
    height[:9, :9] = np.nan
    height[30, 30] = 90
    mesh = height_mesh(height, 400)
    assert mesh.step_px > 1
    assert (mesh.vertices[mesh.faces, 0] == 3).all()
    corner = (mesh.vertices[mesh.faces, 1] < 4).all(axis=1) & (mesh.vertices[mesh.faces, 2] < 4).all(axis=1)
    assert not corner.any()
