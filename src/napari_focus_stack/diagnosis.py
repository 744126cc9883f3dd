"""What `napari-focus-stack info` prints: versions, cores, memory, compiled kernels, display."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import __version__
from .demo import missing_display
from .kernels import cache_folders, thread_count
from .machine import GIB, free_memory, total_memory

CORE = ("numpy", "scipy", "scikit-image", "numba", "llvmlite")
FILES = ("pillow", "tifffile", "imagecodecs", "zarr", "dask", "distributed")
WINDOW = ("napari", "npe2", "vispy", "qtpy", "PyQt6", "PyQt5", "PySide6")
# What changes how a run goes, or where kernels are kept.
VARIABLES = ("NAPARI_FOCUS_STACK_THREADS", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "QT_API", "QT_QPA_PLATFORM", "DISPLAY")


def diagnosis() -> Mapping[str, str]:
    """Return what is known of this installation and machine, a line each.

    Examples
    --------
    >>> list(diagnosis())[:3]
    ['napari-focus-stack', 'Python', 'system']
    """
    return {
        "napari-focus-stack": f"{__version__} in {Path(__file__).parent}",
        "Python": f"{platform.python_version()} ({platform.python_implementation()}) in {sys.executable}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "core": _versions(CORE),
        "files": _versions(FILES),
        "window": _versions(WINDOW),
        "cores": _cores(),
        "memory": f"{free_memory() / GIB:.1f} GiB free of {total_memory() / GIB:.1f} GiB",
        "kernels on disk": _kernels(),
        "display": "none that napari could open a window on" if missing_display() else "yes",
        "variables": ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none",
    }


def _versions(packages: tuple[str, ...]) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found) or "none"


def _cores() -> str:
    from llvmlite import binding

    threads = thread_count()
    return f"{os.cpu_count()}, {threads} thread{'s' * (threads > 1)} used; compiled for {binding.get_host_cpu_name()}"


def _kernels() -> str:
    import_module(".pipeline", __package__)  # and with it all that has kernels
    folders = cache_folders()
    if not folders:
        return "none: no folder may be written to, every start compiles (set NUMBA_CACHE_DIR to one that may)"
    files = [file for folder in folders for file in folder.glob("*.nb[ic]")]
    kernels = sum(file.suffix == ".nbi" for file in files)
    size = sum(file.stat().st_size for file in files)
    return f"{kernels}, {size / 1e6:.1f} MB, in folders of {os.path.commonpath(folders)}"
