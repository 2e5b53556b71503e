"""How a device trains: what a task says of it gives what the same loop in plain torch gives."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.context import FitContext
from bcfl.learning.flat import FlatModule
from bcfl.learning.loops import batches_of, steps_of
from bcfl.learning.training import TorchLearner, _mix, initial_model
from bcfl.ports import Vector

SAMPLES, FEATURES, CLASSES = 30, 6, 3
ROUND, SEED = 4, 3


def samples_of(count: int = SAMPLES) -> Samples:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    features = rng.normal(size=(count, FEATURES))
    features[np.arange(count), labels] += 2
    return Samples(features, labels)


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


TASK = Task("t", "", lambda _: Dataset(samples_of(), samples_of()), build, 2, 4, 0.1)


def trained(task: Task) -> Vector:
    learner = TorchLearner(task, samples_of(), samples_of(), SEED)
    return learner.train(initial_model(task, 0), ROUND).vector


def plainly(
    make: Any, schedule: Any = None, batch: int = 4, epochs: int = 2, clip: float = math.inf
) -> Vector:
    """Train in plain torch, with the batches that the learner would draw."""
    module = FlatModule(build())
    module.load(initial_model(TASK, 0))
    model, data = build(), samples_of()
    model.load_state_dict({name: torch.tensor(value) for name, value in module.state().items()})
    optimizer = make(model.parameters())
    rates = None if schedule is None else schedule(optimizer, epochs * math.ceil(SAMPLES / batch))
    features, labels = torch.tensor(data.features), torch.tensor(data.labels)
    torch.manual_seed(_mix(SEED, ROUND))
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(SAMPLES), batch):
            optimizer.zero_grad()
            functional.cross_entropy(model(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if rates is not None:
                rates.step()
    return FlatModule(model).read()


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def warm_up(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)


def momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, {"make": lambda p: torch.optim.SGD(p, lr=0.1)}),
        ({"optimizer": adamw}, {"make": adamw}),
        ({"optimizer": adamw, "schedule": warm_up}, {"make": adamw, "schedule": warm_up}),
        ({"optimizer": momentum, "clip_norm": 0.3}, {"make": momentum, "clip": 0.3}),
        ({"clip_norm": 0.1}, {"make": lambda p: torch.optim.SGD(p, lr=0.1), "clip": 0.1}),
    ],
)
def test_training_is_that_of_torch(options: dict[str, Any], reference: dict[str, Any]) -> None:
    assert trained(replace(TASK, **options)) == pytest.approx(plainly(**reference), abs=2e-5)


def without_normalisation() -> nn.Module:
    return nn.Linear(FEATURES, CLASSES)


def test_batches_that_are_accumulated_are_one_larger_batch() -> None:
    task = replace(TASK, build=without_normalisation, batch_size=5)
    parts = trained(replace(task, accumulate=2))
    assert parts == pytest.approx(trained(replace(task, batch_size=10)), abs=1e-5)
    assert parts != pytest.approx(trained(task), abs=1e-3)


def test_steps_count_instead_of_epochs() -> None:
    counted: list[int] = []

    class Counting(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            counted.append(1)
            return super().step(closure)

    task = replace(TASK, optimizer=lambda p: Counting(p, lr=0.01), steps=21)
    learner = TorchLearner(task, samples_of(), None, SEED)
    learner.train(initial_model(task, 0), 1)
    counted.clear()
    learner.train(initial_model(task, 0), 2)
    assert len(counted) == 21 == steps_of(task, SAMPLES)
    assert steps_of(TASK, SAMPLES) == 16
    assert steps_of(replace(TASK, accumulate=3), SAMPLES) == 6


@pytest.mark.parametrize(
    ("samples", "size", "batches"), [(1, 4, 1), (8, 4, 2), (9, 4, 2), (10, 4, 3), (3, 1, 3)]
)
def test_a_last_batch_of_one_joins_the_one_before(samples: int, size: int, batches: int) -> None:
    assert batches_of(samples, size) == batches


def test_mixed_precision_trains_and_keeps_float_weights() -> None:
    kinds: set[torch.dtype] = set()

    def seen(outputs: Tensor, labels: Tensor) -> Tensor:
        kinds.add(outputs.dtype)
        return functional.cross_entropy(outputs, labels)

    mixed = trained(replace(TASK, precision="bf16", loss=seen))
    assert kinds == {torch.bfloat16}
    assert mixed.dtype == np.float32
    assert np.linalg.norm(mixed - trained(TASK)) < 0.1 * np.linalg.norm(mixed)


def test_a_frozen_parameter_stays_under_any_optimizer() -> None:
    def frozen() -> nn.Module:
        model = build()
        next(model.parameters()).requires_grad_(False)
        return model

    task = replace(TASK, build=frozen, optimizer=adamw)
    start = initial_model(task, 0)
    moved = trained(task) != start
    assert not moved[: FEATURES * 8].any()
    assert moved[FEATURES * 8 :].any()


# A loop of one's own.


def own_loop(model: nn.Module, data: Any, context: FitContext) -> None:
    """Train as one would at home: a DataLoader, zero_grad, an optimizer."""
    loader = torch.utils.data.DataLoader(data, context.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=context.learning_rate)
    for epoch in range(context.epochs):
        for features, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(features), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        context.progress(epoch + 1, context.epochs)


def test_a_loop_of_ones_own_trains() -> None:
    task = replace(TASK, fit=own_loop)
    learner = TorchLearner(task, samples_of(), samples_of(), SEED)
    model = initial_model(task, 0)
    result = learner.train(model, 1)
    assert (result.samples, result.microseconds > 0) == (SAMPLES, True)
    assert learner.evaluate(result.vector).loss < learner.evaluate(model).loss
    assert (learner.train(model, 1).vector == result.vector).all()


def test_what_torch_imports_for_its_first_optimizer_is_nobodys_training() -> None:
    """It takes two seconds, and the first device of a process would be rejected for its time."""
    code = """
import sys
from bcfl.learning.training import TorchLearner, initial_model
from tests.unit.learning.toy import samples_of, task_of
from dataclasses import replace
found = []
task = replace(task_of(), fit=lambda *_: found.append("torch._dynamo" in sys.modules))
learner = TorchLearner(task, samples_of(8), None, 0)
assert "torch._dynamo" not in sys.modules
learner.train(initial_model(task, 0), 1)
assert found == [True]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def replacing(model: nn.Module, data: Any, context: FitContext) -> None:
    """Train, and leave other objects in the place of the tensors, as much code does."""
    own_loop(model, data, context)
    assert isinstance(model, nn.Sequential)
    for layer, name in ((model[0], "weight"), (model[1], "bias")):
        setattr(layer, name, nn.Parameter(getattr(layer, name).detach().clone()))
    model[1].register_buffer("running_mean", model[1].get_buffer("running_mean").clone())
    for parameter in model.parameters():
        parameter.grad = None


def test_tensors_and_gradients_that_a_loop_replaces_are_not_lost() -> None:
    task = replace(TASK, fit=replacing)
    learner = TorchLearner(task, samples_of(), samples_of(), SEED)
    model = initial_model(task, 0)
    slopes = learner.slopes(model, 2, 1000).gradients
    vector = learner.train(model, 1).vector
    expected = (
        TorchLearner(replace(TASK, fit=own_loop), samples_of(), samples_of(), SEED).train(model, 1).vector
    )
    assert (vector == expected).all()
    assert (learner.slopes(model, 2, 1000).gradients == slopes).all()
    assert (learner.train(model, 1).vector == vector).all()


def test_buffers_that_a_module_reassigns_are_not_lost() -> None:
    class Mean(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)
            self.register_buffer("mean", torch.zeros(FEATURES))

        def forward(self, features: Tensor) -> Tensor:
            if self.training:
                self.mean = 0.9 * self.mean + 0.1 * features.mean(0)
            out: Tensor = self.layer(features - self.mean)
            return out

    task = replace(TASK, build=Mean)
    vector = trained(task)
    assert np.abs(vector[:FEATURES]).max() > 0 or np.abs(vector[-FEATURES:]).max() > 0
    module = FlatModule(Mean())
    module.load(vector)
    state = module.state()
    assert np.abs(state["mean"]).max() > 0.01
    learner = TorchLearner(task, samples_of(), samples_of(), SEED)
    fresh = learner.evaluate(vector).loss
    learner.train(vector, 1)
    assert learner.evaluate(vector).loss == fresh


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda model, _data, _context: model.append(nn.Linear(3, 3)), "changed the model's layout"),
        (
            lambda model, _data, _context: model.half(),
            "left 0.weight in torch.float16: it must be torch.float32",
        ),
        (lambda *_: 1 / 0, "training on 30 samples failed: ZeroDivisionError"),
        (lambda model, _data, _context: model[0].weight.data.fill_(math.nan), "training diverged"),
    ],
)
def test_a_loop_that_goes_wrong_is_one_line(fit: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trained(replace(TASK, fit=fit))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number above 0, not 0"),
        ({"accumulate": 1.5}, "accumulate must be a whole number above 0, not 1.5"),
        ({"clip_norm": -1}, "clip_norm must be above 0, not -1"),
        ({"precision": "half"}, "precision is one of fp32, bf16, not 'half'"),
        ({"schedule": warm_up}, "a schedule needs an optimizer: give both"),
    ],
)
def test_options_out_of_range_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^task t: {message}$"):
        replace(TASK, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": torch.optim.LBFGS}, "LBFGS needs a closure"),
        (
            {"optimizer": torch.optim.Adam,
             "schedule": lambda optimizer, _: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)},
            "ReduceLROnPlateau needs a metrics",
        ),
    ],
)  # fmt: skip
def test_an_optimizer_that_steps_by_more_than_gradients_is_told_to_take_a_loop(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=f"^task t: a step of {words}, which .*: state `fit`$"):
        trained(replace(TASK, **options))
