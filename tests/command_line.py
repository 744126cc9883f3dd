"""The command line, run in this process: Python and what it imports are started once for all tests."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

import pytest

from napari_focus_stack.cli import main


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str


def command(*arguments: object) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return Ended(end.value.code or 0, out.getvalue(), err.getvalue())
