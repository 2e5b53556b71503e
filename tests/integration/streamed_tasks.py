"""Tasks whose data sets are read item by item, in a module that worker processes import."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bcfl.learning import Task
from bcfl.learning.context import FitContext

SIDE = 8


class Pictures(Dataset[Any]):
    """Made when they are read, moved and lit at random; `alive` counts those that nobody has dropped."""

    alive, most, reads = 0, 0, Counter[int]()

    def __init__(self, count: int, first: int = 0, *, augments: bool = True) -> None:
        self.count, self.first, self.augments = count, first, augments

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        Pictures.reads[index] += 1
        label = index % 3
        values = np.random.default_rng(self.first + index).normal(size=(SIDE, SIDE)).astype(np.float32)
        values[label * 2 : label * 2 + 2] += 2
        if self.augments:
            values *= 0.9 + 0.2 * random.random()
            values += 0.1 * np.random.standard_normal()
            if torch.rand(()) < 0.5:
                values = values[:, ::-1]
        return Picture(values), label


class Picture:
    """One picture; knows when it is no longer held."""

    def __init__(self, values: Any) -> None:
        self._values = values
        Pictures.alive += 1
        Pictures.most = max(Pictures.most, Pictures.alive)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._values, dtype=dtype, copy=True if copy is None else copy)

    def __del__(self) -> None:
        Pictures.alive -= 1


def build() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))


def fit(model: nn.Module, data: Dataset[Any], context: FitContext) -> None:
    """Train as examples of torch's do."""
    for _ in range(context.epochs):
        for features, labels in DataLoader(data, batch_size=context.batch_size, shuffle=True):
            assert isinstance(features, Tensor)
            loss = nn.functional.cross_entropy(model(features), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=context.learning_rate)
                        parameter.grad = None


def load(_: object) -> tuple[Any, Any]:
    return Pictures(120), Pictures(40, 1000)


pictures = Task("pictures", "read one by one", load, build, epochs=2, batch_size=8, learning_rate=0.1)
own_loop = Task(
    "own loop", "read one by one", load, build, epochs=2, batch_size=8, learning_rate=0.1, fit=fit
)
