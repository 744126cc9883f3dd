"""Imports point inwards, and the core drags nothing heavy in."""

import subprocess
import sys
from pathlib import Path

import docs_scripts
import napari_focus_stack

PACKAGE = Path(napari_focus_stack.__file__).parent

made = docs_scripts.load("make_architecture")

# Each may import only from those before it. A package stands where its own `__init__` does: after its modules, if it
# gathers them.
ORDER = [
    *made.BASE.modules,
    "pyramid",
    *made.modules_of("alignment", "warp", "register", "smooth_motion", "brightness", "record", "aligner"),
    "median",
    "islands",
    "noise",
    "scaling",
    "analysis",
    *made.modules_of("height", "regularisation", "peaks"),
    *made.modules_of("occlusion", "two_peaks", "depth_edges", "disc_blur", "rims"),
    *made.modules_of("transparent", "axial_change", "drift", "prominence", "phase"),
    *made.modules_of(
        "fusion", "accumulator", "blocks", "sweep", "comparison", "follow", "fluorescence", "veil", "value_range"
    ),
    *made.modules_of("fusion", "whole_pixels", "strength", "laplacian", "baselines"),
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
    "auto_choices",
    "result",
    "run",
    "stacker",
    "pipeline",
    "warming",
    "by_map",
    *made.modules_of("tiled", "filling", "plan", "turn", "readers", "patches", "decisions", "run", "heights"),
    *made.modules_of("tiled", "setup", "lazy"),
    "tiled",
    "any_stack",
    "io",
    "demo",
    "diagnosis",
    "terminal",
    "cli",
    "napari_plugin",
]
OUTER = ORDER[ORDER.index("tiled.filling") :]


def test_every_module_has_its_place():
    paths = [path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")]
    places = [made.module_of(path) for path in paths if path[-1] not in ("__init__", "__main__")]
    assert None not in places
    assert set(ORDER) == set(places) | {"fusion", "tiled"}, "these two gather their modules"
    assert sorted(ORDER) == sorted(made.MODULES)


def test_imports_point_inwards():
    wrong = [
        f"{module} imports {name}"
        for module in ORDER
        for name in made.imported(module)
        if ORDER.index(name) > ORDER.index(module)
    ]
    assert wrong == []


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
