"""Files in, files out: pixels and pixel sizes come back as they were put in, bad files are named."""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from napari_focus_stack.errors import InputError
from napari_focus_stack.io import (
    PixelSize,
    check_output,
    fuse_stack,
    fusing,
    read_stack,
    staged_outputs,
    write_image,
    write_report,
)
from napari_focus_stack.options import FocusStackOptions


def noise_image(shape, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    return (np.random.default_rng(seed).random(shape) * top).astype(dtype)


def save_slices(folder: Path, images, ending=".png", first=0) -> Path:
    folder.mkdir(exist_ok=True)
    for k, image in enumerate(images, first):
        Image.fromarray(image).save(folder / f"z{k}{ending}")
    return folder


def png_bytes(pixels: np.ndarray, colour_type: int) -> bytes:
    """Encode 16-bit PNG by the specification, without any of the code under test."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def all_slices(stack):
    return np.stack(list(stack))


# ---- which files, in which order


def test_slices_are_sorted_by_number(tmp_path):
    for k in (10, 2, 1, 33, 3):
        Image.fromarray(np.full((4, 5), k, np.uint8)).save(tmp_path / f"z{k}.png")
    assert [one[0, 0] for one in read_stack(tmp_path)] == [1, 2, 3, 10, 33]
    # The shell sorts by text: the order on the command line means nothing.
    named = sorted(tmp_path.iterdir())
    assert [one[0, 0] for one in read_stack(named)] == [1, 2, 3, 10, 33]


def test_quoted_globs_are_expanded(tmp_path):
    save_slices(tmp_path, [np.full((4, 5), k, np.uint8) for k in range(12)])
    assert [one[0, 0] for one in read_stack([f"{tmp_path}/z1*.png"])] == [1, 10, 11]
    assert len(read_stack([f"{tmp_path}/z1*.png", f"{tmp_path}/z?.png"])) == 12, "files named twice count once"


def test_a_name_with_brackets_is_a_name_first(tmp_path):
    folder = save_slices(tmp_path / "run [1]", [noise_image((4, 5), seed=k) for k in range(2)])
    assert len(read_stack(folder)) == 2


def test_side_files_and_hidden_files_are_passed_over(tmp_path):
    save_slices(tmp_path, [noise_image((4, 5), seed=k) for k in range(3)])
    for name in ("notes.txt", "meta.json", "Thumbs.db", ".z9.png", "._z1.png"):
        (tmp_path / name).write_text("no image")
    assert len(read_stack(tmp_path)) == 3
    assert len(read_stack(f"{tmp_path}/*")) == 3


# ---- pixels


@pytest.mark.parametrize(("pillow_format", "ending"), [("JPEG", ".png"), ("PNG", ".jpg"), ("BMP", ".tif")])
def test_content_counts_not_the_name(tmp_path, pillow_format, ending):
    images = [noise_image((16, 16, 3), seed=k) for k in range(2)]
    for k, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"z{k}{ending}", format=pillow_format)
    stack = read_stack(tmp_path)
    assert stack.rgb
    for k in range(2):
        np.testing.assert_array_equal(stack[k], np.asarray(Image.open(tmp_path / f"z{k}{ending}")))


def test_tiff_named_jpg_is_read_as_tiff(tmp_path):
    images = noise_image((2, 9, 7), np.uint16)
    for k in range(2):
        tifffile.imwrite(tmp_path / f"z{k}.tif", images[k])
        (tmp_path / f"z{k}.tif").rename(tmp_path / f"z{k}.jpg")
    np.testing.assert_array_equal(all_slices(read_stack(tmp_path)), images)


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_png_keeps_all_16_bits(tmp_path, channels, colour_type):
    pixels = noise_image((2, 33, 21, channels), np.uint16)
    for k in range(2):
        (tmp_path / f"z{k}.png").write_bytes(png_bytes(pixels[k], colour_type))
    stack = read_stack(tmp_path)
    expected = pixels[..., 0] if channels < 3 else pixels
    assert stack.dtype == np.uint16
    assert stack.rgb == (channels > 2)
    np.testing.assert_array_equal(all_slices(stack), expected)


def test_palette_alpha_and_black_and_white_become_plain_pixels(tmp_path):
    gray = noise_image((12, 10))
    Image.merge("LA", [Image.fromarray(gray), Image.fromarray(gray)]).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "la.png", min_slices=1)[0], gray)
    colours = Image.fromarray(noise_image((12, 10, 3))).quantize(7)
    colours.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "p.png", min_slices=1)[0], np.asarray(colours.convert("RGB")))
    Image.fromarray(gray > 128).save(tmp_path / "bw.png")
    np.testing.assert_array_equal(read_stack(tmp_path / "bw.png", min_slices=1)[0], np.where(gray > 128, 255, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_camera_orientation_is_applied(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{ending}"
    Image.fromarray(noise_image((24, 16, 3))).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    stack = read_stack(path, min_slices=1)
    assert stack.shape[1:] == expected.shape
    np.testing.assert_array_equal(stack[0], expected)


TIFF_WAYS = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "no metadata": {"metadata": None},
    "zlib": {"compression": "zlib", "predictor": True},
    "tiled": {"tile": (16, 16), "compression": "zlib"},
    "imagej": {"imagej": True},
    "imagej z": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "time for z": {"ome": True, "metadata": {"axes": "TYX"}},
    "bigtiff": {"bigtiff": True},
    "imagej, one page": {"imagej": True, "truncate": True, "metadata": {"axes": "ZYX"}},
    "one page": {"truncate": True},
}


@pytest.mark.parametrize("way", TIFF_WAYS.values(), ids=TIFF_WAYS)
def test_tiff_stacks_come_back(tmp_path, way):
    volume = noise_image((5, 40, 30), np.uint16)
    tifffile.imwrite(tmp_path / "s.tif", volume, photometric="minisblack", **way)
    with read_stack(tmp_path / "s.tif") as stack:
        assert (stack.shape, stack.dtype, stack.rgb) == (volume.shape, np.uint16, False)
        assert stack.dtype.isnative
        np.testing.assert_array_equal(stack[3], volume[3])
        np.testing.assert_array_equal(all_slices(stack), volume)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8"])
def test_every_real_dtype_is_kept(tmp_path, dtype):
    volume = noise_image((3, 20, 10), dtype)
    tifffile.imwrite(tmp_path / "s.tif", volume, compression="zlib", photometric="minisblack")
    with read_stack(tmp_path / "s.tif") as stack:
        np.testing.assert_array_equal(all_slices(stack), volume)
        assert stack.dtype == np.dtype(dtype)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff_stack_is_colour_last(tmp_path, planar):
    volume = noise_image((4, 20, 10, 3))
    stored = volume if planar == "contig" else volume.transpose(0, 3, 1, 2)
    tifffile.imwrite(tmp_path / "s.tif", stored, photometric="rgb", planarconfig=planar)
    with read_stack(tmp_path / "s.tif") as stack:
        assert stack.rgb
        np.testing.assert_array_equal(all_slices(stack), volume)


@pytest.mark.parametrize(("axes", "order"), [("ZCYX", (0, 1, 2, 3)), ("CZYX", (1, 0, 2, 3))])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_come_last_and_are_no_colour(tmp_path, axes, order, compression):
    volume = noise_image((4, 3, 20, 10), np.uint16)
    stored = volume.transpose(order)
    tifffile.imwrite(
        tmp_path / "s.ome.tif", stored, metadata={"axes": axes}, photometric="minisblack", compression=compression
    )
    with read_stack(tmp_path / "s.ome.tif") as stack:
        assert not stack.rgb
        np.testing.assert_array_equal(all_slices(stack), volume.transpose(0, 2, 3, 1))


def test_imagej_hyperstack_with_channels(tmp_path):
    volume = noise_image((4, 2, 20, 10), np.uint16)
    tifffile.imwrite(tmp_path / "s.tif", volume, imagej=True, metadata={"axes": "ZCYX"})
    with read_stack(tmp_path / "s.tif") as stack:
        np.testing.assert_array_equal(all_slices(stack), volume.transpose(0, 2, 3, 1))


def test_time_series_are_refused_with_their_axes(tmp_path):
    tifffile.imwrite(tmp_path / "s.ome.tif", noise_image((2, 3, 20, 10)), metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match=r"s\.ome\.tif has the axes T \(2\), Z \(3\).*one z axis"):
        read_stack(tmp_path / "s.ome.tif")


def test_palette_tiff_becomes_rgb_but_not_in_imagej_files(tmp_path):
    indices = noise_image((3, 20, 10))
    table = noise_image((3, 256), np.uint16, seed=1)
    tifffile.imwrite(tmp_path / "p.tif", indices, photometric="palette", colormap=table)
    with read_stack(tmp_path / "p.tif") as stack:
        assert stack.rgb
        np.testing.assert_array_equal(all_slices(stack), (table >> 8).T[indices])


def test_one_slice_is_decoded_at_a_time(tmp_path, monkeypatch):
    save_slices(tmp_path, [noise_image((8, 8), seed=k) for k in range(4)])
    stack = read_stack(tmp_path)
    opened = []
    original = stack._fetch
    monkeypatch.setattr(stack, "_fetch", lambda k: opened.append(k) or original(k))
    assert stack[-1].shape == (8, 8)
    assert opened == [3]
    with pytest.raises(IndexError):
        stack[4]


def test_small_stacks_are_decoded_once_and_fused_from_memory(tmp_path, monkeypatch):
    pixels = noise_image((5, 40, 50, 3))
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "3")
    fetched = []
    with read_stack(save_slices(tmp_path, pixels)) as stack:
        fetch = stack._fetch
        stack._fetch = lambda k: fetched.append(k) or fetch(k)
        small = fuse_stack(stack, True, FocusStackOptions(align="shift"))
        assert sorted(fetched) == list(range(5))
        monkeypatch.setattr(fusing, "_SMALL_BYTES", pixels.nbytes - 1)
        streamed = fuse_stack(stack, True, FocusStackOptions(align="shift"))
        assert len(fetched) > 10, "for noise, alignment and fusion"
    np.testing.assert_array_equal(small.image, streamed.image)
    np.testing.assert_array_equal(small.height, streamed.height)


def test_all_slices_come_into_memory_in_order_and_the_first_damaged_one_is_named(tmp_path):
    folder = save_slices(tmp_path, noise_image((9, 20, 30)), ".png")
    done = []
    with read_stack(folder) as stack:
        np.testing.assert_array_equal(stack.in_memory(4, lambda: done.append(True)), all_slices(stack))
    assert done == [True]
    with read_stack(folder) as stack:
        for k in (3, 7):
            spoil_cut(Path(stack.names[k]))
        with pytest.raises(InputError, match=Path(stack.names[3]).name):
            stack.in_memory(4, lambda: None)


def test_several_series_of_pages_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.tif") as tif:
        for shape in ((20, 10), (21, 10)):
            tif.write(noise_image(shape), metadata=None)
    with pytest.raises(InputError, match=r"pages of .*s\.tif should have one size.*20 x 10 uint8 and 21 x 10"):
        read_stack(tmp_path / "s.tif")


def test_zarr_stacks(tmp_path):
    import zarr

    volume = noise_image((4, 20, 10), np.uint16)
    plain = zarr.open_array(str(tmp_path / "a.zarr"), mode="w", shape=volume.shape, chunks=(1, 20, 10), dtype="u2")
    plain[:] = volume
    np.testing.assert_array_equal(all_slices(read_stack(tmp_path / "a.zarr")), volume)

    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="w")
    level = group.create_array("0", shape=(1, 2, *volume.shape), chunks=(1, 1, 1, 20, 10), dtype="u2")
    level[0, 0], level[0, 1] = volume, volume // 2
    axes = [{"name": n, "type": "space", "unit": "nanometer"} if n in "zyx" else {"name": n} for n in "tczyx"]
    steps = [{"type": "scale", "scale": [1, 1, 2000.0, 500.0, 250.0]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    stack = read_stack(tmp_path / "b.zarr")
    assert stack.pixel_size == PixelSize(2.0, 0.5, 0.25)
    np.testing.assert_array_equal(all_slices(stack), np.stack([volume, volume // 2], -1))
    with pytest.raises(InputError, match="name it alone"):
        read_stack([tmp_path / "b.zarr", tmp_path / "a.zarr"])


# ---- pixel sizes


def test_pixel_size_from_ome_imagej_and_resolution(tmp_path):
    volume = noise_image((3, 20, 10))
    sizes = {"PhysicalSizeZ": 2000, "PhysicalSizeZUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, photometric="minisblack", metadata={"axes": "ZYX", **sizes})
    tifffile.imwrite(
        tmp_path / "b.tif", volume, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX", "spacing": 2, "unit": "um"}
    )
    gray = {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "c.tif", volume, **gray, resolution=(40000, 20000), resolutionunit="CENTIMETER")
    tifffile.imwrite(tmp_path / "d.tif", volume, **gray, resolution=(300, 300), resolutionunit="INCH")
    found = {path.name: read_stack(path).pixel_size for path in sorted(tmp_path.iterdir())}
    assert found == {
        "a.ome.tif": PixelSize(2.0, 0.5, 0.25),
        "b.tif": PixelSize(2.0, 0.5, 0.25),
        "c.tif": PixelSize(None, 0.5, 0.25),
        "d.tif": PixelSize(),
    }


# ---- bad input


def spoil_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".webp"])
def test_truncated_photo_is_named(tmp_path, ending):
    save_slices(tmp_path, [noise_image((64, 64, 3), seed=k) for k in range(3)], ending)
    spoil_cut(tmp_path / f"z1{ending}")
    with pytest.raises(InputError, match=rf"z1\{ending}.* (damaged or cut short|no image)"):
        all_slices(read_stack(tmp_path))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("way", TIFF_WAYS.values(), ids=TIFF_WAYS)
def test_truncated_tiff_stack_is_refused_never_shortened(tmp_path, way, share):
    path = tmp_path / "s.tif"
    volume = noise_image((5, 40, 32), np.uint16)
    tifffile.imwrite(path, volume, photometric="minisblack", **way)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        pixels = all_slices(read_stack(path))
    except InputError as error:
        assert re.search(r"s\.tif .*(cut short|damaged)", str(error))
    else:
        assert share == 0.999, "only padding may be missing"
        np.testing.assert_array_equal(pixels, volume)


@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        (noise_image((8, 9)), "one size: z0.png is 8 x 8 pixels .*z2.png is 8 x 9"),
        (noise_image((8, 8, 3)), "one colour: z0.png is gray, but z2.png is RGB;"),
        (noise_image((8, 8), np.uint16), "one dtype: z0.png is uint8, but z2.png is uint16"),
    ],
    ids=["size", "colour", "dtype"],
)
def test_slices_that_differ_are_refused_before_decoding(tmp_path, spoiled, told):
    save_slices(tmp_path, [noise_image((8, 8)), noise_image((8, 8)), spoiled])
    with pytest.raises(InputError, match=told):
        read_stack(tmp_path)


def test_missing_empty_and_foreign_inputs(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    save_slices(tmp_path / "spoiled", [noise_image((8, 8))] * 2)
    (tmp_path / "spoiled" / "z1.png").write_text("not a picture")
    save_slices(tmp_path / "one", [noise_image((8, 8))])
    for name, told in {
        "nowhere": "no file or folder is called .*nowhere",
        "empty": "got nothing",
        "texts": "got 1 other file such as a.txt",
        "spoiled": "z1.png is no image",
        "one": "at least 2 slices, got 1",
        "one/*.tif": "got nothing",
        "texts/a.txt": "a.txt is no image",
    }.items():
        with pytest.raises(InputError, match=told):
            read_stack(tmp_path / name)


def test_several_pages_among_slices_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "z0.tif", noise_image((8, 8)))
    tifffile.imwrite(tmp_path / "z1.tif", noise_image((2, 8, 8)))
    with pytest.raises(InputError, match=r"z1\.tif holds 2 pages"):
        read_stack(tmp_path)


def test_complex_and_bool_pixels_are_refused(tmp_path):
    for dtype in (np.complex64, bool):
        tifffile.imwrite(tmp_path / "s.tif", np.zeros((3, 8, 8), dtype), photometric="minisblack")
        with pytest.raises(InputError, match=r"real numbers, got (complex64|bool)"):
            read_stack(tmp_path / "s.tif")


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    save_slices(tmp_path, [noise_image((8, 8))] * 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match=r"z0\.png claims more pixels"):
        read_stack(tmp_path)
    path = tmp_path / "bomb.tif"
    header = struct.pack("<2sHIH", b"II", 42, 8, 9)
    tags = [(256, 10**5), (257, 10**5), (258, 8), (259, 8), (262, 1), (273, 200), (277, 1), (278, 10**5), (279, 4)]
    path.write_bytes(header + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in tags) + bytes(100))
    with pytest.raises(InputError, match=r"bomb\.tif claims slices of 9\.3 GiB"):
        read_stack(path, min_slices=1)


def test_missing_imagecodecs_says_what_to_install(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "s.tif", noise_image((2, 20, 10)), compression="lzw")
    stack = read_stack(tmp_path / "s.tif")

    def fetch(_):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(stack, "_fetch", fetch)
    with pytest.raises(InputError, match="pip install imagecodecs"):
        stack[0]


# ---- writing


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize(("shape", "rgb"), [((20, 30), False), ((20, 30, 3), True), ((20, 30, 4), True)])
def test_written_tiff_comes_back_with_pixel_size(tmp_path, dtype, shape, rgb):
    image = noise_image(shape, dtype)
    write_image(tmp_path / "f.tif", image, rgb=rgb, pixel_size=PixelSize(2.0, 0.5, 0.25), description="in slices")
    stack = read_stack(tmp_path / "f.tif", min_slices=1)
    np.testing.assert_array_equal(stack[0], image)
    assert (stack.dtype, stack.rgb) == (image.dtype, rgb)
    assert (stack.pixel_size.y_um, stack.pixel_size.x_um) == pytest.approx((0.5, 0.25))


def test_channels_are_written_as_channels(tmp_path):
    image = noise_image((20, 30, 5), np.uint16)
    write_image(tmp_path / "f.tif", image)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "f.tif"), np.moveaxis(image, -1, 0))
    with tifffile.TiffFile(tmp_path / "f.tif") as tif:
        assert tif.series[0].axes == "CYX"


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_written_png_keeps_every_bit(tmp_path, dtype, shape):
    image = noise_image(shape, dtype)
    write_image(tmp_path / "f.png", image, rgb=True)
    np.testing.assert_array_equal(read_stack(tmp_path / "f.png", min_slices=1)[0], image)
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "f.png").read_bytes()), image)


def test_written_jpeg_is_close(tmp_path):
    image = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[:, None], (64, 64))
    write_image(tmp_path / "f.jpg", image)
    assert np.abs(np.asarray(Image.open(tmp_path / "f.jpg")).astype(int) - image).max() <= 2


@pytest.mark.parametrize(
    ("name", "dtype", "channels", "told"),
    [
        ("f.jpg", "uint16", 1, "8-bit pixels only; name the output .tif or .png"),
        ("f.jpg", "float32", 1, "8-bit pixels only; name the output .tif instead"),
        ("f.png", "float32", 1, "8 and 16-bit pixels only; name the output .tif"),
        ("f.jpg", "uint8", 4, "4 channels"),
        ("f.png", "uint8", 2, "2 channels"),
        ("f.gif", "uint8", 1, "no ending known for an image; use one of .tif"),
        ("f", "uint8", 1, "no ending known"),
        ("r.txt", None, 1, "no ending known for a report; use one of .json, .csv"),
        ("nowhere/f.tif", "uint8", 1, "nowhere does not exist"),
        ("folder.tif", "uint8", 1, "folder.tif is a folder"),
        ("z0.tif", "uint8", 1, "never overwritten"),
        ("slices/../z0.tif", "uint8", 1, "never overwritten"),
        ("twice.tif", "uint8", 1, "named for two outputs"),
    ],
)
def test_outputs_are_checked_before_the_run(tmp_path, name, dtype, channels, told):
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "slices").mkdir()
    (tmp_path / "z0.tif").touch()
    with pytest.raises(InputError, match=told):
        check_output(
            tmp_path / name, dtype, channels=channels, inputs=[tmp_path / "z0.tif"], others=[tmp_path / "twice.tif"]
        )


def test_outputs_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a.tif", tmp_path / "b.json"]
    with pytest.raises(KeyboardInterrupt), staged_outputs(paths) as staged:
        staged[paths[0]].write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with staged_outputs(paths) as staged:
        for path in paths:
            staged[path].write_text(path.name)
        assert not paths[0].exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.tif": "a.tif", "b.json": "b.json"}


def test_reports(tmp_path):
    sharpness = {"measure": "focus", "per_slice": (1.0, 3.0), "mean_of_sources": 2.0, "best_source": 1, "fused": 4.0}
    report = {"names": ["z0", "z1"], "sharpness": {**sharpness, "gain": float("nan")}}
    write_report(tmp_path / "r.json", **report, seconds=1.5, pixel_size=PixelSize(x_um=0.5))
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["sharpness"]["per_slice"] == [1, 3]
    assert told["sharpness"]["gain"] is None
    assert told["pixel_size"] == {"z_um": None, "y_um": None, "x_um": 0.5}
    write_report(tmp_path / "r.csv", **report)
    rows = (tmp_path / "r.csv").read_text().splitlines()
    assert rows == ["slice,name,focus", "0,z0,1.0", "1,z1,3.0", "mean,,2.0", "fused,,4.0"]


def test_reading_needs_no_heavy_package(tmp_path):
    """A folder of photographs is opened without zarr, dask or napari."""
    import subprocess

    save_slices(tmp_path, [noise_image((8, 8), seed=k) for k in range(2)])
    code = (
        "import sys; from napari_focus_stack.io import read_stack; read_stack(sys.argv[1])[0];"
        "print([m for m in ('zarr', 'dask', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
