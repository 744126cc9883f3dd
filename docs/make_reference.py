"""Write the reference page of options, methods and measures from the registries.

    python docs/make_reference.py

`tests/test_docs.py` holds that the page is the one that this writes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_type_hints

from napari_focus_stack.cli import fuse, measure
from napari_focus_stack.fusion import FUSION_METHODS
from napari_focus_stack.options import OPTION_SPECS, OptionSpec
from napari_focus_stack.sharpness import SHARPNESS_MEASURES

PAGE = Path(__file__).parent / "reference.md"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def values(spec: OptionSpec) -> str:
    """Return what may be entered, in words."""
    if spec.kind == "choice":
        return ", ".join(f"`{value}`" for value in spec.choices)
    if spec.kind == "switch":
        return "`true`, `false`"
    if spec.kind == "noise":
        return "`auto`, or gain and offset"
    number = f"{spec.low:g} to {spec.high:g}" if spec.high is not None else f"from {spec.low:g}"
    word = "`all` or " if spec.kind == "channel" else "`auto` or " if spec.auto else ""
    return f"{word}{number}{' ' + spec.unit if spec.unit else ''}"


def default(spec: OptionSpec) -> str:
    value = str(spec.default).lower() if isinstance(spec.default, bool) else spec.default
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def flags(command: Callable[..., None]) -> Iterable[tuple[str, str, str]]:
    """Return flag, value and help of what a command takes beside the options of a run."""
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        for told in getattr(hints.get(name), "__metadata__", ()):
            # Typer takes the first flag of an annotation for a default.
            words = (told.default, *(getattr(told, "param_decls", None) or ()))
            names = [word for word in words if isinstance(word, str) and word.startswith("-")]
            shown = ", ".join(f"`{word}`" for word in names) or f"`--{name.replace('_', '-')}`"
            if parameter.default is not inspect.Parameter.empty or names:
                yield shown, f"`{told.metavar}`" if told.metavar else _value(hints[name].__origin__), told.help


def _value(kind: Any) -> str:
    return "" if kind is bool else "file" if "Path" in str(kind) else "`NAME`"


def page() -> str:
    commands = "\n\n".join(
        f"### napari-focus-stack {command.__name__}\n\n{table(('flag', 'value', 'what it does'), flags(command))}"
        for command in (fuse, measure)
    )
    options = table(
        ("option, in the panel", "what it does", "values", "default"),
        ((f"`{s.name}` *{s.label}*", s.help, values(s), default(s)) for s in OPTION_SPECS.values()),
    )
    methods = table(
        ("`method`", "name", "what it does", "visits to a slice", "makes no use of"),
        (
            (f"`{name}`", m.title, m.help, str(m.visits), ", ".join(f"`{option}`" for option in m.ignores) or "–")
            for name, m in FUSION_METHODS.items()
        ),
    )
    measures = table(
        ("`sharpness_measure`", "name", "what it tells"),
        ((f"`{name}`", m.title, m.help) for name, m in SHARPNESS_MEASURES.items()),
    )
    return f"""# Options, methods and measures

Every option, fusion method and sharpness measure, each in one sentence. This page is written from the program itself.

## Options

In Python an option is an argument of `focus_stack`; on the command line it is a flag of the same name with
dashes (`--height-smoothing-px 4`, `--fill-height` or `--no-fill-height`); in the panel it has the label below.

{options}

## Fusion methods

{methods}

## Sharpness measures

{measures}

## Flags of the command line

`fuse` takes every option above as a flag, and these:

{commands}

`napari-focus-stack demo` fuses a sample, `napari-focus-stack info` prints versions, and `--help` after any of them
explains it.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
