"""The command line: what is written, what is told, and with which status it ends."""

from __future__ import annotations

import csv
import gc
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from command_line import command
from napari_focus_stack.io import HEIGHT_UNITS
from napari_focus_stack.options import OPTION_SPECS
from napari_focus_stack.surface import DEFAULT_TRUST, SURFACE_FORMS
from napari_focus_stack.synthetic import Motion, make_scene


def half_sharp_slices(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three slices, sharp on the left, nowhere, and on the right, and the image sharp everywhere."""
    texture = np.random.default_rng(seed).integers(0, 256, (64, 96)).astype(np.uint8)
    blurred = gaussian_filter(texture, 4)
    left = np.arange(96) < 48
    slices = np.stack([np.where(left, texture, blurred), blurred, np.where(left, blurred, texture)])
    return slices, texture


@pytest.fixture
def folder(tmp_path):
    """Slices named so that text would sort them wrongly: z1, z2, z10."""
    slices = tmp_path / "slices"
    slices.mkdir()
    for number, image in zip((1, 2, 10), half_sharp_slices()[0], strict=True):
        Image.fromarray(image).save(slices / f"z{number}.png")
    return slices


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line in a folder of its own; return status, stdout and stderr."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return command


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- fuse


def test_fuse_writes_what_was_asked_for(folder, run):
    outputs = ("-o", "f.png", "--index", "i.png", "--height", "h.tif", "--confidence", "c.tif", "--report", "r.json")
    status, out, err = run("fuse", folder, *outputs)
    assert (status, err) == (0, "")
    assert files_in(Path()) == ["c.tif", "f.png", "h.tif", "i.png", "r.json"]
    texture = half_sharp_slices()[1]
    fused = np.asarray(Image.open("f.png"))
    far = np.abs(np.arange(96) - 47.5) > 12
    assert np.abs(fused[:, far].astype(int) - texture[:, far]).mean() < 1
    index = np.asarray(Image.open("i.png"))
    assert index.dtype in (np.uint16, np.int32)  # the latter in older versions of Pillow
    assert np.median(index[:, :36]) == 0
    assert np.median(index[:, 60:]) == 2, "z10 is the last slice"
    assert tifffile.imread("h.tif").dtype == tifffile.imread("c.tif").dtype == np.float32
    assert "×" in out
    assert "f.png" in out


def test_report_names_the_slices_in_order(folder, run):
    for report in ("r.json", "r.csv"):
        assert run("fuse", folder, "-o", "f.tif", "--report", report, "--sharpness-measure", "gradient", "-q")[0] == 0
    told = json.loads(Path("r.json").read_text())
    assert [Path(name).name for name in told["slices"]] == ["z1.png", "z2.png", "z10.png"]
    assert told["sharpness"]["measure"] == "gradient"
    assert told["options"]["method"] == "laplacian"
    assert set(told["chosen"]) == {"levels", "noise", "light"}
    assert told["sharpness"]["fused"] > max(told["sharpness"]["per_slice"])
    rows = list(csv.reader(Path("r.csv").read_text().splitlines()))
    assert rows[0] == ["slice", "name", "gradient"]
    assert [float(row[2]) for row in rows[1:4]] == pytest.approx(told["sharpness"]["per_slice"])


def test_pixel_size_is_kept(tmp_path, run):
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    slices = half_sharp_slices()[0]
    tifffile.imwrite(tmp_path / "s.ome.tif", slices, photometric="minisblack", metadata={"axes": "ZYX", **sizes})
    assert run("fuse", tmp_path / "s.ome.tif", "-o", "f.tif", "--height", "h.tif")[0] == 0
    for name in ("f.tif", "h.tif"):
        with tifffile.TiffFile(name) as tif:
            assert 'PhysicalSizeX="0.25"' in tif.ome_metadata
            assert 'PhysicalSizeY="0.5"' in tif.ome_metadata
            assert ("one slice is 2" in tif.ome_metadata) == (name == "h.tif")


def tilted_stack(path: Path, z_um: float | None = 0.5) -> np.ndarray:
    """Write a stack of a tilted sheet, textured but for a corner; return its height in slices."""
    y, x = np.mgrid[:96, :128]
    height = 2 + 0.04 * x + 0.02 * y
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 4000, (96, 128))
    texture[:40, :40] = 0
    blurred = np.stack([gaussian_filter(texture, sigma) for sigma in np.arange(0.7, 8, 0.25)])
    away = np.abs(np.arange(10)[:, None, None] - height) / 0.25
    rows, columns = np.broadcast_arrays(y, x)
    slices = blurred[np.minimum(away.round().astype(int), len(blurred) - 1), rows, columns]
    slices = rng.normal(30000 + slices, 20)
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, **({"PhysicalSizeZ": z_um} if z_um else {})}
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(path, slices.astype(np.uint16), ome=True, photometric="minisblack", metadata=metadata)
    return height


def description(path: str) -> str:
    with tifffile.TiffFile(path) as tif:
        return tif.ome_metadata


def test_height_map_is_written_in_slices_or_um(tmp_path, run):
    height = tilted_stack(tmp_path / "s.ome.tif")
    inner = np.s_[48:-16, 48:-16]
    for unit, step in (("slices", 1.0), ("um", 0.5)):
        assert run("fuse", tmp_path / "s.ome.tif", "-o", "f.tif", "--height", "h.tif", "--height-unit", unit)[0] == 0
        error = tifffile.imread("h.tif") - step * height
        assert np.abs(error[inner]).mean() < 0.15 * step
        assert ("position in µm above the first slice" in description("h.tif")) == (unit == "um")
        assert ("position in slices, counted from 0" in description("h.tif")) == (unit == "slices")
        assert "one slice is 0.5 µm" in description("h.tif")


def test_z_step_is_taken_from_the_command_line(tmp_path, run):
    height = tilted_stack(tmp_path / "s.ome.tif", z_um=None)
    wanted = (tmp_path / "s.ome.tif", "-o", "f.tif", "--height", "h.tif", "--height-unit", "um")
    status, out, err = run("fuse", *wanted)
    assert (status, out) == (1, "")
    assert err == (
        "napari-focus-stack: heights in µm need the distance between slices, which the files do not tell; "
        "give it with --z-step.\n"
    )
    assert files_in(Path()) == []
    assert run("fuse", *wanted, "--z-step", "3", "--report", "r.json")[0] == 0
    assert np.abs(tifffile.imread("h.tif") - 3 * height)[48:-16, 48:-16].mean() < 0.45
    assert 'PhysicalSizeZ="3.0"' in description("h.tif")
    told = json.loads(Path("r.json").read_text())
    assert told["pixel_size"] == {"z_um": 3, "y_um": 0.25, "x_um": 0.25}


def test_height_map_is_levelled_and_masked_when_asked(tmp_path, run):
    tilted_stack(tmp_path / "s.ome.tif")
    maps = ("--height", "h.tif", "--confidence", "c.tif", "--height-unit", "um")
    assert (
        run("fuse", tmp_path / "s.ome.tif", "-o", "f.tif", *maps, "--level", "plane", "--trust", "0.8", "--mask")[0]
        == 0
    )
    height, confidence = tifffile.imread("h.tif"), tifffile.imread("c.tif")
    np.testing.assert_array_equal(np.isnan(height), confidence < 0.8)
    assert np.isnan(height[8:24, 8:24]).mean() > 0.9
    assert np.isnan(height[56:, 56:]).mean() < 0.05
    assert abs(np.nanmedian(height)) < 0.05
    assert np.nanstd(height) < 0.15
    assert "height in µm above the fitted plane; NaN where its confidence is below 0.8" in description("h.tif")


def test_report_tells_tilt_and_roughness(tmp_path, run):
    height = tilted_stack(tmp_path / "s.ome.tif")
    for report in ("r.json", "r.csv"):
        assert run("fuse", tmp_path / "s.ome.tif", "-o", "f.tif", "--report", report)[0] == 0
    surface = json.loads(Path("r.json").read_text())["surface"]
    assert surface["unit"] == "µm"
    assert surface["form"] == "plane"
    # It rises by 0.04 slices of 0.5 µm for a pixel of 0.25 µm along x, by half of that along y.
    assert surface["tilt_deg"] == pytest.approx(np.degrees(np.arctan(np.hypot(0.08, 0.04))), rel=0.03)
    assert surface["tilt_direction_deg"] == pytest.approx(np.degrees(np.arctan2(0.04, 0.08)), abs=2)
    height[:40, :40] = np.nan
    assert surface["raw"]["Sq"] == pytest.approx(0.5 * np.nanstd(height), rel=0.05)
    assert surface["levelled"]["Sq"] < 0.1
    # Nothing tells the height in the middle of the flat corner; texture is heard some 12 px around.
    assert 1 - 40 * 40 / (96 * 128) - 0.01 <= surface["trusted_share"] <= 1 - 28 * 28 / (96 * 128)
    rows = {tuple(row[:2]): row[2] for row in csv.reader(Path("r.csv").read_text().splitlines())}
    assert float(rows["Sq", "raw; µm"]) == surface["raw"]["Sq"]
    assert float(rows["Sq", "plane removed; µm"]) == surface["levelled"]["Sq"]
    assert float(rows["tilt", "plane; deg"]) == surface["tilt_deg"]


def test_report_without_sizes_is_in_slices_and_takes_them_from_the_command_line(folder, run):
    surfaces = []
    for given in ((), ("--z-step", "2", "--pixel-size", "0.5", "--s-filter", "2", "--level", "paraboloid")):
        assert run("fuse", folder, "-o", "f.tif", "--report", "r.json", *given)[0] == 0
        surfaces.append(json.loads(Path("r.json").read_text())["surface"])
    plain, given = surfaces
    assert (plain["unit"], plain["tilt_deg"], plain["levelled"]["Sdq"]) == ("slices", None, None)
    assert given["raw"]["Sa"] == pytest.approx(2 * plain["raw"]["Sa"])
    assert (given["unit"], given["form"], given["s_filter_px"]) == ("µm", "paraboloid", [4, 4])
    assert given["tilt_deg"] > 0


def test_an_output_among_the_slices_is_warned_of(folder, run):
    maps = ("--index", "index.png", "--report", folder / "report.json")
    status, _, err = run("fuse", folder, "-o", folder / "fused.png", *maps)
    assert status == 0
    assert err.count("fused.png lies among the slices") == 1
    assert len(err.splitlines()) == 1
    # It was no empty threat.
    assert run("measure", folder)[1].count(".png") == 4


def test_quiet_says_nothing(folder, run):
    assert run("fuse", folder, "-o", "f.tif", "--quiet") == (0, "", "")


def test_every_option_is_a_flag_and_reaches_the_run(folder, run):
    """Each flag is given a value other than its default; the report tells which values were used."""
    given, expected = [], {}
    for name, spec in OPTION_SPECS.items():
        flag = "--" + name.replace("_", "-")
        if spec.kind == "switch":
            given.append(flag.replace("--", "--no-", 1) if spec.default else flag)
            expected[name] = not spec.default
            continue
        text, value = {
            "choice": (next(reversed(spec.choices), None),) * 2,
            "noise": ("1.5,2", [1.5, 2.0]),
            "channel": ("0", 0),
            "integer": (f"{(spec.low or 0) + 1:g}", (spec.low or 0) + 1),
            "number": (str(spec.high), spec.high),
        }[spec.kind]
        given += [flag, text]
        expected[name] = value
    status, _, err = run("fuse", folder, "-o", "f.tif", "--report", "r.json", *given)
    assert status == 0, err
    assert json.loads(Path("r.json").read_text())["options"] == expected


def test_help_names_every_form_and_unit(run):
    told = " ".join(run("fuse", "--help")[1].split())
    assert f"--level {'|'.join(SURFACE_FORMS)}" in told
    assert f"--height-unit {'|'.join(HEIGHT_UNITS)}" in told


def test_heights_are_trusted_by_default_as_in_python_and_the_panel(folder, run):
    assert run("fuse", folder, "-o", "f.tif", "--report", "r.json")[0] == 0
    assert json.loads(Path("r.json").read_text())["surface"]["trust"] == DEFAULT_TRUST
    assert f"[default: {DEFAULT_TRUST:g}]" in " ".join(run("fuse", "--help")[1].split())


def test_negative_values_are_values(folder, run):
    assert run("fuse", folder, "-o", "f.tif", "--report", "r.json", "--z-preference", "-0.5")[0] == 0
    assert json.loads(Path("r.json").read_text())["options"]["z_preference"] == -0.5


def test_fuse_help_tells_every_option(run):
    status, out, _ = run("fuse", "--help")
    assert status == 0
    told = " ".join(out.split())
    for name, spec in OPTION_SPECS.items():
        assert "--" + name.replace("_", "-") in told
        assert spec.help.split(".")[0].split("-")[0] in told.replace("- ", "-")


# ---- bad input: status 1, one line, nothing written


def save_pngs(folder: Path, *images) -> Path:
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"z{k}.png")
    return folder


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


GRAY = half_sharp_slices()[0][0]


def bad_missing(tmp_path):
    return tmp_path / "nowhere", "no file or folder is called"


def bad_empty_folder(tmp_path):
    return save_pngs(tmp_path / "in"), "got nothing"


def bad_one_slice(tmp_path):
    return save_pngs(tmp_path / "in", GRAY), "needs at least 2 slices"


def bad_sizes(tmp_path):
    return save_pngs(tmp_path / "in", GRAY, GRAY[:, :-1]), "one size"


def bad_colours(tmp_path):
    return save_pngs(tmp_path / "in", GRAY, np.dstack([GRAY] * 3)), "one colour"


def bad_dtypes(tmp_path):
    return save_pngs(tmp_path / "in", GRAY, GRAY.astype(np.uint16)), "one dtype"


def bad_complex(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.ones((2, 64, 64), np.complex64), photometric="minisblack")
    return tmp_path / "in.tif", "complex64"


def bad_all_nan(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.full((2, 64, 64), np.nan, np.float32), photometric="minisblack")
    return tmp_path / "in.tif", "NaN"


def bad_truncated_photo(tmp_path):
    folder = save_pngs(tmp_path / "in", GRAY, GRAY, GRAY)
    truncated(folder / "z1.png")
    return folder, "z1.png is damaged or cut short"


def bad_truncated_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.stack([GRAY] * 4), photometric="minisblack")
    return truncated(tmp_path / "in.tif"), "cut short"


def bad_no_image(tmp_path):
    folder = save_pngs(tmp_path / "in", GRAY, GRAY)
    (folder / "z1.png").write_text("not a picture")
    return folder, "z1.png is no image"


BAD_INPUTS = [value for name, value in list(globals().items()) if name.startswith("bad_")]


# One picture can be measured, but not fused.
BAD_CASES = [(c, make) for c in ("fuse", "measure") for make in BAD_INPUTS if (c, make) != ("measure", bad_one_slice)]


@pytest.mark.parametrize(("command", "make"), BAD_CASES, ids=lambda part: getattr(part, "__name__", part))
def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, run, make, command):
    path, told = make(tmp_path)
    before = files_in(path) if path.is_dir() else []
    arguments = ("-o", "f.tif", "--height", "h.tif", "--report", "r.json") if command == "fuse" else ()
    status, out, err = run(command, path, *arguments)
    assert status == 1
    assert told in err
    assert err.startswith("napari-focus-stack: ")
    assert err.count("\n") == 1
    assert out == ""
    assert files_in(Path()) == []
    assert before == (files_in(path) if path.is_dir() else [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--method", "magic"), "unknown method 'magic'; choose one of laplacian"),
        (("--levels", "9"), "levels must be 'auto' or a whole number from 1 to 8, got 9"),
        (("--levels", "many"), "levels must be 'auto' or a whole number from 1 to 8, got 'many'"),
        (("--denoise", "nan"), "denoise must be a number from 0 to 1, got nan"),
        (("--noise", "12"), "noise must be 'auto' or two numbers"),
        (("--noise", "1,b"), "noise must be 'auto' or two numbers"),
        (("--reference-channel", "5"), "reference_channel"),
        (("--sharpness-measure", "taste"), "unknown sharpness_measure 'taste'"),
        (("--height", "nowhere/h.tif"), "output folder nowhere does not exist"),
        (("--height", "h.png"), "cannot hold float32"),
        (("--index", "i.gif"), "no ending known"),
        (("--report", "r.txt"), "no ending known for a report"),
        (("--height-unit", "mm"), "unknown height unit 'mm'; choose one of slices, um"),
        (("--height-unit", "um"), "heights in µm need the distance between slices"),
        (("--z-step", "0"), "the distance between slices must be above 0 µm, got 0"),
        (("--pixel-size", "nan"), "the size of a pixel must be above 0 µm, got nan"),
        (("--level", "cone"), "unknown level 'cone'; choose one of none, plane, paraboloid"),
        (("--trust", "1.5"), "trust must be a confidence from 0 to 1, got 1.5"),
        (("--s-filter", "-1"), "the cutoff of the S-filter must be above 0 µm, got -1"),
        (("--l-filter", "5"), "needs the size of a pixel"),
        (("--index", "f.tif"), "named for two outputs"),
        (("--index", "../slices/z2.png"), "never overwritten"),
    ],
)
def test_bad_values_are_one_sentence_and_nothing_is_written(folder, run, arguments, told):
    status, out, err = run("fuse", folder, "-o", "f.tif", *arguments)
    assert (status, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1
    assert files_in(Path()) == []
    assert files_in(folder) == ["z1.png", "z10.png", "z2.png"]


@pytest.mark.parametrize("arguments", [("fuse",), ("fuse", "x"), ("fuse", "x", "-o", "f.tif", "--magic", "1"), ("x",)])
def test_bad_usage_is_status_2(run, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "Usage" in err
    assert "Traceback" not in err


def test_unfinite_pixels_are_told_once(tmp_path, run):
    slices = half_sharp_slices()[0].astype(np.float32)
    slices[:2, 5, 5] = np.nan
    tifffile.imwrite(tmp_path / "s.tif", slices, photometric="minisblack")
    status, _, err = run("fuse", tmp_path / "s.tif", "-o", "f.tif")
    assert status == 0
    assert err.count("NaN") == 1
    assert np.isfinite(tifffile.imread("f.tif")).all()


# ---- interrupted


def test_a_command_leaves_python_as_it_was(folder, run):
    before = gc.get_threshold(), signal.getsignal(signal.SIGTERM)
    run("measure", folder)
    assert (gc.get_threshold(), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["fusing", "writing"])
def test_interrupted_run_leaves_no_files(folder, run, monkeypatch, kind, moment):
    from napari_focus_stack.io import fusing

    original = fusing.write_image

    def interrupted_step(*_):
        signal.raise_signal(kind)
        time.sleep(5)

    def interrupted_write(path, *arguments, **settings):
        original(path, *arguments, **settings)
        if "h." in Path(path).name:
            interrupted_step()

    if moment == "writing":
        monkeypatch.setattr(fusing, "write_image", interrupted_write)
    else:
        whole = fusing.fuse_stack
        monkeypatch.setattr(
            "napari_focus_stack.io.fuse_stack",
            lambda stack, rgb, options, *_: whole(stack, rgb, options, interrupted_step),
        )
    status, out, err = run("fuse", folder, "-o", "f.tif", "--height", "h.tif")
    assert (status, out) == (130, "")
    assert err == "napari-focus-stack: interrupted; no output has a partial file.\n"
    assert files_in(Path()) == []


# ---- measure


def test_measure_finds_the_sharp_slice(tmp_path, run):
    texture = half_sharp_slices()[1]
    folder = save_pngs(tmp_path / "in", *(gaussian_filter(texture, sigma) for sigma in (3, 2, 0.7, 2)))
    status, out, err = run("measure", folder, "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["measure"] == "focus"
    assert told["best_slice"] == 2
    values = [one["sharpness"] for one in told["slices"]]
    assert values[0] < values[1] < values[2] > values[3]
    status, out, _ = run("measure", folder)
    assert status == 0
    assert [line.split()[1] for line in out.splitlines() if "sharpest" in line] == ["z2.png"]


@pytest.mark.parametrize("measure", OPTION_SPECS["sharpness_measure"].choices)
def test_measure_agrees_with_the_report(folder, run, measure):
    _, out, _ = run("measure", folder, "--measure", measure, "--json")
    run("fuse", folder, "-o", "f.tif", "--report", "r.json", "--sharpness-measure", measure)
    told = json.loads(Path("r.json").read_text())
    # The run takes the mean intensity from the coarsest level of its pyramid, where borders weigh more.
    measured = [one["sharpness"] for one in json.loads(out)["slices"]]
    assert measured == pytest.approx(told["sharpness"]["per_slice"], rel=0.02)


def test_measure_refuses_an_unknown_measure(folder, run):
    status, _, err = run("measure", folder, "--measure", "taste")
    assert status == 1
    assert "unknown sharpness_measure 'taste'; choose one of focus" in err


# ---- demo, version, start


def test_headless_demo_writes_its_results_and_loads_no_napari(tmp_path):
    code = (
        "import sys; from napari_focus_stack.cli import main\n"
        "try: main(['demo', '--headless'])\n"
        "except SystemExit as end: print('napari' in sys.modules, end.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False 0"
    assert files_in(tmp_path / "focus-stack-demo") == ["fused.tif", "height.tif", "index.tif", "report.json"]
    told = json.loads((tmp_path / "focus-stack-demo" / "report.json").read_text())
    assert told["sharpness"]["gain"] > 1


def test_demo_says_where_there_is_no_display(run, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    status, out, _ = run("demo", "-q")
    assert status == 0
    assert "napari" in out


def test_version(run):
    from napari_focus_stack import __version__

    assert run("--version") == (0, f"napari-focus-stack {__version__}\n", "")


def test_module_runs_and_help_is_light():
    """`python -m` works; help loads nothing that takes long."""
    code = (
        "import sys, runpy; sys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('napari_focus_stack', run_name='__main__')\n"
        "except SystemExit: print({'napari', 'qtpy', 'dask', 'zarr', 'skimage', 'scipy.ndimage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fuse" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


# ---- alignment ----


@pytest.fixture
def moving(tmp_path):
    scene = make_scene("bumps", (96, 128), 5, motion=Motion.drift(5, shift_px=2))
    folder = tmp_path / "moving"
    folder.mkdir()
    for k, image in enumerate(scene.stack):
        tifffile.imwrite(folder / f"z{k}.tif", image)
    return folder


def test_an_alignment_is_saved_told_and_used_again(run, moving):
    status, told, _ = run(
        "fuse", moving, "-o", "a.tif", "--align", "shift", "--save-alignment", "a.json", "--report", "r.json"
    )
    assert status == 0
    assert "slices move by 2 px from one to the next" in " ".join(told.split())
    status, *_ = run("fuse", moving, "-o", "b.tif", "--alignment", "a.json", "-q")
    assert status == 0
    np.testing.assert_array_equal(tifffile.imread("b.tif"), tifffile.imread("a.tif"))
    report = json.loads(Path("r.json").read_text())
    assert report["alignment"]["slices"] == json.loads(Path("a.json").read_text())["slices"]
    assert report["origin"] == [0, 0]
    run("fuse", moving, "-o", "c.tif", "--alignment", "a.json", "--crop", "-q")
    assert tifffile.imread("c.tif").size < tifffile.imread("b.tif").size


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--save-alignment", "a.json"], "there is no alignment to save; choose one by --align or --match-brightness"),
        (["--align", "shift", "--save-alignment", "a.csv"], "an alignment is written as .json, got a.csv"),
        (["--alignment", "missing.json"], "the alignment missing.json cannot be read: no such file or directory"),
        (["--alignment", "broken.json"], "broken.json holds no alignment: it is no JSON; name a file that"),
    ],
)
def test_what_is_no_alignment_is_refused(run, moving, flags, sentence):
    Path("broken.json").write_text("{")
    status, _, complaint = run("fuse", moving, "-o", "a.tif", *flags)
    assert status == 1
    assert sentence in " ".join(complaint.split())
    assert not Path("a.tif").exists()
