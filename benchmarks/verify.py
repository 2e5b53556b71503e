"""What verifying a round costs a miner: `python -m benchmarks.verify [--updates 60] [--quick]`.

Updates of a 784-128-10 MLP on data of Fashion-MNIST's shape, judged by checks 4 to 6 as a miner judges them:
its own training, held-out gradients, inner products, sketches of earlier rounds. Beside it the time in which
one device trains on its share (850 samples, 2 epochs, batches of 32), with the same learner on the same
single thread. Every time is the best of several runs. The bytes are read and checked elsewhere
(`benchmarks.core`).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: one thread, as in training
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from torch import nn

from bcfl.learning import Dataset, Samples, Split, Task
from bcfl.learning.training import TorchLearner, device_learner, initial_model, miner_learner
from bcfl.ports import Matrix, Vector
from bcfl.roles.checks import pipeline, quality
from bcfl.roles.miner.sketches import Sketches

SHARE, HELD_OUT, CLASSES = (
    850,
    1800,
    10,
)  # samples of a device and of a miner, as 60 and 5 share Fashion-MNIST


def build() -> nn.Module:
    """The model of the robustness tables."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, CLASSES))


def drawn(count: int, seed: int) -> Samples:
    """Made-up pictures of `CLASSES` kinds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    kinds = np.random.default_rng(0).normal(0, 1, (CLASSES, 784))
    features = kinds[labels] + rng.normal(0, 1, (count, 784))
    return Samples(features.astype(np.float32), labels.astype(np.int64))


def best(action: Callable[[], object], repeat: int) -> float:
    """Seconds of the fastest of `repeat` runs."""
    fastest = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def judged(miner: TorchLearner, model: Vector, updates: Matrix, memory: Sketches) -> pipeline.PipelineResult:
    """Checks 4 to 6 on a round's updates."""
    count = len(updates)
    memory.sketch(updates)
    reference = pipeline.Reference(
        lambda: miner.train(model, 1).vector - model,
        lambda step: miner.gradients((model + step).astype(np.float32), quality.PARTS),
    )
    shown = pipeline.CheckInputs(
        updates, np.full(count, float(SHARE)), list(range(count)), np.ones(count, bool), None
    )
    return pipeline.judge(shown, reference, pipeline.Checks())


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    options = parser.parse_args()
    repeat = 3 if options.quick else 15
    whole = Dataset(drawn(2, 0), drawn(1, 0))
    task = Task(
        "verify", "made-up pictures", lambda _: whole, build, epochs=2, batch_size=32, learning_rate=0.1
    )
    shares = Split(
        tuple(drawn(SHARE, seed) for seed in range(options.updates)), (drawn(HELD_OUT, 999),), whole.test
    )
    model = initial_model(task, 0)
    devices = [device_learner(task, shares, index, 0) for index in range(options.updates)]
    updates = np.stack([device.train(model, 1).vector - model for device in devices])
    miner = miner_learner(task, shares, 0)
    memory = Sketches(lambda _: ([], updates[:0]))
    accepted = judged(miner, model, updates, memory).verdicts.count(0)
    train = best(lambda: devices[0].train(model, 1), repeat)
    verify = best(lambda: judged(miner, model, updates, memory), repeat)
    print(f"one device trains on {SHARE} samples     {train * 1e3:8.1f} ms")
    print(f"a miner judges {options.updates} updates           {verify * 1e3:8.1f} ms   {accepted} accepted")
    print(f"ratio                                {verify / train:8.2f}   (goal: at most 3)")


if __name__ == "__main__":
    main()
