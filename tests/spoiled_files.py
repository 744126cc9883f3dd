"""Image files of every kind that is read, spoiled at random: what `test_spoiled_files` and the campaign share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_focus_stack.errors import InputError
from napari_focus_stack.io import read_stack

# Sizes that lie, offsets behind the end, numbers that overflow when multiplied.
ODD_NUMBERS = (
    0,
    1,
    2,
    8,
    16,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
)
ODD_TEXTS = ("0", "-1", "1", "3", "65536", "1000000000", "99999999999999999999", "1e999", "nan", "", "x", "[]", "null")


def stack_of(dtype: str = "u2", shape: tuple[int, ...] = (3, 24, 20)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def _tiff(**way: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, stack_of(), photometric="minisblack", **way)


def _photo(mode: str, **way: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        channels = len(Image.new(mode, (1, 1)).getbands())
        pixels = stack_of("u1", (24, 20, channels)).squeeze()
        image = Image.fromarray(stack_of()[0]) if mode.startswith("I") else Image.fromarray(pixels).convert(mode)
        image.save(path, **way)

    return write


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _palette_tiff(path: Path) -> None:
    table = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)
    tifffile.imwrite(path, stack_of("u1"), photometric="palette", colormap=table)


def _colour_tiff(path: Path) -> None:
    tifffile.imwrite(path, stack_of("u1", (3, 24, 20, 3)), photometric="rgb", compression="zlib", predictor=True)


def _zarr(version: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import zarr

        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        level = group.create_array("0", shape=(3, 24, 20), chunks=(1, 16, 16), dtype="u2")
        level[:] = stack_of()
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        steps = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
        group.attrs.update({"ome": {"multiscales": [image]}} if version == 3 else {"multiscales": [image]})

    return write


# Name of the file, and what writes it whole.
KINDS: dict[str, Callable[[Path], None]] = {
    "plain.tif": _tiff(),
    "big-endian.tif": _tiff(byteorder=">"),
    "bare.tif": _tiff(metadata=None),
    "zlib.tif": _tiff(compression="zlib", predictor=True),
    "lzw.tif": _tiff(compression="lzw"),
    "tiled.tif": _tiff(tile=(16, 16), compression="zlib"),
    "jpeg2000.tif": _tiff(compression="jpeg2000"),
    "imagej.tif": _tiff(imagej=True, metadata={"axes": "ZYX", "spacing": 2, "unit": "um"}, resolution=(4, 4)),
    "run.tif": _tiff(imagej=True, truncate=True, metadata={"axes": "ZYX"}),
    "ome.tif": _tiff(ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}),
    "bigtiff.tif": _tiff(bigtiff=True),
    "palette.tif": _palette_tiff,
    "colour.tif": _colour_tiff,
    "gray.png": _photo("L"),
    "deep.png": _photo("I;16"),
    "colour.png": _photo("RGB", exif=_exif(6)),
    "palette.png": _photo("P"),
    "alpha.png": _photo("LA"),
    "gray.jpg": _photo("L"),
    "colour.jpg": _photo("RGB", exif=_exif(3)),
    "progressive.jpg": _photo("RGB", progressive=True),
    "colour.bmp": _photo("RGB"),
    "palette.bmp": _photo("P"),
    "colour.webp": _photo("RGB", lossless=True),
    "v2.zarr": _zarr(2),
    "v3.zarr": _zarr(3),
}


def whole_files(folder: Path) -> list[Path]:
    """Write one file, or Zarr folder, of every kind."""
    for name, write in KINDS.items():
        write(folder / name)
    return [folder / name for name in KINDS]


def spoil(content: bytes, rng: np.random.Generator) -> bytes:
    """Return content with a few faults: bits, numbers, texts, a cut, a gap, a repeat, the byte order."""
    spoiled = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not spoiled:
            break
        # Headers and lists of tags lie at both ends.
        place = int(len(spoiled) * rng.random() ** rng.choice([1, 3]))
        place = min(len(spoiled) - 1 - place if rng.random() < 0.3 else place, len(spoiled) - 1)
        fault = int(rng.integers(0, 9))
        if fault == 0:
            spoiled[place] ^= 1 << int(rng.integers(0, 8))
        elif fault in (1, 2, 3):
            width = int(rng.choice([1, 2, 4, 8]))
            number = int(rng.choice(np.array(ODD_NUMBERS, np.uint64))) & (256**width - 1)
            order = "little" if rng.random() < 0.7 else "big"
            at = place - place % width if rng.random() < 0.8 else place
            spoiled[at : at + width] = number.to_bytes(width, order)
        elif fault == 4:
            del spoiled[place:]
        elif fault == 5:
            del spoiled[place : place + int(rng.integers(1, 64))]
        elif fault == 6:
            spoiled[place:place] = spoiled[place : place + int(rng.integers(1, 64))]
        elif fault == 7:
            spoiled[:2] = spoiled[1::-1] if rng.random() < 0.5 else (b"MM" if spoiled[:2] == b"II" else b"II")
        else:
            spoiled = _other_text(spoiled, rng)
    return bytes(spoiled)


def _other_text(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Replace one number or word in quotes of what text there is: OME-XML, ImageJ's lines, JSON."""
    found = list(re.finditer(rb'(?<=[="\[ ,:])(-?\d[\d.]*|[a-z_]{2,20})(?=[" ,\]}\n])', bytes(content)))
    if not found:
        return content
    match = found[int(rng.integers(0, len(found)))]
    content[match.start() : match.end()] = str(rng.choice(ODD_TEXTS)).encode()
    return content


def spoil_path(whole: Path, target: Path, rng: np.random.Generator) -> None:
    """Write a spoiled copy of a file, or of a folder with one to three of its files spoiled or gone."""
    if whole.is_file():
        target.write_bytes(spoil(whole.read_bytes(), rng))
        return
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    # Most faults in the metadata; chunks are only bytes.
    telling = [path for path in files if path.name.startswith((".z", "zarr"))]
    chosen = set(rng.choice(np.array(telling, object), int(rng.integers(1, 3)))) | set(
        rng.choice(np.array(files, object), 1)
    )
    for path in files:
        copy = target / path.relative_to(whole)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes()
        if path in chosen:
            if rng.random() < 0.1:
                continue
            content = spoil_json(content, rng) if path in telling and rng.random() < 0.6 else spoil(content, rng)
        copy.write_bytes(content)


def spoil_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON in which one value anywhere is another one, or gone."""
    root = json.loads(content)
    places: list[tuple[object, object]] = []

    def walk(node: object) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(entries):
            places.append((node, key))
            walk(value)

    walk(root)
    if not places:
        return b"{"
    holder, key = places[int(rng.integers(0, len(places)))]
    if rng.random() < 0.2:
        del holder[key]
    else:
        odd = [
            0,
            -1,
            10**6,
            10**12,
            2**63,
            1.5,
            float("nan"),
            None,
            "",
            "x",
            [],
            {},
            [[]],
            True,
            {"id": "pickle"},
            "|O",
        ]
        holder[key] = odd[int(rng.integers(0, len(odd)))]
    return json.dumps(root).encode()


def verdict(path: Path) -> str:
    """Read a stack as a run would; "read", or the sentence of refusal.

    Anything else that is raised, and a stack that is not what it said, is a finding.
    """
    try:
        with read_stack(path, min_slices=1) as stack:
            assert len(stack.names) == len(stack)
            assert stack.rgb in (True, False)
            for k in sorted({0, len(stack) // 2, len(stack) - 1}):
                pixels = stack[k]
                assert pixels.shape == stack.shape[1:]
                assert pixels.dtype == stack.dtype
            sizes = stack.pixel_size
            assert all(size is None or 0 < size < float("inf") for size in (sizes.z_um, sizes.y_um, sizes.x_um))
    except InputError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert len(sentence) < 2000
        assert str(path) in sentence, "the sentence names the file"
        return sentence
    return "read"


def number_of_seed(seed: int, wholes: list[Path]) -> tuple[np.random.Generator, Path]:
    """Return the generator of a case and the whole file it starts from."""
    return np.random.default_rng(seed), wholes[seed % len(wholes)]
