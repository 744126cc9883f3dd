"""Files as lazy arrays with all their axes, sizes and names; and as layers of napari."""

from functools import partial

import numpy as np
import pytest
import tifffile

from napari_focus_stack.errors import InputError
from napari_focus_stack.io import PixelSize, lazy_stacks
from napari_focus_stack.io.zarr_image import make_array, write_metadata

SHAPE = (2, 3, 2, 70, 90)
PIXELS = np.random.default_rng(0).integers(0, 4000, SHAPE).astype(np.uint16)
UM = PixelSize(2.0, 0.5, 0.25)


def ome_tiff(folder):
    path = folder / "cells.ome.tif"
    sizes = {f"PhysicalSize{axis}": getattr(UM, f"{axis.lower()}_um") for axis in "ZYX"}
    metadata = {"axes": "TZCYX", "Channel": {"Name": ["DNA", "actin"]}, **sizes}
    tifffile.imwrite(path, PIXELS, metadata=metadata, tile=(32, 48), compression="zlib")
    return path


def ome_zarr(folder, version):
    path = folder / "cells.ome.zarr"
    axes = [{"name": "t", "type": "time"}, {"name": "z", "type": "space", "unit": "micrometer"}]
    axes += [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    datasets = []
    for level, step in enumerate((1, 2)):
        array = make_array(path / str(level), PIXELS[..., ::step, ::step].shape, np.uint16, (1, 1, 1, 32, 32), version)
        array[...] = PIXELS[..., ::step, ::step]
        scale = [1.0, UM.z_um, 1.0, UM.y_um * step, UM.x_um * step]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    channels = {"channels": [{"label": "DNA", "color": "FFFFFF"}, {"label": "actin", "color": "FFFFFF"}]}
    image = {"name": "cells", "axes": axes, "datasets": datasets}
    write_metadata(path, version, {"multiscales": [image], "omero": channels}, {})
    return path


FILES = {"TIFF": ome_tiff, "Zarr 2": partial(ome_zarr, version=2), "Zarr 3": partial(ome_zarr, version=3)}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_every_channel_is_a_lazy_image_with_all_axes_its_name_and_the_pixel_size(tmp_path, file):
    stacks = lazy_stacks(file(tmp_path))
    assert [stack.name for stack in stacks] == ["cells DNA", "cells actin"]
    for c, stack in enumerate(stacks):
        assert stack.axes == "TZYX" and stack.pixel_size == UM and not stack.rgb
        np.testing.assert_array_equal(stack.levels[0].compute(), PIXELS[:, :, c])
        np.testing.assert_array_equal(stack.levels[0][1, ::2, 5:40, 33:].compute(), PIXELS[1, ::2, c, 5:40, 33:])
        np.testing.assert_array_equal(stack.levels[0][0, 2, ::3, 7].compute(), PIXELS[0, 2, c, ::3, 7])
        np.testing.assert_array_equal(stack.levels[0][..., ::-2, 80:3:-3].compute(), PIXELS[:, :, c, ::-2, 80:3:-3])


def test_levels_of_a_pyramid_are_those_of_the_file(tmp_path):
    dna, _ = lazy_stacks(ome_zarr(tmp_path, 2))
    np.testing.assert_array_equal(dna.levels[1].compute(), PIXELS[:, :, 0, ::2, ::2])


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    path = ome_tiff(tmp_path)
    stacks = lazy_stacks(path)
    path.unlink()
    with pytest.raises(InputError, match=r"cells\.ome\.tif"):
        stacks[0].levels[0][0, 0].compute()


def test_colour_stays_together(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", pixels, photometric="rgb")
    (stack,) = lazy_stacks(tmp_path / "c.tif")
    assert stack.axes == "ZYXS" and stack.rgb
    np.testing.assert_array_equal(stack.levels[0].compute(), pixels)


def test_a_folder_of_slices_is_one_stack(tmp_path):
    for k in (2, 10, 1):
        tifffile.imwrite(tmp_path / f"z{k}.tif", np.full((8, 9), k, np.uint8))
    (stack,) = lazy_stacks(tmp_path)
    assert stack.axes == "ZYX" and stack.levels[0][:, 0, 0].compute().tolist() == [1, 2, 10]


def test_positions_of_one_file_are_stacks_of_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "p.ome.tif", ome=True) as tif:
        for k, size in enumerate((30, 40)):
            tif.write(np.full((3, size, 50), k, np.uint8), metadata={"axes": "ZYX", "Name": f"well {k}"})
    stacks = lazy_stacks(tmp_path / "p.ome.tif")
    assert [(stack.name, stack.levels[0].shape) for stack in stacks] == [
        ("p well 0", (3, 30, 50)),
        ("p well 1", (3, 40, 50)),
    ]
    assert [int(stack.levels[0].max().compute()) for stack in stacks] == [0, 1]
