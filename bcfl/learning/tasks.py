"""Define what a federation learns: data, model, loss and how a device trains; built in or the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from dis import Instruction, get_instructions
from inspect import unwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl.errors import ConfigError, DataError, own_code
from bcfl.learning.datasets import Dataset, breast_cancer, digits, fashion_mnist
from bcfl.learning.metrics import CLASSES, Metric, chosen
from bcfl.learning.own_modules import import_own
from bcfl.protocol.limits import MAX_EXPONENT
from bcfl.protocol.types import Exponent

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import TensorDataset

    from bcfl.learning.context import FitContext

MODEL_NAMES = ("mlp", "cnn")
PRECISIONS = ("fp32", "bf16")


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits (samples, classes) against labels (samples,)."""
    from torch.nn import functional

    return functional.cross_entropy(outputs, labels)


@dataclass(frozen=True)
class Task:
    """One thing to learn; every party of a federation has the same.

    `load` gets the folder of --data (None without) and returns the data that are there: a Dataset, or a
    pair of map-style torch data sets to train and to test on. `build` returns a new module from features to
    outputs; what it draws at random follows the run's seed. `loss` is the mean over a batch of outputs and
    labels.

    Training is plain SGD over `epochs`, or of `steps`, unless `optimizer` says otherwise; it and `schedule`
    are made anew in each round. `fit` is a loop of one's own in place of all that. `metrics` are names or a
    dict of names and functions, the first is what tables show; by default accuracy, if `loss` is left alone.
    Raises ConfigError for what is out of range.
    """

    name: str
    description: str
    load: Callable[[Path | None], Dataset | tuple[Any, Any]]
    build: Callable[[], nn.Module]
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.2
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    shape: tuple[int, ...] = ()  # of one sample; with `classes`, what --model needs to build another model
    classes: int = 0
    metrics: Iterable[str] | Mapping[str, Metric] | None = field(default=None, hash=False)
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None  # takes the steps in a round too
    steps: int | None = None  # of the optimizer in a round, in place of epochs
    accumulate: int = 1  # batches whose gradients make one step
    clip_norm: float | None = None  # length above which the gradient of a step is shortened
    precision: str = "fp32"  # or bf16: what torch's autocast computes in; weights stay float32
    fit: Callable[[nn.Module, TensorDataset, FitContext], object] | None = None
    shared: Callable[[str, Tensor], bool] | None = None  # whether the federation learns a tensor; None: all
    exponents: Mapping[str, Exponent] | None = field(default=None, hash=False)  # None: genesis chooses
    weights: Path | str | None = None  # a safetensors file of a state_dict that the federation starts from
    agreement: tuple[
        tuple[str, str], ...
    ] = ()  # what a federation agrees on beside the task: genesis fills it

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "steps"):
            value = getattr(self, name)
            if not (name == "steps" and value is None) and (type(value) is not int or value < 1):
                raise ConfigError(f"task {self.name}: {name} must be a whole number above 0, not {value!r}")
        for name in ("learning_rate", "clip_norm"):
            rate: object = getattr(self, name)
            is_open = name == "clip_norm" and rate is None
            if not is_open and (not isinstance(rate, (int, float)) or not 0 < rate < math.inf):
                raise ConfigError(f"task {self.name}: {name} must be above 0, not {rate!r}")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise ConfigError(f"task {self.name}: precision is one of {known}, not {self.precision!r}")
        if type(self.classes) is not int or self.classes < 0:
            raise ConfigError(f"task {self.name}: classes must be a whole number, not {self.classes!r}")
        shape: object = self.shape
        if not isinstance(shape, (tuple, list)) or any(type(size) is not int or size < 1 for size in shape):
            raise ConfigError(f"task {self.name}: shape must be a tuple of whole numbers, not {shape!r}")
        if not isinstance(self.weights, (str, Path, type(None))):
            raise ConfigError(f"task {self.name}: weights must name a file, not {self.weights!r}")
        if self.schedule is not None and self.optimizer is None:
            raise ConfigError(f"task {self.name}: a schedule needs an optimizer: give both")
        _ = self.chosen_metrics
        for name, exponent in (self.exponents or {}).items():
            every = exponent if isinstance(exponent, tuple) else (exponent,)
            if any(type(each) is not int or abs(each) > MAX_EXPONENT for each in every):
                wish = f"a whole number from -{MAX_EXPONENT} to {MAX_EXPONENT}, not {exponent!r}"
                raise ConfigError(f"task {self.name}: the exponent of {name} must be {wish}")

    @property
    def chosen_metrics(self) -> dict[str, Metric]:
        """Return the metrics by name, in order; raises ConfigError for one that is not known."""
        if self.metrics is None:
            return dict(CLASSES) if self.loss is cross_entropy else {}
        try:
            return chosen(self.metrics)
        except ConfigError as error:
            raise ConfigError(f"task {self.name}: {error}") from error

    @property
    def metric(self) -> str | None:
        """Return the name of the metric that tables show; None where there is the loss alone."""
        return next(iter(self.chosen_metrics), None)

    def with_options(
        self,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        model: str | None = None,
        weights: Path | None = None,
    ) -> Task:
        """Return this task with every option that is not None; `model` is one of MODEL_NAMES.

        Raises ConfigError for a value out of range, and for one that the task's own parts would ignore.
        """
        ignored = {"epochs": self.steps, "learning_rate": self.optimizer}
        for name, own in ignored.items():
            if own is not None and {"epochs": epochs, "learning_rate": learning_rate}[name] is not None:
                brings = "counts steps" if name == "epochs" else "brings its own optimizer"
                raise ConfigError(f"task {self.name} {brings}: leave --{name.replace('_', '-')} out")
        options = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weights": weights,
        }
        changes: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if model is not None:
            if not self.shape or self.classes < 1:
                raise ConfigError(f"task {self.name} brings its own model: leave --model out")
            changes["build"] = _builder(model, self.shape, self.classes)
        return replace(self, **changes)

    def with_exponents(self, exponents: Mapping[str, Exponent]) -> Task:
        """Return this task with the exponents of a federation's layout, by tensor."""
        return replace(self, exponents=dict(exponents))

    def with_agreement(self, agreement: tuple[tuple[str, str], ...]) -> Task:
        """Return this task with what a federation agrees on beside it, name and value."""
        return replace(self, agreement=agreement)

    def dataset(self, data_dir: Path | None = None) -> Dataset:
        """Return what `load` returns, checked; raises ConfigError or DataError of one line on failure."""
        if data_dir is None:
            text = "its data cannot be loaded" + " without --data" * _reads(self.load)
        elif data_dir.exists():
            text = f"its data cannot be loaded from {data_dir}"
        else:
            text = f"its data cannot be loaded, there is no {data_dir}"
        with own_code(f"task {self.name}: {text}", DataError):
            data: Any = self.load(data_dir)
            if isinstance(data, tuple) and len(data) == 2:
                from bcfl.learning.streams import samples_of

                data = Dataset(samples_of(data[0]), samples_of(data[1]))
        if not isinstance(data, Dataset):
            what = f"a Dataset, or two torch data sets, not {type(data).__name__}"
            raise DataError(f"task {self.name}: load must return {what}")
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
    try:
        module = import_own(module_name)
    except ConfigError as error:
        raise ConfigError(f"task {name!r}: {error}") from error
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


def _reads(load: Callable[..., Any]) -> bool:
    """Whether `load` reads the folder that it gets, as far as its code tells."""
    code = getattr(unwrap(load), "__code__", None)
    if code is None or not code.co_varnames:
        return True
    names = {
        name for line in get_instructions(code) if line.opname.startswith("LOAD") for name in _names(line)
    }
    return code.co_varnames[0] in names


def _names(instruction: Instruction) -> tuple[Any, ...]:
    value = instruction.argval
    return value if isinstance(value, tuple) else (value,)


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
