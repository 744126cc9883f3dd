"""What the README and the documentation say is true: examples run, tables are the registries', links resolve."""

import contextlib
import io
import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import docs_scripts
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


# What sets up, tests or shows the project itself runs in `.ci/run`, or is a longer form of what runs there.
RUN_ELSEWHERE = (
    "python3 -m venv ",
    "pip install ",
    "pytest",
    "mkdocs ",
    "CASES=",
    "python tools/",
)


def lines_of_shell(page):
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def commands(page):
    return [line for line in lines_of_shell(page) if line.startswith("napari-focus-stack ")]


def images(page):
    return re.findall(r"!\[(.*?)\]\((\S+?)\)", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_command_escapes_the_tests(page):
    unknown = [
        line
        for line in lines_of_shell(page)
        if not line.startswith(("napari-focus-stack ", *RUN_ELSEWHERE)) or line.rstrip().endswith("\\")
    ]
    assert unknown == []
    others = set(re.findall(r"^```(\w*)\n", page.read_text(encoding="utf-8"), re.MULTILINE)) - {"", "sh", "python"}
    assert others == {"mermaid"} & others, "commands stand in ```sh, examples in ```python, and both run"


# The demonstration's, which several commands show.
cached_scene = cache(make_scene)


@pytest.mark.parametrize(
    "page, command", [(p, c) for p in PAGES for c in commands(p)], ids=lambda v: named(v) if isinstance(v, Path) else v
)
def test_commands_run(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for display in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(display, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")  # without a display, `demo` opens no window there
    monkeypatch.setattr("napari_focus_stack.synthetic.make_scene", cached_scene)
    stack = cached_scene("bumps", (64, 80), 6).stack
    for folder in ("slices", "scan", "wells/A1", "wells/A2"):
        (tmp_path / folder).mkdir(parents=True)
    for k, image in enumerate(stack):
        for folder in ("slices", "wells/A1", "wells/A2"):
            tifffile.imwrite(tmp_path / folder / f"z{k}.tif", image)
        Image.fromarray((image >> 8).astype(np.uint8)).save(tmp_path / "scan" / f"z{k}.png")
    tifffile.imwrite(tmp_path / "stack.ome.tif", stack, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "series.ome.tif", np.stack([stack, stack]), metadata={"axes": "TZYX"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    for word, after in zip(shlex.split(command), shlex.split(command)[1:], strict=False):
        if word in ("-o", "--index", "--height", "--confidence", "--report"):
            outputs = [tmp_path / after.format(name=name) for name in ("A1", "A2")]
            assert all(output.stat().st_size > 0 for output in outputs)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_reference_is_that_of_the_registries():
    made = docs_scripts.load("make_reference")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run python docs/make_reference.py"


def test_the_architecture_is_that_of_the_modules():
    made = docs_scripts.load("make_architecture")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run python docs/make_architecture.py"
    assert made.PICTURE.read_text(encoding="utf-8") == made.svg(), "run python docs/make_architecture.py"


def own_file(page, link):
    """Return the file of this project that a link leads to; None for the pages of others."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        urls = tomllib.load(file)["project"]["urls"]
    repository, guide = urls["Source"], urls["Documentation"]
    raw = repository.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    if link.startswith(guide):
        return ROOT / "docs" / f"{link.removeprefix(guide).strip('/') or 'index'}.md"
    for start in (raw, f"{repository}/blob/main/"):
        if link.startswith(start):
            return ROOT / link.removeprefix(start)
    return None if "://" in link else page.parent / link


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_to_own_files_and_headings_resolve(page):
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    for link, anchor in links:
        file = own_file(page, link) if link else page
        assert file is None or file.exists(), link
        assert not anchor or file is None or anchor in anchors(file), f"{link}#{anchor}"


def test_the_readme_shows_its_pictures_and_leads_on_from_anywhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((?!https://)", readme) == [], "the plugin hub and PyPI know absolute addresses only"
    assert len(images(ROOT / "README.md")) == 6


@pytest.mark.parametrize(
    "said, page, measured",
    [
        (r"\| Speed \| ([\d.]+) s", "speed.md", r"^\| `focus_stack` \| ([\d.]+)"),
        (r"OpenCV pyramid, .*?: ([\d.]+) s", "speed.md", r"^\| a plain OpenCV pyramid.*?\| ([\d.]+)"),
        (r"\| Memory \| (\d+) bytes", "speed.md", r"^\| 16-bit gray \| (\d+)"),
        (r"put back to ([\d.]+) px", "alignment.md", r"^In the mean ([\d.]+) px"),
    ],
)
def test_the_readme_has_the_figures_of_the_pages(said, page, measured):
    (told,) = re.findall(said, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert told == re.findall(measured, (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)[0]


@pytest.mark.parametrize("page", [p for p in PAGES if images(p)], ids=named)
def test_pictures_are_told_in_words(page):
    assert all(len(words.split()) >= 5 for words, _ in images(page))


def test_every_picture_is_shown():
    shown = {own_file(page, link).resolve() for page in PAGES for _, link in images(page)}
    assert set((ROOT / "docs" / "images").iterdir()) == shown


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f": {p.name}" not in navigation] == []


@pytest.mark.parametrize("name", napari_focus_stack.__all__)
def test_every_public_name_shows_an_example(name):
    assert ">>>" in getattr(napari_focus_stack, name).__doc__
