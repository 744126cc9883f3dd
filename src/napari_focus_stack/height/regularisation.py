"""From the peaks of all pixels to one height map: calms noise, fills gaps, and keeps jumps.

A height is believed where the peaks around it agree, not where there is much
energy: faint texture that agrees with its neighbours tells the height, a strong
halo among others does not. All lengths along z are in depths of focus, so that
dense and coarse stacks are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..kernels import kernel, multiply_add, row_function, run_bands
from ..median import median3, median5
from ..pyramid import FloatImage, blur5, expand, masses_of, mirrored, push_pull, reduce, size_of

# All in depths of focus. A peak this far from the median of the nearest ones is an outlier ...
_OUTLIER = 0.3
# ... heights that differ by this hardly share in one plane; in wider ones, and when the user smooths, by this ...
_TOLERANCE, _WIDE_TOLERANCE, _SMOOTHING_TOLERANCE = 1.5, 1.0, 0.75
# ... and of a peak elsewhere it does not matter how far.
_ELSEWHERE = 3.5
# Where peaks scatter less than this they are taken as they are, beyond twice as much not at all.
_AGREEMENT = 0.5
# The same, over the scatter of peaks by chance: it is small in short stacks.
_AGREEMENT_BY_CHANCE = 0.3

# Squares of the weight up to which a peak is mostly noise, and from which on it is hardly any.
_NOISY, _PRECISE = 2.0, 8.0
# The broad view is eight times reduced; a third pass brought no more.
_BROAD_LEVELS = 3
# Of a smooth measure: a standard deviation of 3 px.
_CALM_LEVELS = 2
SLOPE_PASSES = 2
# Three 5-tap means: a standard deviation of 3.5 px of the slice.
_SCATTER_PASSES = 3

# The share of heights within one slice of the truth falls like this with the scatter in slices.
_DOUBT = 1.5
# Filled heights are believed this far, where this share of what lies around is known.
_MOST_FILLED, _ENOUGH_AROUND = 0.5, 0.4


@dataclass(frozen=True)
class Relief:
    """A height map and what it rests on; float32 arrays, shape (y, x).

    Attributes
    ----------
    height : in slices
    scatter : mean distance of the peaks around from the map, in slices
    known : how far, 0 to 1, a height is its own and not filled from around
    """

    height: FloatImage
    scatter: FloatImage
    known: FloatImage


def settled(
    peaks: FloatImage,
    weight: FloatImage,
    depth_of_focus: float,
    slices: int,
    doubtful: npt.NDArray[np.bool_] | None = None,
) -> Relief:
    """Return one map from the peaks of all pixels.

    Parameters
    ----------
    peaks : float32 array, shape (y, x)
        In slices.
    weight : float32 array, shape (y, x)
        Root of the energy of the peak, in units of the noise, times its bend for one depth of focus:
        one over the error that noise makes, about, in depths of focus.
    depth_of_focus : float
        In slices.
    slices : int
        Of the stack.
    doubtful : bool array, shape (y, x), or None
        Peaks that are not believed although those around agree.
    """
    height, scatter, known = believed(peaks, weight, depth_of_focus, slices, doubtful)
    return Relief(calmed(_filled_along_slopes(height, known), weight, depth_of_focus), scatter, known)


def believed(
    peaks: FloatImage,
    weight: FloatImage,
    depth_of_focus: float,
    slices: int,
    doubtful: npt.NDArray[np.bool_] | None = None,
) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Return each pixel's own height, the scatter around it, and how far it is believed: the first step of `settled`.

    Parameters are those of `settled`.
    """
    height = median5(peaks)
    run_bands(_own_band, *peaks.shape, peaks, median3(peaks), weight, np.float32(_OUTLIER * depth_of_focus), height)
    scatter = _scatter(peaks, height, _ELSEWHERE * depth_of_focus)
    chance = scatter_by_chance(depth_of_focus, slices)
    known = scatter / np.float32(-min(_AGREEMENT * depth_of_focus, _AGREEMENT_BY_CHANCE * chance))
    known += 2
    np.clip(known, 0, 1, out=known)
    if doubtful is not None:
        known[doubtful] = 0
    return height, scatter, known


def calmed(height: FloatImage, weight: FloatImage, depth_of_focus: float) -> FloatImage:
    """Return filled heights without their noise: the last step of `settled`."""
    height = fitted(height, weight, _TOLERANCE * depth_of_focus)
    # Where peaks are noisy, once more and wider: as much as four more such fits.
    calm = fitted(height, weight, _WIDE_TOLERANCE * depth_of_focus, step=2)
    run_bands(_own_band, *height.shape, height, height, weight, np.float32(1), calm)
    return calm


def _filled_along_slopes(height: FloatImage, known: FloatImage) -> FloatImage:
    """Return heights, the unknown ones taken from around.

    Push-pull goes on level where the surface slopes; what a broad view of the result leaves over does not.
    """
    masses = masses_of(known)
    everywhere = push_pull(height, known, masses)
    for _ in range(SLOPE_PASSES):
        broad = broadly(everywhere)
        del everywhere
        everywhere = push_pull(height - broad, known, masses)
        everywhere += broad
    return everywhere


def broadly(height: FloatImage, levels: int = _BROAD_LEVELS) -> FloatImage:
    """Return a broad view of a (y, x) map: so often reduced, and brought back to its size."""
    shapes = []
    for _ in range(levels):
        shapes.append(size_of(height))
        height = reduce(height)
    for shape in reversed(shapes):
        height = expand(height, shape)
    return height


def filled(peaks: FloatImage, evidence: FloatImage, depth_of_focus: float) -> FloatImage:
    """Return peaks of a smooth measure, those of no evidence taken from around.

    Parameters are those of `settled`; noise is no longer the point here, where the measure was smoothed.
    """
    return calmed_smooth(push_pull(median5(peaks), evidence), evidence, depth_of_focus)


def calmed_smooth(height: FloatImage, evidence: FloatImage, depth_of_focus: float) -> FloatImage:
    """Return filled heights of a smooth measure without their noise: the last step of `filled`."""
    height = median5(height)
    height = fitted(height, np.ones_like(height), _TOLERANCE * depth_of_focus)
    # Doubtful heights, which noise scatters by slices, become the mean of the surer ones around.
    weight = evidence**2
    weight += np.float32(1e-3)
    calm = broadly(height * weight, _CALM_LEVELS)
    calm /= broadly(weight, _CALM_LEVELS)
    calm -= height
    calm *= 1 - evidence
    height += calm
    return height


def scatter_by_chance(depth_of_focus: float, slices: int) -> float:
    """Return the mean distance of peaks from the map where they are anywhere in the stack, in slices."""
    limit = _ELSEWHERE * depth_of_focus
    return slices / 4 if limit > slices / 2 else limit - limit**2 / slices


def confidence_of(scatter: FloatImage, depth_of_focus: float, slices: int) -> FloatImage:
    """Return a confidence no larger than the share of heights within one slice of the truth.

    It is 1 / (1 + 1.5 times the scatter in slices), taken down to 0 where peaks scatter by chance.
    Measured on opaque scenes at two noises: `tests/test_height.py` holds it.
    """
    least = np.float32(1 / (1 + _DOUBT * 0.85 * scatter_by_chance(depth_of_focus, slices)))
    share: FloatImage = np.float32(_DOUBT) * scatter
    share += 1
    np.divide(1, share, out=share)
    share -= least
    share /= 1 - least
    return np.clip(share, 0, 1, out=share)


def confidence_from_around(known: FloatImage, depth_of_focus: float) -> FloatImage:
    """Return the confidence of heights that are filled: at most half, 0 where nothing is known within some 40 px.

    Where nearly half of what lies around was known, .7 of the filled heights or more were right
    within a slice, on a step at high noise; where next to nothing was, .6. In dense stacks a
    slice is less.
    """
    around = broadly(known)
    np.minimum(around / np.float32(_ENOUGH_AROUND), 1, out=around)
    around *= np.float32(_MOST_FILLED / max(depth_of_focus, 1))
    return around


def smoothed(height: FloatImage, weight: FloatImage, sigma_px: float, depth_of_focus: float) -> FloatImage:
    """Return a height map smoothed by robust planes: noise goes, slopes and jumps stay.

    Parameters
    ----------
    height, weight : float32 array, shape (y, x)
    sigma_px : float
        About the standard deviation of the Gaussian that would calm a level surface as much.
    depth_of_focus : float
        In slices.
    """
    # Every pass adds the square of its step to the variance; four of each, and wider ones for the rest.
    left, step = sigma_px**2, 1
    while left >= step**2 / 2:
        for _ in range(min(4, max(round(left / step**2), 1))):
            height = fitted(height, weight, _SMOOTHING_TOLERANCE * depth_of_focus, step)
            left -= step**2
        step *= 2
    return height


def fitted(height: FloatImage, weight: FloatImage, tolerance: float, step: int = 1) -> FloatImage:
    """Return at every pixel the plane through the heights around that are like its own.

    Parameters
    ----------
    height : float32 array, shape (y, x)
    weight : float32 array, shape (y, x)
        At least 0.
    tolerance : float
        A height that differs by this counts a quarter.
    step : int
        Distance of the 5 x 5 heights that are looked at, in px.

    Returns
    -------
    float32 array, shape (y, x)

    Notes
    -----
    Weighted least squares in 5 x 5 px, weights being the 5 taps, `weight` and the
    range kernel 1 / (1 + (d / tolerance)^2)^2: a bilateral filter (Tomasi & Manduchi,
    ICCV 839-846, 1998) of first order. A plane where a mean would do: with uneven
    weights the mean of a slope is biased, by more than noise on grains of sand.

    Examples
    --------
    >>> y, x = np.mgrid[:9, :9].astype(np.float32)
    >>> slope = 0.3 * y + 0.1 * x
    >>> bool(np.abs(fitted(slope, x + 1, 100) - slope)[3:-3, 3:-3].max() < 0.02)
    True
    """
    out = np.empty_like(height)
    run_bands(_fit_band, *height.shape, height, weight, np.float32(1 / tolerance), step, out)
    return out


def _scatter(peaks: FloatImage, height: FloatImage, limit: float) -> FloatImage:
    distance = peaks - height
    np.abs(distance, out=distance)
    np.minimum(distance, np.float32(limit), out=distance)
    for _ in range(_SCATTER_PASSES):
        distance = blur5(distance)
    return distance


@row_function
def _trust(weight):  # type: ignore[no-untyped-def]
    share = (weight * weight - np.float32(_NOISY)) * np.float32(1 / (_PRECISE - _NOISY))
    return min(max(share, np.float32(0)), np.float32(1))


@kernel
def _own_band(peaks, near, weight, outlier, height, first, last):  # type: ignore[no-untyped-def]
    """Move heights, which saw more of what lies around, to the peaks where these are precise: to `near` where lone."""
    for y in range(first, last):
        for x in range(height.shape[1]):
            off = peaks[y, x] - near[y, x]
            keep = min(max(np.float32(2) - abs(off) / outlier, np.float32(0)), np.float32(1))
            own = near[y, x] + keep * off
            height[y, x] += _trust(weight[y, x]) * (own - height[y, x])


_CHUNK_PX = 256
# Keeps a plane through few pixels level, px^2.
_LEVEL = 0.05


@kernel
def _fit_band(height, weight, inverse, step, out, first, last):  # type: ignore[no-untyped-def]
    h, w = height.shape
    # Of the taps times 1, x, y, x^2, xy, y^2, z, xz, yz. As nine names they took longer to compile.
    # Rows that lie 4096 bytes apart would wait for each other.
    sums = np.empty((9, _CHUNK_PX + 16), np.float32)
    heights = np.empty(_CHUNK_PX + 4 * step, np.float32)
    weights = np.empty(_CHUNK_PX + 4 * step, np.float32)
    taps = (np.float32(1), np.float32(4), np.float32(6), np.float32(4), np.float32(1))
    # Unsigned: of an index that might be negative the compiler makes a gather, at half the speed.
    reach = np.uint64(step)
    level = np.float32(_LEVEL)
    for y in range(first, last):
        for start in range(0, w, _CHUNK_PX):
            size = min(_CHUNK_PX, w - start)
            own = height[y, start : start + size]
            target = out[y, start : start + size]
            sums[:] = 0
            for dy in range(-2, 3):
                row = mirrored(y + dy * step, h)
                begin = start - 2 * step
                inner = max(-begin, 0)
                outer = min(w - begin, size + 4 * step)
                # Unsigned here, too.
                for x in range(inner, outer):
                    column = np.uint64(begin + x)
                    heights[x] = height[row, column]
                    weights[x] = weight[row, column]
                for i in range(inner + size + 4 * step - outer):
                    x = i if i < inner else outer + i - inner
                    column = np.uint64(mirrored(begin + x, w))
                    heights[x] = height[row, column]
                    weights[x] = weight[row, column]
                tap = taps[dy + 2]
                fy = np.float32(dy)
                for x in range(size):
                    m = np.float32(0)
                    mx = np.float32(0)
                    mxx = np.float32(0)
                    mz = np.float32(0)
                    mxz = np.float32(0)
                    for dx in range(-2, 3):
                        fx = np.float32(dx)
                        at = np.uint64(x) + np.uint64(dx + 2) * reach
                        d = heights[at] - own[x]
                        far = d * inverse
                        share = multiply_add(far, far, np.float32(1))
                        v = taps[dx + 2] * weights[at] / (share * share)
                        m += v
                        z = v * d
                        mx = multiply_add(v, fx, mx)
                        mxx = multiply_add(v, fx * fx, mxx)
                        mz += z
                        mxz = multiply_add(z, fx, mxz)
                    m *= tap
                    mz *= tap
                    mx *= tap
                    sums[0, x] += m
                    sums[1, x] += mx
                    sums[2, x] = multiply_add(m, fy, sums[2, x])
                    sums[3, x] = multiply_add(mxx, tap, sums[3, x])
                    sums[4, x] = multiply_add(mx, fy, sums[4, x])
                    sums[5, x] = multiply_add(m, fy * fy, sums[5, x])
                    sums[6, x] += mz
                    sums[7, x] = multiply_add(mxz, tap, sums[7, x])
                    sums[8, x] = multiply_add(mz, fy, sums[8, x])
            for x in range(size):
                n = np.float32(1) / max(sums[0, x], np.float32(1e-30))
                cx = sums[1, x] * n
                cy = sums[2, x] * n
                cz = sums[6, x] * n
                a = sums[3, x] * n - cx * cx + level
                b = sums[4, x] * n - cx * cy
                c = sums[5, x] * n - cy * cy + level
                p = sums[7, x] * n - cx * cz
                q = sums[8, x] * n - cy * cz
                tilt = ((c * p - b * q) * cx + (a * q - b * p) * cy) / (a * c - b * b)
                target[x] = own[x] + cz - tilt
