"""Whether levels and pay follow what devices are worth, and what the filter costs those with rare data.

    python -m benchmarks.fairness                      # 3 seeds; more than an hour
    python -m benchmarks.fairness --quick              # a minute, on digits
    python -m benchmarks.fairness --only "worth|digits"  # cases whose key holds a text
    python -m benchmarks.fairness --show --json        # play nothing, print what has been measured

Worth: six devices of mixed size and quality (`testkit.fairness.PARTIES`). Their true Shapley values come from
retraining plain FedAvg with each of the 63 coalitions, on test accuracy; the same by test loss stands beside.
They are compared, by rank, with levels (the mean over rounds, 0 for a rejected update), with the merits that
miners record and `bcfl device` shows (median over miners, mean over rounds), with pay, and with claims. A
gain is what nobody records: the slope of the held-out loss along an update, as a merit is, but at the model
before the round and not at the one that it makes.

Skew: nobody attacks, data are skewed. The rules beside a run in which nobody is judged: nothing is rejected,
and all levels are equal. Accuracy and recalls are means over the last three models. The rarest class is the
one with the fewest samples that count (a device's samples count up to the median, in proportion).

A *fair share* is what a device would earn if all updates were accepted at one level: its claimed samples up
to the median of the round, over those of all. The protocol pays claims up to the median times the level, so
what pay differs by from a fair share is what miners did. A share by Shapley value is another fairness, by
results and not by what was brought; nobody knows it while a federation runs. The bench prints both for six
devices. `pay a head` is what a device earned in means over all devices, however much it claimed.

Every result is a line of `--results`; a case that stands there is not played again. It holds for the rules it
was made with, as in the robustness bench.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from testkit import fairness, fairness_skew
from testkit.fairness import PARTIES, Mixture, coalitions
from testkit.fairness_report import correlations, given_key, parties, skew_key, skewed, table, worth_key
from testkit.robustness import last_results, rules, write
from testkit.robustness_cases import FEDAVG, Case

RESULTS = Path("runs/fairness.jsonl")
TASKS = ("digits", "fashion-mnist")
Job = tuple[str, str, Callable[[], dict[str, Any]]]  # key, pipeline, what plays it


def mixtures(options: argparse.Namespace) -> list[Mixture]:
    """Return the federations of mixed parties."""
    if options.quick:
        return [Mixture("digits", 0, rounds=3)]
    return [Mixture(task, seed) for seed in range(options.seeds) for task in TASKS]


def skew_cases(options: argparse.Namespace) -> list[Case]:
    """Return the federations with skewed data."""
    if options.quick:
        return list(fairness_skew.cases(1, 3, (6,), "digits"))
    return list(fairness_skew.cases(options.seeds))


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Yield all that is to be measured."""
    for mixture in mixtures(options):
        yield given_key(mixture), "mean", partial(fairness.play_mixture, mixture)
        for some in coalitions(len(PARTIES)):
            yield worth_key(mixture, some), FEDAVG, partial(fairness.worth, mixture, some)
    for case in skew_cases(options):
        yield skew_key(case), case.pipeline, partial(fairness_skew.play, case)


def play(options: argparse.Namespace) -> None:
    """Measure what has no result yet, and write it down."""
    results, begin = last_results(options.results, options.old), time.monotonic()
    for key, pipeline, measure in jobs(options):
        if key in results or options.only not in key:
            continue
        if time.monotonic() - begin > options.seconds:
            print("time is up: the same command goes on", file=sys.stderr)
            return
        start = time.process_time()
        result = {"key": key, "rules": rules(pipeline)} | measure()
        write(options.results, result | {"seconds": round(time.process_time() - start, 1)})
        print(f"{key} {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute, on digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose key holds TEXT")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no case after so long")
    parser.add_argument("--show", action="store_true", help="play nothing, print what has been measured")
    parser.add_argument("--old", action="store_true", help="take results of other rules too")
    parser.add_argument("--json", action="store_true", help="print rows as JSON, in place of tables")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        if not options.show:
            play(options)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    results = last_results(options.results, options.old)
    tables = {
        "correlations": correlations(mixtures(options), results),
        "parties": parties(mixtures(options), results),
        "skew": skewed(skew_cases(options), results),
    }
    if options.json:
        print(json.dumps(tables, indent=1))
    else:
        print("\n\n".join(f"### {name}\n\n{table(rows)}" for name, rows in tables.items() if rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
