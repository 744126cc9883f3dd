"""Finds depth edges: where the depth jumps, which side is near, and where its rim runs.

In the slice in which the near side is in focus, the wall behind it is blurred to
nothing fine: what shows fine detail there is near. The height map cannot tell as
much, since its focus measure reaches 6 px over the rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..kernels import kernel
from ..pyramid import FloatImage, push_pull

BoolImage = npt.NDArray[np.bool_]

# How far around a jump in the height map rims are looked for, in px at half size.
REACH = 10

# A jump lies within so many px at half size.
_STEEP = 5

# Regions of fewer px at half size are not believed to lie at another height.
_SMALLEST_REGION = 32

# Sure of its side: within this share of the jump from the extreme height around.
_SURE = 0.25

# Energy of fine detail in units of the noise that shows focus; and the share of the wall's own, which its blur leaves.
_FOCUSED = 3.2
_LEFT_BY_BLUR = 0.01
_SPECKS_PX = 150

# Variance that white noise of variance 1 leaves in the band.
_BAND_GAIN = np.float32(0.0864)

# The smoothed energy reaches this far over the rim, in px, or this share of half the width of something thin.
_OVERREACH_PX = 5
_OVERREACH_SHARE = 0.6
_PATH_SHARE = 0.02


@dataclass(frozen=True)
class Jumps:
    """Jumps of a height map, at half size.

    Attributes
    ----------
    distance : float32 array
        From the nearest jump, in px at half size.
    upper, lower : float32 array
        Height of the upper and of the lower side, in slices; smooth, each also where the other is seen.
    is_upper, is_lower : bool array
        Which side the height map says a pixel near a jump is on.
    """

    distance: FloatImage
    upper: FloatImage
    lower: FloatImage
    is_upper: BoolImage
    is_lower: BoolImage

    @property
    def near(self) -> BoolImage:
        """Where rims are looked for."""
        return self.distance <= REACH

    def slope(self, height: FloatImage, window: tuple[slice, slice]) -> float:
        """Return the share of heights near a jump that are neither of its sides', in a window at half size."""
        near = self.near[window]
        lower, upper = self.lower[window], self.upper[window]
        share = (height[window] - lower) / np.maximum(upper - lower, np.float32(0.1))
        return float(np.mean(((share > _SURE) & (share < 1 - _SURE))[near]))


def find_jumps(height: FloatImage, confidence: FloatImage, least: float) -> Jumps | None:
    """Return the jumps of a height map, or None if there is none.

    Parameters
    ----------
    height, confidence : float32 array, shape (y, x)
        At half size; filled.
    least : float
        Slices that make a jump.
    """
    from scipy import ndimage

    if _steep_pixels(height, least) < _SMALLEST_REGION:
        return None

    def around(size: int) -> tuple[FloatImage, FloatImage]:
        return ndimage.maximum_filter(height, size), ndimage.minimum_filter(height, size)

    highest, lowest = around(_STEEP)
    edge = highest - lowest >= least
    highest, lowest = around(2 * REACH + 1)
    jump = highest - lowest
    above = height > (highest + lowest) / 2
    is_upper = without_specks(above & (jump >= least), _SMALLEST_REGION)
    is_lower = without_specks(~above & (jump >= least), _SMALLEST_REGION)
    edge &= ndimage.maximum_filter(is_upper, _STEEP) & ndimage.maximum_filter(is_lower, _STEEP)
    if not edge.any():
        return None
    surely_upper = is_upper & (height > highest - _SURE * jump)
    surely_lower = is_lower & (height < lowest + _SURE * jump)
    del highest, lowest, jump, above  # the distance transform is greedy
    distance = ndimage.distance_transform_edt(~edge).astype(np.float32)
    # Far from any jump they are not asked for, but tell it where nothing nearer does.
    trust = confidence * np.where(distance <= REACH, np.float32(1), np.float32(1e-3)) + np.float32(1e-9)
    upper = push_pull(height, trust * surely_upper)
    lower = push_pull(height, trust * surely_lower)
    near = distance <= REACH
    return Jumps(distance, upper, lower, is_upper & near, is_lower & near)


def _steep_pixels(height: FloatImage, least: float) -> int:
    """Return how many pixels see a jump along a row or a column: all that most stacks are asked for."""
    reach = _STEEP - 1
    across = np.abs(height[:, reach:] - height[:, :-reach]) >= least
    down = np.abs(height[reach:] - height[:-reach]) >= least
    return int(across.sum()) + int(down.sum())


def shows_detail(near: FloatImage, wall: FloatImage, near_noise: FloatImage, wall_noise: FloatImage) -> BoolImage:
    """Return where an image shows detail that noise, or the blurred detail of another one, does not explain.

    Parameters
    ----------
    near, wall : float32 array, shape (c, y, x)
        In focus on either side of a jump.
    near_noise, wall_noise : float32 array, shape (c, y, x)
        Variance of their noise.

    Returns
    -------
    bool array, shape (y, x)
    """
    return _energy(near, near_noise) > _FOCUSED + _LEFT_BY_BLUR * _energy(wall, wall_noise)


def matte(near: FloatImage, detailed: BoolImage) -> BoolImage:
    """Return the near side, its rim where the near image has its steepest edge.

    Parameters
    ----------
    near : float32 array, shape (y, x)
        Near side in focus.
    detailed : bool array, shape (y, x)
        As of `shows_detail`: reaches over the rim.

    References
    ----------
    Bai & Sapiro, A geodesic framework for fast interactive image and video segmentation and matting, ICCV (2007).
    """
    from scipy import ndimage

    region = ~without_specks(~without_specks(detailed, _SPECKS_PX), _SPECKS_PX)
    if region.all() or not region.any():
        return region
    depth = ndimage.distance_transform_edt(region)
    thickness = ndimage.maximum_filter(depth, 2 * _OVERREACH_PX + 1)
    inside = depth > np.minimum(_OVERREACH_PX, _OVERREACH_SHARE * thickness)
    slope = np.asarray(ndimage.gaussian_gradient_magnitude(near, 0.8), np.float32)
    # Without any slope the way itself decides: half way between.
    slope *= slope
    slope += np.float32(_PATH_SHARE) * slope.mean()
    return nearer(inside, ~region, slope)


def nearer(first: BoolImage, second: BoolImage, slope: FloatImage) -> BoolImage:
    """Return the pixels that lie nearer to the first seeds than to the second, the slope on the way being the length.

    Examples
    --------
    >>> slope = np.array([[1, 1, 1, 1, 9, 1]], np.float32)
    >>> ends = np.arange(6)[np.newaxis]
    >>> nearer(ends == 0, ends == 5, slope).astype(int).tolist()
    [[1, 1, 1, 1, 0, 0]]
    """
    way = np.where(first | second, np.float32(0), np.float32(np.inf))
    of_first = first.astype(np.uint8)
    _walk(way, of_first, slope)
    return of_first > 0


@kernel
def _walk(way, label, slope):  # type: ignore[no-untyped-def]
    """Sweep shortest ways over the image, from all four corners, until nothing gets shorter."""
    h, w = way.shape
    changed = True
    while changed:
        changed = False
        for corner in range(4):
            down = 1 if corner < 2 else -1
            right = 1 if corner % 2 == 0 else -1
            for j in range(h):
                y = j if down > 0 else h - 1 - j
                for i in range(w):
                    x = i if right > 0 else w - 1 - i
                    if way[y, x] == 0:
                        continue
                    for dy, dx in ((down, 0), (0, right)):
                        v = y - dy
                        u = x - dx
                        if v < 0 or v >= h or u < 0 or u >= w:
                            continue
                        length = way[v, u] + np.float32(0.5) * (slope[y, x] + slope[v, u])
                        if length < way[y, x]:
                            way[y, x] = length
                            label[y, x] = label[v, u]
                            changed = True


def without_specks(mask: BoolImage, smallest_px: int) -> BoolImage:
    """Return a mask without its connected regions of fewer pixels."""
    from scipy import ndimage

    regions, count = ndimage.label(mask)
    if count == 0:
        return mask
    large = np.bincount(regions.ravel()) >= smallest_px
    large[0] = False
    return np.asarray(large[regions])


def _energy(planes: FloatImage, noise: FloatImage) -> FloatImage:
    """Return the energy of an image's fine detail in units of its noise, mean over channels."""
    from scipy import ndimage

    total = np.zeros(planes.shape[1:], np.float32)
    for plane, variance in zip(planes, noise, strict=True):
        band = ndimage.gaussian_filter(plane, 0.7) - ndimage.gaussian_filter(plane, 1.5)
        total += band * band / variance
    return np.asarray(ndimage.gaussian_filter(total, 1.5) / (_BAND_GAIN * len(planes)))
