"""How strongly a slice speaks at every pixel of a level: by its own energy, and by that of the levels beside it.

A level that decides alone errs where its own evidence is thin. Detail comes at
many scales at once where the specimen is in focus, so a level listens to the
finer one, which tells focus more sharply, and where its own energy is near the
noise to the coarser one, which rises farther above it. Flat textures gained 0.3
to 0.5 dB, sand 1.4; a step with occlusion 0.4 at high noise.
"""

from __future__ import annotations

import numpy as np

from .analysis import SliceAnalysis
from .kernels import kernel, run_bands
from .pyramid import FloatImage, blur_column, blur_line, expand_row, reduce

# In units of the noise: energy that is clear of it.
_CLEAR_ENERGY = np.float32(16)

# Beyond this energies no longer matter, and their squares stay within float32.
_MOST_ENERGY = np.float32(1e15)

_NONE = np.empty((0, 0), np.float32)


def strength(analysis: SliceAnalysis, level: int) -> FloatImage:
    """Return how strongly the slice that was loaded last speaks at a level, in noise deviations.

    Parameters
    ----------
    analysis : SliceAnalysis
    level : int
        Of the pyramid, 0 the finest.

    Returns
    -------
    float32 array
        The size of the level; of level 1 for level 0.

    Notes
    -----
    With E the energies of the level and of its neighbours, ~ smoothed by the 5
    taps, and c = 16, the strength is the root of

        sqrt(E_l ~E_l) sqrt(1 + E_{l-1} / c) sqrt(1 + ~E_{l+1} / (c + E_l^2)).

    At level 0 the first factor is E itself, moved towards the energy before it
    was smoothed by E / (E + c): far above the noise a decision needs less
    smoothing there, and thin filaments gained 0.1 to 0.5 dB.
    """
    energies = analysis.energies
    own = energies[level]
    finer = _NONE if level == 0 else energies[0] if level == 1 else reduce(energies[level - 1])
    coarser = energies[level + 1] if level + 1 < analysis.levels else _NONE
    out = np.empty_like(own)
    sharp = analysis.fine_energy if level == 0 else _NONE
    run_bands(_strength_band, *own.shape, own, sharp, finer, coarser, out)
    return out


@kernel
def _strength_band(own, sharp, finer, coarser, out, first, last):  # type: ignore[no-untyped-def]
    """`sharp` is empty but for level 0, whose `coarser` has its own size; `finer` and `coarser` may be empty."""
    h, w = own.shape
    line = np.empty(w, np.float32)
    narrow = np.empty(coarser.shape[1], np.float32)
    base = np.empty(w, np.float32)
    fine = np.zeros(w, np.float32)
    coarse = np.zeros(w, np.float32)
    share = np.float32(1) / _CLEAR_ENERGY
    for y in range(first, last):
        energy = own[y]
        if sharp.shape[0] > 0:
            for x in range(w):
                # Written so that nothing cancels.
                base[x] = energy[x] * ((sharp[y, x] + _CLEAR_ENERGY) / (energy[x] + _CLEAR_ENERGY))
        else:
            blur_column(own, y, h, h, line)
            blur_line(line, base)
            for x in range(w):
                base[x] = np.sqrt(energy[x]) * np.sqrt(base[x])
        if finer.shape[0] > 0:
            for x in range(w):
                fine[x] = finer[y, x]
        if coarser.shape[0] == h and coarser.shape[1] == w:
            blur_column(coarser, y, h, h, line)
            blur_line(line, coarse)
        elif coarser.shape[0] > 0:
            expand_row(coarser, y, h, narrow, coarse)
        for x in range(w):
            e = min(energy[x], _MOST_ENERGY)
            heard = (np.float32(1) + fine[x] * share) * (np.float32(1) + coarse[x] / (_CLEAR_ENERGY + e * e))
            out[y, x] = np.sqrt(base[x] * np.sqrt(heard))
