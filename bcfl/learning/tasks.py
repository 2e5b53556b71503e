"""Define what a federation learns: data, model, loss and how a device trains; built in or the user's own."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl.errors import ConfigError, DataError, one_line, own_code
from bcfl.learning.datasets import Dataset, breast_cancer, digits, fashion_mnist

if TYPE_CHECKING:
    from torch import Tensor, nn

MODEL_NAMES = ("mlp", "cnn")


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits (samples, classes) against labels (samples,)."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, labels)


@dataclass(frozen=True)
class Task:
    """One thing to learn; every party of a federation has the same.

    `load` gets the folder of --data (None without) and returns the data that are there, float32 features
    (samples, ...) and int64 labels (samples,). `build` returns a new module from features to outputs
    (samples, classes); what it draws at random follows the run's seed. `loss` is the mean over a batch of
    outputs and labels. Raises ConfigError for a number out of range.
    """

    name: str
    description: str
    load: Callable[[Path | None], Dataset]
    build: Callable[[], nn.Module]
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.2
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    shape: tuple[int, ...] = ()  # of one sample; with `classes`, what --model needs to build another model
    classes: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"task {self.name}: {name} must be a whole number above 0, not {value!r}")
        rate: object = self.learning_rate
        if not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise ConfigError(f"task {self.name}: learning_rate must be above 0, not {rate!r}")

    def with_options(
        self,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        model: str | None = None,
    ) -> Task:
        """Return this task with every option that is not None; `model` is one of MODEL_NAMES.

        Raises ConfigError for a value out of range, and for a `model` where the task brings its own.
        """
        options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
        changes: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if model is not None:
            if not self.shape or self.classes < 1:
                raise ConfigError(f"task {self.name} brings its own model: leave --model out")
            changes["build"] = _builder(model, self.shape, self.classes)
        return replace(self, **changes)

    def dataset(self, data_dir: Path | None = None) -> Dataset:
        """Return what `load` returns, checked; raises ConfigError or DataError of one line on failure."""
        if data_dir is None:
            text = "its data cannot be loaded without --data"
        elif data_dir.exists():
            text = f"its data cannot be loaded from {data_dir}"
        else:
            text = f"its data cannot be loaded, there is no {data_dir}"
        with own_code(f"task {self.name}: {text}", DataError):
            data = self.load(data_dir)
        if not isinstance(data, Dataset):
            raise DataError(f"task {self.name}: load must return a Dataset, not {type(data).__name__}")
        return data


def resolve(name: str) -> Task:
    """Return the built-in task of that name, or the Task at "package.module:attribute".

    Modules are looked for in the current directory too. Raises ConfigError, one line, whatever goes wrong.
    """
    if ":" in name:
        return _import(name)
    if name not in BUILT_IN:
        hint = _nearest(name, BUILT_IN)
        raise ConfigError(f"unknown task {name!r}: {hint} (package.module:attribute for your own)")
    return BUILT_IN[name]


def _import(name: str) -> Task:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ConfigError(f"task {name!r} is not of the form package.module:attribute")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"task {name!r}: importing {module_name} failed: {one_line(error)}") from error
    task = getattr(module, attribute, None)
    if isinstance(task, Task):
        return task
    if task is not None:
        raise ConfigError(f"task {name!r} is a {type(task).__name__}, not a bcfl.learning.Task")
    tasks = [key for key, value in vars(module).items() if isinstance(value, Task)]
    raise ConfigError(f"task {name!r}: {module_name} has no {attribute}: {_nearest(attribute, tasks)}")


def _nearest(name: str, names: Iterable[str]) -> str:
    matches = get_close_matches(name, names := list(names), n=1)
    return f"did you mean {matches[0]}?" if matches else f"known: {', '.join(names) or 'none'}"


def _builder(model: str, shape: tuple[int, ...], classes: int) -> Callable[[], nn.Module]:
    if model not in MODEL_NAMES:
        raise ConfigError(f"unknown model {model!r}: {_nearest(model, MODEL_NAMES)}")

    def build() -> nn.Module:
        from bcfl.learning.models import MODELS

        return MODELS[model](shape, classes)

    return build


def _built_in(
    name: str, description: str, load: Callable[[Path | None], Dataset], shape: tuple[int, ...], classes: int
) -> Task:
    return Task(name, description, load, _builder("mlp", shape, classes), shape=shape, classes=classes)


BUILT_IN = {
    task.name: task
    for task in (
        _built_in("digits", "1,797 handwritten digits of 8x8 pixels", digits, (1, 8, 8), 10),
        _built_in("breast-cancer", "569 diagnoses, 30 measurements each", breast_cancer, (30,), 2),
        _built_in(
            "fashion-mnist", "70,000 pictures of clothes of 28x28 pixels", fashion_mnist, (1, 28, 28), 10
        ),
    )
}
