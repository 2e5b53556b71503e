"""Find before anything begins that model, loss and data do not fit, and name the sample that does not."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError, one_line, own_code
from bcfl.learning import private
from bcfl.learning.accelerators import CPU
from bcfl.learning.datasets import Dataset, Samples
from bcfl.learning.flat import layout_of
from bcfl.learning.losses import check_classes, check_mean
from bcfl.learning.meter import MetricError
from bcfl.learning.tasks import Task
from bcfl.learning.training import (
    EVALUATION_BATCH,
    FIXED_SEED,
    TorchLearner,
    Workbench,
    build,
    initial_model,
)
from bcfl.ports import Vector

SHOWN = 4  # samples that a model is asked about together and alone


def check_model(task: Task) -> None:
    """Raise ConfigError, one line, unless the model of `task` can be used; needs no data.

    Where the task tells shape and classes, blank samples of every class are evaluated. Weights to start from
    are not read: the owner alone needs them, and genesis checks them.
    """
    task = replace(task, weights=None)
    first, second = build(task, FIXED_SEED), build(task, FIXED_SEED + 1)
    with own_code(f"task {task.name}: its model cannot be used"):
        try:
            layouts = [layout_of(module, task.exponents, task.shared).tensors for module in (first, second)]
        except ConfigError as error:
            raise ConfigError(f"task {task.name}: {error}") from error
    if _shares_tensors(first, second):
        raise ConfigError(
            f"task {task.name}: build must return a new module each time, not one it has returned before"
        )
    if layouts[0] != layouts[1]:
        raise ConfigError(
            f"task {task.name}: its model has other tensors each time: build and shared must go by names and "
            "shapes, and not by chance or values"
        )
    if private.noise_of(task) is not None:
        private.check(task, build(task, FIXED_SEED))
    model = initial_model(task, FIXED_SEED)
    if task.shape and task.classes:
        labels = np.arange(task.classes, dtype=np.int64)
        blank = Samples(np.zeros((task.classes, *task.shape), np.float32), labels)
        _check_samples(task, blank, model, "blank sample", Workbench(task))


def check_fit(task: Task, dataset: Dataset, device: str = CPU) -> None:
    """Raise ConfigError, one line, unless model, loss and data of `task` fit; names the sample that does not.

    Evaluates every sample of both parts on a torch device, and trains on a batch of each size that occurs.
    """
    check_model(task)
    task = replace(task, weights=None)
    model, bench = initial_model(task, FIXED_SEED), Workbench(task, device)
    some = dataset.train if len(dataset.train) else dataset.test
    if len(some):
        check_classes(task, some, model, bench)
    _check_samples(task, dataset.train, model, "training sample", bench)
    _check_samples(task, dataset.test, model, "test sample", bench)
    if len(some):
        check_mean(task, some, model, bench)
    count, size = len(dataset.train), min(task.batch_size, len(dataset.train))
    if private.noise_of(task) is not None and count:
        few = dataset.train.take(np.arange(min(SHOWN, count))).in_memory()
        features, labels = torch.tensor(few.features), torch.tensor(few.labels)
        private.check_apart(task, build(task, FIXED_SEED), features, labels)
    for batch in sorted({size, count % size} - {0}, reverse=True) if count else ():
        if batch > 1 or size == 1:  # a last batch of one is joined to the one before
            once = replace(task, epochs=1, batch_size=batch)
            TorchLearner(once, dataset.train.take(np.arange(batch)), None, FIXED_SEED, bench).rehearse(model)


def _check_samples(task: Task, samples: Samples, model: Vector, noun: str, bench: Workbench) -> None:
    """Evaluate `model`, (parameters,), on all samples; raise ConfigError that names the first that fails."""
    for start in range(0, len(samples), EVALUATION_BATCH):
        piece = range(start, min(start + EVALUATION_BATCH, len(samples)))
        cause = _misfit(task, samples, model, piece, bench)
        while cause is not None and len(piece) > 1:
            first, second = piece[: len(piece) // 2], piece[len(piece) // 2 :]
            half = first if _misfit(task, samples, model, first, bench) else second
            half_cause = _misfit(task, samples, model, half, bench)
            if half_cause is None:  # it takes these samples together to fail
                break
            piece, cause = half, half_cause
        if cause is not None:
            place = f"{noun} {piece[0]}" + (f" to {piece[-1]}" if len(piece) > 1 else "")
            has_label = samples.has_classes and len(piece) == 1
            label = f" (label {samples.labels[piece[0]]})" if has_label else ""
            begins_at_1 = samples.has_classes and samples.labels.min() == 1
            is_last = begins_at_1 and samples.labels[piece[0]] == samples.labels.max()
            hint = "; labels count from 0, and these begin at 1" if is_last else ""
            raise ConfigError(
                f"task {task.name}: model, loss and data do not fit: {place}{label}: {cause}{hint}"
            )


def _misfit(task: Task, samples: Samples, model: Vector, piece: range, bench: Workbench) -> str | None:
    """Return why `model`, (parameters,), cannot be evaluated on a piece of the samples; None if it can."""
    part = samples.take(np.arange(piece.start, piece.stop))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")  # which is spread to another shape
        try:
            TorchLearner(task, None, part, FIXED_SEED, bench).evaluate(model)
        except MetricError:
            raise
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
