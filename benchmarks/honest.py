"""How many updates are rejected where nobody attacks: what people bring, at 3, 6 and 12 devices.

    python -m benchmarks.honest                        # five tasks, 3 seeds: three minutes of a processor
    python -m benchmarks.honest --tasks all --seeds 1  # every task that a test brings
    python -m benchmarks.honest --tasks linear lstm    # some of them
    python -m benchmarks.honest --bound 2              # devices shorten to twice the reference, as before
    python -m benchmarks.honest --quick                # less than a minute

The first table is of data that are shared evenly, and by Dirichlet 0.5. In the second one party has ten times
the samples of each of five others, evenly shared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from testkit.chainless import Chainless
from testkit.honest import PARTITIONS, TASKS, Tally, keep_to, play, shared, with_a_large_party

SIZES = (3, 6, 12)
USUAL = ("digits", "breast-cancer", "linear", "one logit", "cnn")
Make = Callable[[int], Chainless]  # of a seed


def rows(options: argparse.Namespace) -> Iterator[tuple[str, Make]]:
    """Yield the rows of the first table."""
    for name in options.tasks:
        for devices in options.sizes:
            for partition in PARTITIONS:
                make = partial(shared, TASKS[name], devices, partition, rounds=options.rounds)
                yield f"{name}, {devices} devices, {partition}", make


def large_rows(options: argparse.Namespace) -> Iterator[tuple[str, Make]]:
    """Yield the rows of the second table."""
    for name in options.tasks:
        yield name, partial(with_a_large_party, TASKS[name], rounds=options.rounds)


def measured(label: str, make: Make, options: argparse.Namespace) -> list[Tally]:
    """Play a row with every seed, and say so."""
    tallies = []
    for seed in range(options.seeds):
        start = time.process_time()
        parties = make(seed)
        if options.bound is not None:
            keep_to(parties, options.bound)
        tallies.append(play(parties))
        words = f"{label}, seed {seed}: {time.process_time() - start:.1f} s"
        print(words, file=sys.stderr, flush=True)
    return tallies


def rules_of(tally: Tally) -> str:
    """Return how many each rule rejected."""
    return ", ".join(f"{rule} {count}" for rule, count in tally.rules.most_common())


def accuracy_of(tally: Tally) -> str:
    """Return the mean of the last accuracies, in percent; `-` where the task has none."""
    known = [value for value in tally.accuracy if value is not None]
    return f"{100 * sum(known) / len(known):.1f}" if known else "-"


def line(label: str, tally: Tally) -> str:
    """Return a row of the first table."""
    count = tally.rejected.total()
    share = f"{100 * count / tally.sent:.1f} %"
    return f"| {label} | {count} of {tally.sent} | {share} | {rules_of(tally)} | {accuracy_of(tally)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.honest", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one task, six devices, one seed, five rounds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=USUAL, metavar="TASK", help="names, or all")
    parser.add_argument("--bound", type=float, help="references that devices shorten to, not the protocol's")
    options = parser.parse_args(arguments)
    options.sizes, options.rounds = SIZES, 10
    if "all" in options.tasks:
        options.tasks = tuple(TASKS)
    if options.quick:
        options.tasks, options.sizes, options.seeds, options.rounds = ("breast-cancer",), (6,), 1, 5
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    try:
        report(options)
    except KeyboardInterrupt:
        return 130
    return 0


def report(options: argparse.Namespace) -> None:
    """Print both tables."""
    print("| task, devices, data | rejected | share | by rule | accuracy |\n|---|---|---|---|---|")
    total: dict[str, Tally] = {}
    for label, make in rows(options):
        tally = sum(measured(label, make, options), Tally())
        partition = label.rsplit(", ", 1)[1]
        total[partition] = total.get(partition, Tally()) + tally
        print(line(label, tally), flush=True)
    for partition, tally in total.items():
        print(line(f"all, {partition}", tally))
    print(f"\n| one of six has ten times the samples | rounds of {options.rounds} in which it was left out, "
          "seed by seed | by rule, all six | accuracy |\n|---|---|---|---|")  # fmt: skip
    for label, make in large_rows(options):
        tallies = measured(f"{label}, one large party", make, options)
        left_out = ", ".join(str(each.rejected[0]) for each in tallies)
        whole = sum(tallies, Tally())
        print(f"| {label} | {left_out} | {rules_of(whole)} | {accuracy_of(whole)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
