"""What the README and the documentation say is true: examples run, tables are the registries', links resolve."""

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_focus_stack
from napari_focus_stack import cli
from napari_focus_stack.synthetic import make_scene

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def named(page):
    return page.name


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), names)


def commands(page):
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("napari-focus-stack ") and not line.endswith("demo")]


@pytest.mark.parametrize(
    "page, command", [(p, c) for p in PAGES for c in commands(p)], ids=lambda v: named(v) if isinstance(v, Path) else v
)
def test_commands_run(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stack = make_scene("bumps", (64, 80), 6).stack
    for folder in ("slices", "scan"):
        (tmp_path / folder).mkdir()
    for k, image in enumerate(stack):
        tifffile.imwrite(tmp_path / "slices" / f"z{k}.tif", image)
        Image.fromarray((image >> 8).astype(np.uint8)).save(tmp_path / "scan" / f"z{k}.png")
    tifffile.imwrite(tmp_path / "stack.ome.tif", stack, metadata={"axes": "ZYX"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    for word, after in zip(shlex.split(command), shlex.split(command)[1:], strict=False):
        if word in ("-o", "--index", "--height", "--confidence", "--report"):
            assert (tmp_path / after).stat().st_size > 0
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_reference_is_that_of_the_registries():
    script = ROOT / "docs" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/make_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_to_files_resolve(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f": {p.name}" not in navigation] == []


@pytest.mark.parametrize("name", napari_focus_stack.__all__)
def test_every_public_name_shows_an_example(name):
    assert ">>>" in getattr(napari_focus_stack, name).__doc__
