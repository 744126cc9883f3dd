"""Imports point inwards, and the core drags nothing heavy in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import docs_scripts
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
    "height_regularisation",
    "height",
    "two_peaks",
    "depth_edges",
    "disc_blur",
    "occlusion",
    "change",
    "drift",
    "prominence",
    "phase",
    "filling",
    "accumulator",
    "follow",
    "fluorescence",
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
    "warming",
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
ORDER_WITHIN = {
    "tiled": ["plan", "turn", "readers", "patches", "decisions", "run", "heights", "setup", "lazy", "__init__"]
}
OUTER = ORDER[ORDER.index("tiled") :]


def test_every_module_has_its_place():
    top = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert top - {"__init__", "__main__"} == set(ORDER)


def test_imports_point_inwards():
    imported = docs_scripts.load("make_architecture").imported
    wrong = [
        f"{module} imports {name}"
        for module in ORDER
        for name in imported(module)
        if ORDER.index(name) > ORDER.index(module)
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
