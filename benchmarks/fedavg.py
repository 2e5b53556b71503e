"""Measure the learning of `bcfl run` without chain, store and verification.

    python -m benchmarks.fedavg --seeds 3 --alpha 0.5
    python -m benchmarks.fedavg --seeds 5 --lanes            # 32, 16 and 8 bits at several shifts
    python -m benchmarks.fedavg --seeds 5 --lanes 16:9 8:15  # just these, as bits:shift

Plain FedAvg is float64 arithmetic on float32 vectors. With --lanes the same training also goes through the
protocol's integers (fixed point, error feedback, exact mean) and the points of accuracy lost are printed: to
float FedAvg, and to 32-bit lanes. Same seed, same partition and same local training everywhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.errors import BcflError
from bcfl.learning import Split, Task, resolve, split
from bcfl.ports import TrainingResult, Vector
from bcfl.protocol import aggregation, fixedpoint

SCALE_BITS = 24
GRID = [(32, 0), *((16, shift) for shift in (4, 6, 8, 9, 10, 12)), *((8, shift) for shift in range(13, 19))]

Floats = npt.NDArray[np.float64]
Lanes = tuple[int, int]  # lane_bits, shift


@dataclass(frozen=True)
class Setting:
    """One federation to train, with its seed."""

    task: Task
    shares: Split
    rounds: int
    seed: int


class FloatMean:
    """Plain FedAvg: the mean of the local models, weighted by samples."""

    def __init__(self, genesis: Vector) -> None:
        self.model = genesis

    def aggregate(self, local_models: Sequence[TrainingResult]) -> None:
        """Replace the model by the mean of the local ones."""
        weights = np.array([local.samples for local in local_models], dtype=np.float64)
        vectors = np.stack([local.vector for local in local_models]).astype(
            np.float64
        )  # (devices, parameters)
        self.model = (weights @ vectors / weights.sum()).astype(np.float32)


class LaneMean:
    """The protocol's numbers: lanes with error feedback, summed exactly."""

    def __init__(self, genesis: Vector, lanes: Lanes) -> None:
        self._lane_bits, self._shift = lanes
        self._integers = fixedpoint.encode(genesis, SCALE_BITS)  # (parameters,)
        self._residuals: dict[int, Floats] = {}

    @property
    def model(self) -> Vector:
        """Return the model from which the devices start, (parameters,)."""
        return fixedpoint.decode(self._integers, SCALE_BITS)

    def aggregate(self, local_models: Sequence[TrainingResult]) -> None:
        """Add the exact mean of the updates, each as its device would send it."""
        updates = []
        for device, local in enumerate(local_models):
            delta = local.vector.astype(np.float64) - self.model
            lanes, self._residuals[device] = fixedpoint.encode_update(
                delta, self._residuals.get(device), self._lane_bits, SCALE_BITS, self._shift
            )
            updates.append(lanes)
        mean = aggregation.mean(updates, [local.samples for local in local_models], self._shift)
        self._integers = aggregation.apply(self._integers, mean)


def prepare(options: argparse.Namespace, seed: int) -> Setting:
    """Return the task and everybody's shares, as `bcfl run` makes them from the same options."""
    task = resolve(options.task).with_options(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        model=options.model,
    )
    partition: dict[str, Any] = {"alpha": options.alpha, "classes": options.classes}
    dataset = task.dataset(options.data)
    shares = split(dataset, options.devices, options.miners, options.partition, seed, **partition)
    return Setting(task, shares, options.rounds, seed)


def federate(setting: Setting, lanes: Lanes | None) -> list[float]:
    """Return the accuracy on the test data after each round; float FedAvg when `lanes` is None."""
    from bcfl.learning.training import device_learner, initial_model, judge

    task, shares, seed = setting.task, setting.shares, setting.seed
    devices = [device_learner(task, shares, index, seed) for index in range(len(shares.devices))]
    final = judge(task, shares)
    genesis = initial_model(task, seed)
    mean = FloatMean(genesis) if lanes is None else LaneMean(genesis, lanes)
    accuracies = []
    for round_ in range(1, setting.rounds + 1):
        model = mean.model
        mean.aggregate([device.train(model, round_) for device in devices])
        accuracies.append(final.evaluate(mean.model).accuracy or 0.0)
    return accuracies


def report_float(settings: Iterable[Setting]) -> Floats:
    """Print accuracy in percent per round, a line a seed and their mean; return it, (seeds, rounds)."""
    accuracies = []
    for setting in settings:
        start = time.perf_counter()
        accuracies.append(federate(setting, None))
        print(f"seed {setting.seed}  {_row(accuracies[-1])}  {time.perf_counter() - start:.2f} s")
    table = np.array(accuracies)
    print(f"mean    {_row(table.mean(axis=0))}")
    return table


def report_lanes(settings: Sequence[Setting], choices: Sequence[Lanes], plain: Floats) -> None:
    """Print the final accuracy of every choice, mean over the seeds, and what it loses to `plain`."""
    final = {(32, 0): _finals(settings, (32, 0))}
    print("\nlanes  shift  accuracy  lost to float  lost to 32-bit  (points, mean of the seeds; std error)")
    for lanes in choices:
        final.setdefault(lanes, _finals(settings, lanes))
        losses = 100 * (final[32, 0] - final[lanes])
        error = losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else float("nan")
        to_float = 100 * (plain[:, -1] - final[lanes]).mean()
        mean = 100 * final[lanes].mean()
        print(
            f"{lanes[0]:5}  {lanes[1]:5}  {mean:8.2f}  {to_float:13.2f}  {losses.mean():14.2f}  ({error:.2f})"
        )


def _finals(settings: Sequence[Setting], lanes: Lanes) -> Floats:
    return np.array([federate(setting, lanes)[-1] for setting in settings])


def _row(accuracies: Iterable[float]) -> str:
    return " ".join(f"{100 * accuracy:5.1f}" for accuracy in accuracies)


def _lanes(text: str) -> Lanes:
    bits, _, shift = text.partition(":")
    lanes = int(bits), int(shift or 0)
    if lanes[0] not in (32, 16, 8) or lanes[1] < 0 or lanes[0] - 1 + lanes[1] > 31:
        raise argparse.ArgumentTypeError(
            f"{text}: BITS:SHIFT with 32, 16 or 8 bits and BITS - 1 + SHIFT <= 31"
        )
    return lanes


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number above 0")
    return int(text)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fedavg", description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--model", choices=("mlp", "cnn"))
    parser.add_argument("--devices", type=_positive, default=20)
    parser.add_argument("--miners", type=int, default=5, help="hold data out for so many; 0: none")
    parser.add_argument("--rounds", type=_positive, default=10)
    parser.add_argument("--partition", default="dirichlet")
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--classes", type=int, default=2, help="give each device so many, for pathological")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seeds", type=_positive, default=3)
    parser.add_argument("--lanes", type=_lanes, nargs="*", metavar="BITS:SHIFT")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit code."""
    options = _options(arguments)
    try:
        settings = [prepare(options, seed) for seed in range(options.seeds)]
        plain = report_float(settings)
        if options.lanes is not None:
            report_lanes(settings, options.lanes or GRID, plain)
    except BcflError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
