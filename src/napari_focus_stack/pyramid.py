"""Gaussian and Laplacian pyramids (Burt & Adelson 1983) of images held in memory.

The kernel is [1 4 6 4 1]/16 along both axes, edges are mirrored without
repeating the edge pixel, and an axis of n px is reduced to the ceiling of n/2:
the even ones. Everything is float32.

References
----------
Burt & Adelson, The Laplacian pyramid as a compact image code, IEEE Transactions
on Communications 31, 532-540 (1983).
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt

from .kernels import kernel, kernel_in_place, multiply_add, row_function, row_function_of_sums, run_bands, strips

FloatImage = npt.NDArray[np.float32]

MOST_LEVELS = 6

# Pulling and pushing each look twice the width of a coarsest pixel around.
PUSH_PULL_REACH = 4


def level_count(height: int, width: int) -> int:
    """Return how many detail levels a pyramid of this size gets by itself: 1 to 6.

    The coarsest level keeps at least 8 px along the shorter side.

    Examples
    --------
    >>> level_count(512, 512), level_count(100, 2000), level_count(3, 3)
    (6, 3, 1)
    """
    shorter = max(min(height, width), 1)
    return int(np.clip(np.floor(np.log2(shorter / 8)), 1, MOST_LEVELS))


def level_shapes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Return the sizes of all levels, finest first, the base last: `levels` + 1 of them.

    Examples
    --------
    >>> level_shapes(5, 8, 2)
    [(5, 8), (3, 4), (2, 2)]
    """
    shapes = [(height, width)]
    for _ in range(levels):
        height, width = (height + 1) // 2, (width + 1) // 2
        shapes.append((height, width))
    return shapes


def size_of(image: npt.NDArray[np.generic]) -> tuple[int, int]:
    """Return (y, x) of an image, whatever axes follow."""
    return image.shape[0], image.shape[1]


# ---- rows: what the kernels of this and other modules are made of ----


@row_function
def mirrored(i, n):  # type: ignore[no-untyped-def]
    """Index into an axis of n px, mirrored at both ends without repeating them."""
    if n == 1:
        return 0
    while i < 0 or i >= n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


@row_function
def coarse_index(i, coarse, fine):  # type: ignore[no-untyped-def]
    """Index into a coarse axis beside its ends: the mirror lies in the fine axis."""
    if i < 0:
        return min(1, coarse - 1)
    if i >= coarse:
        return coarse - 1 if fine % 2 == 0 else max(coarse - 2, 0)
    return i


@row_function
def five_taps(a, b, c, d, e):  # type: ignore[no-untyped-def]
    """Return the mean with weights 1, 4, 6, 4, 1."""
    return multiply_add(a + e, np.float32(0.0625), multiply_add(b + d, np.float32(0.25), c * np.float32(0.375)))


@row_function
def three_taps(a, b, c):  # type: ignore[no-untyped-def]
    """Return the mean with weights 1, 6, 1."""
    return multiply_add(a + c, np.float32(0.125), b * np.float32(0.75))


@row_function
def blur_column(source, y, h, ring, line):  # type: ignore[no-untyped-def]
    """Write the 5-tap mean around row y, of h, to `line`; a row lies at its number modulo `ring` in `source`."""
    # Unsigned and of 32 bits: Python's modulo of signed ones was a third of the code.
    rows = np.uint32(ring)
    a = source[np.uint32(mirrored(y - 2, h)) % rows]
    b = source[np.uint32(mirrored(y - 1, h)) % rows]
    c = source[np.uint32(y) % rows]
    d = source[np.uint32(mirrored(y + 1, h)) % rows]
    e = source[np.uint32(mirrored(y + 2, h)) % rows]
    for x in range(line.shape[0]):
        line[x] = five_taps(np.float32(a[x]), np.float32(b[x]), np.float32(c[x]), np.float32(d[x]), np.float32(e[x]))


@row_function
def tap(line, x):  # type: ignore[no-untyped-def]
    """Return the 5-tap mean of `line` at x near an end."""
    n = line.shape[0]
    return five_taps(
        line[mirrored(x - 2, n)],
        line[mirrored(x - 1, n)],
        line[x],
        line[mirrored(x + 1, n)],
        line[mirrored(x + 2, n)],
    )


@row_function
def blur_line(line, out):  # type: ignore[no-untyped-def]
    """Write the 5-tap mean of `line` to `out`."""
    w = line.shape[0]
    inner = max(w - 4, 0)
    # Views that start where they are read: with indices that might be negative, this took eight times as long.
    a, b, c, d, e = line[:inner], line[1 : inner + 1], line[2 : inner + 2], line[3 : inner + 3], line[4 : inner + 4]
    middle = out[2 : inner + 2]
    for x in range(inner):
        middle[x] = five_taps(a[x], b[x], c[x], d[x], e[x])
    # Both ends in one loop: each place where a row function is called is compiled anew.
    ends = min(w, 4)
    for i in range(ends):
        x = i if i < 2 else w - ends + i
        out[x] = tap(line, x)


@row_function
def reduce_line(line, lanes, out):  # type: ignore[no-untyped-def]
    """Write the 5-tap mean of every second element of `line` to `out`; `lanes` is scratch for two of the latter."""
    w = line.shape[0]
    m = out.shape[0]
    last = max(1, (w - 1) // 2)
    # Taken apart once, and not once for each tap: half the time.
    even, odd = lanes[0], lanes[1]
    for j in range(w // 2):
        even[j] = line[2 * j]
        odd[j] = line[2 * j + 1]
    even[m - 1] = line[2 * m - 2]
    a, c, e = even[: last - 1], even[1:last], even[2 : last + 1]
    b, d = odd[: last - 1], odd[1:last]
    inner = out[1:last]
    for j in range(last - 1):
        inner[j] = five_taps(a[j], b[j], c[j], d[j], e[j])
    for i in range(last - 1, m):
        j = i if i >= last else 0
        out[j] = tap(line, 2 * j)


@row_function
def expand_row(coarse, y, h, line, out):  # type: ignore[no-untyped-def]
    """Write row y of `coarse`, expanded to h rows and the width of `out`; `line` is scratch of the coarse width."""
    hc, wc = coarse.shape
    w = out.shape[0]
    i = y // 2
    if y % 2 == 0:
        a = coarse[coarse_index(i - 1, hc, h)]
        b = coarse[i]
        c = coarse[coarse_index(i + 1, hc, h)]
        for x in range(wc):
            line[x] = three_taps(a[x], b[x], c[x])
    else:
        b = coarse[i]
        c = coarse[coarse_index(i + 1, hc, h)]
        for x in range(wc):
            line[x] = (b[x] + c[x]) * np.float32(0.5)
    for j in range(1, wc - 1):
        out[2 * j] = three_taps(line[j - 1], line[j], line[j + 1])
        out[2 * j + 1] = (line[j] + line[j + 1]) * np.float32(0.5)
    for j in (0, wc - 1):
        left = line[coarse_index(j - 1, wc, w)]
        right = line[coarse_index(j + 1, wc, w)]
        out[2 * j] = three_taps(left, line[j], right)
        if 2 * j + 1 < w:
            out[2 * j + 1] = (line[j] + right) * np.float32(0.5)


@row_function_of_sums
def row_sum(row):  # type: ignore[no-untyped-def]
    """Return the sum of numbers of a row."""
    total = np.float32(0)
    for x in range(row.shape[0]):
        total += np.float32(row[x])
    return total


# ---- bands of rows ----


@kernel
def _blur_band(source, target, first, last):  # type: ignore[no-untyped-def]
    h, w = source.shape
    line = np.empty(w, np.float32)
    for y in range(first, last):
        blur_column(source, y, h, h, line)
        blur_line(line, target[y])


@kernel
def _reduce_band(source, target, first, last):  # type: ignore[no-untyped-def]
    h, w = source.shape
    line = np.empty(w, np.float32)
    lanes = np.empty((2, target.shape[1]), np.float32)
    for y in range(first, last):
        blur_column(source, 2 * y, h, h, line)
        reduce_line(line, lanes, target[y])


@kernel
def halve_band(numbers, half, sums, first, last):  # type: ignore[no-untyped-def]
    """Sum and reduce (y, x) numbers while their rows are at hand."""
    h, w = numbers.shape
    column = np.empty(w, np.float32)
    lanes = np.empty((2, half.shape[1]), np.float32)
    # Rows are converted as often as they are read, which costs less than to write them.
    for j in range(first, last):
        for y in range(2 * j, min(2 * j + 2, h)):
            sums[y] = row_sum(numbers[y])
        blur_column(numbers, 2 * j, h, h, column)
        reduce_line(column, lanes, half[j])


@kernel
def _expand_band(coarse, h, target, top, first, last):  # type: ignore[no-untyped-def]
    """Write some rows of `coarse`, expanded to h rows; `target` begins with row `top`."""
    line = np.empty(coarse.shape[1], np.float32)
    for y in range(first, last):
        expand_row(coarse, y, h, line, target[y - top])


@kernel_in_place
def _add_band(coarse, detail, target, first, last):  # type: ignore[no-untyped-def]
    h, w = detail.shape
    line = np.empty(coarse.shape[1], np.float32)
    row = np.empty(w, np.float32)
    for y in range(first, last):
        expand_row(coarse, y, h, line, row)
        own = detail[y]
        out = target[y]
        for x in range(w):
            out[x] = own[x] + row[x]


# ---- images ----


def blur5(image: FloatImage, out: FloatImage | None = None) -> FloatImage:
    """Return the 5-tap mean of a (y, x) image along both axes."""
    out = np.empty_like(image) if out is None else out
    run_bands(_blur_band, *image.shape, image, out)
    return out


def reduce(image: FloatImage, out: FloatImage | None = None) -> FloatImage:
    """Return a (y, x) image smoothed and at half size.

    Examples
    --------
    >>> reduce(np.full((5, 4), 7, np.float32)).tolist()
    [[7.0, 7.0], [7.0, 7.0], [7.0, 7.0]]
    """
    h, w = image.shape
    out = np.empty(((h + 1) // 2, (w + 1) // 2), np.float32) if out is None else out
    run_bands(_reduce_band, *out.shape, image, out)
    return out


def expand(coarse: FloatImage, shape: tuple[int, int], out: FloatImage | None = None) -> FloatImage:
    """Return a (y, x) image at double size, `shape` saying which of the two doubles."""
    out = np.empty(shape, np.float32) if out is None else out
    run_bands(_expand_band, *shape, coarse, shape[0], out, 0)
    return out


def expanded_rows(coarse: FloatImage, shape: tuple[int, int], rows: slice) -> FloatImage:
    """Return some rows of `expand`, for work that is done a few rows at a time."""
    out = np.empty((rows.stop - rows.start, shape[1]), np.float32)
    _expand_band(coarse, shape[0], out, rows.start, rows.start, rows.stop)
    return out


def add_expanded(image: FloatImage, coarse: FloatImage) -> None:
    """Add `coarse`, expanded, to `image` in place."""
    run_bands(_add_band, *image.shape, coarse, image, image)


def with_detail(coarse: FloatImage, detail: FloatImage, out: FloatImage) -> None:
    """Put the sum of a detail level and what lies below it, expanded, into `out`."""
    run_bands(_add_band, *detail.shape, coarse, detail, out)


def gaussian_pyramid(image: npt.NDArray[np.generic], levels: int) -> list[FloatImage]:
    """Return the image and its `levels` reductions.

    Parameters
    ----------
    image : real array, shape (y, x)
    levels : int
        At least 0.

    Returns
    -------
    list of `levels` + 1 float32 arrays, shape (y, x), finest first
    """
    pyramid = [np.ascontiguousarray(image, np.float32)]
    for _ in range(levels):
        pyramid.append(reduce(pyramid[-1]))
    return pyramid


def laplacian_pyramid(image: npt.NDArray[np.generic], levels: int) -> list[FloatImage]:
    """Return the `levels` detail levels of an image and, last, its base.

    Parameters
    ----------
    image : real array, shape (y, x)
    levels : int
        At least 0.

    Returns
    -------
    list of `levels` + 1 float32 arrays, shape (y, x), finest first
        `reconstruct` gives the image back.

    Examples
    --------
    >>> image = np.eye(9)
    >>> bool(np.allclose(reconstruct(laplacian_pyramid(image, 2)), image))
    True
    """
    gaussians = gaussian_pyramid(image, levels)
    details = []
    for fine, coarse in itertools.pairwise(gaussians):
        around = expand(coarse, size_of(fine))
        details.append(np.subtract(fine, around, out=around))
    return [*details, gaussians[-1]]


def reconstruct(pyramid: list[FloatImage]) -> FloatImage:
    """Return the image of a Laplacian pyramid."""
    image = pyramid[-1].copy()
    for detail in reversed(pyramid[:-1]):
        fine = np.empty_like(detail)
        with_detail(image, detail, fine)
        image = fine
    return image


def push_pull(image: FloatImage, weight: FloatImage, masses: list[FloatImage] | None = None) -> FloatImage:
    """Return an image with its untrusted pixels filled smoothly from trusted ones, however far.

    Parameters
    ----------
    image : float32 array, shape (y, x)
    weight : float32 array, shape (y, x)
        Trust in every pixel, 0 to 1. A pixel of weight 1 stays; one of weight 0 is
        taken from around it, nearest levels first.
    masses : list of array, or None
        What `masses_of` returns for `weight`, where it is known.

    Returns
    -------
    float32 array, shape (y, x)
        `image` itself where nothing is trusted at all.

    References
    ----------
    Gortler, Grzeszczuk, Szeliski & Cohen, The lumigraph, SIGGRAPH (1996), section 3.4.

    Examples
    --------
    >>> image = np.array([[1, 0, 3]], np.float32)
    >>> push_pull(image, np.array([[1, 0, 1]], np.float32)).round(2).tolist()
    [[1.0, 2.0, 3.0]]
    """
    if not np.any(weight > 0):
        return image.copy()
    values, trusts = pulled(image, weight, masses=masses)
    return pushed(values.pop(), values, trusts)


def push_pull_near(image: FloatImage, weight: FloatImage, levels: int, far: np.float32) -> FloatImage:
    """Do what `push_pull` does with some levels only: what they leave unknown is `far`.

    Nothing but what lies within `PUSH_PULL_REACH` times the width of a coarsest pixel decides on a pixel.

    Examples
    --------
    >>> image, weight = np.zeros((1, 40), np.float32), np.zeros((1, 40), np.float32)
    >>> image[0, 0] = weight[0, 0] = 1
    >>> push_pull_near(image, weight, 2, np.float32(5))[0, [0, 1, 39]].astype(float).round(2).tolist()
    [1.0, 1.38, 5.0]
    """
    values, trusts = pulled(image, weight, levels)
    coarsest = far + trusts[-1] * (values.pop() - far)
    return pushed(coarsest, values, trusts)


def masses_of(weight: FloatImage, levels: int | None = None) -> list[FloatImage]:
    """Return the mean trust behind every pixel of ever coarser levels, for several images of the same `weight`.

    `levels` as of `pulled`.
    """
    masses: list[FloatImage] = []
    trust = weight
    while trust.shape != (1, 1) if levels is None else len(masses) < levels:
        masses.append(reduce(trust))
        trust = _trust(masses[-1])
    return masses


def _trust(mass: FloatImage) -> FloatImage:
    # A coarse pixel a quarter of which is known is as good as known.
    trust: FloatImage = 4 * mass
    return np.minimum(trust, 1, out=trust)


def pulled(
    image: FloatImage, weight: FloatImage, levels: int | None = None, masses: list[FloatImage] | None = None
) -> tuple[list[FloatImage], list[FloatImage]]:
    """Return the means of trusted pixels, ever coarser, and how far each is known: the first half of `push_pull`.

    Parameters
    ----------
    image, weight : float32 array, shape (y, x)
        As of `push_pull`.
    levels : int or None
        How many reductions; None goes on to a single pixel.
    masses : list of array, or None
        What `masses_of` returns, where it is known.
    """
    values, trusts = [image], [weight]
    for mass in masses_of(weight, levels) if masses is None else masses:
        mean = reduce(values[-1] * trusts[-1])
        mean /= np.maximum(mass, np.float32(1e-12))
        values.append(mean)
        trusts.append(_trust(mass))
    return values, trusts


def pushed(filled: FloatImage, values: list[FloatImage], trusts: list[FloatImage]) -> FloatImage:
    """Return the finest of `values`, what is not known filled from coarser ones: the second half of `push_pull`.

    `filled` is what the coarsest was filled to that is not among `values`; of the trusts as many are used.
    """
    for value, trust in zip(reversed(values), reversed(trusts[: len(values)]), strict=True):
        finer = np.empty_like(value)
        run_bands(_push_band, *value.shape, filled, value, trust, finer)
        filled = finer
    return filled


def _push_band(
    coarse: FloatImage, value: FloatImage, trust: FloatImage, out: FloatImage, first: int, last: int
) -> None:
    for rows in strips(first, last, width=value.shape[1]):
        around, finer = expanded_rows(coarse, size_of(value), rows), out[rows]
        np.subtract(value[rows], around, out=finer)
        finer *= trust[rows]
        finer += around


@cache
def noise_gains(levels: int) -> tuple[float, ...]:
    """Return the variance of every detail level for white noise of variance 1.

    Decimation makes the variance depend on the pixel; this is its mean. Computed
    from the kernel itself: every level is A x A - B x B, A and B acting along one
    axis, so its energy needs matrices of one axis only.

    Examples
    --------
    >>> [float(f"{g:.2g}") for g in noise_gains(3)]
    [0.89, 0.053, 0.01]
    """
    exact = min(levels, MOST_LEVELS)
    # What white noise does repeats itself, from the coarsest level's pixel to the next; a ring has room for 8 of them.
    repeats, n = 8, 1 << (exact + 3)
    gains = []
    a = np.eye(n, n // repeats)
    for level in range(exact):
        size = n >> level
        coarser = _blurred_ring(a)[::2]
        b = np.zeros_like(a)
        b[::2] = 2 * coarser
        b = _blurred_ring(b)
        energy = np.sum(a * a) ** 2 - 2 * np.sum(a * b) ** 2 + np.sum(b * b) ** 2
        gains.append(float(energy * (repeats / size) ** 2))
        a = coarser
    # From level 3 on every level has a quarter of the one before, to 1 %.
    gains += [gains[-1] / 4 ** (level + 1) for level in range(levels - exact)]
    return tuple(gains)


def _blurred_ring(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return columns behind the 5-tap kernel, each on a ring, where no edge disturbs."""
    blurred = np.zeros_like(columns)
    for shift, weight in zip(range(-2, 3), np.array([1, 4, 6, 4, 1]) / 16, strict=True):
        blurred += weight * np.roll(columns, shift, axis=0)
    return blurred
