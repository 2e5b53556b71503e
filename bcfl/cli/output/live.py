"""What `bcfl run` shows on stderr while it runs: a line for every round, and where the running one stands."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from bcfl.cli.output.printing import Column, aligned, plural, shortened
from bcfl.config import Config
from bcfl.federation.reports import Progress, RoundReport

if TYPE_CHECKING:
    from rich.live import Live

COLUMNS: Final = (
    Column("round", True),
    Column("accuracy", True),
    Column("loss", True, spare=True),
    Column("accepted", True),
    Column("gas", True),
    Column("seconds", True, spare=True),
    Column("leader"),
    Column("rejected"),
)
WIDEST: Final = ("round", "100.00%", "10.0000", "1024/1024", "10,000,000", "seconds", "0x1234…cdef", "")
LONGEST_ENGINE: Final = " (committee)"
ADDRESS_WIDTH: Final = 42
WIDE: Final = 140  # columns of a terminal that has room for whole addresses
ROOMY: Final = 100  # and of one that has room for every figure
SPINNER_WIDTH: Final = 3
NAMED: Final = 3  # of those who are awaited
RESUMED: Final = "resumed"  # the phase of rounds that an earlier process played
REFRESH: Final = 8  # a second


class Lines:
    """One plain line a round, for a log or a pipe."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config, self._path = config, path
        self._begun, self._since = False, 0.0
        self._width = sys.maxsize

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, progress: Progress) -> None:
        """Take in where the run stands."""
        if not self._begun:
            self._begun, self._since = True, time.perf_counter()
            self._head()
        if progress.report is None:
            self.standing(progress)
            return
        self._ended(progress, progress.report)

    def _ended(self, progress: Progress, report: RoundReport) -> None:
        """Leave the row of a round that has ended."""
        now = time.perf_counter()
        took, self._since = now - self._since, now
        seconds = None if progress.phase == RESUMED else took
        self._row(round_cells(report, seconds, self._width >= WIDE, self._changes), _style(report))
        self.standing(progress)

    def _head(self) -> None:
        """Say what runs, once it does, and head the columns."""
        config = self._config
        parties = participants(config, " · ")
        rounds = plural(config.rounds, "round")
        title = f"{config.task} · {parties} · {rounds} · led by {led_by(config)}"
        together = len(title) + len(str(self._path)) + len(" · ") <= self._width
        for line in [f"{title} · {self._path}"] if together else [title, str(self._path)]:
            self.line(line, "bold")
        self._row([column.heading for column in COLUMNS], "dim")

    @property
    def _changes(self) -> bool:
        """Whether the engine may differ from round to round."""
        return self._config.mode == "hybrid"

    def _row(self, cells: Sequence[str], style: str) -> None:
        self.line(row_line(cells, self._width, self._config), style)

    def standing(self, progress: Progress) -> None:
        """Show where the running round stands; a log has no place for it."""

    def stop(self, text: str) -> None:
        """Say why the run ended before its time."""
        print(text, file=sys.stderr, flush=True)

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays."""
        del style
        print(text, file=sys.stderr, flush=True)


class Table(Lines):
    """The same on a terminal, with a last line that moves: phase, who is awaited, and for how long."""

    def __init__(self, config: Config, path: Path) -> None:
        super().__init__(config, path)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._width = self._console.width
        self._live: Live = Live(
            console=self._console, refresh_per_second=REFRESH, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        self._show("starting")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def standing(self, progress: Progress) -> None:
        """Show where the running round stands."""
        self._show(standing_line(progress))

    def stop(self, text: str) -> None:
        """Say why the run ended before its time."""
        self._live.stop()
        super().stop(text)

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays, above the one that moves."""
        from rich.text import Text

        self._console.print(Text(text, style), soft_wrap=True)

    def _show(self, text: str) -> None:
        from rich.spinner import Spinner
        from rich.text import Text

        fitted = cut(text, self._width - SPINNER_WIDTH)
        self._live.update(Spinner("dots", Text(fitted, style="cyan"), style="cyan"))


class Silent(Lines):
    """Nothing at all."""

    def line(self, text: str, style: str = "") -> None:
        """Write nothing."""


def participants(config: Config, between: str) -> str:
    """How many take part, in which roles."""
    if config.mode == "full":
        return f"{plural(config.devices, 'device')} that are all miners"
    return f"{plural(config.devices, 'device')}{between}{plural(config.miners, 'miner')}"


def led_by(config: Config) -> str:
    """The engine of the first round, with the mode where that is not the usual one."""
    words = config.first_engine
    if words == "committee":
        words = f"a committee of {min(config.committee_size, config.miners)}"
    return words if config.mode == "partial" else f"{words} ({config.mode})"


def display(config: Config, path: Path, quiet: bool) -> Lines:
    """What suits stderr, for a run of `config` in the folder `path`."""
    if quiet:
        return Silent(config, path)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Table(config, path)
    return Lines(config, path)


def round_cells(report: RoundReport, seconds: float | None, wide: bool, engine: bool = False) -> list[str]:
    """A round as one row of the table; `engine`: it stands with the leader that it made."""
    leader = report.leader or "-"
    decided = f" ({report.engine})" if engine else ""
    total = len(report.accepted) + len(report.rejected)
    return [
        str(report.round),
        "-" if report.accuracy is None else f"{report.accuracy:.2%}",
        "-" if report.loss is None else f"{report.loss:.4f}",
        f"{len(report.accepted)}/{total}",
        f"{report.gas:,}",
        "-" if seconds is None else f"{seconds:.1f}",
        (leader if wide else shortened(leader)) + decided,
        rejected_words(report),
    ]


def rejected_words(report: RoundReport) -> str:
    """Why a round is void, and how many updates were rejected for which reason."""
    words = [f"void: {(report.reason or 'unknown').replace('_', ' ')}"] if report.status == "void" else []
    counts = Counter(item.reason for item in report.rejected)
    words += [f"{count} {reason}" for reason, count in sorted(counts.items())]
    return ", ".join(words) or "-"


def standing_line(progress: Progress) -> str:
    """Round, phase, and who is awaited in it."""
    line = f"round {progress.round} of {progress.rounds} · {progress.phase}"
    if not progress.awaited:
        return line
    named = ", ".join(shortened(name) for name in progress.awaited[:NAMED])
    more = len(progress.awaited) - NAMED
    return f"{line} · awaiting {len(progress.awaited)}: {named}" + (f", +{more}" if more > 0 else "")


def cut(text: str, room: int) -> str:
    """A text that is no wider than that."""
    return text if len(text) <= room else text[: room - 1] + "…"


def row_line(cells: Sequence[str], width: int, config: Config) -> str:
    """Cells as a line whose columns are as wide in every round, of a terminal as wide as `width`."""
    total = f"{config.devices}/{config.devices}"
    widest = list(WIDEST)
    widest[0], widest[3] = str(config.rounds), total
    widest[6] = "x" * ADDRESS_WIDTH if width >= WIDE else WIDEST[6]
    widest[6] += LONGEST_ENGINE if config.mode == "hybrid" else ""
    shown = [place for place, column in enumerate(COLUMNS) if width >= ROOMY or not column.spare]
    rows = [[row[place] for place in shown] for row in (widest, cells)]
    return cut(aligned([COLUMNS[place] for place in shown], rows)[-1], width)


def _style(report: RoundReport) -> str:
    if report.status == "void":
        return "red"
    return "yellow" if report.rejected else ""
