"""What people bring: a task for each kind of model, loop, data and metric that a federation has to carry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn import datasets as sets  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional

from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.context import FitContext

CLASSES, SIDE = 10, 8
LENGTH = 16  # characters of one sample of text


def divided(features: Any, labels: Any) -> Dataset:
    """Return a fifth, drawn at random, for the test."""
    order = np.random.RandomState(0).permutation(len(labels))
    whole = Samples(np.asarray(features), np.asarray(labels))
    cut = len(order) // 5
    return Dataset(whole.take(order[cut:]), whole.take(order[:cut]))


@cache
def digits(high: float = 1.0) -> Dataset:
    """Return 1,797 digits, (samples, 1, 8, 8), pixels from 0 to `high`."""
    pixels, labels = sets.load_digits(return_X_y=True)
    return divided((pixels / 16 * high).reshape(-1, 1, SIDE, SIDE).astype(np.float32), labels)


@cache
def pixels_of_bytes() -> Dataset:
    """Return the digits as bytes, 0 to 255."""
    pixels, labels = sets.load_digits(return_X_y=True)
    return divided((pixels / 16 * 255).reshape(-1, 1, SIDE, SIDE).astype(np.uint8), labels)


@cache
def cancer() -> Dataset:
    """Return 569 diagnoses, 30 standardised measurements each."""
    features, labels = sets.load_breast_cancer(return_X_y=True)
    return divided((features - features.mean(0)) / features.std(0), labels)


@cache
def diabetes() -> Dataset:
    """Return 442 patients: 10 measurements, and the progress of the disease in its own units, 25 to 346."""
    features, labels = sets.load_diabetes(return_X_y=True, scaled=False)
    return divided((features - features.mean(0)) / features.std(0), labels)


@cache
def several() -> Dataset:
    """Return 600 samples with any of four labels each."""
    features, labels = sets.make_multilabel_classification(600, n_features=20, n_classes=4, random_state=0)
    return divided((features - features.mean(0)) / features.std(0), labels.astype(np.float32))


@cache
def characters() -> Dataset:
    """Return pieces of scikit-learn's own descriptions as byte ids, and the next byte of each."""
    text = "".join(load().DESCR for load in (sets.load_wine, sets.load_iris, sets.load_breast_cancer))
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) % 128
    starts = np.arange(0, len(codes) - LENGTH - 1, LENGTH // 2)
    windows = codes[starts[:, None] + np.arange(LENGTH + 1)]
    return divided(windows[:, :-1], windows[:, 1:])


def cnn() -> nn.Module:
    """Build a convolution with BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, CLASSES),
    )  # fmt: skip


class FromBytes(nn.Module):
    """A CNN that takes pixels as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (samples, classes)."""
        out: Tensor = self.inner(features.float())
        return out


class Rows(nn.Module):
    """An LSTM over the rows of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.LSTM(SIDE, 24, batch_first=True), nn.Linear(24, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (samples, classes)."""
        out: Tensor = self.head(self.cells(features.squeeze(1))[0][:, -1])
        return out


class Attentive(nn.Module):
    """A transformer with dropout over the rows of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(SIDE, 16)
        self.places = nn.Parameter(torch.zeros(SIDE, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(16, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (samples, classes)."""
        out: Tensor = self.head(self.body(self.inner(features.squeeze(1)) + self.places).mean(1))
        return out


class Tied(nn.Module):
    """A language model of characters whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Embedding(128, 24)
        self.cells, self.outer = nn.GRU(24, 24, batch_first=True), nn.Linear(24, 128)
        self.outer.weight = self.inner.weight

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (samples, length, characters)."""
        out: Tensor = self.outer(self.cells(self.inner(features))[0])
        return out


def with_frozen_backbone() -> nn.Module:
    """Build a network of which only the head is trained."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    model[1].requires_grad_(False)
    return model


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter beside it."""

    def __init__(self, inner: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(rank, inner.in_features) / inner.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(inner.out_features, rank))

    def forward(self, features: Tensor) -> Tensor:
        """Return what the layer and its adapter say together."""
        out: Tensor = self.inner(features) + features @ self.lora_a.T @ self.lora_b.T
        return out


def with_adapters() -> nn.Module:
    """Build a network of frozen layers with adapters."""
    layers = (nn.Linear(64, 64), nn.Linear(64, CLASSES))
    return nn.Sequential(nn.Flatten(), Adapted(layers[0]), nn.ReLU(), Adapted(layers[1], 8))


def adapters(name: str, _tensor: Tensor) -> bool:
    """Whether a tensor belongs to an adapter."""
    return "lora_" in name


def all_but_normalisation(name: str, _tensor: Tensor) -> bool:
    """Whether a tensor of `cnn` is no part of its BatchNorm (FedBN, Li et al. 2021, arXiv:2102.07623)."""
    return not name.startswith("1.")


def all_but_backbone(name: str, _tensor: Tensor) -> bool:
    """Whether a tensor is one of the head."""
    return not name.startswith("1.")


def logit_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits with as many numbers as there are labels."""
    return functional.binary_cross_entropy_with_logits(outputs.reshape(labels.shape), labels.float())


def squares(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean square of the differences."""
    return (outputs.reshape(labels.shape) - labels).square().mean()


def next_character(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (samples, length, characters)."""
    return functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """Return AdamW."""
    return torch.optim.AdamW(parameters, lr=3e-3)


def quick(parameters: Any) -> torch.optim.Optimizer:
    """Return Adam for targets in the hundreds."""
    return torch.optim.Adam(parameters, lr=0.1)


def warm_up(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a schedule that rises for a tenth of the steps and falls to zero."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, pct_start=0.1)


def momentum(parameters: Any) -> torch.optim.Optimizer:
    """Return SGD with momentum."""
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def own_loop(model: nn.Module, data: Any, context: FitContext) -> None:
    """Train as one would at home, and leave a new tensor behind."""
    loader = torch.utils.data.DataLoader(data, context.batch_size, shuffle=True)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    for epoch in range(context.epochs):
        for features, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(features), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        context.progress(epoch + 1, context.epochs)
    head = list(model.children())[-1]
    head.bias = nn.Parameter(head.bias.detach().clone())  # type: ignore[operator]


@dataclass(frozen=True)
class Brought:
    """A task that somebody brings, and how long it is trained."""

    task: Task
    rounds: int = 4


def _task(name: str, data: Callable[[], Dataset], build: Callable[[], nn.Module], **options: Any) -> Task:
    return Task(name, name, lambda _: data(), build, **{"epochs": 2, "learning_rate": 0.1} | options)


def _mlp(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


SMALL = _task("cnn", digits, cnn)
LANGUAGE = _task(
    "tied weights, tokens", characters, Tied, loss=next_character, optimizer=adamw,
    metrics=("perplexity", "accuracy"),
)  # fmt: skip
BROUGHT = {
    brought.task.name: brought
    for brought in (
        Brought(_task("linear", cancer, lambda: nn.Linear(30, 2))),
        Brought(SMALL),
        Brought(replace(SMALL, name="raw pixels", load=lambda _: digits(255.0), learning_rate=0.02)),
        Brought(_task("bytes", pixels_of_bytes, FromBytes, learning_rate=0.02)),
        Brought(_task("lstm", digits, Rows, optimizer=adamw, metrics=("balanced accuracy", "f1")), rounds=3),
        Brought(_task("transformer", digits, Attentive, optimizer=adamw), rounds=3),
        Brought(_task("frozen backbone", digits, with_frozen_backbone)),
        Brought(_task("head alone", digits, with_frozen_backbone, shared=all_but_backbone)),
        Brought(_task("lora", digits, with_adapters, shared=adapters, optimizer=adamw)),
        Brought(replace(SMALL, name="fedbn", shared=all_but_normalisation)),
        Brought(LANGUAGE, rounds=3),
        Brought(replace(SMALL, name="bf16", precision="bf16")),
        Brought(replace(SMALL, name="adamw, warm-up", optimizer=adamw, schedule=warm_up, clip_norm=1.0)),
        Brought(replace(SMALL, name="momentum", optimizer=momentum, accumulate=2)),
        Brought(replace(SMALL, name="own loop", fit=own_loop)),
        Brought(_task("one logit", cancer, _mlp(30, 1), loss=logit_loss, metrics=("accuracy", "auc"))),
        Brought(_task("several labels", several, _mlp(20, 4), loss=logit_loss, metrics=("accuracy",))),
        Brought(
            _task(
                "regression",
                diabetes,
                _mlp(10, 1),
                loss=squares,
                metrics=("mae",),
                optimizer=quick,
                epochs=4,
            )
        ),
    )
}


def difference(value: float, reference: float) -> float:
    """Return how far a metric is from its reference, as a part of that."""
    return abs(value - reference) / max(abs(reference), math.ulp(1.0))
