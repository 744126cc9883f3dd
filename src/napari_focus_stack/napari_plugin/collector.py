"""Python's garbage collector, asked not to hold the window up while something is opened or added."""

from __future__ import annotations

import gc


def put_off_full_collection() -> None:
    """Let the next full collection wait until as much is made anew as between any two of them.

    Python looks through all objects, hundreds of thousands in napari, whenever some 70,000 new ones
    have come; that takes 150 to 300 ms, in which nothing else in the process goes on. Loading the
    kernels and adding the layers of a first run make as many. Nothing is switched off or set:
    what is there is called old, and counting starts anew. Where somebody else has frozen objects
    it is left alone, for theirs would be thawed.

    Examples
    --------
    >>> import gc
    >>> put_off_full_collection()
    >>> gc.get_count()[2], gc.get_freeze_count(), gc.isenabled()
    (0, 0, True)
    """
    if gc.isenabled() and gc.get_freeze_count() == 0:
        gc.freeze()
        gc.unfreeze()
