"""How surely a peak tells a height."""

import numpy as np

from napari_focus_stack.transparent.prominence import Prominence


def test_only_peaks_above_noise_and_above_their_mean_tell():
    rng = np.random.default_rng(0)
    z = np.arange(12)
    profiles = {
        "peak": 1 + 5 * np.exp(-((z - 5) ** 2) / 4),
        "faint peak": 1 + 0.05 * np.exp(-((z - 5) ** 2) / 4),
        "always strong": 5 + 0.2 * np.cos(z),
        "noise": np.ones(12),
    }
    prominence = Prominence((31, 16 * len(profiles)))
    for k in z:
        measure = np.repeat([profile[k] for profile in profiles.values()], 16) + 0.02 * rng.standard_normal((31, 64))
        prominence.add(measure.astype(np.float32))
    found = prominence.evidence()
    assert found.shape == (31, 64)
    tells = dict(zip(profiles, found.reshape(31, -1, 16)[:, :, 4:12].mean(axis=(0, 2)), strict=True))
    assert tells["peak"] == 1
    assert tells["faint peak"] < 0.1
    assert tells["always strong"] < 0.2
    assert tells["noise"] < 0.05
