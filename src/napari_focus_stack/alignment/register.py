"""How one slice lies on another: an affine map, estimated coarse to fine on band-passed images.

Gauss-Newton on the squared difference, the template's gradient standing for that of
the other image (inverse compositional: Baker & Matthews 2004), gain and offset being
fitted along (so that it seeks the largest correlation: Evangelidis & Psarakis 2008).
A blur that has no direction moves nothing: its part of the difference is a Laplacian,
to which shift, rotation and scale are orthogonal on the average. What is left of it,
some hundredths of a pixel, is less at coarse levels, where blur changes less of what
is seen; so levels are fitted together, each weighted by what it leaves unexplained.
Where blur grows along a slope, what is seen there does move, down one side of a hill as
far as up the other. Slopes that face the lamp show more contrast, though, and sharp ones
more than blurred ones; so bands are divided by their local contrast, and all count alike.

Tried and dropped, for they gained nothing: the mean of both images' gradients in place
of the template's; weights that fall where the difference is large; the template's
Laplacian, and gain that changes over the picture, fitted along. The finest level alone
was up to twice as far off on blurred slices. Where the mirrored surroundings of the
picture reached into what is compared, zoom was found 5 % too small.

References
----------
Baker & Matthews, Lucas-Kanade 20 years on: a unifying framework, IJCV 56, 221-255 (2004).
Evangelidis & Psarakis, Parametric image alignment using enhanced correlation coefficient
maximization, IEEE TPAMI 30, 1858-1865 (2008).
Kuglin & Hines, The phase correlation image alignment method, Proc. Int. Conf. Cybernetics
and Society, 163-165 (1975).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels import kernel, kernel_of_sums, row_function, run_bands
from ..pyramid import FloatImage, blur5, expand, push_pull, reduce, size_of
from .warp import IDENTITY, Affine, composed, inverted, run_end

FloatArray = npt.NDArray[np.float64]

# Parameters of a motion, in px: the shift of the middle along y and x, and what zoom, turn, stretch and shear move
# at half the diagonal from it. Columns: the shift along y and its slopes along y and x, the same along x.
_MOTIONS = np.array(
    [
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0, 1],
        [0, 0, 1, 0, -1, 0],
        [0, 1, 0, 0, 0, -1],
        [0, 0, 1, 0, 1, 0],
    ],
    np.float64,
)
FREEDOMS = SHIFT, SIMILARITY, AFFINE = 2, 4, 6
PARAMETERS = 6

# A finer image is not looked at: a slice of 2048 px is told to 0.02 px from half its size.
_MOST_PX = 1.2e6
_COARSEST_PX = 64
_LEAST_PX = 40

_ITERATIONS = 6

# Of a step, in px of the level: smaller ones end a level.
_SMALL_STEP = 0.02

# The finest levels, which are fitted together: at coarser ones, what blur feigns is as much of a pixel, and so more px.
_TOGETHER = 3

# Contrast is evened over some 6 px of a level, but where its energy is less than this share of the usual one, or than
# so many times the least, which is noise: two slices have no noise in common.
_EVEN_HALVINGS = 2
_EVEN_SHARE = 0.4
_EVEN_NOISE = 15.0

# Rows that lie side by side tell the same after the band-pass: of many, every second is enough.
_ROW_STEP, _FEW_ROWS = 2, 96

# Beside the edges bands hold what was mirrored there, which stays where it is.
_MARGIN_PX = 10

# Parts of the picture, so many along y and as many along x, whose disagreement tells the error: what blur and phase
# change is alike over many pixels.
_PARTS = 4
PARTS = _PARTS**2

# Numbers for each row of a part: sums of products of gradients and gray levels, how many pixels there are, and how far
# gradients of both images along x agree.
_SUMS = 29

# Noise has gradients, too, but both images have none of it in common: a part tells as much as its gradients agree,
# and at least this share, so that equations can be solved.
_LEAST_AGREEMENT = 1e-3

# Share not explained, below which a level gains no more weight.
_LEAST_REST = 1e-3

_WORST_CONDITION = 1e8
_LEAST_GAIN = 0.02

# Squares of products of larger intensities leave float32; slices may differ in gain.
_LARGEST_GRAY = 1e6

# Of the picture: what both slices show must be at least this much, and no step larger.
_LEAST_OVERLAP = 0.1
_LARGEST_STEP = 0.3


@dataclass(frozen=True, eq=False)
class Bands:
    """Band-passed images of one slice, coarsest first.

    Attributes
    ----------
    images : list of float32 arrays, shape (y, x)
    scales : list of int
        Pixels of the slice for each of theirs.
    origin_px : float
        Where in the slice their first pixels lie, along y and x.
    shape : tuple of int
        (y, x) of the slice.
    """

    images: list[FloatImage]
    scales: list[int]
    origin_px: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Bands:
        """Return the bands of a slice of shape (y, x, c), colours being averaged."""
        h, w, channels = image.shape
        if image.dtype == np.float16:  # unknown to compiled kernels
            image = image.astype(np.float32)
        block = 1
        while h * w / block**2 > _MOST_PX:
            block *= 2
        gray = np.empty((h // block, w // block), np.float32)
        rows = np.ascontiguousarray(image).reshape(h, w * channels)
        run_bands(_gray_band, *gray.shape, rows, block, block * channels, np.float32(1 / (block**2 * channels)), gray)
        if image.dtype.kind == "f" or image.dtype.itemsize > 2:
            largest = float(np.abs(gray).max(initial=0, where=np.isfinite(gray)))
            if largest > _LARGEST_GRAY:
                gray *= np.float32(_LARGEST_GRAY / largest)
        if image.dtype.kind == "f":
            gray = _filled(gray)
        pyramid = [gray]
        while min(pyramid[-1].shape) >= 5:
            pyramid.append(reduce(pyramid[-1]))
        last = 0
        while max(pyramid[last].shape) > _COARSEST_PX and min(pyramid[last].shape) >= 2 * _LEAST_PX:
            last += 1
        levels = range(last, -1, -1)
        return cls([_band(pyramid, n) for n in levels], [block << n for n in levels], (block - 1) / 2, (h, w))


def _filled(gray: FloatImage) -> FloatImage:
    finite = np.isfinite(gray)
    if finite.all():
        return gray
    known = np.where(finite, gray, np.float32(0))
    return np.where(finite, known, push_pull(known, finite.astype(np.float32)))


@kernel
def _gray_band(rows, block, width, share, gray, first, last):  # type: ignore[no-untyped-def]
    """Write means over blocks of rows and of numbers in a row, of which `width` belong together."""
    many = np.uint32(width)
    # Rows are added up before columns are: numbers that lie side by side, many at once.
    line = np.empty(gray.shape[1] * width, np.float32)
    for y in range(first, last):
        line[:] = 0
        for i in range(y * block, (y + 1) * block):
            row = rows[i]
            for x in range(line.shape[0]):
                line[x] += np.float32(row[x])
        means = gray[y]
        for x in range(gray.shape[1]):
            begin = np.uint32(x) * many
            total = line[begin]
            for n in range(np.uint32(1), many):
                total += line[begin + n]
            means[x] = total * share


def _band(pyramid: list[FloatImage], level: int) -> FloatImage:
    """Return what lies between Gaussians of 1.4 and 6.5 px."""
    top = min(level + 3, len(pyramid) - 1)
    wide = pyramid[top]
    for below in range(top - 1, level - 1, -1):
        wide = expand(wide, size_of(pyramid[below]))
    return _evened(blur5(blur5(pyramid[level])) - wide)


def _evened(band: FloatImage) -> FloatImage:
    """Divide a band by its own local contrast, in place, but where there is little more than noise."""
    energy = np.empty(((band.shape[0] + 1) // 2, (band.shape[1] + 1) // 2), np.float32)
    run_bands(_slopes_band, *energy.shape, band, energy)
    sizes = [size_of(band)]
    while len(sizes) <= _EVEN_HALVINGS and min(energy.shape) >= 5:
        sizes.append(size_of(energy))
        energy = reduce(energy)
    total = float(energy.sum(dtype=np.float64))
    if not total > 0:
        return band
    usual = float(np.vdot(energy, energy)) / total
    least = _EVEN_SHARE * usual + _EVEN_NOISE * float(np.percentile(energy, 5))
    for size in reversed(sizes):
        energy = expand(energy, size)
    run_bands(_divide_band, *band.shape, energy, np.float32(least), band)
    return band


@kernel
def _slopes_band(band, energy, first, last):  # type: ignore[no-untyped-def]
    """Write the squared slope at every second row and column."""
    h, w = band.shape
    for i in range(first, last):
        y = 2 * i
        above, row, below = band[max(y - 1, 0)], band[y], band[min(y + 1, h - 1)]
        out = energy[i]
        last_column = out.shape[0] - 1
        for j in range(1, last_column):
            slope_y, slope_x = below[2 * j] - above[2 * j], row[2 * j + 1] - row[2 * j - 1]
            out[j] = slope_y * slope_y + slope_x * slope_x
        for j in (0, last_column):
            x = 2 * j
            slope_y, slope_x = below[x] - above[x], row[min(x + 1, w - 1)] - row[max(x - 1, 0)]
            out[j] = slope_y * slope_y + slope_x * slope_x


@kernel
def _divide_band(energy, least, band, first, last):  # type: ignore[no-untyped-def]
    """Divide by the root of the energy and of what it is at least."""
    for y in range(first, last):
        row, around = band[y], energy[y]
        for x in range(band.shape[1]):
            row[x] /= np.sqrt(around[x] + least)


@dataclass(frozen=True, eq=False)
class Fit:
    """How a slice lies on a template.

    Attributes
    ----------
    motion : float array, shape (6,)
        In px: the shift of the middle along y and x, and what zoom, turn, stretch and shear
        move half a diagonal away from it. Zero beyond what was asked for.
    errors : float array, shape (3, 6)
        Expected errors of `motion`, where nothing beyond each of `FREEDOMS` is unknown; infinite where nothing tells.
    by_part : float array, shape (3, parts, 6)
        What `motion` becomes, less itself in the mean, as one part of the picture after the other is left out; of which
        `errors` are made.
    pieces : float array, shape (6,)
        How many independent parts of the picture tell each parameter.
    curvature : float array, shape (6, 6)
        How fast the difference of both slices grows with the motion.
    correlations : float array
        Of the band-passed images so aligned, coarsest first.
    """

    motion: FloatArray
    errors: FloatArray
    by_part: FloatArray
    pieces: FloatArray
    curvature: FloatArray
    correlations: FloatArray

    @classmethod
    def of_nothing(cls, correlations: FloatArray) -> Fit:
        """Return what is known where nothing tells."""
        unknown = np.full((len(FREEDOMS), PARAMETERS), np.inf)
        same = np.zeros((len(FREEDOMS), PARTS, PARAMETERS))
        return cls(np.zeros(PARAMETERS), unknown, same, np.ones(PARAMETERS), np.eye(PARAMETERS), correlations)

    def given(self, known: FloatArray, freedom: int) -> FloatArray:
        """Return the motion, shape (6,), if its parameters beyond a freedom are those of `known`.

        Where all texture is in a corner, zoom that is not there has moved the middle of the picture, too.
        """
        changed = self.motion[freedom:] - known[freedom:]
        motion = np.concatenate([self.motion[:freedom], known[freedom:]])
        motion[:freedom] += np.linalg.lstsq(
            self.curvature[:freedom, :freedom], self.curvature[:freedom, freedom:] @ changed, rcond=None
        )[0]
        return motion

    @property
    def correlation(self) -> float:
        """Of the finest images."""
        return float(self.correlations[-1]) if len(self.correlations) else 0.0


def fit(
    template: Bands,
    other: Bands,
    freedom: int = SIMILARITY,
    start: FloatArray | None = None,
    near: FloatArray | None = None,
) -> Fit:
    """Estimate how `other` lies on `template`.

    Parameters
    ----------
    template, other : Bands
        Of slices of one shape.
    freedom : int
        `SHIFT`, `SIMILARITY` or `AFFINE`.
    start : float array, shape (6,), optional
        A guess, besides no motion and the shift that phase correlation gives.
    near : float array, shape (6,), optional
        A motion that is nearly it, so that only the finest levels are looked at.

    Returns
    -------
    Fit
    """
    matrix = _first_guess(template, other, start) if near is None else motion_matrix(near, template.shape)
    found: _Solution | None = None
    levels: list[_Equations] = []
    every = len(template.images)
    for count in range(1 if near is None else every, every + 1):
        for _ in range(_ITERATIONS):
            levels = [_Equations.of(template, other, matrix, level) for level in range(count)]
            found = _solved(levels[-_TOGETHER:], freedom)
            if found is None:
                break
            matrix = composed(matrix, inverted(motion_matrix(found.motion, template.shape)))
            if np.abs(found.motion).max() < _SMALL_STEP * template.scales[count - 1]:
                break
    correlations = np.array([level.correlation for level in levels])
    if found is None:
        return Fit.of_nothing(correlations)
    return found.fit(matrix_motion(matrix, template.shape), freedom, correlations)


def changes(template: Bands, other: Bands, found: Fit) -> FloatArray:
    """Return what one slice does not show of another, as it lies and as moved, at every level, shape (2, levels).

    Shares of the energy, 0 to 1. What blur changes hardly shows at coarse levels, but a motion does.
    """
    as_it_lies = [_correlation(*images) for images in zip(template.images, other.images, strict=True)]
    return 1 - np.stack([np.array(as_it_lies), found.correlations]) ** 2


def _correlation(template: FloatImage, other: FloatImage) -> float:
    """Return how much alike images are as they lie, in the rows that equations are made of."""
    rows, columns = _compared(template.shape)
    one, another = (np.ravel(image[rows, columns]) for image in (template, other))
    aa, ab, bb = float(one @ one), float(one @ another), float(another @ another)
    return _correlated(float(one.size), float(one.sum()), aa, float(another.sum()), bb, ab)


def _correlated(count: float, a1: float, aa: float, b1: float, bb: float, ab: float) -> float:
    """Return the correlation of a and b by their sums, and those of their squares and products."""
    count = max(count, 1.0)
    spread = max(aa - a1**2 / count, 0) * max(bb - b1**2 / count, 0)
    return float((ab - a1 * b1 / count) / np.sqrt(spread)) if spread > 0 else 0.0


def _compared(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of an image that are compared."""
    h, w = shape
    every = _ROW_STEP if h > _FEW_ROWS else 1
    margin = max(min(_MARGIN_PX, min(h, w) // 8), 2)
    return slice(-(-margin // every) * every, h - margin, every), slice(margin, w - margin)


def _first_guess(template: Bands, other: Bands, start: FloatArray | None) -> Affine:
    shift = _phase_shift(template.images[0], other.images[0]) * template.scales[0]
    guesses = [IDENTITY, np.column_stack([np.eye(2), shift])]
    if start is not None:
        guesses.append(motion_matrix(start, template.shape))
    return max(guesses, key=lambda guess: _Equations.of(template, other, guess, 0).correlation)


def motion_matrix(motion: FloatArray, shape: tuple[int, ...]) -> Affine:
    """Return the affine map of a motion of slices of a shape (y, x, ...).

    Examples
    --------
    >>> motion_matrix(np.array([2.0, 0, 0, 0, 0, 0]), (8, 8)).tolist()
    [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]
    """
    middle, half = _frame(shape)
    slopes = np.reshape(motion @ _MOTIONS[:, [1, 2, 4, 5]], (2, 2)) / half
    by_shape = np.eye(2) + slopes
    return np.column_stack([by_shape, motion[:2] - slopes @ middle])


def matrix_motion(matrix: Affine, shape: tuple[int, ...]) -> FloatArray:
    """Return the motion of an affine map: the other way round of `motion_matrix`."""
    middle, half = _frame(shape)
    slopes = matrix[:, :2] - np.eye(2)
    (a, b), (c, d) = half / 2 * slopes
    return np.array([*(slopes @ middle + matrix[:, 2]), a + d, b - c, a - d, b + c])


def mean_square_motion(motion: npt.ArrayLike, shape: tuple[int, ...]) -> Any:
    """Return the mean over the picture of the squared length of motions, shape (..., 6), in px²."""
    size = np.array(shape[:2], np.float64)
    turned = float(np.sum((size / _frame(shape)[1]) ** 2)) / 12
    return np.sum(np.array([1, 1, turned, turned, turned, turned]) * np.asarray(motion) ** 2, axis=-1)


def _frame(shape: tuple[int, ...]) -> tuple[FloatArray, float]:
    """Return the middle of a slice and half its diagonal."""
    size = np.array(shape[:2], np.float64)
    return (size - 1) / 2, max(float(np.hypot(*size)) / 2, 1.0)


def _phase_shift(template: FloatImage, other: FloatImage) -> FloatArray:
    """Return the whole shift of largest phase correlation, in px of these images."""
    from scipy import fft

    window = _window(template.shape)
    spectrum = np.conj(fft.rfft2(template * window)) * fft.rfft2(other * window)
    size = np.abs(spectrum)
    # Half whitened: noise beyond what the optics pass would drown the peak otherwise.
    peak = fft.irfft2(spectrum / np.sqrt(np.maximum(size, 1e-6 * size.max() + 1e-30)), template.shape)
    place = np.array(np.unravel_index(np.argmax(peak), peak.shape), np.float64)
    n = np.array(template.shape)
    return np.where(place > n / 2, place - n, place)


@lru_cache(maxsize=4)
def _window(shape: tuple[int, ...]) -> FloatImage:
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Solution:
    motion: FloatArray
    parts: list[_Reduced]

    def fit(self, motion: FloatArray, freedom: int, correlations: FloatArray) -> Fit:
        """Return how sure a motion is, by parts of the picture of which one after the other is left out.

        Where few parts tell anything, one pulls the whole to itself, and disagrees with it by less than its own error.
        """
        by_part = [level.by_part(freedom) for level in self.parts]
        curvatures, slopes = (np.sum(each, axis=0) for each in zip(*by_part, strict=True))
        errors = np.full((len(FREEDOMS), PARAMETERS), np.inf)
        without = np.zeros((len(FREEDOMS), PARTS, PARAMETERS))
        for row, apart, used in zip(errors, without, FREEDOMS, strict=True):
            if used <= freedom and (found := _apart(curvatures[1:, :used, :used], slopes[1:, :used])) is not None:
                apart[:, :used], row[:used], row[used:] = found, jackknife(found), 0
        told = np.maximum(np.diagonal(curvatures, axis1=1, axis2=2), 1e-30)
        pieces, curvature = np.ones(PARAMETERS), np.eye(PARAMETERS)
        shares = np.sum((1 - told[1:] / told[0]) ** 2, axis=0)
        # Where nothing tells, no part does.
        np.divide(1, shares, out=pieces[:freedom], where=shares > 0)
        curvature[:freedom, :freedom] = curvatures[0]
        return Fit(motion, errors, without, pieces, curvature, correlations)


def _apart(curvatures: FloatArray, slopes: FloatArray) -> FloatArray | None:
    """Return what is told when one part is left out, of each in turn, less the mean of that; None where nothing is."""
    size = np.sqrt(np.maximum(np.diagonal(curvatures.sum(axis=0)), 1e-30))
    try:
        apart = np.linalg.solve(curvatures / np.outer(size, size), (slopes / size)[..., None])[..., 0] / size
    except np.linalg.LinAlgError:
        return None
    return np.asarray(apart - apart.mean(axis=0))


def jackknife(apart: FloatArray) -> FloatArray:
    """Return the error of what all parts tell, by how it changes as one after the other, along axis 0, is left out."""
    count = len(apart)
    return np.asarray(np.sqrt((count - 1) / count * np.sum(apart**2, axis=0)))


def _places() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the numbers of the normal equations are among sums of rows, these times y, and times y²."""
    one, by_y, by_yy = np.arange(3 * _SUMS).reshape(3, _SUMS)
    left, right = np.zeros((8, 8), np.int64), np.zeros(8, np.int64)
    for a in range(2):
        part = slice(3 * a, 3 * a + 3)
        for b in range(2):
            i = 3 * (a + b)
            left[part, 3 * b : 3 * b + 3] = [
                [one[i], by_y[i], one[i + 1]],
                [by_y[i], by_yy[i], by_y[i + 1]],
                [one[i + 1], by_y[i + 1], one[i + 2]],
            ]
        for j, i in ((6, 9 + 2 * a), (7, 13 + 2 * a)):
            left[part, j] = left[j, part] = one[i], by_y[i], one[i + 1]
        right[part] = one[17 + 2 * a], by_y[17 + 2 * a], one[18 + 2 * a]
    aa, a1, ab, b1, _, count = one[21:27]
    left[6:, 6:] = [[aa, a1], [a1, count]]
    right[6:] = ab, b1
    return left, right


_LEFT, _RIGHT = _places()
# Of these, products of gradients.
_CURVED = [part * _SUMS + i for part in range(3) for i in range(9)]


@lru_cache(maxsize=16)
def _heights(shape: tuple[int, int]) -> tuple[float, float, FloatArray]:
    """Return half an image's diagonal, its middle along x, and 1, y and y² of its rows, from the middle, in halves."""
    (middle_y, middle_x), half = _frame(shape)
    y = (np.arange(shape[0]) - middle_y) / half
    return half, float(middle_x), np.stack([np.ones_like(y), y, y**2])


@dataclass(frozen=True, eq=False)
class _Equations:
    """Normal equations of ``other(matrix x) = gain * (template + gradient * motion) + offset`` at one level.

    Unknown are six slopes of the motion, times the gain, in px of the level, the gain and the offset.
    """

    left: FloatArray
    right: FloatArray
    square: float
    count: float
    correlation: float
    scale: int
    rows: FloatArray
    powers: FloatArray

    @classmethod
    def of(cls, template: Bands, other: Bands, matrix: Affine, level: int) -> _Equations:
        image, scale = template.images[level], template.scales[level]
        h, w = image.shape
        local = matrix.copy()
        local[:, 2] = (matrix[:, :2].sum(axis=1) * template.origin_px + matrix[:, 2] - template.origin_px) / scale
        half, middle_x, y = _heights(image.shape)
        sums = np.zeros((h, _PARTS, _SUMS))
        rows, columns = _compared(image.shape)
        seen = rows.step, columns.start
        band = image, other.images[level], local, np.float32(middle_x), np.float32(1 / half), *seen, sums
        run_bands(_equations_band, h, w, *band)
        told = (y @ sums.reshape(h, -1)).reshape(3, _PARTS, _SUMS).sum(axis=1).ravel()
        left, right = told[_LEFT], told[_RIGHT]
        aa, a1, ab, b1, bb, count = told[21:27].tolist()
        count = max(count, 1.0)
        correlation = _correlated(count, a1, aa, b1, bb, ab)
        return cls(left, right, bb, count, correlation, scale, sums, y)

    def reduced(self, freedom: int) -> _Reduced | None:
        """Return the equations of the motion alone, in px of the slice, weighted.

        None where this level tells nothing.
        """
        motion = _MOTIONS[:freedom]
        curved, mixed, own = motion @ self.left[:6, :6] @ motion.T, motion @ self.left[:6, 6:], self.left[6:, 6:]
        if not (np.diag(own) > 0).all() or not (np.diag(curved) > 0).all():
            return None
        (aa, a1), (_, count) = own.tolist()
        area = aa * count - a1**2
        if area <= 0:
            return None
        back = np.array([[count, -a1], [-a1, aa]]) / area
        gain, offset = (back @ self.right[6:]).tolist()
        if self.square <= 0 or gain * np.sqrt(aa) < _LEAST_GAIN * np.sqrt(self.square):
            return None
        rest = max(1 - self.correlation**2, _LEAST_REST)
        weight, per_px = self.count / (rest * self.square), gain / self.scale
        curvature = weight * per_px**2 * (curved - mixed @ back @ mixed.T)
        slope = weight * per_px * (motion @ self.right[:6] - mixed @ (gain, offset))
        return _Reduced(curvature, slope, self, gain, offset, per_px, weight * per_px)


@dataclass(frozen=True, eq=False)
class _Reduced:
    curvature: FloatArray
    slope: FloatArray
    level: _Equations
    gain: float
    offset: float
    per_px: float
    weight: float

    def by_part(self, freedom: int) -> tuple[FloatArray, FloatArray]:
        """Return curvature and slope of the whole, then of all but one part of the picture, of each in turn.

        Shapes (1 + parts, freedom, freedom) and (1 + parts, freedom).
        """
        rows, motion = self.level.rows, _MOTIONS[:freedom]
        edges = pairwise(len(rows) * i // _PARTS for i in range(_PARTS + 1))
        by_row = rows.reshape(len(rows), -1)
        sums = np.stack([self.level.powers[:, a:b] @ by_row[a:b] for a, b in edges])
        told = np.moveaxis(sums.reshape(_PARTS, 3, _PARTS, _SUMS), 2, 1).reshape(PARTS, -1)
        agreement = told[:, _SUMS - 2] / np.maximum(self.gain * told[:, _SUMS - 1], 1e-30)
        told[:, _CURVED] *= np.clip(agreement, _LEAST_AGREEMENT, 1)[:, None]
        left, right = told[:, _LEFT], told[:, _RIGHT]
        unexplained = right - left @ np.array([0] * 6 + [self.gain, self.offset])
        # The whole leaves nothing unexplained, so all but a part leave what it does not.
        left, slope = (np.concatenate([0 * one[:1], one]) for one in (left, -unexplained))
        left = left.sum(axis=0) - left
        curved, mixed, own = left[:, :6, :6], left[:, :6, 6:], left[:, 6:, 6:]
        light = mixed @ _inverses(own)
        curved = motion @ (curved - light @ np.swapaxes(mixed, 1, 2)) @ motion.T
        slope = (slope[:, :6] - (light @ slope[:, 6:, None])[..., 0]) @ motion.T
        return self.weight * self.per_px * curved, self.weight * slope


def _inverses(pairs: FloatArray) -> FloatArray:
    """Return the inverses of matrices of shape (n, 2, 2), zero where there is none."""
    (a, b), (c, d) = np.moveaxis(pairs, 0, -1)
    area = a * d - b * c
    share = np.where(area > 0, 1 / np.where(area > 0, area, 1), 0)
    return np.moveaxis(np.array([[d, -b], [-c, a]]) * share, -1, 0)


def _solved(levels: Sequence[_Equations], freedom: int) -> _Solution | None:
    """Return the motion that is left, by all levels together; None where nothing tells it."""
    parts = [part for level in levels if (part := level.reduced(freedom)) is not None]
    if not parts:
        return None
    curvature = np.add.reduce([part.curvature for part in parts])
    size = np.sqrt(np.maximum(np.diag(curvature), 0))
    if not (size > 0).all():
        return None
    sizes = np.outer(size, size)
    scaled = curvature / sizes
    try:
        back = np.linalg.inv(scaled)
    except np.linalg.LinAlgError:
        return None
    if not np.sum(scaled**2) * np.sum(back**2) < _WORST_CONDITION**2:
        return None
    motion = np.zeros(PARAMETERS)
    motion[:freedom] = back / sizes @ np.add.reduce([part.slope for part in parts])
    side = np.sqrt(levels[-1].count) * levels[-1].scale
    return _Solution(motion, parts) if np.abs(motion).max() < _LARGEST_STEP * side else None


@row_function
def _within(start, slope, low, high, first, last):  # type: ignore[no-untyped-def]
    """Return the part of the places from `first` to `last` where ``start + slope * x`` is from low to high."""
    if slope == 0:
        return first, last if start >= low and start <= high else first
    ends = (low - start) / slope, (high - start) / slope
    begin = np.ceil(min(max(min(*ends), np.float64(first)), np.float64(last)))
    end = np.floor(min(max(max(*ends), np.float64(first) - 1), np.float64(last) - 1)) + 1
    return int(begin), max(int(end), int(begin))


@kernel_of_sums
def _equations_band(template, other, matrix, middle, per_px, every, margin, sums, first, last):  # type: ignore[no-untyped-def]
    """Write the sums along the parts of every row that the normal equations are made of; x counts from the middle."""
    h, w = template.shape
    inner = max(w - 2 * margin, 0)
    moved = np.empty(inner, np.float32)
    slope_y, slope_x = matrix[0, 1], matrix[1, 1]
    for y in range(max(first, margin), min(last, h - margin)):
        if y % every != 0:
            continue
        row_y = matrix[0, 0] * y + matrix[0, 1] * margin + matrix[0, 2]
        row_x = matrix[1, 0] * y + matrix[1, 1] * margin + matrix[1, 2]
        left, right = _within(row_y, slope_y, margin, h - 1 - margin, 0, inner)
        left, right = _within(row_x, slope_x, margin, w - 1 - margin, left, right)
        # As long as the pixels to mix are neighbours, too: a loop without jumps is vectorised.
        x = left
        while x < right:
            place_y, place_x = row_y + slope_y * x, row_x + slope_x * x
            i, j = int(np.floor(place_y)), int(np.floor(place_x))
            end = run_end(row_x + x - j, slope_x - 1, x, run_end(row_y - i, slope_y, x, right))
            n = end - x
            v, u = np.float32(place_y - i), np.float32(place_x - j)
            by_v, by_u = np.float32(slope_y), np.float32(slope_x - 1)
            upper, lower = other[i], other[i + 1]
            nw, ne, sw, se = upper[j : j + n], upper[j + 1 : j + 1 + n], lower[j : j + n], lower[j + 1 : j + 1 + n]
            part = moved[x:end]
            for k in range(n):
                step = np.float32(np.int32(k))
                across = u + by_u * step
                north = nw[k] + across * (ne[k] - nw[k])
                south = sw[k] + across * (se[k] - sw[k])
                part[k] = north + (v + by_v * step) * (south - north)
            x = end
        for piece in range(sums.shape[1]):
            begin = margin + max(left, inner * piece // sums.shape[1])
            stop = margin + min(right, inner * (piece + 1) // sums.shape[1])
            if begin >= stop:
                continue
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = np.float32(0)
            t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = np.float32(0)
            r0 = r1 = r2 = r3 = np.float32(0)
            aa = a1 = ab = b1 = bb = np.float32(0)
            # Views that start where they are read: indices that might be negative keep the loop from being vectorised.
            row, above, below = template[y, begin:stop], template[y - 1, begin:stop], template[y + 1, begin:stop]
            before, after = template[y, begin - 1 : stop - 1], template[y, begin + 1 : stop + 1]
            image = moved[begin - margin : stop - margin]
            start = np.float32(begin) - middle
            for x in range(stop - begin):
                gy = np.float32(0.5) * (below[x] - above[x])
                gx = np.float32(0.5) * (after[x] - before[x])
                a = row[x]
                b = image[x]
                away = (np.float32(x) + start) * per_px
                ay = away * gy
                ax = away * gx
                s0 += gy * gy
                s1 += gy * ay
                s2 += ay * ay
                s3 += gy * gx
                s4 += gy * ax
                s5 += ay * ax
                s6 += gx * gx
                s7 += gx * ax
                s8 += ax * ax
                t0 += gy * a
                t1 += ay * a
                t2 += gx * a
                t3 += ax * a
                t4 += gy
                t5 += ay
                t6 += gx
                t7 += ax
                r0 += gy * b
                r1 += ay * b
                r2 += gx * b
                r3 += ax * b
                aa += a * a
                a1 += a
                ab += a * b
                b1 += b
                bb += b * b
            both = once = np.float32(0)
            for x in range(1, stop - begin - 1):
                gx = after[x] - before[x]
                both += gx * (image[x + 1] - image[x - 1])
                once += gx * gx
            out = sums[y, piece]
            out[27], out[28] = both, once
            out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7], out[8] = s0, s1, s2, s3, s4, s5, s6, s7, s8
            out[9], out[10], out[11], out[12], out[13], out[14], out[15], out[16] = t0, t1, t2, t3, t4, t5, t6, t7
            out[17], out[18], out[19], out[20] = r0, r1, r2, r3
            out[21], out[22], out[23], out[24], out[25], out[26] = aa, a1, ab, b1, bb, stop - begin
