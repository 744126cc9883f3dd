"""Runs in tiles to files: whole or not there at all, resumed where they stopped, and the same on a cluster."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import tifffile
import zarr

from command_line import command
from napari_focus_stack import FocusStackOptions, InputError, focus_stack
from napari_focus_stack.io import PixelSize, read_stack
from napari_focus_stack.io.tile_pieces import TilePieces
from napari_focus_stack.io.tiled_files import fuse_into_zarr
from napari_focus_stack.io.workers import ClusterWorkers, FileReader, HereWorkers
from napari_focus_stack.io.zarr_image import ZarrImage
from napari_focus_stack.synthetic import make_scene
from napari_focus_stack.tiled import ArrayReader, PartReader, tiled_run

MAPS = ("image", "index", "height", "confidence")
OPTIONS = {"levels": 2}


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 4000, (600, 500)).astype(np.uint16)
    calm = np.full_like(texture, 2000)
    top = np.where(np.arange(600)[:, np.newaxis] < 300, texture, calm)
    return np.stack([top, (top + texture) // 2, texture - top + calm, calm]).astype(np.uint16)


@pytest.fixture(scope="module")
def whole(stack):
    return focus_stack(stack, **OPTIONS)


@pytest.fixture
def tiff(stack, tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", tile=(128, 96), compression="zlib")
    return path


def outputs(folder):
    return {name: folder / f"{name}.ome.zarr" for name in MAPS}


def pixels(path):
    return zarr.open(str(path), mode="r")["0"][:]


def fuse(stack, folder, **more):
    options = FocusStackOptions(**OPTIONS)
    return fuse_into_zarr(stack, ArrayReader(stack), outputs(folder), rgb=None, options=options, tile=256, **more)


def assert_same(whole, folder):
    for name, path in outputs(folder).items():
        np.testing.assert_array_equal(pixels(path), getattr(whole, name), err_msg=name)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


class Interrupted(HereWorkers):
    """Stops behind so many jobs, as Ctrl-C does."""

    def __init__(self, jobs):
        self.left = jobs

    def run(self, jobs):
        for answer in super().run(jobs):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield answer


def test_results_in_files_are_those_of_a_run_in_memory(stack, whole, tmp_path):
    outcome = fuse(stack, tmp_path)
    assert_same(whole, tmp_path)
    assert outcome.sharpness.fused == pytest.approx(whole.sharpness.fused, rel=1e-4)


@pytest.mark.parametrize("done", [2, 9, 40])
def test_an_interrupted_run_goes_on_where_it_stopped(stack, whole, tmp_path, done):
    with pytest.raises(KeyboardInterrupt):
        fuse(stack, tmp_path, workers=Interrupted(done))
    assert not any(path.exists() for path in outputs(tmp_path).values())
    outcome = fuse(stack, tmp_path, resume=True)
    assert outcome.resumed == min(done, len(outcome.run.plan))
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("smallest", [0.0, 1.0], ids=["transparent in part", "transparent"])
def test_a_tile_sees_what_its_neighbours_keep_for_it(tmp_path, smallest):
    run = tiled_run(np.zeros((3, 1100, 900), np.uint8), tile=256, options=FocusStackOptions(**OPTIONS))
    numbers = {"phase: largest share": 1.0, "phase: smallest share": smallest}
    run = replace(run, decisions=replace(run.decisions, numbers=numbers))
    assert run.filling.planes == (6 if smallest else 10)
    unfilled = np.random.default_rng(0).random((run.filling.planes, *run.map_shape), np.float32)
    pieces = TilePieces(tmp_path, run)
    for tile in run.plan:
        pieces.write("unfilled", tile, unfilled[(slice(None), *run.map_core(tile))])
    for tile in run.plan:
        window = run.map_window(tile)
        np.testing.assert_array_equal(pieces.seen("unfilled", tile), unfilled[(slice(None), *window)])
        np.testing.assert_array_equal(pieces.seen("unfilled", tile, 2), unfilled[(slice(2), *window)])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_picture_transparent_in_part_is_that_of_a_run_in_memory(tmp_path):
    """Its index too, which tells there where cells change most, not where contrast is largest."""
    opaque, cells = (make_scene(name, shape=(256, 256), slices=6, seed=2).stack for name in ("bumps", "cells"))
    stack = np.concatenate([opaque, cells], axis=2)
    whole = focus_stack(stack, levels=3)
    assert 0.1 < whole.transparent < 0.9
    options = FocusStackOptions(levels=3)
    fuse_into_zarr(stack, ArrayReader(stack), outputs(tmp_path), rgb=None, options=options, tile=512)
    assert_same(whole, tmp_path)


def test_coarser_levels_come_along_with_the_tiles(tmp_path):
    """Also where a tile has fewer pixels than a coarse pixel."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (1203, 1100)).astype(np.uint8)
    along, behind = (ZarrImage(tmp_path / name, "yx") for name in ("a.zarr", "b.zarr"))
    for image in (along, behind):
        image.create(pixels.shape, pixels.dtype, (100, 100), 2)
    along.create_levels()
    for y in range(0, 1203, 97):
        for x in range(0, 1100, 101):
            part = slice(y, min(y + 97, 1203)), slice(x, min(x + 101, 1100))
            along.write(part, pixels[part])
            along.write_levels(part, pixels[part])
    behind.write((...,), pixels)
    for image in (along, behind):
        image.finish(PixelSize(), name="a")
    for level in range(3):
        expected = zarr.open(str(behind.path / str(level)), mode="r")[:]
        np.testing.assert_array_equal(zarr.open(str(along.path / str(level)), mode="r")[:], expected)


def test_a_run_of_other_options_is_not_taken_for_the_interrupted_one(stack, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fuse(stack, tmp_path, workers=Interrupted(2))
    with pytest.raises(InputError, match="was of another identity"):
        fuse(stack, tmp_path, resume=True, identity="another stack")


def test_results_of_an_earlier_run_are_replaced_only_by_whole_ones(stack, whole, tmp_path):
    fuse(stack[::-1], tmp_path)
    before = pixels(tmp_path / "height.ome.zarr")
    with pytest.raises(KeyboardInterrupt):
        fuse(stack, tmp_path, workers=Interrupted(3))
    np.testing.assert_array_equal(pixels(tmp_path / "height.ome.zarr"), before)
    fuse(stack, tmp_path)
    assert_same(whole, tmp_path)


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_has_a_pyramid_and_pixel_sizes_and_comes_back(stack, tmp_path, version):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(
        path, stack, imagej=True, resolution=(4, 4), metadata={"axes": "ZYX", "unit": "um", "spacing": 2.0}
    )
    flags = ["--tile", 256, "--levels", 2, "--height-unit", "um", "--zarr-format", version]
    run = command("fuse", path, "-o", tmp_path / "f.ome.zarr", "--height", tmp_path / "h.ome.zarr", *flags)
    assert run.status == 0, run.stderr
    group = zarr.open(str(tmp_path / "f.ome.zarr"), mode="r")
    attributes = dict(group.attrs)
    image = attributes.get("ome", attributes)["multiscales"][0]
    scales = [step["coordinateTransformations"][0]["scale"] for step in image["datasets"]]
    assert scales == [[0.25, 0.25], [0.5, 0.5]]
    assert [group[step["path"]].shape for step in image["datasets"]] == [(600, 500), (300, 250)]
    assert {axis["unit"] for axis in image["axes"]} == {"micrometer"}
    fine, coarse = group["0"][:].astype(float), group["1"][:]
    assert np.abs(fine.reshape(300, 2, 250, 2).mean((1, 3)) - coarse).max() <= 0.5
    height = dict(zarr.open(str(tmp_path / "h.ome.zarr"), mode="r").attrs)["focus_stack"]
    assert height["unit"] == "um" and height["z_step_um"] == 2.0
    with read_stack(tmp_path / "f.ome.zarr", min_slices=1) as again:
        np.testing.assert_array_equal(again[0], group["0"][:])


def test_a_tiled_tiff_is_the_same_image(tiff, whole, tmp_path):
    outputs = ("-o", tmp_path / "f.ome.tif", "--index", tmp_path / "i.tif", "--report", tmp_path / "r.json")
    run = command("fuse", tiff, *outputs, "--tile", 200, "--levels", 2)
    assert run.status == 0, run.stderr
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "f.ome.tif"), whole.image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "i.tif"), whole.index)
    assert json.loads((tmp_path / "r.json").read_text())["tiles"]["counts"] == [3, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.ome.tif", "i.tif", "r.json", "stack.tif"]


def test_a_killed_run_leaves_no_broken_file_and_is_resumed(tiff, whole, tmp_path):
    words = ["fuse", tiff, "-o", tmp_path / "image.ome.zarr", "--levels", "2", "--tile", "128"]
    for name in MAPS[1:]:
        words += [f"--{name}", tmp_path / f"{name}.ome.zarr"]
    run = subprocess.Popen([sys.executable, "-m", "napari_focus_stack", *map(str, words)], start_new_session=True)
    journal = tmp_path / ".image.ome.zarr.run" / "journal.jsonl"
    while not journal.is_file() or journal.read_text().count("\n") < 3:
        assert run.poll() is None
        time.sleep(0.005)
    run.kill()
    run.wait()
    assert not any(path.exists() for path in outputs(tmp_path).values())
    again = command(*words, "--resume")
    assert again.status == 0, again.stderr
    assert "known from before" in again.stdout
    assert_same(whole, tmp_path)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["-o", "f.png", "--tile", "128"], "a run in tiles writes .zarr and .tif"),
        (["-o", "f.ome.zarr", "--tile", "128", "--level", "plane"], "fitted to the whole height map"),
        (["-o", "f.ome.zarr", "--scheduler", "host"], "the scheduler must be 'threads' or an address"),
        (["-o", "f.ome.zarr", "--memory", "1 MB"], "a tile needs at least"),
        (["-o", "f.ome.zarr", "--zarr-format", "4"], "must be 2 or 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_in_tiles_is_said(tiff, tmp_path, flags, sentence):
    flags = [str(tmp_path / flag) if flag.startswith("f.") else flag for flag in flags]
    run = command("fuse", tiff, *flags)
    assert run.status == 1 and sentence in run.stderr and run.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["stack.tif"]


@pytest.mark.parametrize("layout", ["map", "tiles", "strips", "jpeg", "zarr"])
def test_a_part_of_a_slice_is_read_as_the_whole_of_it(tmp_path, layout):
    picture = np.random.default_rng(0).integers(0, 255, (3, 301, 203, 3), np.uint8)
    path = tmp_path / "s.tif"
    how = {
        "map": {},
        "tiles": {"tile": (64, 48), "compression": "zlib"},
        "strips": {"rowsperstrip": 33, "compression": "lzw"},
    }
    how["jpeg"] = {"tile": (64, 64), "compression": "jpeg"}
    if layout == "zarr":
        path = tmp_path / "s.zarr"
        zarr.save_array(str(path), picture)
    else:
        tifffile.imwrite(path, picture, photometric="rgb", **how[layout])
    with read_stack(path) as stack:
        for rows, columns in (
            (slice(0, 50), slice(0, 301)),
            (slice(60, 290), slice(40, 203)),
            (slice(300, 301), slice(202, 203)),
        ):
            columns = slice(columns.start, min(columns.stop, 203))
            np.testing.assert_array_equal(PartReader(stack).read(1, rows, columns), stack[1][rows, columns])


def test_a_cluster_gives_the_same_pixels_and_a_killed_worker_costs_time_only(tiff, whole, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        read_stack(tiff) as stack,
    ):
        pids = list(client.run(os.getpid).values())
        killed = []

        def kill_one(done, total):
            if done >= 2 and not killed:
                psutil.Process(pids[0]).kill()
                killed.append(pids[0])

        fuse_into_zarr(
            stack,
            FileReader([tiff], [tiff]),
            outputs(tmp_path),
            rgb=None,
            options=FocusStackOptions(**OPTIONS),
            tile=192,
            workers=ClusterWorkers(client),
            progress=kill_one,
        )
        assert killed
    assert_same(whole, tmp_path)


def test_a_worker_that_lives_on_reads_files_that_were_replaced(tmp_path):
    """It kept the file of an earlier run open, and fused its pixels under the name of the new one."""
    path, everything = tmp_path / "s.tif", (slice(0, 8), slice(0, 9))
    for gray in (7, 8):
        tifffile.imwrite(tmp_path / "new.tif", np.full((3, 8, 9), gray, np.uint8), photometric="minisblack")
        (tmp_path / "new.tif").replace(path)
        assert FileReader([path], [path]).read(1, *everything).max() == gray


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_coarser_levels_keep_the_limits_of_every_dtype(tmp_path, dtype):
    """The largest 64-bit integers became 0 or the smallest, and the largest floats infinite."""
    kind = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    for name, extreme in {"least": kind.min, "most": kind.max}.items():
        image = ZarrImage(tmp_path / name, "yx")
        image.create((600, 601), dtype, (1024, 1024), 2)
        image.write((...,), np.full((600, 601), extreme, dtype))
        image.finish(PixelSize(), name=name)
        coarse = zarr.open(str(tmp_path / name), mode="r")["1"][:].astype(np.longdouble)
        np.testing.assert_allclose(coarse, np.longdouble(np.dtype(dtype).type(extreme)), rtol=1e-15)
