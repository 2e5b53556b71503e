"""Measure what verifying a round costs a miner: `python -m benchmarks.verify`.

`--updates 6 --share 8500` are those of a small federation.

Updates of a 784-128-10 MLP on data of Fashion-MNIST's shape, judged by checks 4 to 6 as a miner judges them:
held-out losses and gradients, inner products, sketches of earlier rounds; few updates by its own
training, losses and marks. Beside it the time in which one device trains on its share (850 samples, 2 epochs,
batches of 32), with the same learner on the same single thread. Every time is the best of several runs. The
bytes are read and checked elsewhere (`benchmarks.core`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: one thread, as in training
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from torch import nn

from bcfl.learning import Dataset, Samples, Split, Task
from bcfl.learning.flat import layout_of
from bcfl.learning.training import TorchLearner, device_learner, initial_model, miner_learner
from bcfl.ports import Matrix, Vector
from bcfl.roles.checks import pipeline
from bcfl.roles.checks.few import FEW
from bcfl.roles.miner import judging
from bcfl.roles.miner.pieces import piece_ends, sketch_ends
from bcfl.roles.miner.sketches import FEW_EARLIER, FEW_SIZE, ROUNDS, SIZE, Group, Sketches, copies
from benchmarks.measurement import best_seconds

SHARE, HELD_OUT = 850, 1800  # samples of a device and of a miner, as 60 and 5 share Fashion-MNIST
CLASSES = 10


def build() -> nn.Module:
    """Return the model of the robustness tables."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, CLASSES))


ENDS = piece_ends(layout_of(build()))


def random_samples(count: int, seed: int) -> Samples:
    """Return made-up pictures of `CLASSES` kinds: features (count, 784), labels (count,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    centres = np.random.default_rng(0).normal(0, 1, (CLASSES, 784))
    features = centres[labels] + rng.normal(0, 1, (count, 784))
    return Samples(features.astype(np.float32), labels.astype(np.int64))


def judge(
    miner: TorchLearner, model: Vector, updates: Matrix, sketches: Sketches, earlier: Sequence[Matrix]
) -> pipeline.PipelineResult:
    """Apply checks 4 to 6 to a round's updates, (updates, parameters), at a model, (parameters,).

    `earlier`: the sketches of rounds before.
    """
    count = len(updates)
    size = FEW_SIZE if count <= FEW else SIZE
    rows, devices = sketches.sketch(updates, size), tuple(range(count))
    inputs = pipeline.CheckInputs(
        updates, np.full(count, 1.0), devices, np.ones(count, bool),
        earlier_copies=copies(rows, devices, [Group(devices, each, devices) for each in earlier]),
        sketches=rows, earlier_sketches=np.concatenate(earlier),
        sketch=lambda vectors: sketches.sketch(vectors, size),
        ends=sketch_ends(ENDS, size) if count <= FEW else (),
    )  # fmt: skip
    return judging.judge(miner, judging.Case(model, 1, inputs, pipeline.Checks()))


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--updates", type=int, default=60, help="judge so many updates")
    parser.add_argument("--share", type=int, default=SHARE, help="samples of a device")
    parser.add_argument("--flipped", type=int, default=0, help="turn so many updates round")
    parser.add_argument("--quick", action="store_true", help="measure fewer runs")
    options = parser.parse_args()
    repeat = 3 if options.quick else 15
    dataset = Dataset(random_samples(2, 0), random_samples(1, 0))
    task = Task(
        "verify", "made-up pictures", lambda _: dataset, build, epochs=2, batch_size=32, learning_rate=0.1
    )
    shares = Split(
        tuple(random_samples(options.share, seed) for seed in range(options.updates)),
        (random_samples(HELD_OUT, 999),),
        dataset.test,
    )
    model = initial_model(task, 0)
    devices = [device_learner(task, shares, index, 0) for index in range(options.updates)]
    miner = miner_learner(task, shares, 0)
    is_few = options.updates <= FEW
    sketches = Sketches(lambda _: ([], np.zeros((0, len(model)), np.float32)), None, ENDS)
    earlier, rounds = list[Matrix](), FEW_EARLIER // options.updates if is_few else ROUNDS
    for number in range(rounds + 1):  # the last is judged
        updates = np.stack([device.train(model, number).vector - model for device in devices])
        updates[: options.flipped] *= -2
        if number < rounds:
            earlier.append(sketches.sketch(updates, FEW_SIZE if is_few else SIZE))
            model = (model + updates.mean(axis=0)).astype(np.float32)
    result = judge(miner, model, updates, sketches, earlier)
    accepted = f"{result.verdicts.count(0)} accepted"
    equal = result.weights is not None and bool((result.weights.values == 1).all())
    accepted += ", all weigh the same: the miner does not train" if equal else ", the miner trains as well"
    train_ms = 1e3 * best_seconds(lambda: devices[0].train(model, 1), repeat)
    verify_ms = 1e3 * best_seconds(lambda: judge(miner, model, updates, sketches, earlier), repeat)
    print(f"one device trains on {options.share} samples     {train_ms:8.1f} ms")
    print(f"a miner judges {options.updates} updates           {verify_ms:8.1f} ms   {accepted}")
    print(f"ratio                                {verify_ms / train_ms:8.2f}   (goal: at most 2, of few 3)")


if __name__ == "__main__":
    main()
