"""Train, evaluate and differentiate models on private data, with torch on one thread.

On one thread the outcome is the same in every run, and the thread's CPU time is the time of the training.
`torch.optim` is not used: its first use imports torch's compiler, which takes longer than a run's training.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError, one_line, own_code
from bcfl.learning.datasets import Dataset, Samples
from bcfl.learning.flat import FlatModule, layout_of
from bcfl.learning.partitions import Split
from bcfl.learning.tasks import Task
from bcfl.ports import Evaluation, Matrix, TrainingResult, Vector
from bcfl.protocol.types import Layout
from bcfl.renamed import former_names

EVALUATION_BATCH = 1024  # samples in one forward pass without training; bounds memory
WARM_UP_STEPS = 4
FIXED_SEED = 0  # for what a module draws at random outside its vector: the same for every party


def initial_model(task: Task, seed: int) -> Vector:
    """Return the genesis model: the vector, (parameters,), of a module newly built under `seed`."""
    return _flatten(task, seed).read()


def layout(task: Task) -> Layout:
    """Return names and shapes of the tensors of `task`'s model in their canonical order."""
    with own_code(f"task {task.name}: its model cannot be used"):
        return layout_of(_build(task, FIXED_SEED))


def state_of(task: Task, model: Vector) -> dict[str, npt.NDArray[Any]]:
    """Return the state_dict of `task`'s module with `model`, (parameters,), in it; raises ConfigError.

    What is not in the vector is as every party builds it: integer buffers, say.
    """
    flat = _flatten(task, FIXED_SEED)
    if model.shape != tuple(flat.vector.shape):
        raise ConfigError(f"task {task.name} has {len(flat.vector):,} parameters, the model {len(model):,}")
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
    """Return the learner that evaluates on the final test data, which no party holds."""
    return TorchLearner(task, None, shares.test, FIXED_SEED)


def check_model(task: Task) -> None:
    """Raise ConfigError, one line, unless the model of `task` can be used; needs no data.

    Where the task tells shape and classes, blank samples of every class are evaluated.
    """
    if _shares_tensors(_build(task, FIXED_SEED), _build(task, FIXED_SEED)):
        raise ConfigError(
            f"task {task.name}: build must return a new module each time, not one it has returned before"
        )
    model = initial_model(task, FIXED_SEED)
    if task.shape and task.classes:
        labels = np.arange(task.classes, dtype=np.int64)
        blank = Samples(np.zeros((task.classes, *task.shape), np.float32), labels)
        _check_samples(task, blank, model, "blank sample")


def check_fit(task: Task, dataset: Dataset) -> None:
    """Raise ConfigError, one line, unless model, loss and data of `task` fit; names the sample that does not.

    Evaluates every sample of both parts, and trains on a batch of each size that occurs.
    """
    check_model(task)
    model = initial_model(task, FIXED_SEED)
    _check_samples(task, dataset.train, model, "training sample")
    _check_samples(task, dataset.test, model, "test sample")
    count, size = len(dataset.train), min(task.batch_size, len(dataset.train))
    for batch in sorted({size, count % size}, reverse=True) if count else ():
        if batch > 1 or size == 1:  # a last batch of one is joined to the one before
            once = replace(task, epochs=1, batch_size=batch)
            TorchLearner(once, dataset.train.take(np.arange(batch)), None, FIXED_SEED).train(model, 0)


class TorchLearner:
    """The private data of one party, and a module to use it with; implements `bcfl.ports.Learner`.

    Nothing but vectors (parameters,), counts and means leaves it. Not for use from two threads at once.
    """

    def __init__(self, task: Task, train: Samples | None, held_out: Samples | None, seed: int) -> None:
        self._task = task
        self._seed = seed
        self._train = _tensors(train)
        self._held_out = _tensors(held_out)
        self._flat = _flatten(task, FIXED_SEED)
        self._is_warm = False

    @property
    def samples(self) -> int:
        """Return the number of training samples."""
        return len(self._train[1])

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Run SGD from `model`, (parameters,), for the task's epochs; the same for one data, round and seed.

        Raises ConfigError without training data, when the training diverges, and when it fails.
        """
        if not self.samples:
            raise ConfigError(f"task {self._task.name}: a device without training samples cannot train")
        with own_code(f"task {self._task.name}: training on {self.samples:,} samples failed"):
            if not self._is_warm:  # the first steps of a process take tens of times as long
                self._run(model, round_, WARM_UP_STEPS)
                self._is_warm = True
            microseconds = self._run(model, round_, None)
        vector = self._flat.read()
        if not np.isfinite(vector).all():
            rate = self._task.learning_rate
            raise ConfigError(f"task {self._task.name}: training diverged, lower the learning rate ({rate})")
        return TrainingResult(vector, self.samples, microseconds)

    def _run(self, model: Vector, round_: int, max_steps: int | None) -> int:
        """Train in place, at most `max_steps` steps; return the CPU time in microseconds, at least 1."""
        with _isolated(_mix(self._seed, round_)):
            self._flat.load(model)
            self._flat.module.train()
            start = time.thread_time_ns()
            for step, (features, labels) in enumerate(self._batches()):
                if step == max_steps:
                    break
                loss = self._task.loss(self._flat.module(features), labels)
                self._flat.vector.sub_(self._flat.backward(loss), alpha=self._task.learning_rate)
            return max(1, (time.thread_time_ns() - start) // 1000)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features (batch, ...) and labels (batch,) of all epochs, shuffled anew in each."""
        features, labels = self._train
        size = self._task.batch_size
        for _ in range(self._task.epochs):
            order = torch.randperm(self.samples)
            epoch_features, epoch_labels = features[order], labels[order]
            stop = 0
            while stop < self.samples:
                start, stop = stop, stop + size
                if stop == self.samples - 1 and size > 1:  # BatchNorm cannot train on a last batch of one
                    stop = self.samples
                yield epoch_features[start:stop], epoch_labels[start:stop]

    def evaluate(self, model: Vector) -> Evaluation:
        """Return accuracy and mean loss of `model`, (parameters,), on the held-out data; zeros without any.

        A loss that is no number counts as infinite. Raises ConfigError when the task's own code fails.
        """
        correct, total, count = 0, 0.0, len(self._held_out[1])
        with self._judging(), _isolated(self._seed), torch.no_grad():
            self._flat.load(model)
            self._flat.module.eval()
            for features, labels in _pieces(*self._held_out):
                outputs = self._flat.module(features)  # (samples, classes)
                total += float(self._task.loss(outputs, labels)) * len(labels)
                correct += int((outputs.argmax(1) == labels).sum())
        loss = total / max(1, count)
        return Evaluation(correct / max(1, count), loss if loss == loss else float("inf"), count)

    def gradients(self, model: Vector, parts: int) -> Matrix:
        """Return gradients, (parts, parameters), of the mean loss at `model` on parts of the held-out data.

        Each part has its share of every class, and no part is empty: few samples make fewer rows. A gradient
        is zero for what is not trained. Raises ConfigError when the task's own code fails.
        """
        features, labels = self._held_out
        count = min(parts, len(labels))
        order = torch.argsort(labels, stable=True)
        total = torch.zeros((count, len(self._flat.gradient)))
        with self._judging(), _isolated(self._seed):
            self._flat.load(model)
            self._flat.module.eval()
            for part in range(count):
                indices = order[part::count]
                for batch, batch_labels in _pieces(features[indices], labels[indices]):
                    loss = self._task.loss(self._flat.module(batch), batch_labels)
                    total[part].add_(self._flat.backward(loss), alpha=len(batch_labels) / len(indices))
        return np.array(total.numpy(), dtype=np.float32)

    def _judging(self) -> AbstractContextManager[None]:
        count = len(self._held_out[1])
        return own_code(f"task {self._task.name}: evaluating on {count:,} samples failed")


def _pieces(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features (batch, ...) and labels (batch,), at most EVALUATION_BATCH samples at a time."""
    for start in range(0, len(labels), EVALUATION_BATCH):
        yield features[start : start + EVALUATION_BATCH], labels[start : start + EVALUATION_BATCH]


def _build(task: Task, seed: int) -> nn.Module:
    with _isolated(seed), own_code(f"task {task.name}: its model cannot be built"):
        module = task.build()
    if not isinstance(module, nn.Module):
        raise ConfigError(f"task {task.name}: build must return a torch module, not {type(module).__name__}")
    return module


def _flatten(task: Task, seed: int) -> FlatModule:
    with own_code(f"task {task.name}: its model cannot be used"):
        return FlatModule(_build(task, seed))


def _check_samples(task: Task, samples: Samples, model: Vector, noun: str) -> None:
    """Evaluate `model`, (parameters,), on all samples; raise ConfigError that names the first that fails."""
    for start in range(0, len(samples), EVALUATION_BATCH):
        piece = range(start, min(start + EVALUATION_BATCH, len(samples)))
        cause = _misfit(task, samples, model, piece)
        while cause is not None and len(piece) > 1:
            first, second = piece[: len(piece) // 2], piece[len(piece) // 2 :]
            half = first if _misfit(task, samples, model, first) else second
            half_cause = _misfit(task, samples, model, half)
            if half_cause is None:  # it takes these samples together to fail
                break
            piece, cause = half, half_cause
        if cause is not None:
            place = f"{noun} {piece[0]}" + (f" to {piece[-1]}" if len(piece) > 1 else "")
            label = f" (label {samples.labels[piece[0]]})" if len(piece) == 1 else ""
            is_last_label = samples.labels[piece[0]] == samples.labels.max()
            hint = "; labels count from 0, and these begin at 1"
            hint = hint if is_last_label and samples.labels.min() == 1 else ""
            raise ConfigError(
                f"task {task.name}: model, loss and data do not fit: {place}{label}: {cause}{hint}"
            )


def _misfit(task: Task, samples: Samples, model: Vector, piece: range) -> str | None:
    """Return why `model`, (parameters,), cannot be evaluated on a piece of the samples; None if it can."""
    part = Samples(samples.features[piece.start : piece.stop], samples.labels[piece.start : piece.stop])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")  # which is spread to another shape
        try:
            TorchLearner(task, None, part, FIXED_SEED).evaluate(model)
        except ConfigError as error:
            return one_line(error.__cause__) if error.__cause__ else str(error)
    return None


def _shares_tensors(first: nn.Module, second: nn.Module) -> bool:
    """Whether two modules have a parameter or buffer in common; their parties would train one model."""
    places = {
        value.data_ptr()
        for value in first.state_dict().values()
        if isinstance(value, Tensor) and value.numel()
    }
    others = (value for value in second.state_dict().values() if isinstance(value, Tensor) and value.numel())
    return any(value.data_ptr() in places for value in others)


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
