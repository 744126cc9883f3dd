"""Imports point inwards, and the core drags nothing heavy in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_focus_stack

PACKAGE = Path(napari_focus_stack.__file__).parent

# Each may import only from those before it.
ORDER = [
    "errors",
    "machine",
    "whole",
    "slices",
    "sampling",
    "kernel_cache",
    "kernels",
    "pyramid",
    "warp",
    "register",
    "steady",
    "brightness",
    "alignment",
    "align",
    "median",
    "islands",
    "noise",
    "scaling",
    "analysis",
    "sweep",
    "relief",
    "height",
    "hills",
    "rims",
    "disc_blur",
    "occlusion",
    "change",
    "drift",
    "prominence",
    "phase",
    "filling",
    "accumulator",
    "follow",
    "glow",
    "veil",
    "value_range",
    "whole_pixels",
    "strength",
    "laplacian",
    "baselines",
    "fusion",
    "sharpness",
    "measure_table",
    "focus_curve",
    "surface",
    "mesh",
    "profile",
    "synthetic",
    "options",
    "presets",
    "recipe",
    "chosen",
    "result",
    "run",
    "stacker",
    "pipeline",
    "by_map",
    "tiled",
    "io",
    "demo",
    "diagnosis",
    "terminal",
    "cli",
    "napari_plugin",
]
# The same within a package of several steps.
ORDER_WITHIN = {"tiled": ["plan", "readers", "patches", "decisions", "run", "heights", "setup", "lazy", "__init__"]}
OUTER = ORDER[ORDER.index("tiled") :]


def own_imports(path: Path) -> set[str]:
    """Return the modules of this package, one below its root, that a file imports."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level == 0:
            names = (node.module or "").split(".")
            if names[0] != "napari_focus_stack" or len(names) < 2:
                continue
            found.add(names[1])
        else:
            base = list(parts[: len(parts) - node.level])
            target = base + (node.module or "").split(".") if node.module else base
            found |= {target[0]} if target else {alias.name for alias in node.names}
    return found - {"__version__"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if top not in ("__init__", "__main__"):
            yield path, top


def test_every_module_has_its_place():
    assert {top for _, top in modules()} == set(ORDER)


def test_imports_point_inwards():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, top in modules()
        for name in own_imports(path) - {top}
        if ORDER.index(name) > ORDER.index(top)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ORDER_WITHIN)
def test_imports_point_inwards_within(package):
    order = ORDER_WITHIN[package]
    found = {path.stem: path for path in (PACKAGE / package).glob("*.py")}
    assert set(found) == set(order)
    for name, path in found.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        own = {(node.module or "").split(".")[0] for node in nodes if node.level == 1}
        assert own <= set(order[: order.index(name)]), name


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(m.split('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_package_loads_neither_napari_nor_qt_nor_dask():
    heavy = {
        "numba",
        "scipy",
        "napari",
        "qtpy",
        "PyQt6",
        "PySide6",
        "dask",
        "zarr",
        "tifffile",
        "magicgui",
        "typer",
        "skimage",
    }
    assert loaded_after("import napari_focus_stack") & heavy == set()


def test_a_run_of_the_core_needs_no_outer_package():
    code = (
        "import numpy as np, napari_focus_stack as f\n"
        "f.focus_stack(np.random.default_rng(0).integers(0, 255, (3, 32, 32), np.uint8))"
    )
    assert loaded_after(code) & {"napari", "qtpy", "dask", "zarr", "tifffile", "typer"} == set()
