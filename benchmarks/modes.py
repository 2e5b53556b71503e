"""Compare every mode and engine on one task: accuracy, gas per participant, seconds a round.

    python -m benchmarks.modes                              digits, as `bcfl run` has it
    python -m benchmarks.modes --rounds 3 --devices 8       smaller
    python -m benchmarks.modes --only "hybrid"              one of them

The same devices, data, seed and rounds everywhere. The hybrid run goes through all four engines.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcfl.config import Config
from bcfl.federation.genesis import set_up_data
from bcfl.federation.reports import Report
from bcfl.federation.runs import Run
from bcfl.federation.simulation import Simulation

SPREAD = 0.5  # points of accuracy between the best and the worst
COMBINATIONS: dict[str, dict[str, Any]] = {
    "full resource": {"mode": "full"},
    "full stake": {"mode": "full", "engine": "stake"},
    "full pow": {"mode": "full", "engine": "pow"},
    "partial committee": {"mode": "partial", "engine": "committee"},
    "partial stake": {"mode": "partial"},
    "partial pow": {"mode": "partial", "engine": "pow"},
    "hybrid": {"mode": "hybrid"},
}


@dataclass(frozen=True)
class Row:
    """The outcome of one combination."""

    name: str
    report: Report
    chain_seconds: float  # a round

    @property
    def accuracy(self) -> float:
        """Return the final accuracy in percent."""
        return 100 * (self.report.final_accuracy or 0.0)

    def cells(self) -> Iterator[str]:
        """Yield the cells of the table."""
        report, rounds = self.report, len(self.report.rounds)
        yield self.name
        yield ", ".join(dict.fromkeys(round_.engine for round_ in report.rounds))
        yield f"{self.accuracy:.2f}"
        yield f"{report.gas_per_participant:,.0f}"
        yield f"{self.chain_seconds:.0f}"
        yield f"{report.seconds / rounds:.1f}"
        yield str(len({round_.leader for round_ in report.rounds if round_.leader}))
        yield str(sum(round_.status == "void" for round_ in report.rounds))
        reasons = Counter(item.reason for round_ in report.rounds for item in round_.rejected)
        yield ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "-"


def play(name: str, config: Config) -> Row:
    """Play one run; the chain's own time is read from its events."""
    start = time.perf_counter()
    task, shares = set_up_data(config)
    with Run.create(config) as run, Simulation.open(run, task, shares) as simulation:
        report = simulation.play(None, start)
        times = [round_.opened for round_ in simulation.ledger.history().rounds.values()]
    return Row(name, report, (times[-1] - times[0]) / len(report.rounds))


def wishes(rounds: int) -> tuple[str, ...]:
    """Return wishes for another engine after each quarter of the rounds."""
    engines = ("pow", "committee", "resource")
    return tuple(
        f"{1 + max(place, rounds * place // 4)}:{name}" for place, name in enumerate(engines, start=1)
    )


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    titles = (
        "mode",
        "engine",
        "accuracy, %",
        "gas a participant",
        "chain s a round",
        "wall s",
        "leaders",
        "void",
        "rejected",
    )
    yield "| " + " | ".join(titles) + " |"
    yield "|---|---" + "|---:" * (len(titles) - 2) + "|"
    for row in rows:
        yield "| " + " | ".join(row.cells()) + " |"


def main() -> int:
    """Play them all; return 1 if their accuracies are further apart than they may be, else 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=COMBINATIONS, help="run just this one")
    for name in ("rounds", "devices", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Config(), name))
    options = vars(parser.parse_args())
    only = options.pop("only")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in COMBINATIONS.items():
            if only in (None, name):
                extra: dict[str, Any] = {"wish": wishes(options["rounds"])} if name == "hybrid" else {}
                rows.append(play(name, Config(**options, **changes, **extra, runs=Path(folder))))
                print(f"{name}: {rows[-1].accuracy:.2f}%", file=sys.stderr, flush=True)
    print("\n".join(table(rows)))
    spread = max(row.accuracy for row in rows) - min(row.accuracy for row in rows)
    print(f"\nbest and worst are {spread:.2f} points apart; at most {SPREAD} are expected")
    return int(spread > SPREAD)


if __name__ == "__main__":
    sys.exit(main())
