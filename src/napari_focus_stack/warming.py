"""Kernels made ready in the background, so that neither the first run nor the window waits for them.

While Numba compiles, Python's collections of garbage and long calls stop all threads of the process, a window's
too, for up to 0.3 s at a time: a process of its own compiles, and this one loads what it has put on disk.
"""

from __future__ import annotations

import json
import subprocess
import threading
from functools import partial

import numpy as np

from . import pipeline
from .height.peaks import double_band
from .kernels import is_on_disk
from .options import AUTO
from .second_compiler import compile_from_the_last_call, start_python

_LONGEST_S = 300

_WARM_UP = """
from napari_focus_stack.pipeline import warm_up
warm_up()
"""

_compiling = threading.Lock()


def warm_up_apart() -> None:
    """Load the kernels of the default method; where they are not on disk yet, another process compiles them first.

    Where that cannot be, for want of a folder or of a Python to start, they are compiled here.
    """
    # The last kernel of a run: where it is kept, the others are.
    if is_on_disk(double_band) is False:
        with _compiling:
            if (process := start_python(_WARM_UP)) is not None:
                _ended(process)
    pipeline.warm_up()


def _ended(process: subprocess.Popen[str]) -> None:
    with process:
        try:
            process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()


def compile_from_the_last(dtype: str, channels: str, options: str) -> None:
    """Compile the kernels of a run, the last one first: what `second_compiler` starts a process for.

    Parameters
    ----------
    dtype, channels : str
        Of the slices.
    options : str
        Of the run, as JSON.
    """
    asked = json.loads(options)
    colour = () if channels == "1" else (int(channels),)
    # Every pixel takes time in plain Python. Two levels call all kernels; smaller slices are not aligned.
    aligned = asked["align"] != "none" or asked["match_brightness"] != "off"
    side = 32 if aligned else 16
    asked["levels"] = 2 if asked["levels"] == AUTO else min(asked["levels"], 2)
    stack = np.random.default_rng(0).integers(0, 255, (3, side, side, *colour)).astype(dtype)
    # Which way a run goes is seen late; what only light on its way through a specimen needs comes after the rest.
    ways = ("opaque", "transparent") if asked["light"] == "auto" else (asked["light"],)
    compile_from_the_last_call(*[partial(pipeline.fused_at_once, stack, **{**asked, "light": way}) for way in ways])


def under_way() -> bool:
    """Return whether another process compiles: a run that begins now would compile the same once more."""
    return _compiling.locked()
