"""The measures of benchmarks/ that need no truth, where the truth is known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_focus_stack.synthetic import make_scene

FILE = Path(__file__).parents[1] / "benchmarks" / "without_truth.py"


@pytest.fixture(scope="module")
def measures():
    spec = importlib.util.spec_from_file_location("without_truth", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scene():
    return make_scene("bumps", (128, 150), 5, "low", 2, radius_px_per_slice=4.0)


@pytest.mark.parametrize("slices", [2, 5])
def test_identical_slices_keep_everything(measures, scene, slices):
    image = scene.stack[2]
    largest = 0.9994 / (1 + np.exp(-15 * 0.5)) * 0.9879 / (1 + np.exp(-22 * 0.2))
    assert measures.gradient_transfer([image] * slices, image) == pytest.approx(largest)
    assert measures.kept_sharpness([image] * slices, image) == pytest.approx([1, 1, 1])


def test_the_truth_scores_higher_than_any_slice(measures, scene):
    truth = np.rint(scene.truth).astype(scene.stack.dtype)
    of_truth = measures.scores(scene.stack, truth)
    for image in scene.stack:
        of_slice = measures.scores(scene.stack, image)
        assert all(of_slice[name] < of_truth[name] for name in of_truth)


def test_a_flat_image_keeps_nothing(measures, scene):
    flat = np.full_like(scene.stack[0], 1000)
    assert measures.gradient_transfer(scene.stack, flat) < 1e-3
    assert np.abs(measures.kept_sharpness(scene.stack, flat)).max() < 1e-6


def test_noise_is_no_sharpness(measures):
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(256, 256)), 1.2)
    texture = 30000 + 4000 * texture / texture.std()
    noisy, quiet = (texture + sigma * rng.normal(size=texture.shape) for sigma in (500, 50))
    assert measures.kept_sharpness([quiet, quiet], noisy)[0] == pytest.approx(1, abs=0.1)


def test_turned_edges_count_less_than_weakened_ones(measures):
    y, x = np.mgrid[:64, :64]
    stripes = 100 + 50 * np.sin(x / 3.0)
    weakened = 100 + 45 * np.sin(x / 3.0)
    turned = 100 + 50 * np.sin(y / 3.0)
    scores = [measures.gradient_transfer([stripes, stripes], f) for f in (stripes, weakened, turned)]
    assert scores[0] > scores[1] > 0.9
    assert scores[2] < 0.1
