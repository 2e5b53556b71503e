"""Measure a model on held-out data batch by batch: the task's loss and its metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bcfl.errors import ConfigError, one_line
from bcfl.learning.metrics import Mean
from bcfl.learning.tasks import Task, cross_entropy
from bcfl.ports import Evaluation

PIECE = 8  # samples whose loss is taken together where the task's own loss gives but means


class MetricError(ConfigError):
    """A metric that fails, whatever the samples are."""


class Meter:
    """Sums over the batches seen so far; outputs are kept only where a metric needs all of them."""

    def __init__(self, task: Task) -> None:
        self._task, self._metrics = task, task.chosen_metrics
        self._samples, self._loss = 0, 0.0
        self._sums = {name: 0.0 for name, metric in self._metrics.items() if isinstance(metric, Mean)}
        self._kept: list[tuple[Tensor, Tensor]] = []

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Take in a batch of outputs and labels, (samples, ...); raises ConfigError if a metric fails."""
        count = len(labels)
        self._samples += count
        self._loss += float(self._task.loss(outputs, labels)) * count
        outputs, labels = outputs.cpu(), labels.cpu()  # where metrics may use numpy, and float64
        for name, metric in self._metrics.items():
            if isinstance(metric, Mean) and metric.of is not None:
                self._sums[name] += self._value(name, metric.of, outputs, labels) * count
        if len(self._sums) < len(self._metrics):
            self._kept.append((outputs.detach().float(), labels))

    def evaluation(self) -> Evaluation:
        """Return what the batches come to: infinity for a loss, None for a metric that is no number."""
        count = max(1, self._samples)
        loss = self._loss / count
        loss = math.inf if math.isnan(loss) else loss
        values = {name: self._metric(name, loss) for name in self._metrics} if self._samples else {}
        metrics = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return Evaluation(loss, self._samples, metrics)

    def _metric(self, name: str, loss: float) -> float:
        metric = self._metrics[name]
        if isinstance(metric, Mean):
            return self._value(
                name, metric.then, loss if metric.of is None else self._sums[name] / self._samples
            )
        outputs, labels = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        return self._value(name, metric, outputs, labels)

    def _value(self, name: str, function: Callable[..., Any], *arguments: object) -> float:
        text = f"task {self._task.name}: metric {name!r}"
        try:
            return float(function(*arguments))
        except ConfigError as error:
            raise MetricError(f"{text}: {error}") from error
        except (Exception, SystemExit) as error:
            raise MetricError(f"{text} failed: {one_line(error)}") from error


def losses_of(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the losses of a batch, (pieces,)."""
    if task.loss is cross_entropy:
        losses = functional.cross_entropy(outputs, labels, reduction="none")
        return losses.reshape(len(labels), -1).mean(dim=1)
    if len(outputs) != len(labels):
        return task.loss(outputs, labels).reshape(1)
    starts = range(0, len(labels), PIECE)
    spans = [slice(start, start + PIECE) for start in starts]
    return torch.stack([task.loss(outputs[span], labels[span]) for span in spans])
