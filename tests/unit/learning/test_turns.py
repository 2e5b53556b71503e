"""Learners that take turns with one module learn as each does alone, whatever a task's code leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bcfl.errors import ConfigError, own_code
from bcfl.learning import Task
from bcfl.learning.context import FitContext
from bcfl.learning.training import TorchLearner, Workbench, initial_model
from tests.unit.learning.toy import CLASSES, FEATURES, samples_of, task_of


class Counting(nn.Module):
    """Says less with each batch that it was trained on: the counter is a buffer, an attribute, or a list."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.count, self.seen = 0, list[int]()

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.calls = self.calls + 1
            self.count += 1
            self.seen.append(self.count)
        outputs: Tensor = self.layer(features)
        return outputs / (1 + self.calls + self.count + len(self.seen))


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.Linear(8, CLASSES))


def fit_of(begin: Callable[[nn.Module], object], end: Callable[[nn.Module], object]) -> Task:
    def fit(model: nn.Module, data: Any, _context: FitContext) -> None:
        begin(model)
        features, labels = data.tensors
        loss: Tensor = functional.cross_entropy(model(features), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad and weight.grad is not None:
                    weight.sub_(0.5 * weight.grad)
        end(model)

    return replace(task_of(two_layers), fit=fit)


def nothing(_model: nn.Module) -> None: ...


TASKS = {
    "counters": task_of(Counting),
    "a layer that is frozen": fit_of(nothing, lambda model: model[0].requires_grad_(False)),  # type: ignore[index]
    "all layers frozen": fit_of(nothing, lambda model: model.requires_grad_(False)),
    "a hook": fit_of(lambda model: model.register_forward_hook(lambda _m, _i, outputs: 2 * outputs), nothing),
    "torch's type": fit_of(nothing, lambda _: torch.set_default_dtype(torch.float64)),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_a_training_leaves_behind_is_not_the_next_partys(task: Task) -> None:
    model, bench = initial_model(task, 0), Workbench(task)
    for seed in range(3):
        together, alone = (
            TorchLearner(task, samples_of(20, seed), samples_of(9), seed, b) for b in (bench, None)
        )
        assert np.array_equal(together.train(model, 1).vector, alone.train(model, 1).vector)
        assert together.evaluate(model) == alone.evaluate(model)
    assert torch.get_default_dtype() == torch.float32


def test_an_optimizer_may_go_through_the_parameters_twice() -> None:
    """Those that decay and those that do not, say."""

    def grouped(parameters: Any) -> torch.optim.Optimizer:
        groups = [
            [each for each in parameters if (each.ndim > 1) is is_matrix] for is_matrix in (True, False)
        ]
        return torch.optim.SGD([{"params": group} for group in groups], lr=0.1)

    task = task_of()
    model = initial_model(task, 0)
    plain, own = (
        TorchLearner(each, samples_of(20), None, 0).train(model, 1).vector
        for each in (task, replace(task, optimizer=grouped))
    )
    assert np.array_equal(plain, own)


def test_a_model_of_another_default_type_is_trained_as_float32() -> None:
    def build() -> nn.Module:
        torch.set_default_dtype(torch.float64)
        return nn.Linear(FEATURES, CLASSES)

    try:
        task = task_of(build)
        learner = TorchLearner(task, samples_of(20), samples_of(9), 0)
        vector = learner.train(initial_model(task, 0), 1).vector
        assert vector.dtype == np.float32
        assert learner.evaluate(vector).samples == 9
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_hook_of_the_state_that_fails_is_one_line_where_the_state_is_read() -> None:
    fails = False

    def hook(*_: object) -> None:
        if fails:
            raise ValueError("the hook")

    def build() -> nn.Module:
        module = nn.Linear(FEATURES, CLASSES)
        module._register_state_dict_hook(hook)  # type: ignore[no-untyped-call]
        return module

    task = task_of(build)
    model, learner = initial_model(task, 0), TorchLearner(task, samples_of(9), samples_of(9), 0)
    learner.evaluate(model)
    _ = learner._flat.gradient  # the module is there
    fails = True
    text = r"^task test: training on 9 samples failed: ValueError: the hook$"
    with pytest.raises(ConfigError, match=text):
        learner.train(model, 1)
    fails = False
    learner.train(model, 1)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, SystemExit, GeneratorExit])
def test_what_is_no_exception_is_one_line_too(kind: type[BaseException]) -> None:
    with pytest.raises(ConfigError, match=f"^it failed: {kind.__name__}: why$"), own_code("it failed"):
        raise kind("why")
    with pytest.raises(KeyboardInterrupt), own_code("it failed"):
        raise KeyboardInterrupt
