"""Measure what the protocol's arithmetic costs: `python -m benchmarks.core [--quick]`.

Aggregation: wall time of each rule over payload files of 20 updates of 10,000,000 parameters beside the
time that numpy takes to read and sum the same integers once, and the largest resident memory of the process
that did it. Then the throughput of Merkle trees and CIDs, and the trees of a small model. Every time is the
best of several runs.
"""

from __future__ import annotations

import argparse
import json
import mmap
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from bcfl.protocol import aggregation, cid, merkle, payload
from bcfl.protocol.fixedpoint import Lanes, lane_dtype
from bcfl.protocol.types import Rule
from benchmarks.measurement import MIB, best_seconds, flat_layout, peak_bytes

UPDATES = 20
SHIFT = {32: 0, 16: 8, 8: 16}
TRIM = 2000
SAMPLES = [100 + 7 * device for device in range(UPDATES)]


def random_lanes(seed: int, parameters: int, lane_bits: int) -> Lanes:
    """Return lanes, (parameters,), over the whole range, so that no value is predictable."""
    bounds = np.iinfo(lane_dtype(lane_bits))
    return np.random.default_rng(seed).integers(bounds.min, bounds.max, parameters, lane_dtype(lane_bits))


def read_updates(folder: Path, parameters: int, lane_bits: int) -> list[Lanes]:
    """Return the lanes, (parameters,), of each payload file in `folder`, mapped and checked, not copied."""
    updates = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        updates.append(payload.decode(memoryview(memory), flat_layout(parameters), lane_bits))
    return updates


def read_and_sum(folder: Path, parameters: int, lane_bits: int) -> None:
    """Sum the updates with numpy: the yardstick."""
    total = np.zeros(parameters, np.int64)
    for update in read_updates(folder, parameters, lane_bits):
        np.add(total, update, out=total)


def read_and_aggregate(folder: Path, parameters: int, lane_bits: int, rule: Rule) -> None:
    """Do what a miner does: aggregate by one rule and apply the delta to a model."""
    updates = read_updates(folder, parameters, lane_bits)
    delta = aggregation.aggregate(rule, updates, SAMPLES, SHIFT[lane_bits], TRIM)
    aggregation.apply(np.zeros(parameters, np.int32), delta)


def measure_here(case: str, folder: Path, parameters: int, lane_bits: int) -> None:
    """Run one case in this process and print its seconds and its largest resident memory in bytes."""

    def action() -> None:
        if case == "sum":
            read_and_sum(folder, parameters, lane_bits)
        else:
            read_and_aggregate(folder, parameters, lane_bits, Rule[case])

    seconds = best_seconds(action)
    print(json.dumps([seconds, peak_bytes()]))


def measure(case: str, folder: Path, parameters: int, lane_bits: int) -> tuple[float, int]:
    """Run `measure_here` in a process of its own and return seconds and bytes."""
    arguments = ["--case", case, str(folder), str(parameters), str(lane_bits)]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.core", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, peak = json.loads(process.stdout)
    return seconds, peak


def aggregation_table(parameters: int) -> None:
    """Print every rule at every lane width against the yardstick."""
    print(f"Aggregation of {UPDATES} updates of {parameters:,} parameters, from files")
    print(f"{'lanes':>6}  {'rule':<14}{'seconds':>9}{'of numpy sum':>14}{'peak MiB':>10}")
    for lane_bits in (32, 16, 8):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for device in range(UPDATES):
                lanes = random_lanes(device, parameters, lane_bits)
                (folder / f"{device:02}").write_bytes(payload.encode(flat_layout(parameters), lanes))
            sum_seconds, peak = measure("sum", folder, parameters, lane_bits)
            print(f"{lane_bits:>6}  {'numpy sum':<14}{sum_seconds:>9.3f}{'':>14}{peak / MIB:>10.0f}")
            for rule in Rule:
                seconds, peak = measure(rule.name, folder, parameters, lane_bits)
                ratio = f"{seconds / sum_seconds:.2f}x"
                print(f"{lane_bits:>6}  {rule.name.lower():<14}{seconds:>9.3f}{ratio:>14}{peak / MIB:>10.0f}")


def merkle_table(parameters: int) -> None:
    """Print the throughput by leaf size, and the trees of a small model."""
    lanes = random_lanes(0, parameters, 32)
    print(f"\nMerkle root of {parameters:,} lanes of 32 bits")
    print(f"{'leaf lanes':>12}{'depth':>7}{'seconds':>9}{'GB/s':>8}")
    for leaf_lanes in (8, 16, 64, 256, 1024, 4096):
        seconds = best_seconds(partial(merkle.root, lanes, leaf_lanes))
        depth = merkle.depth(parameters, leaf_lanes)
        print(f"{leaf_lanes:>12}{depth:>7}{seconds:>9.3f}{lanes.nbytes / seconds / 1e9:>8.3f}")
    small = [random_lanes(device, 4810, 16) for device in range(UPDATES)]
    print(f"\nTrees of a small model: 4,810 lanes of 16 bits, {UPDATES} updates in the rows tree")
    print(f"{'leaf lanes':>12}{'tree ms':>9}{'rows ms':>9}")
    for leaf_lanes in (16, 32, 64):
        tree = best_seconds(partial(merkle.build, small[0], leaf_lanes), 20)
        rows = best_seconds(partial(merkle.rows_tree, small, leaf_lanes), 20)
        print(f"{leaf_lanes:>12}{tree * 1e3:>9.2f}{rows * 1e3:>9.2f}")


def cid_table(parameters: int) -> None:
    """Print the throughput of CIDs, the names of payloads in a store."""
    data = payload.encode(flat_layout(parameters), random_lanes(0, parameters, 32))
    seconds = best_seconds(lambda: cid.compute(data))
    print(f"\nCID of a payload of {len(data):,} bytes: {seconds:.3f} s, {len(data) / seconds / 1e9:.2f} GB/s")


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="measure a tenth of the parameters")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case, folder, parameters, lane_bits = options.case
        measure_here(case, Path(folder), int(parameters), int(lane_bits))
        return
    parameters = 1_000_000 if options.quick else 10_000_000
    aggregation_table(parameters)
    merkle_table(parameters)
    cid_table(parameters)


if __name__ == "__main__":
    main()
