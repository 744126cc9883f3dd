"""Names of channels, positions in one file, and sequences of images opened by dask-image."""

import json

import dask
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from command_line import command
from napari_focus_stack import InputError, focus_stack, focus_stack_tiled
from napari_focus_stack.io import find_positions, lazy_images, read_stack

NAMES = ("DAPI", "GFP, 488 nm")


@pytest.fixture(scope="module")
def stack():
    """Return (z, c, y, x)."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 4000, (2, 140, 150))
    sharp = np.arange(4)[:, None, None, None]
    return np.where(sharp == 1, texture, 2000).astype(np.uint16)


@pytest.fixture
def ome_tiff(stack, tmp_path):
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(
        path, stack, ome=True, photometric="minisblack", metadata={"axes": "ZCYX", "Channel": {"Name": list(NAMES)}}
    )
    return path


@pytest.mark.parametrize("tiles", [[], ["--tile", 64, "--levels", 1]], ids=["whole", "tiles"])
@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_names_of_channels_are_kept(ome_tiff, tmp_path, ending, tiles):
    fused, report = tmp_path / f"f{ending}", tmp_path / "r.json"
    run = command("fuse", ome_tiff, "-o", fused, "--report", report, *tiles)
    assert run.status == 0, run.stderr
    if ending == ".ome.tif":
        with tifffile.TiffFile(fused) as tif:
            channels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
        assert tuple(channel["Name"] for channel in channels) == NAMES
    else:
        channels = dict(zarr.open(str(fused), mode="r").attrs)["omero"]["channels"]
        assert tuple(channel["label"] for channel in channels) == NAMES
    assert tuple(json.loads(report.read_text())["channels"]) == NAMES
    with read_stack(fused, min_slices=1) as again:
        assert again.channels in (NAMES, ())  # as the axis of channels, or taken for slices


@pytest.mark.parametrize("version", [2, 3])
def test_names_come_back_from_ome_zarr(stack, tmp_path, version):
    from napari_focus_stack.io.zarr_image import make_array, write_metadata

    path = tmp_path / "s.zarr"
    path.mkdir()
    make_array(path / "0", stack.shape, stack.dtype, (1, 1, 70, 75), version, "zcyx")[...] = stack
    axes = [{"name": name, "type": "channel" if name == "c" else "space"} for name in "zcyx"]
    scale = [{"type": "scale", "scale": [1.0] * 4}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    labels = {"channels": [{"label": name, "color": "FFFFFF"} for name in NAMES]}
    write_metadata(path, version, {"multiscales": [image], "omero": labels}, {})
    with read_stack(path) as source:
        assert source.channels == NAMES


def test_a_time_series_keeps_them(stack, tmp_path):
    path = tmp_path / "s.ome.tif"
    series = np.stack([stack, stack])
    names = {"axes": "TZCYX", "Channel": {"Name": list(NAMES)}}
    tifffile.imwrite(path, series, ome=True, photometric="minisblack", metadata=names)
    assert command("fuse", path, "-o", tmp_path / "f.ome.tif").status == 0
    with tifffile.TiffFile(tmp_path / "f.ome.tif") as tif:
        channels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert tuple(channel["Name"] for channel in channels) == NAMES


def positions_file(path, stacks, names):
    with tifffile.TiffWriter(path, ome=True) as tif:
        for stack, name in zip(stacks, names, strict=True):
            axes = "TZYX"[4 - stack.ndim :]
            tif.write(stack, photometric="minisblack", metadata={"axes": axes, "Name": name})


def test_positions_in_one_file_are_fused_one_by_one(stack, tmp_path):
    """As Micro-Manager writes them: an image of its own for each, of any size, some with time."""
    first, second = stack[:, 0], stack[:, 1, :100, :120]
    timed = np.stack([second[::-1], second])
    path = tmp_path / "stage.ome.tif"
    positions_file(path, [first, second, timed], ["Pos/1", "Pos 2", "Pos 3"])
    run = command("fuse", path, "-o", tmp_path / "{name}.tif", "--report", tmp_path / "t.csv")
    assert run.status == 0, run.stderr
    expected = {"Pos-1": first, "Pos 2": second, "Pos 3 T0": timed[0], "Pos 3 T1": timed[1]}
    assert {p.stem for p in tmp_path.glob("Pos*")} == set(expected)
    for name, pixels in expected.items():
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"{name}.tif"), focus_stack(pixels).image)
    assert "needs {name} in it" in command("fuse", path, "-o", tmp_path / "f.tif").stderr
    cluster = command("fuse", path, "-o", tmp_path / "{name}.tif", "--scheduler", "tcp://localhost:1")
    assert cluster.status == 1 and "not on a cluster" in cluster.stderr


def test_positions_of_one_name_are_told_apart(stack, tmp_path):
    positions_file(tmp_path / "s.ome.tif", [stack[:, 0], stack[:, 1]], ["a", "a"])
    found = find_positions([tmp_path / "s.ome.tif"])
    assert found.names == ("a 0", "a 1")


@pytest.fixture(params=["slices", "slices [1]"])
def folder(request, stack, tmp_path):
    """Return a folder of slices whose names are hard on globs and on sorting by text."""
    path = tmp_path / request.param
    path.mkdir()
    for name, pixels in zip(("Z1 [a].tif", "z2 été.tif", "z10.tif", "z11.tif"), stack[:, 0], strict=True):
        tifffile.imwrite(path / name, pixels)
    return path


def test_a_folder_opens_lazily_with_dask_image_in_the_order_of_numbers(folder, stack):
    lazy = lazy_images(folder)
    assert lazy.chunksize == (1, 140, 150)
    np.testing.assert_array_equal(lazy.compute(), stack[:, 0])
    (image,) = dask.compute(focus_stack_tiled(lazy, tile=64, levels=1).image)
    np.testing.assert_array_equal(image, focus_stack(stack[:, 0], levels=1).image)


@pytest.mark.filterwarnings("ignore:The plugin infrastructure in:FutureWarning")  # of dask-image's own imports
def test_what_dask_image_itself_opens_is_fused_as_the_files_are(stack, tmp_path):
    from dask_image.imread import imread

    for k, pixels in enumerate(stack[:, 0]):
        tifffile.imwrite(tmp_path / f"z{k + 8}.tif", pixels)
    (image,) = dask.compute(focus_stack_tiled(imread(f"{tmp_path}/z*.tif"), tile=64, levels=1).image)
    np.testing.assert_array_equal(image, focus_stack(stack[:, 0], levels=1).image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
def test_pictures_are_read_as_by_read_stack(tmp_path, mode):
    rng = np.random.default_rng(0)
    channels = {"RGB": (3,), "RGBA": (4,)}.get(mode, ())
    dtype = np.uint16 if mode == "I;16" else np.uint8
    for k in range(2):
        pixels = rng.integers(0, np.iinfo(dtype).max, (12, 15, *channels)).astype(dtype)
        Image.fromarray(pixels).save(tmp_path / f"p{k}.png")
    with read_stack(tmp_path) as source:
        np.testing.assert_array_equal(lazy_images(tmp_path).compute(), np.stack(list(source)))


def test_a_stack_in_one_file_is_no_sequence(ome_tiff):
    with pytest.raises(InputError, match="holds a whole stack"):
        lazy_images(ome_tiff)
