"""Tilt and roughness of a height map after ISO 25178-2, over the pixels that are trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .pyramid import FloatImage

Mask = npt.NDArray[np.bool_]

# Just above what heights that were only filled from around them may have.
DEFAULT_TRUST = 0.55

# A form has six coefficients at most; more pixels than this do not better it, but cost time.
_MOST_FIT_PX = 1 << 17
_MOST_ROUNDS = 30
# The biweight's usual reach, in standard deviations: 95 % of the efficiency of least squares on normal residuals.
_BIWEIGHT_REACH = 4.685
_SIGMA_PER_MAD = 1.4826
# ISO 16610-61: half of a wave as long as the cutoff passes, exp(-2 (pi sigma / cutoff)^2) = 1/2.
_SIGMA_PER_CUTOFF = math.sqrt(math.log(2) / 2) / math.pi


@dataclass(frozen=True)
class SurfaceForm:
    """A shape that is taken out of a height map, or none.

    Attributes
    ----------
    title, help : str
        Short name and one sentence.
    powers : tuple of (int, int)
        Exponents of y and x of its terms; empty where nothing is taken out.
    """

    title: str
    help: str
    powers: tuple[tuple[int, int], ...]


SURFACE_FORMS: dict[str, SurfaceForm] = {
    "none": SurfaceForm("None", "Heights stay as they were measured.", ()),
    "plane": SurfaceForm("Plane", "Takes out the tilt: a plane by robust least squares.", ((0, 0), (1, 0), (0, 1))),
    "paraboloid": SurfaceForm(
        "Paraboloid",
        "Takes out tilt and curvature: a surface of second order by robust least squares.",
        ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)),
    ),
}


@dataclass(frozen=True)
class FittedForm:
    """A form with its coefficients.

    Attributes
    ----------
    form : str
        Key of `SURFACE_FORMS`.
    shape : tuple of int
        (y, x) of the height map.
    coefficients : tuple of float
        One for each term, in the unit of the heights; y and x count from the middle of
        the map, in halves of its longer side.
    """

    form: str
    shape: tuple[int, int]
    coefficients: tuple[float, ...]

    def surface(self) -> FloatImage:
        """Return the form's height at every pixel, float32."""
        y, x = (np.asarray(axis, np.float32) for axis in _coordinates(self.shape))
        heights = np.zeros(self.shape, np.float32)
        for (i, j), coefficient in zip(SURFACE_FORMS[self.form].powers, self.coefficients, strict=True):
            heights += np.float32(coefficient) * y[:, None] ** i * x[None, :] ** j
        return heights

    def slope_per_px(self) -> tuple[float, float]:
        """Return how much the form rises for a pixel along y and along x, in the middle of the map."""
        terms = dict(zip(SURFACE_FORMS[self.form].powers, self.coefficients, strict=True))
        half = max(self.shape) / 2
        return terms.get((1, 0), 0.0) / half, terms.get((0, 1), 0.0) / half


@dataclass(frozen=True)
class ArealParameters:
    """Height parameters of ISO 25178-2, over the trusted pixels, about their mean height.

    All are NaN where no pixel is trusted.

    Attributes
    ----------
    Sa : float
        Mean of the absolute height.
    Sq : float
        Root of the mean squared height.
    Sz : float
        Highest peak above the deepest pit: Sp + Sv. One wrong pixel decides it.
    Sp, Sv : float
        Height of the highest peak; depth of the deepest pit, positive.
    Ssk, Sku : float
        Skewness and kurtosis of the heights, without unit; NaN for a surface without heights.
    Sdq : float
        Root of the mean squared slope, without unit, by central differences where all four
        neighbours are trusted; NaN where the size of a pixel is unknown.
    """

    Sa: float
    Sq: float
    Sz: float
    Sp: float
    Sv: float
    Ssk: float
    Sku: float
    Sdq: float


@dataclass(frozen=True)
class SurfaceReport:
    """Tilt and roughness of a height map.

    Attributes
    ----------
    unit : str
        Of all heights: "slices", or that of the z step.
    trust : float
        The least confidence of a pixel that counts.
    trusted_share : float
        Share of the pixels that count, 0 to 1.
    slope_per_px : tuple of float
        Rise of the fitted plane for a pixel along y and along x, in `unit`.
    tilt_deg : float
        Angle of that plane to the focal plane; NaN where the size of a pixel is unknown.
    tilt_direction_deg : float
        Where it rises: 0 is along x, 90 along y (down in napari), 0 to 360. NaN as `tilt_deg`.
    raw : ArealParameters
        Of the heights as they are, tilt and all.
    form : str
        What was taken out for `levelled`: key of `SURFACE_FORMS`.
    levelled : ArealParameters
        After the form, and the filters if any, were taken out.
    s_filter_px, l_filter_px : tuple of float or None
        Cutoffs along y and x of the filters that were applied to `levelled`.

    Examples
    --------
    >>> y, x = np.mgrid[:50, :50]
    >>> report = measure_surface(0.1 * x, z_step=2.0, unit="µm", pixel_size=(0.2, 0.2))
    >>> isinstance(report, SurfaceReport), round(report.tilt_deg), round(report.tilt_direction_deg) % 360
    (True, 45, 0)
    """

    unit: str
    trust: float
    trusted_share: float
    slope_per_px: tuple[float, float]
    tilt_deg: float
    tilt_direction_deg: float
    raw: ArealParameters
    form: str
    levelled: ArealParameters
    s_filter_px: tuple[float, float] | None = None
    l_filter_px: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: tuples as lists, NaN as None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def trusted_pixels(
    height: FloatImage, confidence: FloatImage | None = None, trust: float = DEFAULT_TRUST
) -> npt.NDArray[np.bool_]:
    """Return where heights are known with a confidence of at least `trust`.

    Parameters
    ----------
    height : float array, shape (y, x)
    confidence : float array, shape (y, x), or None
        0 to 1; None trusts every finite height.
    trust : float
        0 to 1; 0 also counts heights that were only filled from their neighbours.

    Returns
    -------
    bool array, shape (y, x)

    Raises
    ------
    InputError
        If the shapes differ or `trust` is out of its limits.

    Examples
    --------
    >>> height, confidence = np.array([[1, np.nan, 2]]), np.array([[0.9, 0.9, 0.2]])
    >>> trusted_pixels(height, confidence).tolist()
    [[True, False, False]]
    """
    if not 0 <= trust <= 1:
        raise InputError(f"trust must be a confidence from 0 to 1, got {trust:g}.")
    # Results of a dask array are lazy.
    height = np.asarray(height)
    known = np.isfinite(height)
    if confidence is None:
        return known
    if np.shape(confidence) != np.shape(height):
        raise InputError(f"height and confidence must have one shape, got {height.shape} and {confidence.shape}.")
    known &= np.asarray(confidence) >= trust
    return known


def fit_form(height: FloatImage, trusted: Mask, form: str = "plane") -> FittedForm:
    """Fit a form to the trusted heights by robust least squares.

    Heights far from the form, some five standard deviations, have no weight: a few beads on a
    slide do not tilt it. Large maps are fitted at 131 072 evenly spaced trusted pixels.

    Parameters
    ----------
    height : float array, shape (y, x)
    trusted : bool array, shape (y, x)
        Pixels that count; their heights are finite.
    form : str
        Key of `SURFACE_FORMS`.

    Returns
    -------
    FittedForm
        All 0 where no pixel is trusted.

    Raises
    ------
    InputError
        If the form is unknown.

    References
    ----------
    Beaton & Tukey, The fitting of power series, Technometrics 16, 147-185 (1974): the biweight.

    Examples
    --------
    >>> y, x = np.mgrid[:40, :50]
    >>> sheet = (0.25 * x - 0.5 * y).astype(np.float32)
    >>> sheet[10:14, 10:14] += 100
    >>> along_y, along_x = fit_form(sheet, np.ones(sheet.shape, bool)).slope_per_px()
    >>> f"{along_y:.4f}, {along_x:.4f}"
    '-0.5000, 0.2500'
    """
    powers = _known_form(form).powers
    shape = (int(height.shape[0]), int(height.shape[1]))
    places = np.flatnonzero(trusted)
    if not powers or not places.size:
        return FittedForm(form, shape, (0.0,) * len(powers))
    # A step without a common divisor with the width visits all columns.
    step = -(-places.size // _MOST_FIT_PX)
    while math.gcd(step, shape[1]) > 1:
        step += 1
    places = places[::step]
    y, x = (axis[place] for axis, place in zip(_coordinates(shape), np.divmod(places, shape[1]), strict=True))
    terms = np.stack([y**i * x**j for i, j in powers])
    return FittedForm(form, shape, _robust_fit(terms, height.ravel()[places].astype(np.float64)))


def level_height(height: FloatImage, trusted: Mask, form: str = "plane") -> FloatImage:
    """Return the heights above the form that fits the trusted ones.

    Parameters
    ----------
    height : float array, shape (y, x)
    trusted : bool array, shape (y, x)
        Only these are fitted; the form is taken out everywhere.
    form : str
        Key of `SURFACE_FORMS`.

    Returns
    -------
    float32 array, shape (y, x)
        Around 0, in the unit of `height`; for "none" the heights themselves.

    Raises
    ------
    InputError
        If the form is unknown.

    Examples
    --------
    >>> y, x = np.mgrid[:50, :50]
    >>> tilted = (3 + 0.1 * y - 0.2 * x).astype(np.float32)
    >>> bool(np.abs(level_height(tilted, trusted_pixels(tilted))).max() < 1e-4)
    True
    """
    height, trusted = np.asarray(height), np.asarray(trusted)
    if not _known_form(form).powers:
        return np.array(height, np.float32)
    return np.asarray(height - fit_form(height, trusted, form).surface(), np.float32)


def gaussian_filter_areal(height: FloatImage, trusted: Mask, cutoff_px: tuple[float, float]) -> FloatImage:
    """Return the long waves of a height map: the Gaussian filter of ISO 16610-61.

    Pixels beyond the border and those not trusted have no weight, and what is left of the
    Gaussian is scaled to sum to 1; a slope that runs into the border is bent there, so take out
    the form first. The Gaussian ends at four standard deviations, three quarters of the cutoff.

    Parameters
    ----------
    height : float array, shape (y, x)
    trusted : bool array, shape (y, x)
    cutoff_px : tuple of float
        Wavelength along y and x of which half passes, in px.

    Returns
    -------
    float32 array, shape (y, x)
        NaN where no trusted pixel is near.
    """
    from scipy import ndimage

    sigma = [_SIGMA_PER_CUTOFF * cutoff for cutoff in cutoff_px]
    weight = trusted.astype(np.float32)
    mass = ndimage.gaussian_filter(weight, sigma, mode="constant")
    total = ndimage.gaussian_filter(np.where(trusted, height, 0).astype(np.float32), sigma, mode="constant")
    waves = np.full(height.shape, np.nan, np.float32)
    return np.divide(total, mass, out=waves, where=mass > 1e-6)


def measure_surface(
    height: FloatImage,
    confidence: FloatImage | None = None,
    *,
    z_step: float = 1.0,
    unit: str = "slices",
    pixel_size: tuple[float, float] | None = None,
    form: str = "plane",
    trust: float = DEFAULT_TRUST,
    s_filter_px: tuple[float, float] | float | None = None,
    l_filter_px: tuple[float, float] | float | None = None,
) -> SurfaceReport:
    """Measure tilt and areal roughness of a height map.

    The figures are those of ISO 25178-2, of all trusted pixels of the picture as one definition
    area. **No filter is applied unless a cutoff is given**: without an S-filter the noise of the
    focus measure counts as roughness, without an L-filter so does waviness.
    Nor does an S-filter bring back what the height map has not: waves shorter than some 20 px are
    in it with less than half of their amplitude.

    Parameters
    ----------
    height : float array, shape (y, x)
        In slices, as `FocusStackResult.height`. NaN is not trusted.
    confidence : float array, shape (y, x), or None
        0 to 1; None trusts every finite height.
    z_step : float
        Height of a slice, in `unit`.
    unit : str
    pixel_size : tuple of float or None
        Height and width of a pixel, in `unit`; None leaves out tilt angles and Sdq.
    form : str
        Key of `SURFACE_FORMS`: taken out for the levelled figures.
    trust : float
        The least confidence of a pixel that counts, 0 to 1.
    s_filter_px, l_filter_px : float, tuple of float or None
        Cutoffs, one or along y and x, of the Gaussian filters that take out what is shorter (S)
        and what is longer (L), after the form; see `gaussian_filter_areal` for the border.

    Returns
    -------
    SurfaceReport

    Raises
    ------
    InputError
        If shapes differ, a form is unknown or a number is out of its limits.

    References
    ----------
    ISO 25178-2:2021, Geometrical product specifications: Surface texture: Areal. Terms,
    definitions and surface texture parameters. ISO 16610-61:2015, Linear areal Gaussian filters.

    Examples
    --------
    >>> y, x = np.mgrid[:100, :100]
    >>> waves = (5 + 0.01 * x + np.sin(2 * np.pi * x / 10)).astype(np.float32)
    >>> report = measure_surface(waves, z_step=2.0, unit="µm")
    >>> f"{report.levelled.Sq:.2f} {report.unit}, tilted by {report.slope_per_px[1]:.2f} for a pixel"
    '1.41 µm, tilted by 0.02 for a pixel'
    """
    # Once, if they are lazy.
    height, confidence = np.asarray(height), None if confidence is None else np.asarray(confidence)
    trusted = trusted_pixels(height, confidence, trust)
    heights = np.asarray(height, np.float32) * np.float32(z_step)
    s_px, l_px = (_cutoffs(name, value) for name, value in (("S", s_filter_px), ("L", l_filter_px)))
    levelled = level_height(heights, trusted, form)
    if s_px is not None:
        levelled = gaussian_filter_areal(levelled, trusted, s_px)
    if l_px is not None:
        levelled -= gaussian_filter_areal(levelled, trusted, l_px)
    slope = fit_form(heights, trusted, "plane").slope_per_px()
    tilt_deg, direction_deg = _tilt(slope, pixel_size)
    return SurfaceReport(
        unit=unit,
        trust=float(trust),
        trusted_share=float(np.mean(trusted)),
        slope_per_px=slope,
        tilt_deg=tilt_deg if trusted.any() else math.nan,
        tilt_direction_deg=direction_deg if trusted.any() else math.nan,
        raw=_parameters(heights, trusted, pixel_size),
        form=form,
        levelled=_parameters(levelled, trusted, pixel_size),
        s_filter_px=s_px,
        l_filter_px=l_px,
    )


def _known_form(form: str) -> SurfaceForm:
    if form not in SURFACE_FORMS:
        raise InputError(f"unknown form {form!r}; choose one of {', '.join(SURFACE_FORMS)}.")
    return SURFACE_FORMS[form]


def _coordinates(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return y and x of the rows and columns, counted from the middle in halves of the longer side."""
    y, x = ((np.arange(n, dtype=np.float64) - (n - 1) / 2) / (max(shape) / 2) for n in shape)
    return y, x


def _robust_fit(terms: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Return the coefficients of `terms`, shape (terms, points), by iterated biweights, from least squares on."""
    weights: npt.NDArray[Any] = np.ones_like(heights)
    # Residuals below this are rounding errors of float32 heights.
    least_sigma = 1e-6 * (float(np.ptp(heights)) + 1e-30)
    coefficients: npt.NDArray[Any] = np.zeros(len(terms))
    for _ in range(_MOST_ROUNDS):
        weighted = terms * weights
        before = coefficients
        coefficients = np.linalg.lstsq(weighted @ terms.T, weighted @ heights, rcond=None)[0]
        residuals = heights - coefficients @ terms
        sigma = max(_SIGMA_PER_MAD * float(np.median(np.abs(residuals))), least_sigma)
        if np.abs(coefficients - before).max() < 1e-4 * sigma:
            break
        weights = np.clip(1 - (residuals / (_BIWEIGHT_REACH * sigma)) ** 2, 0, 1) ** 2
    return tuple(float(coefficient) for coefficient in coefficients)


def _tilt(slope_per_px: tuple[float, float], pixel_size: tuple[float, float] | None) -> tuple[float, float]:
    if pixel_size is None:
        return math.nan, math.nan
    along_y, along_x = (rise / size for rise, size in zip(slope_per_px, pixel_size, strict=True))
    angle = math.degrees(math.atan(math.hypot(along_y, along_x)))
    return angle, math.degrees(math.atan2(along_y, along_x)) % 360


def _cutoffs(name: str, cutoff_px: tuple[float, float] | float | None) -> tuple[float, float] | None:
    if cutoff_px is None:
        return None
    pair = tuple(float(px) for px in cutoff_px) if isinstance(cutoff_px, tuple) else (float(cutoff_px),) * 2
    if len(pair) != 2 or not all(0 < px < math.inf for px in pair):
        raise InputError(f"the cutoff of the {name}-filter must be above 0, got {cutoff_px}.")
    return pair


def _parameters(heights: FloatImage, trusted: Mask, pixel_size: tuple[float, float] | None) -> ArealParameters:
    values = heights[trusted].astype(np.float64)
    if not values.size:
        return ArealParameters(*[math.nan] * 8)
    values -= values.mean()
    squares = values * values
    sq = math.sqrt(float(squares.mean()))
    peak, pit = float(values.max()), -float(values.min())
    return ArealParameters(
        Sa=float(np.abs(values).mean()),
        Sq=sq,
        Sz=peak + pit,
        Sp=peak,
        Sv=pit,
        Ssk=float((squares * values).mean()) / sq**3 if sq > 0 else math.nan,
        Sku=float((squares * squares).mean()) / sq**4 if sq > 0 else math.nan,
        Sdq=_mean_slope(heights, trusted, pixel_size) if pixel_size else math.nan,
    )


def _mean_slope(heights: FloatImage, trusted: Mask, pixel_size: tuple[float, float]) -> float:
    """Return the root of the mean squared slope where a pixel and its four neighbours are trusted."""
    inner = trusted[1:-1, 1:-1] & trusted[2:, 1:-1] & trusted[:-2, 1:-1] & trusted[1:-1, 2:] & trusted[1:-1, :-2]
    if not inner.any():
        return math.nan
    along_y = (heights[2:, 1:-1] - heights[:-2, 1:-1])[inner] / (2 * pixel_size[0])
    along_x = (heights[1:-1, 2:] - heights[1:-1, :-2])[inner] / (2 * pixel_size[1])
    return math.sqrt(float(np.mean(along_y.astype(np.float64) ** 2 + along_x.astype(np.float64) ** 2)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
