"""What is published says the same everywhere: pyproject.toml, the conda-forge recipe, CITATION.cff, CHANGELOG.md."""

import re
import tomllib
from pathlib import Path

import yaml

import napari_focus_stack

ROOT = Path(__file__).parent.parent
with (ROOT / "pyproject.toml").open("rb") as file:
    PROJECT = tomllib.load(file)["project"]
RECIPE = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

# conda has no extras: dask's arrays need NumPy, which stands in the list already.
CONDA_NAMES = {"dask[array]": "dask-core"}


def test_the_recipe_requires_what_the_wheel_requires():
    wheel = {re.sub(r"^([\w\[\]-]+)", lambda m: CONDA_NAMES.get(m[1], m[1]), need) for need in PROJECT["dependencies"]}
    wheel.add(f"python{PROJECT['requires-python']}")
    conda = [
        need.replace("${{ python_min }}", RECIPE["context"]["python_min"]) for need in RECIPE["requirements"]["run"]
    ]
    assert {need.replace(" ", "") for need in conda} == wheel


def test_the_recipe_has_the_commands_of_the_wheel():
    scripts = [f"{name} = {place}" for name, place in PROJECT["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == scripts


def test_the_recipe_describes_the_project():
    about = RECIPE["about"]
    assert about["summary"] == PROJECT["description"]
    assert about["license"] == PROJECT["license"] == CITATION["license"]
    assert about["repository"] == PROJECT["urls"]["Source"] == CITATION["repository-code"]
    assert about["documentation"] == PROJECT["urls"]["Documentation"]


def test_the_version_is_the_same_everywhere():
    assert PROJECT["dynamic"] == ["version"]  # read from the package
    assert RECIPE["context"]["version"] == CITATION["version"] == napari_focus_stack.__version__


def test_the_citation_has_what_its_format_asks_for():
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    for work in CITATION["references"]:
        assert {"type", "title", "authors", "year"} <= work.keys()


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions
    assert all(re.fullmatch(r"\[?Unreleased\]?|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in versions)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
