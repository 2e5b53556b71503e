"""Measure what a GPU saves: the CNN and the LoRA example on CUDA and on the CPU, and what both learn.

    python -m benchmarks.gpu              # Fashion-MNIST where it is installed, else pictures of noise
    python -m benchmarks.gpu --rounds 5

One process trains a few devices a round and averages them, without a chain. Where there is no CUDA device
this says so and ends with exit code 0. It ends with 1 where the last metric on CUDA is not the CPU's within
noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np

from bcfl.learning import Split, Task, split
from benchmarks import pictures

DEVICES = 4
CUDA = "cuda"


@dataclass(frozen=True)
class Case:
    """One training, and how far its last metric may be from another machine's."""

    name: str
    task: Task
    metric: str
    noise: float  # share of the CPU's value


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    value: float
    seconds: float  # of all rounds, after one step that warms up


def cnn() -> Case:
    """Return the CNN on Fashion-MNIST, or on pictures of noise where that is not installed."""
    name, task = pictures.cnn()
    options = task.with_options(epochs=1, batch_size=64, learning_rate=0.1)
    return Case(f"CNN, {name}", options, "accuracy", 0.02)


def lora(seconds: float) -> Case:
    """Return the LoRA example, whose base model is trained for so long where there is none."""
    from examples.lora import FOLDER, pretrain, task

    if not (FOLDER / "base.safetensors").exists():
        pretrain(seconds)
    return Case("LoRA, ten million parameters", task, "perplexity", 0.02)


def measure(case: Case, shares: Split, rounds: int, device: str) -> Outcome:
    """Return what so many rounds of FedAvg come to on a torch device."""
    from bcfl.learning.training import Workbench, device_learner, initial_model, judge

    task, bench = case.task, Workbench(case.task, device)
    learners = [device_learner(task, shares, index, 0, bench) for index in range(DEVICES)]
    model = initial_model(task, 0)
    learners[0].rehearse(model)
    start = time.perf_counter()
    for number in range(1, rounds + 1):
        results = [learner.train(model, number) for learner in learners]
        weights = np.array([result.samples for result in results], np.float64)
        model = np.average([r.vector for r in results], axis=0, weights=weights).astype(np.float32)
    evaluation = judge(task, shares, bench).evaluate(model)
    value = evaluation.metrics[case.metric]
    return Outcome(float("nan") if value is None else value, time.perf_counter() - start)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each training (default: 2)")
    parser.add_argument("--pretrain", type=float, default=60, help="seconds for LoRA's base model (60)")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing to measure")
        return 0
    print(f"{torch.cuda.get_device_name()}; {DEVICES} devices, {options.rounds} rounds")
    is_alike = True
    for case in (cnn(), lora(options.pretrain)):
        shares = split(case.task.dataset(), DEVICES, 1, "iid", 0)
        cpu, cuda = (measure(case, shares, options.rounds, device) for device in ("cpu", CUDA))
        print(
            f"{case.name:30} {case.metric} {cpu.value:.4f} on the CPU, {cuda.value:.4f} on CUDA; "
            f"{cpu.seconds:.1f} s and {cuda.seconds:.1f} s: {cpu.seconds / cuda.seconds:.1f} times as fast"
        )
        is_alike &= abs(cuda.value - cpu.value) <= case.noise * abs(cpu.value)
    return 0 if is_alike else 1


if __name__ == "__main__":
    sys.exit(main())
