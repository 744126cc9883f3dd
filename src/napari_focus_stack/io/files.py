"""Which files a folder, a glob or a list of names stands for, in the order of their numbers."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError
from .source import decoded

IMAGE_ENDINGS = frozenset({".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp"})
IMAGE_KINDS = "TIFF, PNG, JPEG, BMP or WebP"


def natural_key(path: Path) -> tuple[tuple[str | int, ...], str]:
    """Sort key that reads digits as numbers: z1, z2, z10.

    Examples
    --------
    >>> [p.name for p in sorted(map(Path, ["z10.png", "z2.png", "Z1.png"]), key=natural_key)]
    ['Z1.png', 'z2.png', 'z10.png']
    """
    # re.split alternates text, digits, text, ...: numbers only ever meet numbers.
    parts = re.split(r"(\d+)", str(path).casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), str(path)


def find_image_files(inputs: Sequence[str | Path]) -> list[Path]:
    """Return the image files named by folders, files and globs, each once, sorted by number.

    Hidden files and files without an image's ending are passed over in folders
    and globs; a file named outright is always taken.

    Raises
    ------
    InputError
        If a path does not exist or cannot be looked at, or a folder or glob holds no image.
    """
    found: dict[Path, Path] = {}
    for entry in inputs:
        for path in decoded(str(entry), partial(_expanded, entry)):
            found.setdefault(path.resolve(), path)
    if not found:
        raise InputError("no input was given; name a folder, files or a TIFF stack.")
    return sorted(found.values(), key=natural_key)


def at_home(entry: str | Path) -> Path:
    """Return a path with a leading ~ replaced by the user's folder, where there is one of that name."""
    try:
        return Path(entry).expanduser()
    except RuntimeError:  # a file may be called ~draft.tif
        return Path(entry)


def _expanded(entry: str | Path) -> list[Path]:
    path = at_home(entry)
    if path.is_dir():
        return _images_among(path.iterdir(), f"the folder {path}")
    if path.is_file():
        return [path]
    if path.exists():
        # Reading a pipe would wait for ever.
        raise InputError(
            f"{entry} is neither a file nor a folder, but a pipe or device; save the slices to files first."
        )
    if glob.has_magic(str(entry)):
        return _images_among(_matching(path), f"what matches {entry}")
    raise InputError(f"no file or folder is called {entry}; check the path.")


def _matching(pattern: Path) -> Iterable[Path]:
    if "**" in pattern.parts:
        # Does not follow symbolic links to folders: two that lead back to their parent have 2^40 paths below them.
        return Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
    return map(Path, glob.glob(str(pattern)))  # noqa: PTH207


def _images_among(paths: Iterable[Path], place: str) -> list[Path]:
    seen = sorted(path for path in paths if not path.name.startswith(".") and path.is_file())
    images = [path for path in seen if path.suffix.lower() in IMAGE_ENDINGS]
    if images:
        return images
    got = f"{len(seen)} other file{'s' * (len(seen) > 1)} such as {seen[0].name}" if seen else "nothing"
    raise InputError(f"expected {IMAGE_KINDS} images in {place}, got {got}; name the folder that holds the slices.")
