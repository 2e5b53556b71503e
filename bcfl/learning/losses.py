"""Find a loss that does not say how good a model is: spread to another shape, always 0, or no mean."""

from __future__ import annotations

import logging
import math
import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bcfl.errors import ConfigError
from bcfl.learning.accelerators import isolated
from bcfl.learning.datasets import Samples
from bcfl.learning.loading import load
from bcfl.learning.tasks import Task, cross_entropy
from bcfl.learning.training import FIXED_SEED, Workbench
from bcfl.ports import Vector

FEW = 8  # samples whose loss is compared with the losses of each
TOLERANCE = 1e-3  # of the largest loss
ROUNDING = 1e-5  # of it, between sums of the same numbers
CROSS_ENTROPIES = (cross_entropy, functional.cross_entropy)
log = logging.getLogger(__name__)


def check_classes(task: Task, samples: Samples, model: Vector, bench: Workbench) -> None:
    """Raise ConfigError for cross-entropy of one output a sample with labels that are no classes.

    Of one class it is always 0, so nothing would be learned. `model` is a vector, (parameters,).
    """
    pair = _outputs(samples, model, bench) if task.loss in CROSS_ENTROPIES else None
    if pair is not None and pair[1].is_floating_point() and pair[0].numel() == len(pair[1]):
        raise ConfigError(
            f"task {task.name}: cross-entropy of one output is always 0: for numbers to predict state "
            "loss=torch.nn.functional.mse_loss, for yes or no binary_cross_entropy_with_logits"
        )


def check_mean(task: Task, samples: Samples, model: Vector, bench: Workbench) -> None:
    """Raise ConfigError for a loss that spreads outputs or labels; warn of one that is no mean over a batch.

    A mean of a few samples, weighted or not, lies between the losses of each. `model`: (parameters,).
    """
    pair = None if task.loss in CROSS_ENTROPIES else _outputs(samples, model, bench)
    if pair is None or len(pair[0]) != len(pair[1]):
        return
    outputs, labels = pair
    if _spreads(task, outputs, labels):
        raise ConfigError(
            f"task {task.name}: model, loss and data do not fit: the loss spreads outputs "
            f"{tuple(outputs.shape)} and labels {tuple(labels.shape)} over one another: give both one "
            "shape, such as outputs.reshape(labels.shape)"
        )
    whole, alone = _losses(task, outputs, labels)
    slack = TOLERANCE * max(map(abs, (whole, *alone)))
    if whole < min(alone) - slack or whole > max(alone) + slack:
        log.warning(
            "task %s: its loss is no mean over the batch: %.4g for %d samples, and %.4g to %.4g for each; "
            "bcfl takes it for one",
            task.name, whole, len(labels), min(alone), max(alone),
        )  # fmt: skip


def _spreads(task: Task, outputs: Tensor, labels: Tensor) -> bool:
    """Whether the loss is that of every output with every label, though it could take each with its own.

    Then it is what it is for all those pairs in a row, and something else where both have one shape. A loss
    that means to compare samples, such as one of a ranking, differs from the first.
    """
    if outputs.shape == labels.shape or outputs.numel() != labels.numel():
        return False
    try:
        shape = np.broadcast_shapes(outputs.shape, labels.shape)
    except ValueError:
        return False
    every = labels.expand(shape).flatten()
    is_other = False
    like_labels = labels.to(outputs.dtype).reshape(outputs.shape)  # whose spreading shows best
    for each in (outputs, like_labels):
        whole, again = _loss(task, each, labels), _loss(task, each, labels)
        fitting = _loss(task, each.reshape(labels.shape), labels)
        spread = _loss(task, each.expand(shape).flatten(), every)
        size = max(map(abs, (whole, fitting, spread)))
        if not np.isfinite([whole, again, fitting, spread]).all():
            continue
        if whole != again or abs(whole - spread) > ROUNDING * size:
            return False
        is_other |= abs(whole - fitting) > TOLERANCE * size
    return is_other


def _losses(task: Task, outputs: Tensor, labels: Tensor) -> tuple[float, list[float]]:
    """Return the loss of samples, and those of each; nan where it is drawn at random, or cannot be had."""
    whole, again = _loss(task, outputs, labels), _loss(task, outputs, labels)
    alone = [_loss(task, outputs[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    is_fixed = whole == again and bool(np.isfinite([whole, *alone]).all())
    return (whole, alone) if is_fixed else (math.nan, [math.nan] * len(alone))


def _outputs(samples: Samples, model: Vector, bench: Workbench) -> tuple[Tensor, Tensor] | None:
    """Return outputs and labels of a few samples, evenly from all; None where the task's code fails."""
    places = np.unique(np.linspace(0, len(samples) - 1, FEW).astype(int))
    try:
        features, labels = load(samples.take(places).in_memory(), bench.device).batch(0, len(places))
        with bench.guarded(), isolated(FIXED_SEED, bench.device), torch.no_grad():
            bench.flat.load(model)
            bench.flat.module.eval()
            outputs: object = bench.flat.module(features)
    except (Exception, SystemExit):  # which is told where every sample is tried
        return None
    return (outputs, labels) if isinstance(outputs, Tensor) and outputs.ndim else None


def _loss(task: Task, outputs: Tensor, labels: Tensor) -> float:
    """Return a loss; nan where there is none."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(task.loss(outputs, labels))
    except (Exception, SystemExit):
        return math.nan
