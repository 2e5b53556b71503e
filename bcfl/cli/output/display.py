"""Write while a command runs: lines that stay, and on a terminal, below them, a part that moves."""

from __future__ import annotations

import os
import sys
from typing import Any, Final, Self

from bcfl.cli.output.printing import json_text
from bcfl.cli.output.terminal import plain_lines, say

REFRESH: Final = 8  # a second
SPINNER_WIDTH: Final = 3


class Display:
    """Plain lines on stderr, for a log or a pipe."""

    width = sys.maxsize  # columns
    is_live = False  # whether it has a part that moves

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays."""
        del style
        say(text, to_stderr=True)

    def event(self, kind: str, text: str, style: str = "", **fields: Any) -> None:
        """Write an event; its kind and fields are for programs."""
        del kind, fields
        self.line(text, style)

    def status(self, text: str) -> None:
        """Show where things stand; a log has no place for it."""

    def stop(self) -> None:
        """Take back the part that moves."""


class JsonDisplay(Display):
    """One JSON object an event on stdout."""

    def event(self, kind: str, text: str, style: str = "", **fields: Any) -> None:
        """Write an event."""
        del style
        say(json_text({"event": kind, "text": text, **fields}))


class SilentDisplay(Display):
    """Nothing at all."""

    def line(self, text: str, style: str = "") -> None:
        """Write nothing."""


class LiveDisplay(Display):
    """The same lines on a terminal, above a part that moves.

    `spins`: a thread lets a spinner turn beside it. Not for a process that forks, which draws by itself.
    """

    is_live = True

    def __init__(self, *, spins: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._spins, self.width = spins, self._console.width
        self._live = Live(
            console=self._console,
            auto_refresh=spins,
            refresh_per_second=REFRESH,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays, above the part that moves."""
        from rich.text import Text

        self._console.print(Text(plain_lines(text), style), soft_wrap=True)

    def status(self, text: str) -> None:
        """Show where things stand, in the part that moves."""
        from rich.spinner import Spinner
        from rich.text import Text

        text = plain_lines(text)
        if self._spins:
            line = Text(cut(text, self.width - SPINNER_WIDTH), style="cyan")
            self._live.update(Spinner("dots", line, style="cyan"))
        else:
            self._live.update(Text(text, "cyan", no_wrap=True, overflow="ellipsis"), refresh=True)

    def stop(self) -> None:
        """Take back the part that moves."""
        self._live.stop()


def open_display(*, spins: bool) -> Display:
    """Return what suits stderr: a live display on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveDisplay(spins=spins)
    return Display()


def cut(text: str, room: int) -> str:
    """Return a text that is no wider than `room` columns."""
    return text if len(text) <= room else text[: room - 1] + "…"
