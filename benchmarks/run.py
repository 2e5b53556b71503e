"""Measure `bcfl run` with its defaults: accuracy beside plain FedAvg, and where the time goes.

    python -m benchmarks.run              # 3 seeds beside FedAvg, 5 seeds of each lane width, one breakdown
    python -m benchmarks.run --quick      # one seed of each
    python -m benchmarks.run --times      # where the time goes, and nothing else
    python -m benchmarks.run --workers 2  # a CNN of 20 devices on two processes beside one, and nothing else

Float FedAvg has the same seed, partition and local training, and no chain. Times are of the processor, of one
run: others may use the cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from benchmarks.fedavg import Setting, federate

ROUNDS = 10
TRIES = 3
LaneBits = Literal[32, 16, 8]
LANE_BITS: tuple[LaneBits, ...] = (32, 16, 8)


class Stopwatch:
    """Exclusive processor seconds by label: what a labelled call spends in another label counts there."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[tuple[str, float]] = []

    def _switch(self) -> None:
        now = time.process_time()
        if self._running:
            label, start = self._running[-1]
            self.seconds[label] = self.seconds.get(label, 0.0) + now - start
            self._running[-1] = (label, now)

    @contextmanager
    def part(self, label: str) -> Iterator[None]:
        """Book the time of a block on `label`."""
        self._switch()
        self._running.append((label, time.process_time()))
        try:
            yield
        finally:
            self._switch()
            self._running.pop()
            if self._running:
                self._running[-1] = (self._running[-1][0], time.process_time())

    def patch(self, owner: type, name: str, label: str) -> Any:
        """Return a patch that books a method's time on `label`."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(label):
                return method(*args, **kwargs)

        return mock.patch.object(owner, name, timed)


def breakdown() -> dict[str, float]:
    """Return the processor seconds of one default run by their use."""
    watch = Stopwatch()
    with watch.part("imports"):
        import bcfl.federation.simulation
        import bcfl.learning.training
        from bcfl.config import Config
        from bcfl.learning.training import TorchLearner
        from bcfl.ledger.devnet.embedded import EmbeddedChain
        from bcfl.roles.common.journal import Journal
        from bcfl.roles.miner.verifier import Verifier
        from bcfl.storage import DirectoryStore
    patches = [
        watch.patch(EmbeddedChain, "request", "chain"),
        watch.patch(EmbeddedChain, "__init__", "chain"),
        watch.patch(TorchLearner, "train", "training"),
        watch.patch(TorchLearner, "evaluate", "evaluation of the global model"),
        watch.patch(Verifier, "verdicts", "verification"),
        watch.patch(DirectoryStore, "put", "store and journal"),
        watch.patch(DirectoryStore, "get", "store and journal"),
        watch.patch(Journal, "write", "store and journal"),
    ]
    with tempfile.TemporaryDirectory() as folder, watch.part("the rest: roles, hashing, aggregation"):
        for patch in patches:
            patch.start()
        bcfl.federation.simulation.run(Config(runs=Path(folder)))
        for patch in patches:
            patch.stop()
    return watch.seconds


def command_seconds(*arguments: str) -> float:
    """Return the least processor seconds of TRIES runs of Python, start of the interpreter included."""
    tries = list[float]()
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as folder:
            start = os.times()
            command = [sys.executable, *(argument.format(folder=folder) for argument in arguments)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            end = os.times()
        before, after = (each.children_user + each.children_system for each in (start, end))
        tries.append(after - before)
    return min(tries)


def print_times() -> None:
    """Print where the time of a run goes, and what the same learning takes alone."""
    parts = breakdown()
    total = sum(parts.values())
    print("processor time of 20 devices, 5 miners, 10 rounds of digits, in one process")
    for label, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {label:40} {seconds:6.2f} s  {100 * seconds / total:5.1f} %")
    print(f"  {'all':40} {total:6.2f} s")
    command = command_seconds("-m", "bcfl", "run", "--quiet", "--runs", "{folder}")
    bare = command_seconds("-c", "from benchmarks.run import plain; plain(0)")
    print(f"  {'`bcfl run` as a command':40} {command:6.2f} s")
    print(f"  {'float FedAvg as a command':40} {bare:6.2f} s, 1/{command / bare:.1f}\n")


def accuracies(seed: int, lane_bits: LaneBits) -> tuple[float, int, int]:
    """Return the final accuracy of a run, the number of updates that it saw, and of those it rejected."""
    from bcfl.config import Config
    from bcfl.federation.simulation import run

    with tempfile.TemporaryDirectory() as folder:
        report = run(Config(runs=Path(folder), seed=seed, lane_bits=lane_bits))
    rejections = sum(len(round_.rejected) for round_ in report.rounds)
    updates = rejections + sum(len(round_.accepted) for round_ in report.rounds)
    return report.final_accuracy or 0.0, updates, rejections


def plain(seed: int) -> float:
    """Return the final accuracy of float FedAvg on the shares of a run with this seed."""
    from bcfl.config import Config
    from bcfl.learning import resolve, split

    config = Config(seed=seed)
    task = resolve(config.task)
    shares = split(task.dataset(), config.devices, config.miners, config.partition, seed, alpha=config.alpha)
    return federate(Setting(task, shares, ROUNDS, seed), None)[-1]


def speed_up(workers: int) -> None:
    """Print how much faster a CNN of 20 devices trains in so many processes; both runs have one outcome.

    Where others use the cores the processor time of the longest path says more: the parent's, and a worker's.
    """
    import bcfl.learning.training  # noqa: F401 - no part of what is measured
    from bcfl.config import Config
    from bcfl.federation.simulation import run

    options: dict[str, Any] = {"task": "benchmarks.pictures:task", "learning_rate": 0.02, "rounds": 2}
    print(f"load of {os.cpu_count()} cores before: {os.getloadavg()[0]:.1f}")
    seconds, paths, roots = list[float](), list[float](), set[str]()
    for count in (1, workers):
        with tempfile.TemporaryDirectory() as folder:
            start = os.times()
            report = run(Config(runs=Path(folder), partition="iid", **options), workers=count)
            end = os.times()
        seconds.append(report.seconds)
        paths.append(end.user - start.user + (end.children_user - start.children_user) / count)
        roots.add(report.rounds[-1].global_root)
    for name, (alone, together) in {"wall": seconds, "processor": paths}.items():
        ratio = f"{alone / together:.2f} to 1"
        print(f"{name} time: 1 process {alone:.1f} s, {workers} workers {together:.1f} s, {ratio}")
    if len(roots) > 1:
        raise SystemExit("the models differ: please report this")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="measure one seed of each")
    parser.add_argument("--times", action="store_true", help="measure where the time goes, nothing else")
    parser.add_argument("--workers", type=int, metavar="N", help="measure N workers, nothing else")
    options = parser.parse_args()
    quick = options.quick
    if options.workers:
        speed_up(options.workers)
        return

    print_times()
    if options.times:
        return
    seeds = range(1 if quick else 5)
    print("final accuracy in percent, digits, Dirichlet 0.5")
    print("seed   float FedAvg   32 bits   16 bits    8 bits   rejected of all updates")
    rows = []
    for seed in seeds:
        runs = [accuracies(seed, lane_bits) for lane_bits in LANE_BITS]
        rows.append([plain(seed), *(accuracy for accuracy, _, _ in runs)])
        updates, rejections = sum(run[1] for run in runs), sum(run[2] for run in runs)
        print(f"{seed:4} {_percent(rows[-1])}   {rejections} of {updates}")
    for count in sorted({min(3, len(rows)), len(rows)}):
        means = [sum(column) / count for column in zip(*rows[:count], strict=True)]
        print(f"mean {_percent(means)}   of {count}")


def _percent(values: list[float]) -> str:
    return f"{100 * values[0]:13.2f}" + "".join(f"{100 * value:10.2f}" for value in values[1:])


if __name__ == "__main__":
    main()
