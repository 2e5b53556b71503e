"""Measure what noise costs, what it leaves to be told, and what the miners' checks make of it.

    python -m benchmarks.dp            # all tables: 27 minutes on two slow cores with other work on them
    python -m benchmarks.dp --small    # one row of each, under a minute

Whole federations on the embedded chain. Noise is drawn from a new secret each time, so figures differ a
little from run to run. Epsilon is for delta 1e-5: to who sees each update, the most of any device and the
median; and to who sees the models alone, where whole updates are hidden.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bcfl
from bcfl.errors import BcflError
from bcfl.federation.reports import Report
from bcfl.learning import Dataset, Task, resolve
from bcfl.learning.datasets import fashion_mnist

FASHION_TRAINING, FASHION_TEST = 6_000, 2_000
HEADS = (
    "task",
    "data",
    "devices",
    "noise",
    "accuracy",
    "eps most",
    "eps median",
    "eps models",
    "rejected",
    "why",
)
WIDTHS = (14, 10, 7, 7, 8, 8, 10, 10, 8, 0)


def fashion(_: Path | None = None) -> Dataset:
    """Return the first pictures of Fashion-MNIST: as many as devices have where data is scarce."""
    whole = fashion_mnist()
    first, last = np.arange(FASHION_TRAINING), np.arange(FASHION_TEST)
    return Dataset(whole.train.take(first), whole.test.take(last))


FASHION = Task(
    "fashion-mnist",
    f"{FASHION_TRAINING:,} pictures of clothes",
    fashion,
    resolve("fashion-mnist").build,
    shape=(1, 28, 28),
    classes=10,
)
RATES = {"digits": 2.0, "breast-cancer": 1.0, "fashion-mnist": 0.5}  # with noise
TASKS = {"digits": "digits", "breast-cancer": "breast-cancer", "fashion-mnist": "benchmarks.dp:FASHION"}


@dataclass(frozen=True)
class Case:
    """One federation; without noise it trains as the task does by itself."""

    task: str
    partition: str
    devices: int
    noise: str | None
    level: str = "sample"
    clip: str = "1"
    rounds: int = 5
    adversary: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of its run."""
        noise = None if self.noise is None else f"noise={self.noise},clip={self.clip},level={self.level}"
        steps: dict[str, Any] = {"epochs": 1, "batch_size": 64, "learning_rate": RATES[self.task]}
        return {
            "task": TASKS[self.task],
            "partition": self.partition,
            "devices": self.devices,
            "miners": 3,
            "rounds": self.rounds,
            "dp": noise,
            "adversary": self.adversary,
        } | (steps if self.level == "sample" and noise else {})

    def play(self) -> Report:
        """Run it in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            return bcfl.run(bcfl.Config(**self.options, run_dir=Path(folder, "run")))


def row(case: Case, report: Report) -> list[str]:
    """Return what a run came to, by `HEADS`."""
    total = sum(len(round_.accepted) + len(round_.rejected) for round_ in report.rounds)
    reasons = Counter(item.reason for round_ in report.rounds for item in round_.rejected)
    told = report.privacy
    models = None if told is None else told.aggregate_epsilon
    return [
        case.task,
        case.partition,
        str(case.devices),
        case.noise or "none",
        f"{report.final_accuracy or 0:.1%}",
        "-" if told is None else f"{told.epsilon:.3g}",
        "-" if told is None else f"{told.median:.3g}",
        "-" if models is None else f"{models:.3g}",
        f"{sum(reasons.values()) / max(1, total):.1%}",
        ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "-",
    ]


def samples(small: bool) -> Iterator[Case]:
    """Yield federations with noise on every step."""
    if small:
        yield Case("digits", "iid", 6, "1.1", rounds=2)
        return
    for task in TASKS:
        for partition in ("iid", "dirichlet"):
            for devices in (6, 20) if task == "digits" else (6,):
                for noise in (None, "0.7", "1.1", "2"):
                    yield Case(task, partition, devices, noise, rounds=5 if devices < 20 else 4)


def participants(small: bool) -> Iterator[Case]:
    """Yield federations with noise on whole updates."""
    if small:
        yield Case("digits", "iid", 6, "0.02", "participant", rounds=2)
        return
    for devices, noise in ((20, "0.05"), (60, "0.05"), (60, "0.2"), (60, "0.5")):
        yield Case("digits", "iid", devices, noise, "participant", "0.5", rounds=3)


def attacked(small: bool) -> Iterator[Case]:
    """Yield federations in which a fifth of the devices attack."""
    if small:
        return
    for attack in ("label-flip", "sign-flip"):
        for noise in (None, "1.1"):
            yield Case("digits", "dirichlet", 20, noise, rounds=4, adversary=(f"{attack}:0.2",))


def tables(small: bool) -> Iterator[tuple[str, list[Case]]]:
    """Yield a heading and its federations."""
    yield "Noise on each sample's gradient, clip 1, batch 64, one epoch a round", list(samples(small))
    yield "Noise on the whole update, clip 0.5", list(participants(small))
    yield "A fifth of the devices attack, noise on each sample's gradient", list(attacked(small))


def line(cells: Sequence[str]) -> str:
    """Return cells as a line of a table."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What noise costs, tells and is taken for.")
    parser.add_argument("--small", action="store_true", help="one row of each table, under a minute")
    small = parser.parse_args().small
    for heading, cases in tables(small):
        if not cases:
            continue
        print(f"\n{heading}\n\n{line(HEADS)}", flush=True)
        for case in cases:
            try:
                report = case.play()
            except BcflError as error:
                print(f"{case}: {error}", file=sys.stderr)
                return 1
            mistakes = ""
            if report.adversaries:
                hostile = len(report.adversaries) * len(report.rounds)
                mistakes = f"  [{report.false_rejects} honest rejected"
                mistakes += f", {report.false_accepts} of {hostile} hostile taken]"
            print(line(row(case, report)) + mistakes, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
