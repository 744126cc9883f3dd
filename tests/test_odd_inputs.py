"""Whatever is named as input is read or refused in a sentence: odd names, odd things, faults while it is read."""

from __future__ import annotations

import ast
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_focus_stack
from napari_focus_stack import InputError, machine
from napari_focus_stack.cli import main
from napari_focus_stack.io import read_stack, write_report
from napari_focus_stack.io.lazy_images import lazy_images
from napari_focus_stack.io.source import decoded
from spoiled_files import number_of_seed, spoil_path, verdict, whole_files

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="such names and files are not known there")


def save_slices(folder: Path, names) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (20, 24), np.uint8)).save(folder / name, "PNG")
    return folder


def command(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


# ---- names


@pytest.mark.parametrize(
    "name",
    [
        "Schärfe µm 焦点 №1",
        "a b  c",
        "-o",
        "--help",
        "a'b\"c;$(d)&",
        "~draft",
        "~nobody-of-that-name",
        "x" * 200,
        "[1] *?{}",
        "%s{0}",
    ],
)
@needs_posix
def test_odd_names_are_names(tmp_path, monkeypatch, capsys, name):
    folder = save_slices(tmp_path / name, [f"{name[:120]} {k}.png" for k in range(3)])
    with read_stack(folder) as stack:
        assert len(stack) == 3
    with read_stack(sorted(folder.iterdir())) as stack:
        assert len(stack) == 3
    monkeypatch.chdir(folder)
    output = f"{name[:120]}.tif"
    assert (
        command("fuse", "-o", output, "--report", "r.json", "--", *sorted(path.name for path in Path().iterdir())) == 0
    )
    with tifffile.TiffFile(output) as tif:
        assert tif.asarray().shape == (20, 24)
    assert len(json.loads(Path("r.json").read_text())["slices"]) == 3
    assert "Traceback" not in capsys.readouterr().err


@needs_posix
def test_names_that_are_no_text_are_told_all_the_same(tmp_path, monkeypatch, capsys):
    """A name from another system may hold bytes that are no UTF-8, or a line break."""
    monkeypatch.chdir(tmp_path)
    folder = save_slices(tmp_path / os.fsdecode(b"caf\xe9"), [os.fsdecode(b"z\xff%d\n.png" % k) for k in range(3)])
    for report in ("r.csv", "r.json"):
        assert command("fuse", folder, "-o", os.fsdecode(b"f\xe9.tif"), "--report", report) == 0
        assert Path(report).read_bytes().decode("utf-8")
    assert command("measure", folder) == 0
    assert command("measure", folder, "--json") == 0
    (next(folder.iterdir())).write_text("no image")
    assert command("measure", folder) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_of_few_letters_is_enough(tmp_path, encoding):
    folder = save_slices(tmp_path / "焦点", ["0.png", "1.png"])
    done = subprocess.run(
        [sys.executable, "-m", "napari_focus_stack", "measure", str(folder)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert b"sharpest" in done.stdout


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "nul\0byte", "", "~nobody-of-that-name/x"])
def test_names_that_cannot_be_are_refused(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(save_slices(tmp_path / "in", []))
    with pytest.raises(InputError):
        read_stack(name)
    assert command("measure", name) == 1
    if name and "\0" not in name:  # the empty name is this folder; no shell passes a zero byte on
        save_slices(tmp_path / "in", ["0.png", "1.png"])
        assert command("fuse", ".", "-o", f"{name}.tif") in (1, 2)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.count("napari-focus-stack: ") + told.count("Error: ") == (2 if name and "\0" not in name else 1)


# ---- things that are no files


@needs_posix
def test_links_that_lead_nowhere_or_in_circles(tmp_path):
    folder = save_slices(tmp_path / "in", ["0.png", "1.png"])
    (folder / "2.png").symlink_to(folder / "2.png")
    (folder / "3.png").symlink_to(folder / "nowhere.png")
    (folder / "4").symlink_to(folder)
    assert len(read_stack(folder)) == 2
    for name in ("2.png", "3.png"):
        with pytest.raises(InputError, match="no file or folder is called"):
            read_stack(folder / name)
    # Linked slices are slices, each once.
    (tmp_path / "linked").symlink_to(folder)
    assert len(read_stack([folder, tmp_path / "linked"])) == 2


@needs_posix
def test_folders_that_hold_themselves_are_searched_once(tmp_path):
    folder = save_slices(tmp_path / "in" / "deep" / "deeper", ["0.png", "1.png"])
    for name in ("a", "b"):
        (folder / name).symlink_to(tmp_path / "in")
    assert len(read_stack(f"{tmp_path}/**/*.png")) == 2


@needs_posix
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    folder = save_slices(tmp_path / "in", ["0.png", "1.png"])
    os.mkfifo(folder / "2.png")
    assert len(read_stack(folder)) == 2
    for path in (folder / "2.png", "/dev/zero"):
        with pytest.raises(InputError, match="a pipe or device"):
            read_stack([folder, path])


# ---- files that may not be read, or go away


@pytest.mark.parametrize("when", ["list", "first", "header", "pixels"])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, when, ending):
    for k in range(3):
        image = np.full((8, 9), k, np.uint8)
        Image.fromarray(image).save(tmp_path / f"z{k}{ending}")
    opened = []

    def refuse(event, arguments):
        if not armed:
            return
        if event == "open" and str(arguments[0]).endswith(f"z1{ending}"):
            opened.append(arguments[0])
            if len(opened) > {"list": 99, "first": 0, "header": 1, "pixels": 2}[when]:
                raise PermissionError(13, "Permission denied", str(arguments[0]))
        if event in ("os.scandir", "os.listdir") and when == "list":
            raise PermissionError(13, "Permission denied", str(arguments[0]))

    armed = True
    sys.addaudithook(refuse)  # cannot be removed: only disarmed
    try:
        with pytest.raises(InputError, match=r"cannot be read: permission denied\."):
            for image in read_stack(tmp_path):
                assert image.shape == (8, 9)
            raise AssertionError("nobody opened it as often")
    finally:
        armed = False


@pytest.mark.parametrize("way", [{}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}])
@pytest.mark.parametrize("fate", ["gone", "shorter", "other", "empty"])
def test_a_stack_that_changes_during_the_run_is_told(tmp_path, way, fate):
    path = tmp_path / "s.tif"
    volume = np.random.default_rng(0).integers(0, 999, (6, 40, 30), np.uint16)
    tifffile.imwrite(path, volume, photometric="minisblack", **way)
    with read_stack(path) as stack:
        np.testing.assert_array_equal(stack[0], volume[0])
        content = path.read_bytes()
        path.unlink()
        if fate == "other":
            tifffile.imwrite(path, volume[:, :8], photometric="minisblack")
        elif fate != "gone":
            path.write_bytes(content[: len(content) // 3] if fate == "shorter" else b"")
        # Where the system keeps the open file alive, its slices are whole; otherwise it is told.
        try:
            last = stack[5]
        except InputError as error:
            assert "s.tif" in str(error)
        else:
            np.testing.assert_array_equal(last, volume[5])


@pytest.mark.parametrize("fate", ["gone", "shorter", "other"])
def test_slices_that_change_during_the_run_are_told(tmp_path, fate):
    folder = save_slices(tmp_path, ["0.png", "1.png", "2.png"])
    stack = read_stack(folder)
    path = folder / "2.png"
    if fate == "gone":
        path.unlink()
    elif fate == "shorter":
        path.write_bytes(path.read_bytes()[:90])
    else:
        Image.new("L", (5, 5)).save(path)
    assert stack[1].shape == (20, 24)
    with pytest.raises(InputError, match=r"2\.png"):
        stack[2]


# ---- faults at random


def test_spoiled_files_are_read_or_refused(tmp_path):
    wholes = whole_files(tmp_path)
    for path in wholes:
        assert verdict(path) == "read"
    verdicts = []
    for seed in range(900):
        rng, whole = number_of_seed(seed, wholes)
        target = tmp_path / f"{seed}-{whole.name}"
        spoil_path(whole, target, rng)
        verdicts.append(verdict(target))
    assert 100 < verdicts.count("read") < 500


# ---- sizes that lie


def zarr_folder(path: Path, **changes) -> Path:
    """Write a Zarr array by the specification, version 2."""
    path.mkdir()
    plain = {"zarr_format": 2, "shape": [3, 8, 8], "chunks": [1, 8, 8], "dtype": "|u1", "compressor": None}
    told = {**plain, "fill_value": 0, "order": "C", "filters": None, **changes}
    (path / ".zarray").write_text(json.dumps(told))
    for k in range(3):
        (path / f"{k}.0.0").write_bytes(bytes(64))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shape": [10**12, 8, 8]}, "says it holds 1000000000000 slices"),
        ({"shape": [3, 10**7, 10**7]}, "one slice of .* needs about .* GiB of memory, but .* are free"),
        ({"chunks": [10**6, 10**5, 10**5]}, "one chunk of .* needs about .* GiB of memory, but .* are free"),
    ],
)
def test_zarr_sizes_that_lie_are_refused(tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        read_stack(zarr_folder(tmp_path / "a.zarr", **changes))


def test_tiles_much_larger_than_the_picture_are_refused(tmp_path):
    path = tmp_path / "s.tif"
    way = {"tile": (16, 16), "compression": "zlib"}
    tifffile.imwrite(path, np.zeros((3, 24, 20), np.uint16), photometric="minisblack", metadata=None, **way)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            place = page.aspage().tags["TileWidth"].offset
            content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2**30)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"one tile of .* needs about 64\.0 GiB of memory"):
        read_stack(path)


def test_a_file_that_asks_for_too_much_memory_is_named():
    def decode():
        raise MemoryError

    with pytest.raises(InputError, match=r"s\.png needs more memory to be read than is free here"):
        decoded("s.png", decode)


def test_a_list_of_tags_that_never_ends_is_refused(tmp_path):
    path = tmp_path / "s.tif"
    path.write_bytes(struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 2**62) + bytes(100))
    with pytest.raises(InputError, match="cut short"):
        read_stack(path)


def test_a_list_of_pages_that_goes_in_circles_is_refused(tmp_path):
    """Found by Atheris: the reader followed it for ever."""
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[2].offset
        entries = len(tif.pages[2].tags)
    content[last + 2 + 12 * entries : last + 6 + 12 * entries] = struct.pack("<I", first)
    path.write_bytes(content)
    with pytest.raises(InputError, match="back to its beginning"):
        read_stack(path)


@pytest.mark.parametrize("claim", ["SizeZ", "images"])
def test_more_slices_than_a_run_takes_are_refused(tmp_path, claim):
    path = tmp_path / "s.tif"
    volume = np.zeros((3, 8, 8), np.uint8)
    way = {"ome": True} if claim == "SizeZ" else {"imagej": True}
    tifffile.imwrite(path, volume, photometric="minisblack", metadata={"axes": "ZYX"}, **way)
    content = path.read_bytes()
    for old in (b'SizeZ="3"', b"images=3", b"slices=3"):
        content = content.replace(old, old.replace(b"3", b"9"))
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_stack(path)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("ome", b"</OME>", b"</OM>>"),
        ("ome", b"<Pixels", b"<Pixals"),
        ("ome", b'SizeX="8"', b'SizeX="9"'),
        ("imagej", b"channels=2", b"channels=7"),
    ],
)
def test_channels_do_not_pass_for_slices_where_a_header_is_spoiled(tmp_path, kind, old, new):
    """All pages were taken for slices of one stack, and its pixel size was lost, without a word."""
    path = tmp_path / "s.tif"
    volume = np.zeros((3, 2, 8, 8), np.uint8)
    tifffile.imwrite(path, volume, photometric="minisblack", metadata={"axes": "ZCYX"}, **{kind: True})
    assert read_stack(path).shape == (3, 8, 8, 2)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match="does not fit its 6 pages, so nobody knows which of them are slices"):
        read_stack(path)


def test_a_run_that_does_not_fit_the_memory_is_refused_before_it_starts(tmp_path, monkeypatch, capsys):
    folder = save_slices(tmp_path, ["0.png", "1.png", "2.png"])
    monkeypatch.setattr(machine, "free_memory", lambda: 20_000)
    assert command("fuse", folder, "-o", tmp_path / "f.tif") == 1
    assert "a run with slices of 20 x 24 px needs about 0.0 GiB of memory" in capsys.readouterr().err
    assert not (tmp_path / "f.tif").exists()


def test_runs_in_tiles_that_do_not_fit_the_memory_are_refused_too(tmp_path, monkeypatch, capsys):
    folder = save_slices(tmp_path, ["0.png", "1.png", "2.png"])
    monkeypatch.setattr(machine, "free_memory", lambda: 20_000)
    assert command("fuse", folder, "-o", tmp_path / "f.zarr", "--tile", "64") == 1
    assert "a run in tiles needs about 0." in capsys.readouterr().err
    assert {path.suffix for path in folder.iterdir()} == {".png"}


def test_slices_that_do_not_fit_the_memory_are_not_opened_lazily(tmp_path, monkeypatch):
    folder = save_slices(tmp_path, ["0.png", "1.png", "2.png"])
    monkeypatch.setattr(machine, "free_memory", lambda: 900)
    with pytest.raises(InputError, match=r"one slice of .* needs about 0\.0 GiB of memory"):
        lazy_images(folder)


def test_memory_is_told_in_an_order_that_can_be():
    assert 0 < machine.free_memory() < 2**50
    assert 1e8 < machine.total_memory() < 2**50


# ---- no code from files


class Told:
    """What unpickling this does is seen by everyone."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.napari_focus_stack_was_tricked = True",))


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{"id": "pickle"}], "dtype": "|O"},
        {"filters": [{"id": "pickle"}]},
        {"compressor": {"id": "pickle"}},
        {"filters": [{"id": "vlen-utf8"}], "dtype": "|O"},
    ],
    ids=str,
)
def test_pickles_in_zarr_are_never_opened(tmp_path, changes):
    import builtins

    folder = zarr_folder(tmp_path / "a.zarr", **changes)
    for k in range(3):
        (folder / f"{k}.0.0").write_bytes(pickle.dumps(Told()))
    with pytest.raises(InputError):
        list(read_stack(folder))
    assert not hasattr(builtins, "napari_focus_stack_was_tricked")


def test_the_source_knows_no_way_to_run_code_or_to_call_home():
    """No module that unpickles, evaluates text, starts programs or opens connections.

    One starts Python itself, on this very package, to compile its kernels; `test_second_compiler.py` holds that.
    """
    modules = {
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "socket",
        "ssl",
        "urllib",
        "http",
        "ftplib",
        "requests",
        "aiohttp",
        "pooch",
        "subprocess",
        "runpy",
        "code",
        "webbrowser",
    }
    names = {"eval", "exec", "compile", "__import__", "system", "popen"}
    found = []
    for path in Path(napari_focus_stack.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = []
            if isinstance(node, ast.Import):
                imported = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported = [(node.module or "").split(".")[0]]
            called = node.func if isinstance(node, ast.Call) else None
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            owner = ast.unparse(called.value) if isinstance(called, ast.Attribute) else ""
            if path.name in ("second_compiler.py", "warming.py") and imported == ["subprocess"]:
                continue
            if set(imported) & modules or (name in names and owner in ("", "os", "builtins")):
                found.append(f"{path.name}:{node.lineno}")
            if any(keyword.arg == "allow_pickle" for keyword in getattr(node, "keywords", ())):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_a_run_opens_no_connection_and_starts_no_program_but_itself(tmp_path):
    folder = save_slices(tmp_path / "in", ["0.png", "1.png", "2.png"])
    code = (
        "import sys\n"
        "def watch(event, arguments):\n"
        "    if event == 'subprocess.Popen' and arguments[0] == sys.executable and 'focus_stack' in arguments[1][2]:\n"
        "        return  # this package again, to compile\n"
        "    if event.startswith(('socket.connect', 'socket.getaddrinfo', 'subprocess.', 'os.system', 'os.exec')):\n"
        "        print('FORBIDDEN', event, arguments)\n"
        "from napari_focus_stack.cli import main\n"
        "sys.addaudithook(watch)\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ("fuse", folder, "-o", tmp_path / "f.tif", "--report", tmp_path / "r.json")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert "FORBIDDEN" not in done.stdout


def test_a_report_keeps_names_of_any_kind(tmp_path):
    sharpness = {"measure": "focus", "per_slice": (1.0,), "mean_of_sources": 1.0, "best_source": 0, "fused": 1.0}
    for ending in (".csv", ".json"):
        write_report(tmp_path / f"r{ending}", names=["\udcff, \"'\n"], sharpness=sharpness)
        assert (tmp_path / f"r{ending}").read_bytes().decode("utf-8")
