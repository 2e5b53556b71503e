"""Measure a run of a large model: `python -m benchmarks.large`.

8 devices and 3 miners train 9.9 million parameters for 2 rounds. `--leaf-lanes 32` has the leaves of small
models. Beside it stands the bare training of the same, in this process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import nn

from bcfl.learning import Dataset, Samples, Task, split

DEVICES, MINERS, ROUNDS, FEATURES, CLASSES = 8, 3, 2, 100, 10
MIB = 2**20


def load(_folder: Path | None) -> Dataset:
    """Load 1,200 points around ten centres."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 1_200)
    points = rng.normal(size=(1_200, FEATURES)) + rng.normal(size=(CLASSES, FEATURES))[labels]
    whole = Samples(points.astype(np.float32), labels)
    return Dataset(whole.take(np.arange(1_000)), whole.take(np.arange(1_000, 1_200)))


def build() -> nn.Module:
    """Build a network of 9.9 million parameters."""
    sizes = (FEATURES, 3_000, 3_000, 200, CLASSES)
    layers = [layer for inner, outer in pairwise(sizes) for layer in (nn.Linear(inner, outer), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


task = Task("large", "points around ten centres", load, build, epochs=1, batch_size=64, learning_rate=0.05)


def bare_seconds() -> float:
    """Return the seconds that the trainings of all devices take by themselves."""
    from bcfl.learning.training import device_learner, initial_model

    shares = split(task.dataset(), DEVICES, MINERS, "iid", 0, alpha=1.0, classes=2)
    model = initial_model(task, 0)
    learners = [device_learner(task, shares, index, 0) for index in range(DEVICES)]
    start = time.perf_counter()
    for round_ in range(1, ROUNDS + 1):
        for learner in learners:
            learner.train(model, round_)
    return time.perf_counter() - start


def main() -> None:
    """Print seconds, processor time and peak memory of one run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leaf-lanes", metavar="N", help="lanes of a leaf; else what bcfl takes")
    parser.add_argument("--workers", metavar="N", help="train and judge in so many processes")
    options = parser.parse_args()
    further = {"--leaf-lanes": options.leaf_lanes, "--workers": options.workers}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "bcfl",
            "run",
            "--task",
            "benchmarks.large:task",
            "--quiet",
            "--json",
        ]
        command += ["--devices", str(DEVICES), "--miners", str(MINERS), "--rounds", str(ROUNDS)]
        command += ["--partition", "iid", "--runs", folder]
        for name, value in further.items():
            command += [name, value] if value else []
        start = time.perf_counter()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    bare = bare_seconds()
    print(f"accuracy {json.loads(output)['final_accuracy']:.2%} after {ROUNDS} rounds")
    print(f"{seconds:.1f} s, processor {usage.ru_utime:.1f} s and {usage.ru_stime:.1f} s of the system")
    print(f"{usage.ru_maxrss * 1024 / MIB:,.0f} MiB at the peak")
    print(f"{bare:.1f} s of that by the bare trainings: the run takes {seconds / bare:.1f} times as long")


if __name__ == "__main__":
    main()
