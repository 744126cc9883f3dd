"""How much of its slices a fused image keeps, where no truth is known.

None of these knows wrong from right: a halo is a gradient, and noise is detail. Use them to compare methods on the
same photographs, beside measures against a known truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, sobel

from napari_focus_stack import estimate_noise
from napari_focus_stack.pyramid import expand, laplacian_pyramid, noise_gains, size_of

LEVELS = 3
CLEAR_OF_NOISE = 4.0  # times the noise: where less is all there is, nothing can be kept
NEIGHBOURHOOD_PX = 2.0  # standard deviation of the window in which energy is taken

# Xydeas & Petrovic's constants: largest value, slope and middle of the two sigmoids.
STRENGTH = (0.9994, 15.0, 0.5)
ANGLE = (0.9879, 22.0, 0.8)


def gray_of(image: np.ndarray) -> np.ndarray:
    """Return the mean over channels, float64, shape (y, x)."""
    return image.astype(np.float64).reshape(*image.shape[:2], -1).mean(axis=2)


def edges_of(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return strength and angle, from -pi/2 to pi/2, of the edge at every pixel."""
    gray = gray_of(image)
    gx, gy = sobel(gray, 1), sobel(gray, 0)
    flat = np.pi / 2 * np.sign(gy)
    return np.hypot(gx, gy), np.arctan(np.divide(gy, gx, out=np.tan(flat), where=gx != 0))


def sigmoid(x: np.ndarray, largest: float, slope: float, middle: float) -> np.ndarray:
    return largest / (1 + np.exp(-slope * (x - middle)))


def edge_preserved(source: tuple[np.ndarray, np.ndarray], fused: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return how far the edges of a source are those of the fused image, 0 to 0.975, at every pixel."""
    low, high = np.minimum(source[0], fused[0]), np.maximum(source[0], fused[0])
    strength = np.divide(low, high, out=np.zeros_like(low), where=high > 0)
    angle = 1 - np.abs(source[1] - fused[1]) / (np.pi / 2)
    return sigmoid(strength, *STRENGTH) * sigmoid(angle, *ANGLE)


def gradient_transfer(slices: Sequence[np.ndarray], fused: np.ndarray) -> float:
    """Return Q^{AB/F}: the share of the slices' edges that the fused image has, in strength and angle.

    Of two slices, the published mean over both, each pixel weighted by the
    strength of its edge. Of more, most would be blurred everywhere and their
    weak edges would count most; so at every pixel only the slice of the
    strongest edge counts, weighted by that strength. 0.975 at most.

    References
    ----------
    Xydeas & Petrovic, Objective image fusion performance measure, Electronics
    Letters 36, 308-309 (2000).
    """
    fused_edges = edges_of(fused)
    if len(slices) == 2:
        both = [edges_of(s) for s in slices]
        kept = sum((edge_preserved(e, fused_edges) * e[0]).sum() for e in both)
        return float(kept / sum(e[0].sum() for e in both))
    strongest, angle = edges_of(slices[0])
    for image in slices[1:]:
        edge = edges_of(image)
        better = edge[0] > strongest
        strongest, angle = np.where(better, edge[0], strongest), np.where(better, edge[1], angle)
    return float((edge_preserved((strongest, angle), fused_edges) * strongest).sum() / strongest.sum())


def energies_of(image: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the energy of the finest Laplacian levels less that of the noise, and the noise's; means over channels."""
    noise = estimate_noise([image])
    planes = np.moveaxis(image.reshape(*image.shape[:2], -1), 2, 0)
    energies = [np.zeros(())] * LEVELS
    of_noise = [np.zeros(())] * LEVELS
    for c, plane in enumerate(planes):
        pyramid = laplacian_pyramid(plane, LEVELS)
        coarse = pyramid[-1]
        for level in range(LEVELS - 1, -1, -1):
            detail = pyramid[level]
            around = expand(coarse, size_of(detail))
            variance = np.maximum(noise.gain[c] * around + noise.offset[c], 0) * noise_gains(LEVELS)[level]
            energy = gaussian_filter(detail.astype(np.float64) ** 2, NEIGHBOURHOOD_PX)
            energies[level] = energies[level] + (energy - variance) / len(planes)
            of_noise[level] = of_noise[level] + variance / len(planes)
            coarse = around + detail
    return energies, of_noise


def kept_sharpness(slices: Sequence[np.ndarray], fused: np.ndarray) -> list[float]:
    """Return for each of the finest levels the share of the largest energy over the slices that the fused image has.

    Energy is the local mean square of a Laplacian level, less what noise gives
    it; each image brings its own noise. Only pixels count where the sharpest
    slice has four times the energy of noise. 1 is all of it; more is contrast
    that is in no slice.
    """
    largest, noise = energies_of(slices[0])
    for image in slices[1:]:
        for level, (energy, of_noise) in enumerate(zip(*energies_of(image), strict=True)):
            noise[level] = np.where(energy > largest[level], of_noise, noise[level])
            largest[level] = np.maximum(energy, largest[level])
    has, _ = energies_of(fused)
    shares = []
    for e, most, n in zip(has, largest, noise, strict=True):
        clear = most > (CLEAR_OF_NOISE - 1) * n
        total = most[clear].sum()
        shares.append(float(e[clear].sum() / total) if total > 0 else float("nan"))
    return shares


def scores(slices: Sequence[np.ndarray], fused: np.ndarray) -> dict[str, float]:
    """Return all of them by the name of their column."""
    kept = {f"kept {level}": share for level, share in enumerate(kept_sharpness(slices, fused))}
    return {"Q^AB/F": gradient_transfer(slices, fused), **kept}
