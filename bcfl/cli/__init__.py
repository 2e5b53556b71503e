"""The command line: parse, wire, print. Whatever goes wrong is one line on stderr and an exit code.

0    done
2    an error that the person at the terminal can do something about
70   a defect of bcfl; `--debug` shows where
130  interrupted
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from bcfl.errors import BcflError

USAGE: Final = 2
DEFECT: Final = 70
INTERRUPTED: Final = 130
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (the process's own when None) name; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        from bcfl.cli.app import app

        code = app([text for text in given if text != "--debug"], prog_name="bcfl", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except SystemExit as ended:  # typer's own: the reader of a pipe is gone
        _silence()
        return ended.code if isinstance(ended.code, int) else USAGE
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _refuse(error)


def _refuse(error: Exception) -> int:
    """Say in one line what went wrong; returns the exit code."""
    if isinstance(error, BcflError):
        return _fail(str(error), USAGE)
    if hasattr(error, "format_message"):  # typer's family of usage errors, wherever this version keeps it
        return _fail(_usage(error), USAGE)
    if isinstance(error, BrokenPipeError):
        _silence()
        return 1
    if isinstance(error, OSError):
        return _fail(_system(error), USAGE)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _fail(f"{what} (a defect of bcfl: please report it with what --debug shows)", DEFECT)


def _usage(error: Exception) -> str:
    """Return a usage error in one sentence, with the command whose help explains."""
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f" (`{context.command_path} --help` lists what there is)" if context is not None else ""
    return message.strip().rstrip(".") + hint


def _system(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        _silence()
        return f"{where}{reason}: free some space and try again"
    return f"{where}{reason}"


def _fail(message: str, code: int) -> int:
    with suppress(OSError, ValueError):
        print("error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


def _silence() -> None:
    """Let nothing more be written to a stdout that takes nothing, not at the interpreter's end either."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
