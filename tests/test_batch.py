"""Many stacks in one run: each as if it were alone, and a bad one does not stop the rest."""

import csv

import numpy as np
import pytest
import tifffile
import zarr

from command_line import command
from napari_focus_stack import focus_stack
from napari_focus_stack.io import find_positions
from napari_focus_stack.io.zarr_image import make_array, write_metadata

POINTS = 3


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def series():
    """Return time points of (z, c, y, x); each has its sharpest slice elsewhere."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 4000, (POINTS, 2, 70, 60))
    sharp = np.arange(4)[:, None, None, None]
    return np.stack([np.where(sharp == t, texture[t], 2000) for t in range(POINTS)]).astype(np.uint16)


def fused(stack):
    return focus_stack(np.moveaxis(stack, 1, -1), rgb=False)


def assert_points_are(series, image, index):
    for t in range(POINTS):
        alone = fused(series[t])
        np.testing.assert_array_equal(image[t], np.moveaxis(alone.image, -1, 0))
        np.testing.assert_array_equal(index[t], alone.index)


@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_a_time_series_becomes_one_image_with_time_and_channels(series, tmp_path, ending):
    path = tmp_path / "series.ome.tif"
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, series, ome=True, photometric="minisblack", metadata={"axes": "TZCYX", **size})
    image, index, summary = tmp_path / f"f{ending}", tmp_path / f"i{ending}", tmp_path / "t.csv"
    run = command("fuse", path, "-o", image, "--index", index, "--report", summary)
    assert run.status == 0, run.stderr
    if ending == ".tif":
        with tifffile.TiffFile(image) as tif:
            assert tif.series[0].axes == "TCYX"
            assert 'PhysicalSizeX="0.5"' in tif.ome_metadata
        assert_points_are(series, tifffile.imread(image), tifffile.imread(index))
    else:
        group = zarr.open(str(image), mode="r")
        assert [axis["name"] for axis in dict(group.attrs)["multiscales"][0]["axes"]] == ["t", "c", "y", "x"]
        assert_points_are(series, group["0"][:], zarr.open(str(index), mode="r")["0"][:])
    assert [(row["stack"], row["sharpest_slice"], row["error"]) for row in table(summary)] == [
        (f"T{t}", str(t), "") for t in range(POINTS)
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, image.name, index.name, summary.name])


@pytest.mark.parametrize("version", [2, 3])
def test_an_ome_zarr_time_series_does_too_and_survives_a_broken_point(series, tmp_path, version):
    path = tmp_path / "series.zarr"
    path.mkdir()
    array = make_array(path / "0", series.shape, series.dtype, (1, 1, 1, 70, 60), version, "tzcyx")
    array[...] = series
    axes = [
        {"name": name, "type": kind}
        for name, kind in zip("tzcyx", ("time", "space", "channel", "space", "space"), strict=True)
    ]
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    write_metadata(
        path,
        version,
        {"multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]},
        {},
    )
    (broken,) = [p for p in (path / "0").rglob("*") if p.is_file() and str(p).endswith("1/2/1/0/0")]
    broken.write_bytes(b"no chunk")
    image, summary = tmp_path / "f.ome.zarr", tmp_path / "t.csv"
    run = command("fuse", path, "-o", image, "--report", summary)
    assert run.status == 3
    assert "T1 failed" in run.stderr and "damaged" in run.stderr
    found = zarr.open(str(image), mode="r")["0"][:]
    for t in (0, 2):
        np.testing.assert_array_equal(found[t], np.moveaxis(fused(series[t]).image, -1, 0))
    assert not found[1].any()
    assert [bool(row["error"]) for row in table(summary)] == [False, True, False]


def test_a_folder_of_folders_gives_a_result_for_each(series, tmp_path):
    for t in range(POINTS):
        (tmp_path / "in" / f"well {t}").mkdir(parents=True)
        for z, image in enumerate(series[t, :, 0]):
            tifffile.imwrite(tmp_path / "in" / f"well {t}" / f"z{z}.tif", image)
    (tmp_path / "in" / "well 1" / "z2.tif").write_bytes(b"II*\0")
    run = command(
        "fuse", tmp_path / "in", "-o", tmp_path / "out" / "{name}.tif", "--report", tmp_path / "t.csv", "--quiet"
    )
    assert run.status == 3
    assert run.stdout == "" and run.stderr.count("\n") == 1 and "well 1 failed" in run.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["well 0.tif", "well 2.tif"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "well 2.tif"), focus_stack(series[2, :, 0]).image)
    rows = table(tmp_path / "t.csv")
    assert [row["stack"] for row in rows] == ["well 0", "well 1", "well 2"]
    assert [row["sharpest_slice"] for row in rows] == ["0", "", "2"]


@pytest.mark.parametrize(
    ("output", "report", "sentence"),
    [
        ("f.tif", "t.csv", "needs {name} in it"),
        ("{name}.tif", "t.json", "the table of many stacks is a .csv"),
        ("{name}.tif", "t.csv", "none of 2 stacks could be fused"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path, output, report, sentence):
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
    run = command("fuse", tmp_path / "in", "-o", tmp_path / output, "--report", tmp_path / report)
    assert run.status == 1 and run.stderr.count("\n") == 1
    assert sentence in run.stderr


def test_images_of_one_file_never_share_a_name(tmp_path):
    """Names that differ only in what no file may be called: the second result took the place of the first."""
    path = tmp_path / "s.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for name, side in (("A/1", 20), ("A:1", 24), ("b", 28)):
            pixels = np.zeros((3, side, side), np.uint8)
            tif.write(pixels, photometric="minisblack", metadata={"axes": "ZYX", "Name": name})
    assert find_positions([path]).names == ("A-1 0", "A-1 1", "b 2")
