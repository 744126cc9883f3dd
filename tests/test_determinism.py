"""The same input and options give the same bytes, whoever runs them: docs/reliability.md states the limits."""

from __future__ import annotations

import hashlib

import dask
import dask.array as da
import numpy as np
import pytest

from napari_focus_stack import focus_stack, focus_stack_tiled
from napari_focus_stack.synthetic import make_scene

MAPS = ("image", "index", "height", "confidence")
OPTIONS = {
    "plain": {"levels": 2},
    "all at once": {"levels": 1, "denoise": 0.7, "z_preference": 0.2, "halo_radius_px": 9, "height_smoothing_px": 2},
}
# Of tiles: none the shape of another, and none that divides the image.
TILES = ((300, 300), (128, 64), (40, 100))


def digest(*maps) -> str:
    """Return one number for all bytes of a result."""
    whole = hashlib.sha256()
    for one in maps:
        whole.update(f"{one.dtype.str} {one.shape}".encode())
        whole.update(np.ascontiguousarray(one).tobytes())
    return whole.hexdigest()


def in_memory(stack, options) -> str:
    result = focus_stack(stack, **options)
    return digest(*(getattr(result, name) for name in MAPS))


def in_tiles(stack, options, tile, **where) -> str:
    result = focus_stack_tiled(stack, tile=tile, **options)
    return digest(*dask.compute(*(getattr(result, name) for name in MAPS), **where))


@pytest.fixture(scope="module")
def cluster():
    """Return a cluster of dask.distributed; tests/test_tiled_files.py has one of several processes."""
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with dask.config.set({"distributed.admin.low-level-log-length": 0}), distributed.Client(**settings) as client:
        yield client


# Which of them runs the tiles is what is asked for here.
@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler when a distributed client:UserWarning")
@pytest.mark.parametrize("name", OPTIONS)
def test_every_run_thread_count_tile_shape_and_scheduler_gives_the_same_bytes(name, monkeypatch, cluster):
    options, dtype = OPTIONS[name], {"plain": np.uint8, "all at once": np.float32}[name]
    stack = make_scene("bumps", (130, 150), slices=4).stack.astype(dtype)
    lazy = da.from_array(stack, chunks=(1, 70, 80))
    expected = in_memory(stack, options)
    seen = {"again": in_memory(stack, options), "from dask": in_memory(lazy, options)}
    for tile, scheduler in zip(TILES, ("synchronous", "threads", cluster), strict=True):
        seen[f"tiles {tile} on {scheduler}"] = in_tiles(lazy, options, tile, scheduler=scheduler)
    for threads in ("1", "5"):
        monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", threads)
        seen[f"{threads} threads"] = in_memory(stack, options)
        seen[f"{threads} threads, tiles"] = in_tiles(lazy, options, TILES[1], scheduler="threads")
    assert {who for who, found in seen.items() if found != expected} == set()
