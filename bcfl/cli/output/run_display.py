"""What `bcfl run` shows on stderr while it runs: a line for every round, and where the running one stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from bcfl.cli.output.display import Display, SilentDisplay, cut, open_display
from bcfl.cli.output.printing import Column, aligned, metric_text, plural, shortened
from bcfl.config import Config
from bcfl.federation.reports import Progress, RoundReport

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
METRIC, LOSS = 1, 2  # places of their columns
METRIC_WIDTH: Final = 20
LONGEST_ENGINE: Final = " (committee)"
ADDRESS_WIDTH: Final = 42
WIDE: Final = 140  # columns of a terminal that has room for whole addresses
ROOMY: Final = 100  # and of one that has room for every figure
NAMED: Final = 3  # of those who are awaited
RESUMED: Final = "resumed"  # the phase of rounds that an earlier process played


class RunDisplay:
    """The progress of a run of `config` in the folder `path`: a table with a row a round."""

    def __init__(self, config: Config, path: Path, display: Display) -> None:
        self._config, self._path, self._display = config, path, display
        self._round_start: float | None = None  # None: nothing is known to run yet
        self._metric: str | None = None  # that heads the second column

    def __enter__(self) -> Self:
        self._display.__enter__()
        self._display.status("starting")
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._round_start is None:
            self._round_start = time.perf_counter()
            self._head(progress.metric, progress.rounds)
        if progress.report is not None:
            self._row(self._cells(progress, progress.report, self._lap()), _style(progress.report))
        self._display.status(progress_line(progress))

    def stop(self, text: str) -> None:
        """Say why the run ended before its time."""
        self._display.stop()
        Display().line(text)

    def _lap(self) -> float:
        """Return the seconds since the last round ended."""
        now, start = time.perf_counter(), self._round_start or 0.0
        self._round_start = now
        return now - start

    def _cells(self, progress: Progress, report: RoundReport, seconds: float) -> list[str]:
        is_wide, engine_varies = self._display.width >= WIDE, self._config.mode == "hybrid"
        lap = None if progress.phase == RESUMED else seconds
        return round_cells(report, lap, is_wide, engine_varies, progress.metric)

    def _head(self, metric: str | None, count: int) -> None:
        """Say what runs, once it does, and head the columns."""
        config = self._config
        parties = participants(config, " · ")
        rounds = plural(max(count, config.rounds), "round")
        sealed = " · confidential" if config.privacy == "confidential" else ""
        title = f"{config.subject} · {parties} · {rounds} · led by {led_by(config)}{sealed}"
        fits = len(title) + len(str(self._path)) + len(" · ") <= self._display.width
        for line in [f"{title} · {self._path}"] if fits else [title, str(self._path)]:
            self._display.line(line, "bold")
        self._metric = metric
        self._row([column.heading for column in columns_of(metric)], "dim")

    def _row(self, cells: Sequence[str], style: str) -> None:
        self._display.line(row_line(cells, self._display.width, self._config, self._metric), style)


def open_run_display(config: Config, path: Path, quiet: bool) -> RunDisplay:
    """Return the display of a run that suits stderr."""
    return RunDisplay(config, path, SilentDisplay() if quiet else open_display(spins=True))


def participants(config: Config, between: str) -> str:
    """How many take part, in which roles."""
    if config.mode == "full":
        return f"{plural(config.devices, 'device')} that are all miners"
    return f"{plural(config.devices, 'device')}{between}{plural(config.miners, 'miner')}"


def led_by(config: Config) -> str:
    """Return the engine of the first round, with the mode where that is not the usual one."""
    words = config.first_engine
    if words == "committee":
        words = f"a committee of {min(config.committee_size, config.miners)}"
    return words if config.mode == "partial" else f"{words} ({config.mode})"


def columns_of(metric: str | None) -> list[Column]:
    """Return the columns of the table, the task's metric in the second; without one the loss has room."""
    columns = list(COLUMNS)
    columns[METRIC] = Column(cut(metric or "", METRIC_WIDTH), True, spare=metric is None)
    columns[LOSS] = Column("loss", True, spare=metric is not None)
    return columns


def round_cells(
    report: RoundReport,
    seconds: float | None,
    wide: bool,
    engine: bool = False,
    metric: str | None = "accuracy",
) -> list[str]:
    """Return a round as one row of the table; `engine`: name it beside the leader that it made."""
    leader = report.leader or "-"
    suffix = f" ({report.engine})" if engine else ""
    total = len(report.accepted) + len(report.rejected)
    return [
        str(report.round),
        "" if metric is None else metric_text(metric, report.metrics.get(metric)),
        metric_text("loss", report.loss),
        f"{len(report.accepted)}/{total}",
        f"{report.gas:,}",
        "-" if seconds is None else f"{seconds:.1f}",
        (leader if wide else shortened(leader)) + suffix,
        rejected_words(report),
    ]


def rejected_words(report: RoundReport) -> str:
    """Return why a round is void, how many updates were rejected and why, and if values do not fit."""
    words = [f"void: {(report.reason or 'unknown').replace('_', ' ')}"] if report.status == "void" else []
    counts = Counter(item.reason for item in report.rejected)
    words += [f"{count} {reason}" for reason, count in sorted(counts.items())]
    if report.fit is not None and report.fit.excess is not None:
        words.append("values do not fit")
    return ", ".join(words) or "-"


def progress_line(progress: Progress) -> str:
    """Return round, phase, the workers, and who is awaited in it."""
    line = f"round {progress.round} of {progress.rounds} · {progress.phase}"
    line += "" if progress.workers is None else f" · {progress.workers}"
    if not progress.awaited:
        return line
    names = ", ".join(shortened(name) for name in progress.awaited[:NAMED])
    more = len(progress.awaited) - NAMED
    return f"{line} · awaiting {len(progress.awaited)}: {names}" + (f", +{more}" if more > 0 else "")


def row_line(cells: Sequence[str], width: int, config: Config, metric: str | None = "accuracy") -> str:
    """Return cells as a line of `width` columns; a column is as wide in every round."""
    total = f"{config.devices}/{config.devices}"
    widest = list(WIDEST)
    widest[0], widest[3] = str(config.rounds), total
    widest[6] = "x" * ADDRESS_WIDTH if width >= WIDE else WIDEST[6]
    widest[6] += LONGEST_ENGINE if config.mode == "hybrid" else ""
    columns = columns_of(metric)
    widest[METRIC] = cut(metric or "", METRIC_WIDTH).rjust(len(WIDEST[METRIC])) if metric else ""
    is_dropped = [column.spare and width < ROOMY for column in columns]
    is_dropped[METRIC] = metric is None
    places = [place for place, dropped in enumerate(is_dropped) if not dropped]
    rows = [[row[place] for place in places] for row in (widest, cells)]
    return cut(aligned([columns[place] for place in places], rows)[-1], width)


def _style(report: RoundReport) -> str:
    if report.status == "void":
        return "red"
    return "yellow" if report.rejected else ""
