"""Train, evaluate and differentiate models on private data, with torch on one thread.

On one thread the outcome is the same in every run, and the thread's CPU time is the time of the training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError, own_code
from bcfl.learning import loops
from bcfl.learning.context import FitContext
from bcfl.learning.datasets import Samples
from bcfl.learning.flat import FlatModule, layout_of, trained_of
from bcfl.learning.meter import Meter
from bcfl.learning.own import FIRST_ROUND, OwnTensors, Records
from bcfl.learning.partitions import Split
from bcfl.learning.tasks import Task
from bcfl.learning.weights import load_weights
from bcfl.ports import Evaluation, Matrix, TrainingResult, Vector
from bcfl.protocol.types import Layout
from bcfl.renamed import former_names

EVALUATION_BATCH = 1024  # samples in one forward pass without training; bounds memory
WARM_UP_STEPS = 4
FIXED_SEED = 0  # for what a module draws at random outside its vector: the same for every party


def initial_model(task: Task, seed: int) -> Vector:
    """Return the genesis model: the vector, (parameters,), of a module newly built under `seed`.

    Where the task names a file of weights, it is theirs; raises ConfigError for one that does not fit.
    """
    if task.weights is None:
        return _flat(task, seed).read()
    module = build(task, FIXED_SEED)
    load_weights(module, Path(task.weights), [tensor.name for tensor in layout(task).tensors])
    return FlatModule(module, task.exponents, task.shared).read()


def layout(task: Task) -> Layout:
    """Return names, shapes and exponents of the tensors of `task`'s model in their canonical order."""
    with own_code(f"task {task.name}: its model cannot be used"):
        return layout_of(build(task, FIXED_SEED), task.exponents, task.shared)


def trained_tensors(task: Task) -> frozenset[str]:
    """Return the names of the tensors that training moves by their gradient; the others are statistics."""
    return trained_of(build(task, FIXED_SEED), task.shared)


def state_of(task: Task, model: Vector) -> dict[str, npt.NDArray[Any]]:
    """Return the state_dict of `task`'s module with `model`, (parameters,), in it; raises ConfigError.

    What is not in the vector is as every party builds it: integer buffers, say.
    """
    flat = _flat(task, FIXED_SEED)
    if model.shape != (flat.parameters,):
        raise ConfigError(f"task {task.name} has {flat.parameters:,} parameters, the model {len(model):,}")
    flat.load(model)
    return flat.state()


def device_learner(task: Task, shares: Split, index: int, seed: int) -> TorchLearner:
    """Return the learner of device `index`, with its share and a seed mixed from it and the run's `seed`."""
    return TorchLearner(task, shares.devices[index], None, _mix(seed, index))


def miner_learner(task: Task, shares: Split, index: int) -> TorchLearner:
    """Return the learner of miner `index`: it also trains on its held-out data, no longer than a device."""
    held_out = shares.miners[index]
    mean = sum(map(len, shares.devices)) // max(1, len(shares.devices))
    train = held_out.take(np.arange(min(len(held_out), max(1, mean))))
    return TorchLearner(task, train, held_out, _mix(FIXED_SEED, index))


def judge(task: Task, shares: Split) -> TorchLearner:
    """Return the learner that evaluates on the final test data, which no party holds.

    What a task does not share is trained on a miner's data, where there is some.
    """
    own = shares.miners[0] if task.shared is not None and shares.miners else None
    return TorchLearner(task, own, shares.test, FIXED_SEED)


class TorchLearner:
    """The private data of one party, and a module to use it with; implements `bcfl.ports.Learner`.

    Nothing but vectors (parameters,), counts and means leaves it. Not for use from two threads at once.
    """

    def __init__(self, task: Task, train: Samples | None, held_out: Samples | None, seed: int) -> None:
        self._task = task
        self._seed = seed
        self._train = _tensors(train)
        self._held_out = _tensors(held_out)
        self._strata = torch.zeros(0) if held_out is None else torch.tensor(held_out.strata)
        self._flat = _flat(task, FIXED_SEED)
        self._own = OwnTensors(self._flat.own)
        self._is_warm = False

    def keep(self, records: Records) -> None:
        """Keep what the federation does not share in `records` from now on, and go on from what is there."""
        self._own.keep(records)

    @property
    def samples(self) -> int:
        """Return the number of training samples."""
        return len(self._train[1])

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,), as the task says; the same for one data, round and seed.

        Raises ConfigError without training data, when the training diverges, and when it fails.
        """
        # The first steps of a process take tens of times as long and would be measured.
        if not self._is_warm and self._task.fit is None:
            self._trained(model, round_, WARM_UP_STEPS)
            self._is_warm = True
        vector, own, microseconds = self._trained(model, round_, None)
        self._own.put(round_, own)
        return TrainingResult(vector, self.samples, microseconds)

    def rehearse(self, model: Vector) -> None:
        """Train one step from `model`, (parameters,), and forget it; raises ConfigError as `train`."""
        self._trained(model, 0, 1)

    def _trained(self, model: Vector, round_: int, max_steps: int | None) -> tuple[Vector, Vector, int]:
        """Return the vector, the party's own tensors and the CPU time after at most `max_steps` steps."""
        name = self._task.name
        if not self.samples:
            raise ConfigError(f"task {name}: a device without training samples cannot train")
        with own_code(f"task {name}: training on {self.samples:,} samples failed"):
            microseconds = self._run(model, round_, max_steps)
            vector, own = self._flat.read(), self._flat.own
        if not np.isfinite(vector).all() or not np.isfinite(own).all():
            rate = self._task.learning_rate
            raise ConfigError(f"task {name}: training diverged, lower the learning rate ({rate})")
        return vector, own, microseconds

    def _load(self, model: Vector) -> None:
        """Load a model to judge it, with the party's own tensors as its last training left them.

        A party that has not trained yet trains them on the model first, if it can.
        """
        if self._own.is_new and self.samples:
            self.train(model, FIRST_ROUND)
            self._own.forget()
            adapted = self._flat.own
            self._flat.load(model)
            self._flat.own = adapted
            return
        self._flat.load(model)
        self._flat.own = self._own.latest

    def _run(self, model: Vector, round_: int, max_steps: int | None) -> int:
        """Train in place, at most `max_steps` steps; return the CPU time in microseconds, at least 1."""
        task, seed = self._task, _mix(self._seed, round_)
        with _isolated(seed):
            self._flat.load(model)
            self._flat.own = self._own.before(round_)
            self._flat.module.train()
            start = time.thread_time_ns()
            if task.fit is None:
                loops.train(task, self._flat, *self._train, max_steps)
            else:
                rate = task.learning_rate
                context = FitContext(round_, seed, task.epochs, task.batch_size, rate, task.steps)
                loops.fit(task, self._flat, *self._train, context)
            return max(1, (time.thread_time_ns() - start) // 1000)

    def evaluate(self, model: Vector) -> Evaluation:
        """Return the task's metrics and its mean loss for `model`, (parameters,), on the held-out data.

        A loss that is no number counts as infinite. Raises ConfigError when the task's own code fails.
        """
        meter = Meter(self._task)
        self._load(model)
        with self._judging(), _isolated(self._seed), torch.no_grad():
            self._flat.module.eval()
            for features, labels in _pieces(*self._held_out):
                meter.add(self._flat.module(features), labels)
            return meter.evaluation()

    def gradients(self, model: Vector, parts: int) -> Matrix:
        """Return gradients, (parts, parameters), of the mean loss at `model` on parts of the held-out data.

        Each part has its share of every class, and no part is empty: few samples make fewer rows. A gradient
        is zero for what is not trained. Raises ConfigError when the task's own code fails.
        """
        features, labels = self._held_out
        count = min(parts, len(labels))
        order = torch.argsort(self._strata, stable=True)
        total = torch.zeros((count, len(self._flat.gradient)))
        self._load(model)
        with self._judging(), _isolated(self._seed):
            self._flat.module.eval()
            for part in range(count):
                indices = order[part::count]
                for batch, batch_labels in _pieces(features[indices], labels[indices]):
                    loss = self._task.loss(self._flat.module(batch), batch_labels)
                    total[part].add_(self._flat.backward(loss), alpha=len(batch_labels) / len(indices))
        return self._flat.by_entry(total)

    def _judging(self) -> AbstractContextManager[None]:
        count = len(self._held_out[1])
        return own_code(f"task {self._task.name}: evaluating on {count:,} samples failed")


def _pieces(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features (batch, ...) and labels (batch,), at most EVALUATION_BATCH samples at a time."""
    for start in range(0, len(labels), EVALUATION_BATCH):
        yield features[start : start + EVALUATION_BATCH], labels[start : start + EVALUATION_BATCH]


def build(task: Task, seed: int) -> nn.Module:
    """Return a new module of `task`, built under `seed`; raises ConfigError, one line, where that fails."""
    with _isolated(seed), own_code(f"task {task.name}: its model cannot be built"):
        module = task.build()
    if not isinstance(module, nn.Module):
        raise ConfigError(f"task {task.name}: build must return a torch module, not {type(module).__name__}")
    return module


def _flat(task: Task, seed: int) -> FlatModule:
    with own_code(f"task {task.name}: its model cannot be used"):
        return FlatModule(build(task, seed), task.exponents, task.shared)


def _tensors(samples: Samples | None) -> tuple[Tensor, Tensor]:
    """Copy samples to torch's own memory, always aligned in one way: MKL's last bits depend on it."""
    if samples is None:
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    return torch.tensor(samples.features), torch.tensor(samples.labels)


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


@contextmanager
def _isolated(seed: int) -> Iterator[None]:
    """Run torch on one thread with its generator at `seed`; put both back afterwards."""
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    torch.set_num_threads(1)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


__getattr__ = former_names(__name__, {"initial": "initial_model"})
