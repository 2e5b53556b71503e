"""Run the commands of `bcfl`: parse and print. Every error is one line on stderr and an exit code.

0    done
2    an error that the person at the terminal can do something about
70   a defect of bcfl; `--debug` shows where
130  interrupted
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Final, TextIO

from bcfl import garbage
from bcfl.cli.output.terminal import say, stdout_reserved
from bcfl.errors import BcflError

USAGE: Final = 2
DEFECT: Final = 70
INTERRUPTED: Final = 130
JSON: Final = "--json"
OPTION: Final = re.compile(r"No such option:? ['\"]?(-[\w-]+)['\"]?")
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (the process's own when None) name; return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if arguments is None:
        garbage.keep_loaded()
    try:
        with stdout_reserved() if JSON in words else nullcontext():
            code = _app(words)(
                [word for word in words if word != "--debug"], prog_name="bcfl", standalone_mode=False
            )
        _flush()
        return code if isinstance(code, int) else 0
    except SystemExit as end:  # typer's own: the reader of a pipe is gone
        _silence()
        return end.code if isinstance(end.code, int) else USAGE
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _refuse(error)


def _app(words: Sequence[str]) -> Callable[..., object]:
    """Return what runs a command: where it can stand alone, without what the others need."""
    from bcfl.cli.root import ALONE, app_of

    if words and words[0] in ALONE and "bcfl.cli.app" not in sys.modules:
        return app_of(words[0])
    with garbage.loading():
        from bcfl.cli.app import app

    return app


def _refuse(error: Exception) -> int:
    """Print in one line what went wrong; return the exit code."""
    if isinstance(error, BcflError):
        return _fail(str(error), USAGE)
    if hasattr(error, "format_message"):  # typer's family of usage errors, wherever this version keeps it
        return _fail(_usage(error), USAGE)
    if isinstance(error, BrokenPipeError):
        _silence()
        return 1
    if isinstance(error, OSError):
        return _fail(_system(error), USAGE)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _fail(f"{text} (a defect of bcfl: please report it with what --debug shows)", DEFECT)


def _usage(error: Exception) -> str:
    """Return a usage error in one sentence, with the command whose help explains."""
    message: str = error.format_message()  # type: ignore[attr-defined]
    message = OPTION.sub(r"No such option: \1", message)  # as all versions of typer have it here
    if new_name := _new_name(getattr(error, "option_name", "")):
        message = f"No such option: {error.option_name}, it is now {new_name}"  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f" (`{context.command_path} --help` lists what there is)" if context is not None else ""
    return message.strip().rstrip(".") + hint


def _new_name(flag: str) -> str | None:
    """Return what a flag is called that had another name in earlier versions; None for any other."""
    from bcfl.cli.options import RENAMED_FLAGS

    return RENAMED_FLAGS.get(flag)


def _system(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    path = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        _silence()
        return f"{path}{reason}: free some space and try again"
    return f"{path}{reason}"


def _fail(message: str, code: int) -> int:
    with suppress(OSError, ValueError):
        say("error: " + " ".join(message.split()), to_stderr=True)
    return code


def _flush() -> None:
    """Write out what stdout still holds, unless a task's code, or who started this process, has closed it."""
    stdout: TextIO | None = sys.stdout
    if stdout is not None and not stdout.closed:
        stdout.flush()


def _silence() -> None:
    """Let nothing more be written to a stdout that takes nothing, not at the interpreter's end either."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
