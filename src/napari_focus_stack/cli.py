"""The command line: parse, import late, call, print.

Exit status: 0 done, 1 bad input (one sentence on stderr), 2 bad usage, 3 some of many stacks failed, 130 interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import inspect
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from . import terminal
from .errors import InputError

if TYPE_CHECKING:
    from .alignment.record import Alignment
    from .auto_choices import Chosen
    from .io import HeightSettings, Positions, StackSource, TileSettings
    from .options import OptionSpec
    from .result import FocusStackResult
    from .sharpness import SharpnessReport

DONE, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 1, 3, 130
DEMO_FOLDER = Path("focus-stack-demo")
DEMO_SCENE = "beads"

# New objects between two searches for garbage; Python's own number is a fifth of it at most.
_SELDOM = 10_000

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="A folder, files or globs of slices (sorted by number), an (OME-)TIFF or ImageJ stack, or an OME-Zarr; "
        "or many stacks: a folder of folders, a file with time points or positions.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no summary.")]


def fuse(
    inputs: Inputs,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Fused image: .tif, .png, .jpg or .zarr.", show_default=False)
    ],
    index: Annotated[
        Path | None, typer.Option(help="Focus-index map: .tif, .png or .zarr.", show_default=False)
    ] = None,
    height: Annotated[Path | None, typer.Option(help="Height map: .tif or .zarr.", show_default=False)] = None,
    confidence: Annotated[
        Path | None, typer.Option(help="Confidence of heights: .tif or .zarr.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Report of sharpness and surface: .json or .csv.", show_default=False)
    ] = None,
    height_unit: Annotated[
        str, typer.Option(metavar="slices|um", help="Unit of the height map; um needs the distance between slices.")
    ] = "slices",
    z_step: Annotated[
        float | None,
        typer.Option(metavar="UM", help="Distance between slices, if the files do not have it.", show_default=False),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(
            metavar="UM", help="Size of a pixel along y and x, if the files do not have it.", show_default=False
        ),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            metavar="none|plane|paraboloid",
            help="Form to remove from the height map, and from the roughness in the report (there the plane if none).",
        ),
    ] = "none",
    trust: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Heights with less confidence count neither for the form nor for the report. [default: 0.55]",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask", help="Set heights with less confidence than --trust to NaN in the height map.")
    ] = False,
    s_filter: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="Remove noise shorter than this before roughness is measured: a Gaussian filter.",
            show_default=False,
        ),
    ] = None,
    l_filter: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="Remove waves longer than this before roughness is measured: a Gaussian filter.",
            show_default=False,
        ),
    ] = None,
    alignment: Annotated[
        Path | None,
        typer.Option(
            help="Use the alignment that an earlier run saved (.json), in place of --align.", show_default=False
        ),
    ] = None,
    save_alignment: Annotated[
        Path | None,
        typer.Option(
            help="Save how the slices were aligned (.json), for other channels or time points.", show_default=False
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            metavar="BYTES",
            help='Memory that a run may use, such as "4 GB"; larger stacks are fused in tiles. [default: half of all]',
            show_default=False,
        ),
    ] = "",
    tile: Annotated[
        int | None, typer.Option(metavar="PX", help="Fuse in tiles with sides of so many pixels.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in tiles.")] = False,
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="threads|tcp://HOST:PORT", help="Where tiles run: here, or on a cluster of dask.distributed."
        ),
    ] = "threads",
    zarr_format: Annotated[
        int, typer.Option(metavar="2|3", help="Version of Zarr to write: 2 is OME-Zarr 0.4, 3 is 0.5.")
    ] = 2,
    quiet: Quiet = False,
    **given: str | bool | None,
) -> None:
    """Fuse a z-stack into one image that is sharp everywhere."""
    from .alignment.record import Alignment
    from .io import HeightSettings, PixelSize, TileSettings, check_outputs, find_positions, read_stack
    from .options import OPTION_SPECS, FocusStackOptions
    from .surface import DEFAULT_TRUST

    chosen = {name: _value(OPTION_SPECS[name], text) for name, text in given.items() if text is not None}
    options = FocusStackOptions.of(None, **chosen)
    heights = HeightSettings(height_unit, level, DEFAULT_TRUST if trust is None else trust, mask, s_filter, l_filter)
    sizes = PixelSize.given(z_step, pixel_size)
    tiles = TileSettings(memory, tile, scheduler, resume, zarr_format)
    named = {"image": output, "index": index, "height": height, "confidence": confidence, "report": report}
    named["alignment"] = save_alignment
    earlier = Alignment.load(alignment) if alignment is not None else None
    if save_alignment is not None and earlier is None and not options.aligns:
        raise InputError("there is no alignment to save; choose one by --align or --match-brightness.")
    many = find_positions(inputs, sizes)
    if many is not None and (earlier is not None or save_alignment is not None):
        raise InputError("many stacks are named, but an alignment is one stack's; leave it out or name one stack.")
    if many is not None:
        _fuse_many(
            many, options, {name: path for name, path in named.items() if path is not None}, tiles, heights, quiet
        )
        return
    with read_stack(inputs, pixel_size=sizes) as stack:
        outputs = check_outputs({name: path for name, path in named.items() if path is not None}, stack, heights)
        if tiles.wanted(stack, options, outputs) and earlier is None:
            _fuse_in_tiles(stack, inputs, options, outputs, tiles, heights, quiet)
        else:
            _fuse_and_write(stack, options, outputs, quiet, heights, earlier, zarr_format)


def measure(
    inputs: Inputs,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Sharpness measure, as --sharpness-measure of fuse. [default: focus]",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the sharpness of every slice."""
    from .io import measure_stack, read_stack
    from .options import FocusStackOptions

    chosen = {} if measure is None else {"sharpness_measure": measure}
    name = FocusStackOptions.of(None, **chosen).sharpness_measure
    with read_stack(inputs, min_slices=1) as stack:
        with terminal.progress_bar("Measuring", quiet=as_json) as progress:
            values = measure_stack(stack, name, progress)
        terminal.print_measures(stack.names, name, values, as_json)


def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Print versions, cores, memory, kernels on disk and display: what a report of a fault should tell."""
    from .diagnosis import diagnosis

    terminal.print_facts(diagnosis(), as_json)


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Write the files only; do not open napari.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")] = DEMO_FOLDER,
    quiet: Quiet = False,
) -> None:
    """Fuse a sample stack, write the results, and show them in napari."""
    from .demo import demo_stack, show_demo
    from .io import check_outputs
    from .options import FocusStackOptions

    if not output.exists() and output.parent.is_dir():
        output.mkdir()
    names = {"image": "fused.tif", "index": "index.tif", "height": "height.tif", "report": "report.json"}
    stack = demo_stack(DEMO_SCENE)
    outputs = check_outputs({name: output / file for name, file in names.items()}, stack)
    result = _fuse_and_write(stack, FocusStackOptions(), outputs, quiet)
    if not headless:
        typer.echo(show_demo(stack, result))


def _fuse_and_write(
    stack: StackSource,
    options: Any,
    outputs: Mapping[str, Path],
    quiet: bool,
    heights: HeightSettings | None = None,
    alignment: Alignment | None = None,
    zarr_format: int = 2,
) -> FocusStackResult:
    from .io import fuse_stack, write_results

    start = time.perf_counter()
    with terminal.progress_bar("Fusing", quiet) as progress:
        result = fuse_stack(stack, stack.rgb, options, progress, alignment)
        seconds = time.perf_counter() - start
        write_results(outputs, result, stack=stack, seconds=seconds, heights=heights, zarr_format=zarr_format)
    motion = result.alignment.reason if result.alignment is not None else None
    _tell(stack, outputs, result.warnings, quiet, result.sharpness, result.chosen, seconds, motion=motion)
    return result


def _fuse_in_tiles(
    stack: StackSource,
    inputs: Sequence[str],
    options: Any,
    outputs: Mapping[str, Path],
    tiles: TileSettings,
    heights: HeightSettings,
    quiet: bool,
) -> None:
    from .io import fuse_in_tiles

    start = time.perf_counter()
    with terminal.progress_bar("Fusing in tiles", quiet) as progress:
        outcome = fuse_in_tiles(stack, inputs, options, outputs, tiles, heights=heights, progress=progress)
    seconds, run = time.perf_counter() - start, outcome.run
    chosen = run.decisions.chosen
    _tell(
        stack, outputs, outcome.warnings, quiet, outcome.sharpness, chosen, seconds,
        plan=run.plan, resumed=outcome.resumed,
    )  # fmt: skip


def _tell(
    stack: StackSource,
    outputs: Mapping[str, Path],
    warnings: Sequence[str],
    quiet: bool,
    sharpness: SharpnessReport,
    chosen: Mapping[str, Chosen],
    seconds: float,
    **more: Any,
) -> None:
    """Say what the user should know of a run that is done, and how it went."""
    from .io import outputs_among_slices

    for warning in dict.fromkeys((*warnings, *outputs_among_slices(outputs, stack))):
        terminal.say(f"warning: {warning}")
    if not quiet:
        terminal.print_summary(stack.names, sharpness, chosen, outputs, seconds, **more)


def _fuse_many(
    positions: Positions,
    options: Any,
    outputs: Mapping[str, Path],
    tiles: TileSettings,
    heights: HeightSettings,
    quiet: bool,
) -> None:
    from .io import fuse_batch

    with terminal.progress_bar(f"Fusing {len(positions)} stacks", quiet) as progress:
        outcome = fuse_batch(positions, options, outputs, heights=heights, tiles=tiles, progress=progress)
    for row in outcome.failures:
        terminal.say(f"{row['stack']} failed: {row['error']}")
    if not quiet:
        terminal.print_batch(outcome)
    if outcome.failures:
        raise SystemExit(SOME_FAILED)


def _value(spec: OptionSpec, text: str | bool) -> Any:
    """Turn a flag's text into what `FocusStackOptions` judges; text that is no number is left for it to refuse."""
    if isinstance(text, bool) or spec.kind == "choice" or text in ("auto", "all"):
        return text
    if spec.kind == "noise":
        return tuple(_number(part) for part in text.split(","))
    return _number(text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _flag(spec: OptionSpec) -> inspect.Parameter:
    """Return the command's parameter for one option; values are text, judged with all others later."""
    dashed = "--" + spec.name.replace("_", "-")
    switch = spec.kind == "switch"
    names = f"{dashed}/--no-{dashed[2:]}" if switch else dashed
    kind: Any = (bool if switch else str) | None
    metavar = None if switch else _metavar(spec)
    choices = f" One of {', '.join(spec.choices)}." if spec.choices else ""
    text = f"{spec.help}{choices} [default: {_default_text(spec)}]"
    option = typer.Option(names, help=text, metavar=metavar, show_default=False)
    return inspect.Parameter(
        spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _metavar(spec: OptionSpec) -> str:
    if spec.kind == "choice":
        return "NAME"
    if spec.kind == "noise":
        return "auto|GAIN,OFFSET"
    number = f"{spec.low:g}..{spec.high:g}" if spec.low is not None and spec.high is not None else "N"
    return "|".join([*(["auto"] if spec.auto else []), *(["all"] if spec.kind == "channel" else []), number])


def _default_text(spec: OptionSpec) -> str:
    if spec.kind == "switch":
        return "on" if spec.default else "off"
    return f"{spec.default:g}" if isinstance(spec.default, float) else str(spec.default)


def _command(function: Callable[..., None], specs: Mapping[str, OptionSpec]) -> Callable[..., None]:
    """Give a command's function one flag for each option in place of its **keywords, and our exit statuses."""

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        with _exit_status():
            function(**arguments)
            sys.stdout.flush()

    own = inspect.signature(function, eval_str=True).parameters.values()
    parameters = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(parameters) < len(own):
        parameters += [_flag(spec) for spec in specs.values()]
    signature = inspect.Signature(parameters)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        typer.echo(f"napari-focus-stack {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Focus stacking: one image sharp everywhere, and the height of the specimen at every pixel."""


def build_app(specs: Mapping[str, OptionSpec]) -> typer.Typer:
    """Return the command line with one flag of `fuse` for each of `specs`."""
    # Plain help: rich's boxes cut long flags short in 80 columns, and take time to load.
    app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_root)
    for function in (fuse, measure, demo, info):
        app.command()(_command(function, specs))
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line with these arguments, or the process's own; ends with SystemExit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    terminal.print_anything()
    # 0.1 s of searching what was imported for garbage; and 0.2 s at the very end, which frees all memory anyway.
    often = gc.get_threshold()
    gc.set_threshold(_SELDOM)
    atexit.register(gc.freeze)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its complaints come again as our one sentence
    try:
        with _exit_status():
            specs: Mapping[str, OptionSpec] = {}
            if "fuse" in arguments:  # the list of commands need not wait for Numba
                from .options import OPTION_SPECS

                specs = OPTION_SPECS
            build_app(specs)(arguments, prog_name="napari-focus-stack")
    except SystemExit as end:
        # Typer gives the same status, without a word, to Ctrl-C before a command has begun.
        if end.code == INTERRUPTED:
            terminal.say("interrupted; no output has a partial file.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        gc.set_threshold(*often)
    raise SystemExit(DONE)


@contextlib.contextmanager
def _exit_status() -> Iterator[None]:
    """Turn bad input into one line on stderr, and it and interruption into an exit status."""
    try:
        yield
    except InputError as error:
        terminal.say(str(error))
        raise SystemExit(BAD_INPUT) from None
    except MemoryError:
        terminal.say("there is not enough memory for slices of this size; close other programs or crop the stack.")
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # as "| head" does once it has seen enough
        terminal.print_no_more()
        raise SystemExit(DONE) from None
    except OSError as error:
        terminal.print_no_more()
        terminal.say(f"{error.filename or 'the output'} cannot be written or read: {error.strerror or error}.")
        raise SystemExit(BAD_INPUT) from None
