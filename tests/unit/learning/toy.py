"""A toy task: clouds of points in three classes, and models that learn them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.tasks import cross_entropy

FEATURES, CLASSES = 6, 3


def samples_of(count: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    features = rng.normal(size=(count, FEATURES)).astype(np.float32)
    features[np.arange(count), labels] += 2
    return Samples(features, labels)


def linear() -> nn.Module:
    return nn.Linear(FEATURES, CLASSES)


def restless() -> nn.Module:
    """Everything that makes repeatable training hard, in one model."""
    return nn.Sequential(
        nn.Linear(FEATURES, 8),
        nn.BatchNorm1d(8, momentum=None),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(8, CLASSES),
    )


def task_of(
    build: Callable[[], nn.Module] = linear, loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
) -> Task:
    def load(_folder: Path | None) -> Dataset:
        return Dataset(samples_of(40), samples_of(20, seed=1))

    return Task("test", "a test", load, build, epochs=2, batch_size=4, learning_rate=0.1, loss=loss)
