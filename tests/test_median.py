import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_focus_stack.median import median3, median5


@settings(deadline=None, max_examples=30)
@given(h=st.integers(3, 40), w=st.sampled_from([3, 5, 40, 255, 256, 257, 513]), seed=st.integers(0, 9))
def test_it_is_the_median(h, w, seed):
    image = np.random.default_rng(seed).normal(size=(h, w)).astype(np.float32)
    assert np.array_equal(median5(image), ndimage.median_filter(image, 5, mode="mirror"))
    assert np.array_equal(median3(image), ndimage.median_filter(image, 3, mode="mirror"))


def test_images_smaller_than_the_window():
    assert float(median5(np.full((1, 2), 3, np.float32))[0, 1]) == 3
