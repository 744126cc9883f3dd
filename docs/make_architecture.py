"""Write the architecture page, its table from the modules' first lines and its picture from their imports.

    python docs/make_architecture.py

`tests/test_docs.py` holds that page and picture are those that this writes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "src" / "napari_focus_stack"
PAGE, PICTURE = DOCS / "architecture.md", DOCS / "images" / "architecture.svg"
ALT = "The parts of the program as boxes; arrows lead from each to those that use it, from pyramids down to the panel"


@dataclass(frozen=True)
class Part:
    """Modules that do one thing together: what the picture calls them, and their names."""

    title: str
    modules: tuple[str, ...]


def modules_of(package: str, *names: str) -> tuple[str, ...]:
    """Return the modules of a package by the names they have in the program."""
    return tuple(f"{package}.{name}" for name in names)


# What everything may use; no arrow is drawn from here.
BASE = Part(
    "Base",
    (
        "errors",
        "machine",
        "whole_image",
        "slices",
        "sampling",
        "kernel_cache",
        "pauses",
        "kernels",
        "planes",
        "second_compiler",
    ),
)
PARTS = [
    Part("Pyramids and filters", ("pyramid", "median", "islands")),
    Part("Alignment", modules_of("alignment", "warp", "register", "smooth_motion", "brightness", "record", "aligner")),
    Part("Noise, analysis of a slice", ("noise", "scaling", "analysis")),
    Part("Height map", modules_of("height", "regularisation", "peaks")),
    Part("Near things before far ones", modules_of("occlusion", "two_peaks", "depth_edges", "disc_blur", "rims")),
    Part("Transparent specimens", modules_of("transparent", "axial_change", "drift", "prominence", "phase")),
    Part(
        "Fusion methods",
        (
            *modules_of(
                "fusion",
                "accumulator",
                "blocks",
                "sweep",
                "comparison",
                "follow",
                "fluorescence",
                "veil",
                "value_range",
            ),
            *modules_of("fusion", "whole_pixels", "strength", "laplacian", "baselines"),
            "fusion",
        ),
    ),
    Part("Sharpness", ("sharpness", "measure_table", "focus_curve")),
    Part("Surface", ("surface", "mesh", "profile")),
    Part("Synthetic scenes", ("synthetic",)),
    Part("Options", ("options", "presets", "recipe")),
    Part("A run", ("auto_choices", "result", "run", "stacker", "pipeline", "warming", "by_map")),
    Part(
        "Tiles",
        (
            *modules_of("tiled", "filling", "plan", "turn", "readers", "patches", "decisions", "run", "heights"),
            *modules_of("tiled", "setup", "lazy"),
            "tiled",
            "any_stack",
        ),
    ),
    Part("Files", ("io",)),
    Part("Command line", ("demo", "diagnosis", "terminal", "cli")),
    Part("napari panel", ("napari_plugin",)),
]


MODULES = [module for part in (BASE, *PARTS) for module in part.modules]


def files(module: str) -> list[Path]:
    """Return the files of a module: one, or those of a package, without the modules that are told on their own."""
    path = PACKAGE.joinpath(*module.split("."))
    if path.with_suffix(".py").exists():
        return [path.with_suffix(".py")]
    return [file for file in sorted(path.glob("*.py")) if f"{module}.{file.stem}" not in MODULES]


def first_line(module: str) -> str:
    path = PACKAGE.joinpath(*module.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0]


def module_of(path: Iterable[str]) -> str | None:
    """Return which module of `MODULES` a dotted path below the package leads into."""
    words = tuple(path)
    ends = (".".join(words[:end]) for end in range(len(words), 0, -1))
    return next((name for name in ends if name in MODULES), None)


def imported(module: str) -> set[str]:
    """Return the modules of this package that a module imports."""
    found = set()
    for file in files(module):
        place = file.relative_to(PACKAGE).parent.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            words = (node.module or "").split(".") if node.module else []
            if node.level:
                words = [*place[: len(place) - node.level + 1], *words]
            elif words[0] == PACKAGE.name:
                words = words[1:]
            else:
                continue
            found |= {module_of([*words, alias.name]) for alias in node.names}
    return {name for name in found if name} - {module}


def uses() -> dict[str, set[str]]:
    """Return for each part the parts that it imports from."""
    part_of = {module: part.title for part in PARTS for module in part.modules}
    return {
        part.title: {part_of[name] for module in part.modules for name in imported(module) if name in part_of}
        - {part.title}
        for part in PARTS
    }


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        todo += graph[todo.pop()] - found
        found |= set(todo)
    return found


def without_detours(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out an arrow where others lead the same way."""
    return {
        part: {use for use in used if not any(use in reachable(graph, other) for other in used - {use})}
        for part, used in graph.items()
    }


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """Put every part in a row below all that it uses, and as close above its users as that allows."""
    users = {part: {other for other in graph if part in graph[other]} for part in graph}

    def longest(part: str, step: dict[str, set[str]]) -> int:
        return 1 + max((longest(other, step) for other in step[part]), default=-1)

    last = max(longest(part, graph) for part in graph)
    return {part: last - longest(part, users) if users[part] else longest(part, graph) for part in graph}


# A place in a row: a part, or (user, used, row) where an arrow passes by.
Place = str | tuple[str, str, int]


def rows(graph: dict[str, set[str]]) -> tuple[list[list[Place]], list[list[Place]]]:
    """Return what lies in every row from left to right, and the ways of the arrows through the rows."""
    level = levels(graph)
    ways: list[list[Place]] = [
        [use, *((part, use, row) for row in range(level[use] + 1, level[part])), part]
        for part in graph
        for use in sorted(graph[part])
    ]
    lines: list[list[Place]] = [[] for _ in range(1 + max(level.values()))]
    for part in graph:
        lines[level[part]].append(part)
    for way in ways:
        for bend in way[1:-1]:
            lines[bend[2]].append(bend)  # type: ignore[index]
    beside: dict[Place, list[Place]] = {}
    for way in ways:
        for one, other in pairwise(way):
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
    # Neighbours of one thing come to lie near each other (the barycentre method of Sugiyama et al. 1981).
    for turn in range(12):
        at = {place: (k + 0.5) / len(line) for line in lines for k, place in enumerate(line)}
        for line in lines if turn % 2 else reversed(lines):
            mean = {place: sum(at[other] for other in beside[place]) / len(beside[place]) for place in line}
            line.sort(key=lambda place, mean=mean: (mean[place], str(place)))
            at |= {place: (k + 0.5) / len(line) for k, place in enumerate(line)}
    return lines, ways


WIDTH, ROW, BOX, LETTER = 1060, 92, 40, 15


def room(place: Place) -> float:
    """Return how wide a place is in pixels."""
    return 24 + 8.2 * len(place) if isinstance(place, str) else 14


def svg() -> str:
    """Return the picture: a box for each part, an arrow from each to those that use it."""
    lines, ways = rows(without_detours(uses()))
    at: dict[Place, tuple[float, float]] = {}
    for row, line in enumerate(lines):
        gap = (WIDTH - sum(room(place) for place in line)) / (len(line) + 1)
        x = gap
        for place in line:
            at[place] = (x + room(place) / 2, 34 + row * ROW)
            x += room(place) + gap
    shapes = []
    for way in ways:
        points = [at[place] for place in way]
        x, y = points[0][0], points[0][1] + BOX / 2
        path = f"M{x:.0f} {y:.0f}"
        for k, (x2, y2) in enumerate(points[1:], 2):
            y2 -= BOX / 2 + 7 if k == len(points) else 0
            path += f" C{x:.0f} {(y + y2) / 2:.0f} {x2:.0f} {(y + y2) / 2:.0f} {x2:.0f} {y2:.0f}"
            x, y = x2, y2
        shapes.append(f'<path d="{path}" class="arrow" marker-end="url(#tip)"/>')
    for place, (x, y) in at.items():
        if isinstance(place, str):
            wide = room(place)
            shapes.append(
                f'<rect x="{x - wide / 2:.0f}" y="{y - BOX / 2:.0f}" width="{wide:.0f}" height="{BOX}" rx="6"/>'
                f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(place)}</text>'
            )
    height = 2 * 34 + (len(lines) - 1) * ROW
    style = "rect{fill:#eef2fb;stroke:#3f51b5}text{fill:#1a1a2e}.arrow{fill:none;stroke:#7a86a8;stroke-width:1.4}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="{LETTER}" text-anchor="middle">\n<style>{style}</style>\n'
        '<marker id="tip" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#7a86a8"/></marker>\n'
        f'<rect width="{WIDTH}" height="{height}" style="fill:#fff;stroke:none"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def table() -> Iterator[str]:
    for part in (BASE, *PARTS):
        yield f"### {part.title}\n"
        yield "| module | what it is |\n| --- | --- |"
        yield from (f"| `{module}` | {first_line(module)} |" for module in part.modules)
        yield ""


def page() -> str:
    return f"""# Architecture

Where things are, and which way data flows: read this before you change the program.

A stack is a sequence of slices. One slice at a time is read, aligned, analysed (its pyramid, and where it has energy
above the noise) and given to the fusion method and to the height map, which keep running values only. So memory does
not grow with the number of slices. At the end each of them gives its result. Everything else stands around that:
options, files, tiles, command line, panel.

![{ALT}](images/architecture.svg)

`docs/make_architecture.py` draws this picture from the imports. An arrow leads from a part to one that uses it; it is
left out where other arrows lead the same way. All parts use *Base*.

## Rules

- Imports point one way: from outer modules to inner ones. `tests/test_architecture.py` has the order, and holds it.
- The core takes arrays and returns arrays. It knows NumPy, SciPy, scikit-image and Numba. It does not know files, dask,
  napari and the command line.
- A choice is written once: options in `options.OPTION_SPECS`, methods in `fusion.FUSION_METHODS`, measures in
  `sharpness.SHARPNESS_MEASURES`, presets in `presets.PRESETS`, scenes in `synthetic.SCENES`. The panel, the command
  line, the [reference](reference.md) and the tests that hold for all of them read it there.
- A new method, measure or option is one entry there: see [Add a fusion method](add-a-method.md).

## Modules

{chr(10).join(table())}"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PICTURE.write_text(svg(), encoding="utf-8")
