"""What the first run and the first click would wait for, loaded in a thread while the panel is looked at."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np

from .collector import put_off_full_collection


def warm_up() -> threading.Thread:
    """Load or compile the core's kernels, then what napari loads with the first layer of a kind."""
    # A thread of its own, for napari's workers would be waited for when napari ends.
    thread = threading.Thread(target=_load, name="focus-stack-warm-up", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    from ..warming import warm_up_apart as load_kernels

    for load in (load_kernels, _meet_layers):
        put_off_full_collection()
        # What cannot be loaded ahead is loaded, or fails, where it is needed.
        with suppress(Exception):
            load()


def _meet_layers() -> None:
    """Make one tiny layer of each kind that sections add, which no viewer ever sees.

    With the first of them napari loads pandas and compiles functions of its own: .3 s for the relief, 1 s for
    contours, several for a line where they were never compiled before.
    """
    import dask.array  # noqa: F401 - aligned slices are warped as they are looked at
    from napari.layers import Labels, Shapes, Surface
    from napari.utils.colormaps import DirectLabelColormap

    colours = DirectLabelColormap(color_dict={1: "white", 0: "transparent", None: "transparent"})
    Labels(np.eye(2, dtype=np.uint16), colormap=colours)
    Surface((np.eye(3, dtype=np.float32), np.array([[0, 1, 2]])))
    Shapes([np.array([[0, 0], [1, 1]])], shape_type="line")
