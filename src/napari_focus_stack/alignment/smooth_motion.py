"""Motion from slice to slice, made steady along z.

Focus breathing is smooth along z and a stage's drift nearly so, while every
estimate has an error of its own, and blur that changes moves the estimates of
zoom and shift by some hundredths of a pixel. So each parameter is a smooth course
and a jitter around it; the jitter is kept as far as it is larger than the errors,
and what is no larger than the errors all along is no motion at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Errors on scenes are up to twice the expected ones by chance, and by this much, in px, as blur changes: some of it
# from link to link, some all along.
_ERROR_FACTOR = 2.0
_LEAST_ERROR_PX = 0.03
_LEAST_COURSE_PX = 0.04

# How much larger than its errors a motion must be, either from link to link or in the mean, to be one.
_SURE = 2.0

# A course is a straight line where there are enough links; more bends followed errors, not lenses.
_LINKS_FOR_SLOPE = 5
_ROUNDS = 20


def steadied(motions: FloatArray, errors: FloatArray, least_error_px: npt.ArrayLike = 1.0) -> FloatArray:
    """Return motions from slice to slice as they most likely are.

    Parameters
    ----------
    motions : float array, shape (n, parameters)
        Estimates, in px.
    errors : float array, shape (n, parameters)
        As expected; infinite where there is no estimate: there the course stands.
    least_error_px : float, or one for every parameter
        Pixels of the slice for each of the finest image that was looked at.

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
    return np.stack(
        [
            _steadied(motion, np.hypot(_ERROR_FACTOR * error, _LEAST_ERROR_PX * one), float(one))
            for motion, error, one in zip(motions.T, errors.T, least, strict=True)
        ],
        axis=1,
    )


def _steadied(motion: FloatArray, error: FloatArray, least_error_px: float) -> FloatArray:
    known = np.isfinite(error)
    if not known.any() or not _moves(motion[known], error[known], least_error_px):
        return np.zeros_like(motion)
    course = _course(motion, error, known)
    rest = np.where(known, motion - course, 0)
    # What errors do not explain is jitter, and kept in its proportion.
    jitter = max(float(np.mean(rest[known] ** 2 - error[known] ** 2)), 0.0)
    share = np.where(known, jitter / (jitter + np.where(known, error, 1) ** 2), 0)
    return course + share * rest


def _moves(motion: FloatArray, error: FloatArray, least_error_px: float) -> bool:
    if np.sqrt(np.mean((motion / error) ** 2)) > _SURE:
        return True
    trust = 1 / error**2
    mean = float(np.sum(trust * motion) / np.sum(trust))
    return abs(mean) > _SURE * float(np.hypot(_LEAST_COURSE_PX * least_error_px, 1 / np.sqrt(np.sum(trust))))


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
