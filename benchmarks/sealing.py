"""Measure what sealed updates cost: `python -m benchmarks.sealing`.

6 devices and 3 miners train a million parameters for 2 rounds: public, confidential, and with models for the
members alone, each so many times as `--repeats` says, in turn. The chain is embedded: all parties are this
process, so its processor time is everybody's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bcfl.config import Config
from bcfl.federation.simulation import run
from bcfl.learning import Task
from bcfl.protocol import sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.sealing import ReaderKey, Seal
from bcfl.protocol.submissions import Domain
from benchmarks.large import CLASSES, FEATURES, load

DEVICES, MINERS, ROUNDS = 6, 3, 2
KINDS: dict[str, dict[str, Any]] = {
    "public": {},
    "confidential": {"privacy": "confidential"},
    "members": {"privacy": "confidential", "model_access": "members"},
}
MIB = 2**20


def build() -> nn.Module:
    """Build a network of a million parameters."""
    sizes = (FEATURES, 900, 900, 100, CLASSES)
    layers = [layer for inner, outer in pairwise(sizes) for layer in (nn.Linear(inner, outer), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


task = Task("million", "points around ten centres", load, build, epochs=2, batch_size=32, learning_rate=0.05)


def play(kind: str) -> tuple[float, int, int, tuple[str, ...]]:
    """Return processor seconds, gas, bytes on the store and the roots of the models of a run."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            task="benchmarks.sealing:task", devices=DEVICES, miners=MINERS, rounds=ROUNDS, partition="iid",
            run_dir=Path(folder) / "run", **KINDS[kind],
        )  # fmt: skip
        start = time.process_time()
        report = run(config)
        seconds = time.process_time() - start
        stored = sum(
            file.stat().st_size for file in (Path(folder) / "run" / "store").rglob("*") if file.is_file()
        )
    gas = sum(round_.gas for round_ in report.rounds)
    return seconds, gas, stored, tuple(round_.global_root for round_ in report.rounds)


def primitives(parameters: int) -> None:
    """Print what sealing and opening one update of 16-bit lanes takes."""
    domain, device = Domain(1, "0x" + "11" * 20), Account.derive(0, "device")
    readers = [ReaderKey.of(Account.derive(0, "miner", index), domain) for index in range(20)]
    keys, seal = [reader.public for reader in readers], Seal(domain, 1, 0, bytes(32))
    data = np.random.default_rng(0).bytes(2 * parameters)
    start = time.perf_counter()
    sealed = sealing.seal_update(data, seal, device, keys)
    middle = time.perf_counter()
    key = sealing.open_wrap(sealed, 7, readers[7], seal)
    assert key is not None
    assert sealing.open_update(sealed, len(keys), key, seal) == data
    end = time.perf_counter()
    more = len(sealed) - len(data)
    print(f"one update of {len(data) / MIB:.1f} MiB for {len(keys)} readers: {more:,} bytes more")
    print(f"  sealed in {1e3 * (middle - start):.1f} ms, opened in {1e3 * (end - middle):.1f} ms")


def main() -> None:
    """Print the cost of the primitives, and of whole runs as ratios to a public one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each kind")
    repeats = parser.parse_args().repeats
    primitives(1_000_000)
    results: dict[str, list[tuple[float, int, int, tuple[str, ...]]]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        for kind in KINDS:
            results[kind].append(play(kind))
    seconds = {kind: statistics.median(item[0] for item in items) for kind, items in results.items()}
    print(f"runs of {DEVICES} devices, {MINERS} miners, {ROUNDS} rounds; median of {repeats}")
    print("  kind          CPU s   ratio   gas         bytes on the store   same models")
    for kind, items in results.items():
        _, gas, stored, roots = items[0]
        same = "yes" if roots == results["public"][0][3] else "NO"
        ratio = seconds[kind] / seconds["public"]
        print(f"  {kind:12}  {seconds[kind]:5.1f}   {ratio:.3f}   {gas:<10,}  {stored:<19,}  {same}")


if __name__ == "__main__":
    main()
