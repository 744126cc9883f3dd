"""Faults while results are written: what was there stays, what is new is whole, and a sentence tells."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_focus_stack import InputError, focus_stack
from napari_focus_stack.cli import main
from napari_focus_stack.io import check_output, read_stack, staged_outputs, write_image
from napari_focus_stack.io.only_run import only_run
from napari_focus_stack.io.writing import put_in_place
from napari_focus_stack.kernels import run_together
from test_pipeline import Lazy, gray_stack

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows neither such limits nor such signals")


def run(code: str, *arguments, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **settings
    )


@pytest.fixture
def stack(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "s.tif", gray_stack(4, (120, 160)), photometric="minisblack")
    return folder / "s.tif"


@pytest.fixture
def old(tmp_path) -> dict[Path, bytes]:
    """Return results of an earlier run and their contents."""
    (tmp_path / "out").mkdir()
    contents = {tmp_path / "out" / name: f"old {name}".encode() for name in ("f.tif", "h.tif", "r.json")}
    for path, content in contents.items():
        path.write_bytes(content)
    return contents


def assert_untouched(old: dict[Path, bytes]) -> None:
    assert {path: path.read_bytes() for path in old} == old
    assert sorted(next(iter(old)).parent.iterdir()) == sorted(old)


LIMITED = """
import resource, signal, sys
from napari_focus_stack.cli import main
from napari_focus_stack.pipeline import warm_up
warm_up()  # kernels may be kept on disk before it is full
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
main(sys.argv[2:])
"""


@posix_only
def test_a_full_disk_leaves_the_old_results(stack, old):
    """The limit of a file's size stands for the disk's; tools/kill_writes.py fills a real one."""
    fused, height, report = old
    done = run(LIMITED, 20_000, "fuse", stack, "-o", fused, "--height", height, "--report", report)
    assert done.returncode == 1
    assert done.stderr.startswith("napari-focus-stack: the results could not be written (")
    assert done.stderr.count("\n") == 1
    assert_untouched(old)


@pytest.mark.parametrize("name", ["f.tif", "f.png", "f.jpg"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch, name, error):
    image = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    target = tmp_path / name
    armed = True

    def fail(event, arguments):
        if armed and event == "os.rename" and str(tmp_path) in str(arguments[0]):
            raise error

    sys.addaudithook(fail)
    try:
        with pytest.raises(InputError, match=error.strerror), staged_outputs([target]) as staged:
            write_image(staged[target], image)
    finally:
        armed = False
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_refused_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write anywhere
    with pytest.raises(InputError, match="may not be written to; choose another"):
        check_output(tmp_path / "f.tif", np.uint8)


def test_a_folder_that_vanishes_is_told(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with (
        pytest.raises(InputError, match="could not be written"),
        staged_outputs([folder / "f.tif"]) as staged,
    ):
        folder.rmdir()
        write_image(staged[folder / "f.tif"], np.zeros((5, 5), np.uint8))


def test_a_name_as_long_as_may_be_is_written(tmp_path):
    path = tmp_path / ("ä" * 125 + ".tif")
    with staged_outputs([path]) as staged:
        write_image(staged[path], np.zeros((5, 5), np.uint8))
    assert path.exists()


WRITER = """
import sys
from pathlib import Path
import numpy as np
from napari_focus_stack.io import staged_outputs, write_image
path = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 2, (700, 700), np.uint8)
gray = 0
while True:
    gray = (gray + 2) % 256
    with staged_outputs([path]) as staged:
        write_image(staged[path], gray + noise)
    print("written", flush=True)
"""


@posix_only
def test_a_kill_at_any_moment_leaves_a_whole_image(tmp_path):
    """Six kills here; tools/kill_writes.py kills whole runs fifty times and more."""
    path = tmp_path / "f.tif"
    rng = np.random.default_rng(0)
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"written\n"
        time.sleep(rng.uniform(0, 0.1))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        image = tifffile.imread(path)
        assert image.shape == (700, 700)
        assert np.ptp(image.astype(int)) <= 1
    # What a killed run leaves is hidden, and no slice of a later run.
    assert all(other == path or other.name.startswith(".f.") for other in tmp_path.iterdir())


def test_two_runs_to_one_name_leave_one_whole_image(tmp_path):
    path = tmp_path / "f.tif"
    with staged_outputs([path]) as one, staged_outputs([path]) as two:
        write_image(one[path], np.full((60, 60), 1, np.uint8))
        write_image(two[path], np.full((60, 60), 2, np.uint8))
    assert tifffile.imread(path).min() == tifffile.imread(path).max() == 1, "the last to end wins"
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_is_a_folder_stays_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    part, path = tmp_path / ".f.zarr.part", tmp_path / "f.zarr"
    for folder, content in ((part, "new"), (path, "old")):
        folder.mkdir()
        (folder / ".zattrs").write_text(content)
    rename = Path.rename

    def held(self, target):
        if self == part:
            raise PermissionError(13, "Permission denied")  # as on Windows while another program looks into it
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", held)
    with pytest.raises(PermissionError):
        put_in_place(part, path)
    assert (path / ".zattrs").read_text() == "old"


RUN = "import sys; from napari_focus_stack.cli import main; main(sys.argv[1:])"


def test_of_two_runs_in_tiles_to_one_name_the_second_is_refused(stack, tmp_path):
    """Both filled the same folder: the image that was left had tiles of either, and no word was said."""
    path = tmp_path / "f.zarr"
    with only_run([path]):
        done = run(RUN, "fuse", stack, "-o", path, "--tile", 64)
        assert done.returncode == 1
        assert done.stderr == f"napari-focus-stack: another run is writing {path}; " + (
            "wait for its end, or name another output.\n"
        )
        assert not path.exists()
    assert sorted(tmp_path.iterdir()) == [stack.parent]


def test_an_output_is_free_again_when_its_run_was_killed(tmp_path):
    path = tmp_path / "f.zarr"
    code = """
import os, sys
from pathlib import Path
from napari_focus_stack.io.only_run import only_run
with only_run([Path(sys.argv[1])]):
    os._exit(9)
"""
    assert run(code, path).returncode == 9
    with only_run([path]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_tiff_that_cannot_be_written_leaves_no_hidden_pixels(stack, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(SystemExit):
        main(["fuse", str(stack), "-o", str(tmp_path / "f.tif"), "--tile", "64"])
    assert "could not be written (No space left on device)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [stack.parent]


def test_inputs_are_the_same_bytes_after_a_run(stack, tmp_path, capsys):
    before = hashlib.sha256(stack.read_bytes()).hexdigest(), stack.stat().st_mtime_ns
    stack.chmod(0o444)
    with pytest.raises(SystemExit):
        main(["fuse", str(stack), "-o", str(tmp_path / "f.tif"), "--mend-rims"])
    assert (hashlib.sha256(stack.read_bytes()).hexdigest(), stack.stat().st_mtime_ns) == before
    assert [path.name for path in stack.parent.iterdir()] == [stack.name]


@posix_only
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_process_ends_it_clean(tmp_path, old, kind):
    """In a process of its own, at a moment when threads are at work."""
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "s.tif", gray_stack(300, (150, 200)), photometric="minisblack")
    code = "import sys; from napari_focus_stack.cli import main; print('ready', flush=True); main(sys.argv[1:])"
    fused, height, _ = old
    arguments = ["fuse", folder / "s.tif", "-o", fused, "--height", height, "--method", "decision-map"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(1.0)
    process.send_signal(kind)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err == b"napari-focus-stack: interrupted; no output has a partial file.\n"
    assert_untouched(old)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(130)])
def test_a_signal_before_a_command_has_begun_is_told_too(end, monkeypatch, capsys):
    """As it comes, and as Typer passes it on."""

    def app(arguments, prog_name):
        raise end

    monkeypatch.setattr("napari_focus_stack.cli.build_app", lambda specs: app)
    with pytest.raises(SystemExit) as status:
        main(["fuse"])
    assert status.value.code == 130
    assert capsys.readouterr().err == "napari-focus-stack: interrupted; no output has a partial file.\n"


@posix_only
@pytest.mark.parametrize("sink", ["closed", "full"])
def test_an_output_nobody_takes_ends_the_command_without_a_traceback(stack, sink):
    code = "import sys; from napari_focus_stack.cli import main; main(sys.argv[1:])"
    if sink == "full" and not Path("/dev/full").exists():
        return  # only Linux has it
    if sink == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, "measure", stack], stdout=writer, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writer)
    assert done.returncode in ((0, 1) if sink == "closed" else (1,))
    assert done.stderr.count("\n") == (0 if sink == "closed" else 1)


def test_ctrl_c_is_what_arrives_whatever_other_threads_raise_meanwhile(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "2")
    both_at_work = threading.Barrier(2)

    def job():
        both_at_work.wait(10)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        raise ValueError("as half an import gives")

    with pytest.raises(KeyboardInterrupt):
        run_together(job, job)


def test_a_disk_that_answers_late_changes_nothing():
    class Late(Lazy):
        def __getitem__(self, k):
            time.sleep(0.2 if k == 3 else 0)
            return super().__getitem__(k)

    stack = gray_stack(7)
    np.testing.assert_array_equal(focus_stack(Late(stack)).image, focus_stack(stack).image)


def test_a_stack_that_is_closed_twice_or_dropped_frees_its_file(stack):
    opened = read_stack(stack)
    opened.close()
    opened.close()
    del opened
    stack.unlink()
