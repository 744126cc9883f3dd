"""What a report of a fault tells is true of this machine."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from command_line import command
from napari_focus_stack.diagnosis import diagnosis
from napari_focus_stack.pipeline import warm_up


def test_versions_and_threads_are_those_of_this_process(monkeypatch):
    monkeypatch.setenv("NAPARI_FOCUS_STACK_THREADS", "7")
    told = diagnosis()
    assert platform.python_version() in told["Python"]
    assert f"numpy {version('numpy')}" in told["core"]
    assert f"tifffile {version('tifffile')}" in told["files"]
    assert "7 threads used" in told["cores"]
    assert "NAPARI_FOCUS_STACK_THREADS=7" in told["variables"]


def test_the_folder_of_the_kernels_is_the_one_they_are_in():
    warm_up()
    told = diagnosis()["kernels on disk"]
    folder = Path(told.split(" in folders of ", 1)[1])
    assert int(told.split(",")[0]) == len(list(folder.rglob("*.nbi"))) > 5


def test_info_is_printed_as_a_table_and_as_json():
    told = []
    for arguments in (["info"], ["info", "--json"]):
        ended = command(*arguments)
        assert ended.status == 0
        told.append(ended.stdout)
    facts = json.loads(told[1])
    assert list(facts) == list(diagnosis())
    assert all(name in told[0] for name in facts)
    assert str(os.cpu_count()) in facts["cores"]
