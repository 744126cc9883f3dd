"""Motion from slice to slice, made steady along z.

Focus breathing is smooth along z and a stage's drift nearly so, while every
estimate has an error of its own, and blur that changes moves the estimates of
zoom and shift by some hundredths of a pixel, by more where few things are seen. So each parameter is a smooth course
and a jitter around it; the jitter is kept as far as it is larger than the errors,
and what is no larger than the errors all along is no motion at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .register import jackknife

FloatArray = npt.NDArray[np.float64]

# Blur that changes moves estimates by this much, in px, some of it from link to link, some all along.
_LEAST_ERROR_PX = 0.03
_LEAST_COURSE_PX = 0.04

# What blur and phase feign is this much, in px, in each independent piece of the picture: few do not even out.
_PIECE_PX = 0.12

# How much larger than its errors a motion must be, either from link to link or in the mean, to be one.
_SURE = 2.0

# Few pieces tell little of how far they disagree, either: errors so many times as large are exceeded as seldom as twice
# the expected one of many (Student 1908).
_QUANTILE, _FEWEST_FREE = 0.975, 0.5

# Pieces disagree in much the same way in every link, so that the mean of all links is hardly surer than one; how much
# shows where the same part of the picture is left out of all links. The mean must be so many times that; but blur has
# no direction, and feigns growth, not turns.
SURE_OF_ALL, SURE_OF_TURN = 1.6, 1.25

# A lens magnifies alike with every step of focus, where blur that grows away from focus feigns zoom that grows with it:
# zoom is one where its mean is so many times as large as what is added or taken off towards the ends of the stack.
_EVENLY = 1.25

# A course is a straight line where there are enough links; more bends followed errors, not lenses.
_LINKS_FOR_SLOPE = 5
_ROUNDS = 20


def steadied(
    motions: FloatArray,
    errors: FloatArray,
    least_error_px: npt.ArrayLike = 1.0,
    pieces: FloatArray | None = None,
    by_part: FloatArray | None = None,
    joined: bool = False,
    even: Sequence[bool] | None = None,
    surely: npt.ArrayLike = SURE_OF_ALL,
) -> FloatArray:
    """Return motions from slice to slice as they most likely are.

    Parameters
    ----------
    motions : float array, shape (n, parameters)
        Estimates, in px.
    errors : float array, shape (n, parameters)
        As expected; infinite where there is no estimate: there the course stands.
    least_error_px : float, or one for every parameter
        Pixels of the slice for each of the finest image that was looked at.
    pieces : float array, shape (n, parameters), optional
        How many independent pieces of the picture told them; many by default.
    by_part : float array, shape (parts, n, parameters), optional
        How motions change as one part of the picture after the other is left out; by default as noise has it, which is
        another in every link.
    joined : bool
        Whether the parameters are parts of one motion, all of which there is if one is sure: put back along x alone, a
        picture that drifts along y, too, may be worse than as it lies.
    even : sequence of bool, optional
        Parameters that are nearly the same in all links, if they are there at all; none by default.
    surely : float, or one for every parameter
        How many times its error the mean of all links must be.

    Examples
    --------
    >>> drift = np.full((12, 1), 0.5)
    >>> drift[4] = 0.53
    >>> bool(np.allclose(steadied(drift, np.full((12, 1), 0.02)), 0.5, atol=0.01))
    True
    >>> steadied(0.04 * drift, np.full((12, 1), 0.02)).any()
    np.False_
    """
    least = np.broadcast_to(np.asarray(least_error_px, np.float64), motions.shape[1])
    pieces = np.full(motions.shape, np.inf) if pieces is None else pieces
    parts = [None] * len(least) if by_part is None else [*np.moveaxis(by_part, -1, 0)]
    times = np.broadcast_to(np.asarray(surely, np.float64), len(least))
    given = [*zip(motions.T, errors.T, least, strict=True)]
    moves = [
        _moves(*one, count, part, surely)
        for one, count, part, surely in zip(given, pieces.T, parts, times, strict=True)
    ]
    if joined:
        moves = [any(moves)] * len(moves)
    if even is not None:
        moves = [there and not (e and _is_feigned(*one)) for there, e, one in zip(moves, even, given, strict=True)]
    steady = [_steadied(*one) if there else 0 * one[0] for there, one in zip(moves, given, strict=True)]
    return np.stack(steady, axis=1)


def _steadied(motion: FloatArray, error: FloatArray, least_error_px: float) -> FloatArray:
    known = np.isfinite(error)
    if not known.any():
        return np.zeros_like(motion)
    error = np.hypot(error, _LEAST_ERROR_PX * least_error_px)
    course = _course(motion, error, known)
    rest = np.where(known, motion - course, 0)
    # What errors do not explain is jitter, and kept in its proportion.
    jitter = max(float(np.mean(rest[known] ** 2 - error[known] ** 2)), 0.0)
    share = np.where(known, jitter / (jitter + np.where(known, error, 1) ** 2), 0)
    return course + share * rest


def _moves(
    motion: FloatArray,
    error: FloatArray,
    least_error_px: float,
    pieces: FloatArray,
    by_part: FloatArray | None,
    surely: float,
) -> bool:
    """Return whether motion is surely more than errors and what blur and phase feign."""
    from scipy.special import stdtrit

    known = np.isfinite(error)
    if not known.any():
        return False
    motion, error, pieces = motion[known], error[known], pieces[known]
    feigned = _PIECE_PX / np.sqrt(pieces)
    # Few pieces agree by chance, now and then.
    error = np.maximum(error, np.median(error))
    sure = stdtrit(np.maximum(pieces - 1, _FEWEST_FREE), _QUANTILE) * error
    far = np.hypot(sure, np.maximum(feigned, _LEAST_ERROR_PX) * least_error_px)
    if np.sqrt(np.mean((motion / far) ** 2)) > _SURE:
        return True
    quantile = stdtrit(max(np.median(pieces) - 1, _FEWEST_FREE), _QUANTILE)
    least = max(float(feigned.mean()), _LEAST_COURSE_PX) * least_error_px
    # However links that few pieces tell are counted, little or as their own errors have it: two that are wrong and seem
    # sure would tell of all.
    for counted in (sure, error):
        share = 1 / np.hypot(counted, _LEAST_ERROR_PX * least_error_px) ** 2
        share /= share.sum()
        together = np.sqrt(share**2 @ error**2) if by_part is None else jackknife(by_part[:, known] @ share)
        if abs(float(share @ motion)) <= float(np.hypot(_SURE * least, surely * quantile * float(together))):
            return False
    return True


def _is_feigned(motion: FloatArray, error: FloatArray, least_error_px: float) -> bool:
    """Return whether motion grows or falls along z by nearly as much as there is of it."""
    course = _course(motion, np.hypot(error, _LEAST_ERROR_PX * least_error_px), np.isfinite(error))
    return bool(abs(course.mean()) < _EVENLY * np.ptp(course) / 2)


def _course(motion: FloatArray, error: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Return a robust straight line along z; a constant where there are few estimates."""
    z = np.linspace(-1, 1, len(motion))[known]
    sloped = known.sum() >= _LINKS_FOR_SLOPE
    trust = 1 / error[known] ** 2
    weight = trust / trust.max()
    for _ in range(_ROUNDS):
        middle = weight @ z / weight.sum()
        mean = weight @ motion[known] / weight.sum()
        slope = weight @ ((z - middle) * (motion[known] - mean)) / (weight @ (z - middle) ** 2) if sloped else 0.0
        rest = np.abs(motion[known] - mean - slope * (z - middle))
        usual = np.maximum(error[known], 1.5 * np.median(rest))
        weight = trust / trust.max() * np.minimum(1, usual / np.maximum(rest, 1e-30))
    return np.asarray(mean + slope * (np.linspace(-1, 1, len(motion)) - middle))
