"""Say how good a model is on held-out data: metrics by name, and one's own.

A metric is a function of all outputs of the model and all targets, samples first, to a number. A `Mean` is
averaged over batches instead, so that no outputs are kept: for large ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mean:
    """A metric that is a mean over the samples, taken batch by batch; `then` turns it into the number."""

    of: Callable[[Tensor, Tensor], Tensor] | None  # mean over a batch; None: the task's loss
    then: Callable[[float], float] = float


TAKEN: Final = frozenset(  # names of what stands beside metrics
    {"loss", "round", "block_round", "root", "rejected", "void", "gas", "seconds"}
)
Metric = Mean | Callable[["Tensor", "Tensor"], Any]


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of right answers, a number; see `decisions` for what an answer is."""
    answers, truth = decisions(outputs, targets)
    return (answers == truth).double().mean()


def decisions(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a classifier answers, and what is true, as integers of one shape; raises ConfigError.

    Outputs are logits. With one axis more than the targets, that is the classes': the second, or the last.
    With as many numbers as there are targets, each says yes above 0. Targets are whole numbers, and 0 or 1
    where outputs say yes or no.
    """
    shape, wanted = tuple(outputs.shape), tuple(targets.shape)
    if bool((targets != targets.long()).any()):
        raise ConfigError("targets are no classes but other numbers: name other metrics, such as mae")
    if len(shape) == len(wanted) + 1 and shape[1:] != (1,):
        if (shape[0], *shape[2:]) == wanted:
            return outputs.argmax(1), targets.long()
        if shape[:-1] == wanted:
            return outputs.argmax(-1), targets.long()
    if outputs.numel() == targets.numel() and shape[0] == wanted[0]:
        if targets.numel() and not bool(((targets == 0) | (targets == 1)).all()):
            raise ConfigError("of one output a target says 0 or 1: name other metrics, such as mae")
        return (outputs.reshape(targets.shape) > 0).long(), targets.long()
    raise ConfigError(
        f"outputs {shape} and targets {wanted} are not those of a classifier: name other metrics"
    )


def _class_right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the share of right classes, a number; nan where the targets are no classes."""
    if targets.is_floating_point() or outputs.ndim != targets.ndim + 1:
        return outputs.new_tensor(math.nan)
    return _right(outputs, targets)


def _exponential(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.reshape(targets.shape) - targets).abs().double().mean()


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean over the classes of the share of right answers."""
    import torch

    answers, truth = (values.flatten() for values in decisions(outputs, targets))
    shares = [(answers[truth == label] == label).double().mean() for label in torch.unique(truth)]
    return float(sum(shares)) / max(1, len(shares))


def f1(outputs: Tensor, targets: Tensor) -> float:
    """Return F1: of yes where there are two classes, else the mean over the classes (macro)."""
    from sklearn.metrics import f1_score  # type: ignore[import-untyped]

    answers, truth = (values.flatten().numpy() for values in decisions(outputs, targets))
    is_binary = max(answers.max(initial=0), truth.max(initial=0)) <= 1
    return float(f1_score(truth, answers, average="binary" if is_binary else "macro", zero_division=0.0))


def auc(outputs: Tensor, targets: Tensor) -> float:
    """Return the area under the ROC curve, the mean over the classes if they are several; nan with one.

    Of several labels a sample it is that of all of them together, as if each were a sample (micro).
    """
    from sklearn.metrics import roc_auc_score

    truth = targets.flatten().long().numpy()
    if len(set(truth.tolist())) < 2:
        return math.nan
    if outputs.numel() == targets.numel():
        return float(roc_auc_score(truth, outputs.flatten().double().numpy()))
    if outputs.ndim != 2 or targets.ndim != 1:
        raise ConfigError(
            f"auc needs outputs (samples, classes), not {tuple(outputs.shape)}: name other metrics"
        )
    shares = outputs.double().softmax(1).numpy()
    if shares.shape[1] == 2:
        return float(roc_auc_score(truth, shares[:, 1]))
    present = sorted(set(truth.tolist()))
    return sum(float(roc_auc_score(truth == label, shares[:, label])) for label in present) / len(present)


BUILT_IN: dict[str, Metric] = {
    "accuracy": Mean(_right),
    "balanced accuracy": balanced_accuracy,
    "f1": f1,
    "auc": auc,
    "mae": Mean(_absolute),
    "perplexity": Mean(None, _exponential),
}
CLASSES: dict[str, Metric] = {"accuracy": Mean(_class_right)}  # where a task with cross-entropy names none


def chosen(names: Iterable[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Return metrics by name: those that come with bcfl, or one's own; raises ConfigError."""
    if isinstance(names, str):
        names = (names,)
    metrics = dict(names) if isinstance(names, Mapping) else {name: built_in(name) for name in names}
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name.isprintable() or not name.strip():
            raise ConfigError(f"the name of a metric must be printable text, not {name!r}")
        if name in TAKEN:
            raise ConfigError(f"a metric cannot be called {name!r}, which stands beside metrics: rename it")
        if not isinstance(metric, Mean) and not callable(metric):
            raise ConfigError(f"metric {name!r} must be a function of outputs and targets, not {metric!r}")
    return metrics


def built_in(name: str) -> Metric:
    """Return the metric of that name; raises ConfigError for another."""
    if name not in BUILT_IN:
        close = get_close_matches(str(name), BUILT_IN, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(BUILT_IN)}"
        raise ConfigError(f"unknown metric {name!r}: {hint} (for your own: a dict of names and functions)")
    return BUILT_IN[name]
