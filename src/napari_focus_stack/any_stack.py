"""`focus_stack`, whatever the stack is: of dask arrays the results are dask arrays, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .noise import NoiseModel
from .options import FocusStackOptions
from .pipeline import fused_at_once
from .result import FocusStackResult
from .slices import StackLike
from .tiled import DaskReader, check_options, lazy_focus_stack, reader_of

if TYPE_CHECKING:
    from .alignment.record import Alignment


def focus_stack(
    stack: StackLike | Sequence[Any],
    rgb: bool | None = None,
    *,
    noise: NoiseModel | tuple[float, float] | str | None = None,
    alignment: Alignment | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> FocusStackResult:
    """Fuse a z-stack to one image that is sharp everywhere, with the height at every pixel.

    Parameters
    ----------
    stack : array-like, shape (z, y, x) or (z, y, x, c), or sequence of slices
        Array, memmap, zarr or dask array, list of slices, or anything with
        ``shape``, ``dtype`` and whole-number indexing along z. Integers, or floats
        up to float64. Read one slice at a time and never written.
    rgb : bool or None
        Whether the last axis is RGB or RGBA; None takes a last axis of 3 or 4 for
        that. Alpha does not decide, and is opaque in the result.
    noise : NoiseModel, (gain, offset), "auto" or None
        A model from an earlier run, or the option of this name; None and "auto"
        estimate it from five evenly spaced slices.
    alignment : Alignment or None
        From `estimate_alignment` or an earlier run, in place of the one that the options ask for.
    progress : callable or None
        Called as ``progress(done, total)`` after every slice. What it raises ends the run.
    **options
        Fields of `FocusStackOptions`.

    Returns
    -------
    FocusStackResult
        Of a dask array image, index, height and confidence are dask arrays with the same pixels, computed when
        they are asked for, as is the sharpness; warnings are not known then. See `focus_stack_tiled`, which takes
        a memory budget. What needs the whole image at once is computed at once nevertheless: a noise model, an
        alignment or `progress` that is given, slices that are to be aligned, `mend_rims`, and the methods "height"
        and "decision-map".

    Raises
    ------
    InputError
        If the stack or an option is refused; the sentence says what to do.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> texture = rng.integers(0, 255, (64, 64)).astype(np.uint8)
    >>> stack = np.stack([texture, np.full_like(texture, 127)])
    >>> result = focus_stack(stack)
    >>> float(np.mean(result.index == 0)), bool(np.abs(result.image - texture.astype(float)).max() <= 1)
    (1.0, True)

    >>> import dask.array as da
    >>> lazy = focus_stack(da.from_array(stack))
    >>> type(lazy.image).__module__, bool((lazy.image.compute() == result.image).all())
    ('dask.array.core', True)
    """
    model = noise if isinstance(noise, NoiseModel) else None
    if noise is not None and model is None:
        options["noise"] = noise
    if (
        model is None
        and alignment is None
        and progress is None
        and isinstance(reader_of(stack), DaskReader)
        and _runs_in_tiles(chosen := FocusStackOptions.of(**options))
    ):
        return lazy_focus_stack(stack, rgb, chosen)
    return fused_at_once(stack, rgb, model=model, alignment=alignment, progress=progress, **options)


def _runs_in_tiles(options: FocusStackOptions) -> bool:
    try:
        check_options(options)
    except InputError:
        return False
    return True
