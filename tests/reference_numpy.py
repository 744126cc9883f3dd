"""The default method in plain NumPy and SciPy: float64, whole-stack arrays, one line per formula.

The streaming Numba implementation is tested against it, and benchmarks time it as
"the same algorithm in NumPy and SciPy". It imports nothing of the package, so that a
mistake cannot be shared. Axes are (z, y, x, c) throughout; gray has one channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

KERNEL = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
PRIOR = 16.0  # added to every amplitude: below it, differences between slices are noise
CLEAR = 16.0  # energy, in units of the noise, from where the finest level needs less smoothing
POWER = 64  # of the softmax over slices
MARGIN_START, MARGIN_WIDTH = 1.02, 0.08  # by how much the winner leads before its pixels are used whole
MOST_WHOLE = 3  # slices: with more, none is the one
ALIKE = 4.0  # noise deviations added to the leads of three slices
SEAM = 1.5  # share given up where the winner changes
SMALL_REGION, LONGEST = 0.003, 112  # of the picture; of a region along an axis, at half size
FARTHEST, CELL_LEVELS = 64, 4  # from where a small region takes a slice; reductions to the cells of its share
UNSURE, BEAD_LEAD, DOUBT_FROM, DOUBT_TO = 2.0, 1.6, 1.3, 1.9  # of leads of the magnitude within a few pixels
BLOCK, BINS, QUANTILE = 16, 12, 0.10  # of the noise estimate


@dataclass(frozen=True)
class Noise:
    """Variance = gain * intensity + offset, and the 0.1 and 99.9 percentiles; arrays of shape (c,)."""

    gain: Float
    offset: Float
    low: Float
    high: Float


@dataclass(frozen=True)
class Reference:
    """What the default method gives; maps ending in `_half` are at half resolution."""

    image: Array  # (y, x[, c]), dtype of the stack
    pyramid_image: Float  # (y, x, c), before whole pixels are taken over
    index: npt.NDArray[np.uint16]  # (y, x)
    index_half: Array
    height_half: Float  # in slices
    confidence_half: Float


# --- pyramid: the last two axes before the channels are y and x -------------------------------------------------


def blur5(image: Float) -> Float:
    """Blur the first two axes with the 5-tap kernel, borders reflected without repeating the edge."""
    for axis in (0, 1):
        image = ndi.convolve1d(image, KERNEL, axis, mode="mirror")
    return image


def reduce(image: Float) -> Float:
    """Blur and keep every even sample: n pixels become (n + 1) // 2."""
    return blur5(image)[::2, ::2]


def expand(coarse: Float, shape: tuple[int, ...]) -> Float:
    """Put zeros between the samples and blur with twice the kernel, on the grid of `shape`."""
    for axis in (0, 1):
        if shape[axis] == 1:  # nothing lies between the samples of one pixel
            continue
        stuffed_shape = (*coarse.shape[:axis], shape[axis], *coarse.shape[axis + 1 :])
        stuffed = np.zeros(stuffed_shape)
        stuffed[(slice(None),) * axis + (slice(None, None, 2),)] = coarse
        coarse = ndi.convolve1d(stuffed, 2 * KERNEL, axis, mode="mirror")
    return coarse


def level_count(shape: tuple[int, ...]) -> int:
    """Return the levels used for slices of this (y, x) shape."""
    return int(np.clip(np.floor(np.log2(max(min(shape[:2]) / 8, 1))), 1, 6))


def gaussian_pyramid(image: Float, levels: int) -> list[Float]:
    """Return levels + 1 images, the finest first."""
    pyramid = [image]
    for _ in range(levels):
        pyramid.append(reduce(pyramid[-1]))
    return pyramid


def reconstruct(details: list[Float], base: Float) -> Float:
    """Add the details to the expanded base, coarsest first."""
    image = base
    for detail in reversed(details):
        image = detail + expand(image, detail.shape)
    return image


def noise_gains(levels: int) -> list[float]:
    """Variance of every Laplacian level of white noise with variance 1, away from the borders.

    On a line, rows of `fine` hold the weights of G_l and of `coarse` those of expand(reduce(G_l)).
    In two dimensions L_l = fine x fine - coarse x coarse, whose squared norm separates.
    """
    length = 64 * 2**levels
    fine = np.eye(length)
    gains = []
    for _ in range(levels):
        reduced = ndi.convolve1d(fine, KERNEL, 0, mode="wrap")[::2]
        stuffed = np.zeros_like(fine)
        stuffed[::2] = reduced
        coarse = ndi.convolve1d(stuffed, 2 * KERNEL, 0, mode="wrap")
        inner = [(p * q).sum(1).mean() for p, q in ((fine, fine), (fine, coarse), (coarse, coarse))]
        gains.append(float(inner[0] ** 2 - 2 * inner[1] ** 2 + inner[2] ** 2))
        fine = reduced
    return gains


# --- noise -----------------------------------------------------------------------------------------------------


def estimate_noise(stack: Array, rgb: bool = False) -> Noise:
    """Fit variance = gain * intensity + offset to the quietest blocks of about five slices."""
    slices = _with_channels(stack, rgb)
    chosen = slices[np.unique(np.linspace(0, len(slices) - 1, min(5, len(slices))).round().astype(int))]
    chosen = chosen.astype(float)
    lines = np.array([_noise_line(chosen[..., c]) for c in range(chosen.shape[-1])])
    low, high = np.percentile(chosen, (0.1, 99.9), axis=(0, 1, 2))
    return Noise(lines[:, 0], lines[:, 1], low, high)


def _noise_line(slices: Float) -> tuple[float, float]:
    g0 = noise_gains(1)[0]
    mean, variance = [], []
    for image in slices:
        detail = image - expand(reduce(image), image.shape)
        mean.append(_block_means(image))
        variance.append(_block_means(detail**2) / g0)
    order = np.argsort(np.concatenate(mean), kind="stable")
    bins_mean = np.array_split(np.concatenate(mean)[order], BINS)
    bins_variance = np.array_split(np.concatenate(variance)[order], BINS)
    # The 10th percentile of a chi-squared mean, by Wilson and Hilferty's cube root.
    freedom = 0.6 * BLOCK**2
    shrink = (1 - 2 / (9 * freedom) - 1.2816 * np.sqrt(2 / (9 * freedom))) ** 3
    intensity = np.array([m.mean() for m in bins_mean if m.size])
    quiet = np.array([np.quantile(v, QUANTILE) / shrink for v in bins_variance if v.size])
    return _robust_line(intensity, quiet)


def _block_means(image: Float) -> Float:
    rows, columns = (n // BLOCK for n in image.shape)
    blocks = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return blocks.mean((1, 3)).ravel()


def _robust_line(x: Float, y: Float) -> tuple[float, float]:
    weight = np.ones_like(y)
    floor = max(1e-3 * np.median(y), 1e-30)
    gain, offset = 0.0, float(np.median(y))
    for _ in range(20):
        scale = np.maximum(gain * x + offset, floor)
        design = np.stack([x, np.ones_like(x)], 1) * (np.sqrt(weight) / scale)[:, None]
        gain, offset = np.linalg.lstsq(design, y * np.sqrt(weight) / scale, rcond=None)[0]
        residual = (y - gain * x - offset) / np.maximum(gain * x + offset, floor)
        weight = np.where(residual > 0.2, 0.2 / np.maximum(residual, 0.2), 1.0)
    return (float(gain), float(offset)) if gain >= 0 else (0.0, float(np.median(y)))


# --- fusion ----------------------------------------------------------------------------------------------------


def fuse(
    stack: Array,
    rgb: bool = False,
    *,
    noise: Noise | None = None,
    levels: int | None = None,
    z_preference: float = 0.0,
) -> Reference:
    """Fuse `stack`, (z, y, x) or (z, y, x, c), as the method `laplacian` does with its default options."""
    noise = noise or estimate_noise(stack, rgb)
    slices = _with_channels(stack, rgb)
    values, gain, offset, tiny = _in_working_units(slices, noise)
    shape = slices.shape[1:3]
    levels = levels or level_count(shape)
    gains = noise_gains(levels)
    pyramids = [gaussian_pyramid(v, levels) for v in values]
    around = [[expand(coarse, fine.shape) for fine, coarse in pairwise(p)] for p in pyramids]
    details = [[fine - mean for fine, mean in zip(p, m, strict=False)] for p, m in zip(pyramids, around, strict=True)]
    activity = [  # R: energy in units of the noise, 1 in pure noise
        [
            (detail**2 / (np.maximum(gain * mean + offset, tiny) * g)).mean(-1)
            for detail, mean, g in zip(d, m, gains, strict=True)
        ]
        for d, m in zip(details, around, strict=True)
    ]
    smooth = [[blur5(reduce(r[0])), *(blur5(level) for level in r[1:])] for r in activity]
    favour = np.exp(z_preference * np.arange(len(slices)) / max(len(slices) - 1, 1))
    finest = [reduce(r[0]) for r in activity]
    trusted = [_trusted(s, r) for s, r in zip(smooth, finest, strict=True)]
    pyramid_image = _blend(pyramids, details, trusted, favour)
    fused = pyramid_image
    if len(slices) <= MOST_WHOLE:
        winner, whole = _whole_pixels(np.stack([r[0] for r in activity]), noise, shape)
        own = np.take_along_axis(values, _nearest(winner, shape)[None, :, :, None], 0)[0]
        fused = pyramid_image + whole[..., None] * (own - pyramid_image)
    fused = np.clip(fused, values.min(0), values.max(0))
    index, height, confidence = _focus(smooth, finest)
    return Reference(
        image=_in_stack_units(fused, stack.dtype, noise).reshape(stack.shape[1:]),
        pyramid_image=pyramid_image,
        index=_nearest(index, shape).astype(np.uint16),
        index_half=index,
        height_half=height,
        confidence_half=confidence,
    )


def _trusted(smooth: list[Float], finest: Float) -> list[Float]:
    """Return the square of the strength of a slice at every level: its own energy and that of the levels beside it."""
    squares = []
    for level, energy in enumerate(smooth):
        if level == 0:
            own = energy + energy / (energy + CLEAR) * (finest - energy)
        else:
            own = np.sqrt(energy * blur5(energy))
            finer = smooth[0] if level == 1 else reduce(smooth[level - 1])
            own = own * np.sqrt(1 + finer / CLEAR)
        if level + 1 < len(smooth):
            coarser = smooth[level + 1]
            around = blur5(coarser) if level == 0 else expand(coarser, energy.shape)
            own = own * np.sqrt(1 + around / (CLEAR + energy**2))
        squares.append(own)
    return squares


def _blend(pyramids: list[list[Float]], details: list[list[Float]], smooth: list[list[Float]], favour: Float) -> Float:
    levels = len(details[0])
    amplitude = [[np.sqrt(s) * f + PRIOR for s in slice_] for slice_, f in zip(smooth, favour, strict=True)]
    base_amplitude = [a[0] if levels == 1 else reduce(a[-1]) for a in amplitude]
    full_shape = details[0][0].shape
    fused = []
    for level in range(levels):
        fine = [expand(a[0], full_shape[:2]) if level == 0 else a[level] for a in amplitude]
        fused.append(_softmax_mean(fine, [d[level] for d in details]))
    return reconstruct(fused, _softmax_mean(base_amplitude, [p[-1] for p in pyramids]))


def _softmax_mean(amplitude: list[Float], coefficients: list[Float]) -> Float:
    a = np.stack(amplitude)
    weight = (a / a.max(0)) ** POWER
    return (weight[..., None] * np.stack(coefficients)).sum(0) / weight.sum(0)[..., None]


def _whole_pixels(finest: Float, noise: Noise, shape: tuple[int, ...]) -> tuple[Array, Float]:
    """Return the winning slice at half resolution and how far its own pixels replace the blend, at full resolution."""
    texture = np.stack([_texture(np.sqrt(r)) for r in finest])
    winner = texture.argmax(0)
    second, first = np.sort(texture, 0)[-2:]
    spread = noise.high - noise.low
    sigma = np.sqrt(np.maximum(noise.gain * (noise.low + noise.high) / 2 + noise.offset, 0))
    relative = np.divide(sigma, spread, out=np.zeros_like(sigma), where=spread > 0).mean()
    visible = 2 * max(100 * relative - 1, 0) + (ALIKE if len(finest) == 3 else 0)
    lead = (first + visible) / np.maximum(second + visible, 1e-6)
    clear = np.clip((lead - MARGIN_START) / MARGIN_WIDTH, 0, 1)
    near = np.stack([blur5(reduce(np.sqrt(r))) for r in finest])
    own, other = _own_and_best_other(near, winner)
    regions = _regions(winner)
    numbers = np.arange(regions.max() + 1)
    area = np.bincount(regions.ravel())
    longest = np.array([max(side.stop - side.start for side in box) for box in ndi.find_objects(regions + 1)])
    small = ((area < SMALL_REGION * winner.size) & (longest <= LONGEST))[regions]
    small &= not small.all()
    broad = _taken_from_around(winner, small)
    if len(finest) == 2:
        bead = ndi.maximum((own + UNSURE) / (other + UNSURE), regions, numbers) > BEAD_LEAD
        island = (broad != winner) & ~bead[regions]
        means = np.stack([_mean_around(clear, ~small & (broad == k)) for k in range(2)])
        clear = np.where(island, np.take_along_axis(means, broad[None], 0)[0], clear)
        winner = np.where(island, broad, winner)
        own, other = _own_and_best_other(near, winner)
    doubt = ((other + UNSURE) / (own + UNSURE) - DOUBT_FROM) / (DOUBT_TO - DOUBT_FROM)
    clear = clear * np.clip(1 - doubt, 0, 1) * np.maximum(1 - SEAM * blur5(_changes(broad)), 0)
    return winner, expand(clear, shape)


def _taken_from_around(winner: Array, small: Array) -> Array:
    """Let small regions take the slices around them, pixel by pixel, straight and any way by turns."""
    unknown = 255
    taken = np.where(small, unknown, winner)
    for step in range(FARTHEST):
        ways = ndi.generate_binary_structure(2, 1 + step % 2)
        taken = np.where(
            taken == unknown, ndi.minimum_filter(taken, footprint=ways, mode="constant", cval=unknown), taken
        )
    return np.where(taken == unknown, winner, taken)


def _mean_around(values: Float, where: Array) -> Float:
    """Return the mean of values, where something is, around every pixel; of whatever size where nothing is near."""
    total, weight = values * where, where.astype(float)
    for _ in range(CELL_LEVELS):
        total, weight = reduce(total), reduce(weight)
    mean = blur5(blur5(total)) / np.maximum(blur5(blur5(weight)), 1e-30)
    y, x = (
        np.minimum((np.arange(n) + 2 ** (CELL_LEVELS - 1)) >> CELL_LEVELS, m - 1)
        for n, m in zip(where.shape, mean.shape, strict=True)
    )
    return mean[np.ix_(y, x)]


def _own_and_best_other(near: Float, winner: Array) -> tuple[Float, Float]:
    own = np.take_along_axis(near, winner[None], 0)[0]
    others = np.where(np.arange(len(near))[:, None, None] == winner, 0, near)
    return own, others.max(0)


def _regions(winner: Array) -> Array:
    """Number the connected regions of one slice each, from 0."""
    regions, count = np.zeros(winner.shape, int), 0
    for k in np.unique(winner):
        part, parts = ndi.label(winner == k)
        regions += np.where(part > 0, part - 1 + count, 0)
        count += parts
    return regions


def _changes(winner: Array) -> Float:
    padded = np.pad(winner, 1, "edge")
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([n != middle for n in beside], axis=0).astype(float)


def _texture(magnitude: Float) -> Float:
    fine = blur5(blur5(reduce(magnitude)))
    quarter = reduce(fine)
    coarse = expand(expand(blur5(reduce(quarter)), quarter.shape), fine.shape)
    return np.sqrt(fine * coarse)


def _focus(smooth: list[list[Float]], finest: list[Float]) -> tuple[Array, Float, Float]:
    e0 = np.stack([s[0] * (r + 1) / (s[0] + 1) for s, r in zip(smooth, finest, strict=True)])
    e1 = np.stack([s[min(1, len(s) - 1)] for s in smooth])
    focus = (e0 + 2) * np.sqrt(e1 * 128 / (e1 + 128) + 2)
    last = len(focus) - 1
    index, best = focus.argmax(0), focus.max(0)
    share = (focus / best) ** 8
    mass = share.sum(0)
    centre = (share * (np.arange(last + 1)[:, None, None] - index)).sum(0) / mass
    clearest = best >= np.quantile(best, 0.98)
    depth = max(2 * np.median(mass[clearest]) - 1.1, 0.8)
    dense = np.clip((depth - 1.3) / 0.8, 0, 1)
    before, after = (
        (best / np.take_along_axis(focus, np.clip(index + d, 0, last)[None], 0)[0]) ** 0.25 for d in (-1, 1)
    )
    before, after = np.where(index == 0, after, before), np.where(index == last, before, after)
    bend = np.maximum(before + after - 2, 1e-3)
    way = np.clip((before - after) / 2 / bend, -0.5, 0.5)
    whole = dense * ((index >= depth) & (index <= last - depth))
    peaks = index + way + whole * (np.clip(centre, -depth, depth) - way)
    energy = best ** (2 / 3) - 2
    near = np.minimum(bend, 3) * 8 / 3 * depth**2
    precision = np.maximum(energy, 0.01) * (near + dense * ((depth / (2 * mass - 1.1)) ** 2 - near))
    height, scatter, known = _settled(peaks, precision, depth, last + 1)
    least = 1 / (1 + 1.5 * 0.85 * _chance(depth, last + 1))
    honest = np.clip((1 / (1 + 1.5 * scatter) - least) / (1 - least), 0, 1)
    evidence = np.clip(energy - 1.5, 0, 1)
    from_around = 0.5 / max(depth, 1) * np.minimum(_broad(known * evidence, 3) / 0.4, 1)
    return index, np.clip(height, 0, last), np.maximum(honest * evidence, from_around)


def _settled(peaks: Float, precision: Float, depth: float, slices: int) -> tuple[Float, Float, Float]:
    trust = np.clip((precision - 2) / 6, 0, 1)
    near, wide = (ndi.median_filter(peaks, size, mode="mirror") for size in (3, 5))
    own = near + np.clip(2 - np.abs(peaks - near) / (0.3 * depth), 0, 1) * (peaks - near)
    height = wide + trust * (own - wide)
    scatter = blur5(blur5(blur5(np.minimum(np.abs(peaks - height), 3.5 * depth))))
    known = np.clip(2 - scatter / min(0.5 * depth, 0.3 * _chance(depth, slices)), 0, 1)
    everywhere = _push_pull(height, known)
    for _ in range(2):
        broad = _broad(everywhere, 3)
        everywhere = broad + _push_pull(height - broad, known)
    height = _planes(everywhere, np.sqrt(precision), 1.5 * depth, 1)
    calm = _planes(height, np.sqrt(precision), depth, 2)
    return calm + trust * (height - calm), scatter, known


def _broad(height: Float, levels: int) -> Float:
    return height if levels == 0 else expand(_broad(reduce(height), levels - 1), height.shape)


def _chance(depth: float, slices: int) -> float:
    limit = 3.5 * depth
    return slices / 4 if limit > slices / 2 else limit - limit**2 / slices


def _push_pull(image: Float, weight: Float) -> Float:
    if not (weight > 0).any():
        return image
    if image.shape == (1, 1):
        return image
    mass, mean = reduce(weight), reduce(image * weight)
    coarse = _push_pull(np.divide(mean, mass, out=mean, where=mass > 1e-12), np.minimum(4 * mass, 1))
    around = expand(coarse, image.shape)
    return around + weight * (image - around)


def _planes(height: Float, weight: Float, tolerance: float, step: int) -> Float:
    """Return weighted least squares planes through the 5 x 5 heights around, those that differ counting little."""
    reach = 2 * step
    padded, weights = (np.pad(a, reach, mode="reflect") for a in (height, weight))
    rows, columns = height.shape
    normal, right = np.zeros((3, 3, *height.shape)), np.zeros((3, *height.shape))
    for dy, dx in np.ndindex(5, 5):
        window = np.s_[dy * step : dy * step + rows, dx * step : dx * step + columns]
        d = padded[window] - height
        share = KERNEL[dy] * KERNEL[dx] * weights[window] / (1 + (d / tolerance) ** 2) ** 2
        at = np.array([1, dx - 2, dy - 2])
        normal += np.multiply.outer(np.outer(at, at), share)
        right += np.multiply.outer(at, share * d)
    mass = normal[0, 0]
    centre, value = normal[0, 1:] / mass, right[0] / mass
    spread = normal[1:, 1:] / mass - centre[:, None] * centre[None] + 0.05 * np.eye(2)[:, :, None, None]
    slope = np.linalg.solve(
        np.moveaxis(spread, (0, 1), (2, 3)), np.moveaxis(right[1:] / mass - centre * value, 0, 2)[..., None]
    )[..., 0]
    return height + value - slope[..., 0] * centre[0] - slope[..., 1] * centre[1]


# --- units -----------------------------------------------------------------------------------------------------


def _with_channels(stack: Array, rgb: bool) -> Array:
    return stack if rgb else stack[..., None]


def _nearest(half: Array, shape: tuple[int, ...]) -> Array:
    return half.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]


def _in_working_units(slices: Array, noise: Noise) -> tuple[Float, Float, Float, float]:
    """Return float64 slices with the noise line in the same units; others than 8 and 16 bits are brought to 0..1."""
    if _stays_as_it_is(slices.dtype):
        return slices.astype(float), noise.gain, noise.offset, 1 / 12
    low, span = _range(noise)
    return (slices - low) / span, noise.gain / span, (noise.gain * low + noise.offset) / span**2, 1e-10


def _in_stack_units(fused: Float, dtype: np.dtype[Any], noise: Noise) -> Array:
    if not _stays_as_it_is(dtype):
        low, span = _range(noise)
        fused = fused * span + low
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(fused), limits.min, limits.max).astype(dtype)
    return fused.astype(dtype)


def _stays_as_it_is(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" and dtype.itemsize <= 2


def _range(noise: Noise) -> tuple[float, float]:
    # One range for all channels, or colours would be weighted by how little they vary.
    low, high = float(noise.low.min()), float(noise.high.max())
    return low, (high - low) if high > low else 1.0
