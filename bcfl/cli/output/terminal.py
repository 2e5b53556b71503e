"""Write text to the terminal: the one place that all of it passes, so that none can command the terminal.

Endpoints, the words of nodes, stores and contracts, names in bundles: others choose them. What is no
printable letter in them, escape sequences and marks of direction above all, is shown by its number, as Python
shows it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, Final, TextIO

UNUSUAL: Final = re.compile(r"[^ -~]")  # all but ASCII's printable letters


class _Reserved:
    """The stdout that is kept for `say`; None where it is everybody's."""

    stream: ClassVar[TextIO | None] = None


def plain(text: object) -> str:
    """Return a text as one line without any letter that is not printable."""
    return UNUSUAL.sub(_shown, str(text))


def plain_lines(text: object) -> str:
    """Return a text whose line ends are bcfl's own, each line as `plain`."""
    return "\n".join(plain(line) for line in str(text).split("\n"))


def plain_json(text: str) -> str:
    """Return JSON in which letters that are not printable are escaped, as JSON escapes them."""
    return "\n".join(UNUSUAL.sub(_escaped, line) for line in text.split("\n"))


def say(text: object = "", *, to_stderr: bool = False) -> None:
    """Write a line, or several; letters that the terminal has not are shown by their numbers."""
    stream = sys.stderr if to_stderr else _Reserved.stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = plain_lines(text).encode(encoding, "backslashreplace").decode(encoding)
    print(shown, file=stream, flush=True)


@contextmanager
def stdout_reserved() -> Iterator[None]:
    """Keep stdout for `say`: what else is printed in the block, by processes it starts too, is on stderr.

    So JSON is all that a program reads there, whatever a task's own code prints.
    """
    stdout: TextIO | None = sys.stdout
    stderr = sys.stderr
    if stdout is None:  # closed by whoever started this process
        yield
        return
    try:
        stdout.flush()
        number, other = stdout.fileno(), stderr.fileno()
        kept = os.dup(number)
    except (AttributeError, OSError, ValueError):  # no files: somebody reads what is printed in memory
        _Reserved.stream, sys.stdout = stdout, stderr
        try:
            yield
        finally:
            _Reserved.stream, sys.stdout = None, stdout
        return
    _Reserved.stream = os.fdopen(kept, "w", encoding=stdout.encoding, errors=stdout.errors)
    os.dup2(other, number)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stdout.flush()
        os.dup2(kept, number)
        with suppress(OSError):
            _Reserved.stream.close()
        _Reserved.stream, sys.stdout = None, stdout


def _shown(match: re.Match[str]) -> str:
    letter = match[0]
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    if letter.isprintable():
        return letter
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
