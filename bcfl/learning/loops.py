"""Train a module in place: plain SGD, any optimizer of torch's, or a loop of one's own.

`torch.optim` is imported by the task that uses it, not here: its first use imports torch's compiler, which
takes longer than a run's training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning.context import FitContext
from bcfl.learning.flat import FlatModule
from bcfl.learning.loading import Batch, Loaded
from bcfl.learning.tasks import Task

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


def steps_of(task: Task, samples: int) -> int:
    """Return how many steps the optimizer makes in a round."""
    if task.steps is not None:
        return task.steps
    return task.epochs * math.ceil(batches_of(samples, task.batch_size) / task.accumulate)


def batches_of(samples: int, size: int) -> int:
    """Return how many batches an epoch has: a last batch of one sample joins the one before."""
    whole, rest = divmod(samples, size)
    if rest == 1 and size > 1 and whole:
        rest = 0
    return whole + (rest > 0)


def train(task: Task, flat: FlatModule, data: Loaded, max_steps: int | None = None) -> None:
    """Train `flat` in place for one round, at most `max_steps` steps."""
    total = steps_of(task, len(data))
    count = total if max_steps is None else min(total, max_steps)
    groups = islice(_steps(task, data), count)
    if task.optimizer is None:
        for step in groups:
            gradient = _gradient(task, flat, step)
            flat.vector.sub_(gradient, alpha=task.learning_rate)
        return
    optimizer, schedule = open_optimizer(task, flat.module, total)
    for step in groups:
        _gradient(task, flat, step)
        optimizer.step()
        if schedule is not None:
            schedule.step()


def open_optimizer(task: Task, module: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler | None]:
    """Return a task's optimizer, and its schedule, for a round of so many steps.

    Raises ConfigError for one that cannot step by gradients alone.
    """
    assert task.optimizer is not None
    optimizer = task.optimizer([each for each in module.parameters() if each.requires_grad])
    schedule = None if task.schedule is None else task.schedule(optimizer, steps)
    for value in (optimizer, schedule):
        step: Any = getattr(type(value), "step", None)
        for parameter in list(signature(step).parameters.values())[1:] if step is not None else ():
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                raise ConfigError(
                    f"task {task.name}: a step of {type(value).__name__} needs a {parameter.name}, which it "
                    "gets in a loop of your own alone: state `fit`"
                )
    return optimizer, schedule


def warm_up() -> None:
    """Make a step of `torch.optim`, whose first imports torch's compiler: seconds of nobody's training."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.0).step()


def fit(task: Task, flat: FlatModule, data: Loaded, context: FitContext) -> None:
    """Train `flat` in place by the task's own loop."""
    if task.fit is not None:
        with torch.enable_grad():
            items: Any = data.data_set()  # a TensorDataset, or one that streams
            task.fit(flat.module, items, context)
        flat.collect()


def _steps(task: Task, data: Loaded) -> Iterator[list[Batch]]:
    """Yield the batches of each step, without end; an epoch's last step may have fewer."""
    while True:
        epoch = batches(data, task.batch_size)
        while step := list(islice(epoch, task.accumulate)):
            yield step


def batches(data: Loaded, size: int) -> Iterator[Batch]:
    """Yield features and labels of one epoch, shuffled, `size` at a time.

    A last batch of one sample joins the one before: BatchNorm cannot train on it.
    """
    count = len(data)
    epoch = data.ordered(torch.randperm(count))  # drawn alike wherever the samples are
    stop = 0
    while stop < count:
        start, stop = stop, stop + size
        if stop == count - 1 and size > 1:
            stop = count
        yield epoch.batch(start, stop)


def _gradient(task: Task, flat: FlatModule, step: list[Batch]) -> Tensor:
    """Return the gradient, (parameters,), of a step's mean loss, shortened where it is too long."""
    if len(step) == 1:
        gradient = flat.backward(_loss(task, flat.module, *step[0]))
    else:
        samples = sum(len(labels) for _, labels in step)
        parts = ((_loss(task, flat.module, *batch), len(batch[1]) / samples) for batch in step)
        flat.gradient.zero_()
        for loss, share in parts:
            flat.accumulate(loss * share)
        gradient = flat.gradient
    if task.clip_norm is not None:
        gradient.mul_(min(1.0, task.clip_norm / max(float(gradient.norm()), 1e-30)))
    return gradient


def _loss(task: Task, module: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    with autocast(task, features.device.type):
        return task.loss(module(features), labels)


def autocast(task: Task, device: str) -> AbstractContextManager[object]:
    """Return torch's mixed precision as the task wants it."""
    if task.precision == "fp32":
        return nullcontext()
    return torch.autocast(device, dtype=torch.bfloat16)
