"""Write each round of a run to where people look already: TensorBoard, a table, lines of JSON.

    with open_logbooks(["csv:run.csv", "tensorboard:logs"]) as observers:
        simulation.run(config, on_progress=several(print_round, *observers))

An observer is a function of a `Progress`; one's own stands beside these (examples/callbacks.py).
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

from bcfl.errors import ConfigError, RunError
from bcfl.federation.reports import Progress, RoundReport
from bcfl.pages.texts import json_text

KINDS: Final = ("tensorboard", "csv", "jsonl")
FIELDS: Final = ("round", "status", "reason", "leader", "accepted", "rejected", "gas", "loss")
OPTIONAL: Final = ("false_rejects", "false_accepts", "attack_success")
MISSING: Final = "--log tensorboard:DIR needs the package tensorboard: `pip install 'bcfl[tensorboard]'`"
Observer = Callable[[Progress], None]


class Logbook(Protocol):
    """Something that takes the reports of rounds as they come."""

    def write(self, report: RoundReport) -> None:
        """Take one report."""

    def close(self) -> None:
        """Leave everything on disk."""


def several(*observers: Observer) -> Observer:
    """Return an observer that calls others, one after the other."""

    def call_all(progress: Progress) -> None:
        for observer in observers:
            observer(progress)

    return call_all


@contextmanager
def open_logbooks(texts: Sequence[str], *, resumed: bool = False) -> Iterator[list[Observer]]:
    """Open what `KIND:PATH` each ask for, closed at the end; raises ConfigError for anything else.

    With `resumed` a file of an earlier process is written anew, as the earlier rounds are told again; else
    one that is there already is refused.
    """
    with ExitStack() as stack:
        observers = list[Observer]()
        for kind, path in map(parse, texts):
            logbook = _open(kind, path, resumed)
            stack.callback(_close, logbook)
            observers.append(_observer(logbook, path))
        yield observers


def parse(text: str) -> tuple[str, Path]:
    """Return kind and path of a logbook; raises ConfigError."""
    kind, colon, path = text.partition(":")
    if kind not in KINDS or not colon or not path:
        raise ConfigError(f"--log {text[:60]!r}: write {', '.join(f'{each}:PATH' for each in KINDS)}")
    return kind, Path(path)


def scalars(report: RoundReport) -> dict[str, float]:
    """Return the finite numbers of a round by name, as curves are drawn from them."""
    rejected = len(report.rejected)
    numbers: dict[str, float | int | None] = {f"metrics/{name}": v for name, v in report.metrics.items()}
    numbers |= {"loss": report.loss, "updates/accepted": len(report.accepted), "updates/rejected": rejected}
    numbers |= {"gas": report.gas, "void": int(report.status == "void")}
    numbers |= {f"attack/{name}": getattr(report, name) for name in OPTIONAL}
    return {
        name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)
    }


class CsvLogbook:
    """A table with a row a round; the metrics of the first round are its last columns."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._writer = file, csv.writer(file, lineterminator="\n")
        self._metrics: list[str] | None = None

    def write(self, report: RoundReport) -> None:
        """Add a row, and the head before the first."""
        if self._metrics is None:
            self._metrics = list(report.metrics)
            self._writer.writerow([*FIELDS, *OPTIONAL, *map(_harmless, self._metrics)])
        values: list[Any] = [getattr(report, name) for name in (*FIELDS, *OPTIONAL)]
        values = [len(value) if isinstance(value, tuple) else value for value in values]
        values += [report.metrics.get(name) for name in self._metrics]
        self._writer.writerow(["" if value is None else value for value in values])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonlLogbook:
    """An object a round, as `bcfl run --json` has it among its rounds."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, report: RoundReport) -> None:
        """Add a line; null stands for what is no finite number."""
        self._file.write(json_text(report.to_dict()) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardLogbook:
    """Curves for TensorBoard; needs the extra `tensorboard`."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise ConfigError(MISSING) from None
        self._event, self._summary, self._writer = Event, Summary, EventFileWriter(str(folder))

    def write(self, report: RoundReport) -> None:
        """Add a point to each curve; the step is the round."""
        values = [self._summary.Value(tag=name, simple_value=v) for name, v in scalars(report).items()]
        event = self._event(wall_time=time.time(), step=report.round, summary=self._summary(value=values))
        self._writer.add_event(event)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _open(kind: str, path: Path, resumed: bool) -> Logbook:
    if kind == "tensorboard":
        return TensorBoardLogbook(path)
    try:
        if not resumed and path.is_file() and path.stat().st_size:
            raise ConfigError(f"--log {kind}:{path} exists: name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"--log {kind}:{path} cannot be written: {error.strerror}") from None
    return CsvLogbook(file) if kind == "csv" else JsonlLogbook(file)


def _observer(logbook: Logbook, path: Path) -> Observer:
    """Return an observer that hands reports to a logbook; a full disk ends the run in one line."""

    def observe(progress: Progress) -> None:
        if progress.report is not None:
            try:
                logbook.write(progress.report)
            except OSError as error:
                raise RunError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from error

    return observe


def _close(logbook: Logbook) -> None:
    """Close a logbook; what a full disk has refused has been told already."""
    with suppress(OSError):
        logbook.close()


def _harmless(name: str) -> str:
    """Return a metric's name as it may stand in a table that a spreadsheet opens."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
