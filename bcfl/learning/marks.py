"""Find marks on the inputs of a classifier that work on one model and not on another.

One gradient by the inputs says which of them one model listens to more than the other, towards which class.
Of that, two marks are made for a class: a stamp sets the few inputs that pull most to the end of their range;
a veil moves every input by a tenth of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from bcfl.ports import Matrix, Vector

STAMP = 9 / 784  # of the inputs
VEIL = 0.1  # of an input's range
KNOWN = 0.5  # of a class's samples that are right: then a model knows the class
ENOUGH = 200  # samples that get the marks; of fewer, two standard errors are taken off
Shares = npt.NDArray[np.float64]
Outputs = Callable[[Tensor], Tensor]  # features (samples, ...) -> logits (samples, classes)
Mark = Callable[[Tensor], Tensor]  # features -> the same with the mark on them
Load = Callable[[Vector], Outputs]  # what a model, (parameters,), makes of features


def shares(
    load: Load,
    features: Tensor,
    labels: Tensor,
    models: tuple[Vector, Matrix],
    tries: int,
    seed: int,
    turned_classes: int = 0,
) -> Shares:
    """Return how much more often the best mark works on each suspect than on the model without, (suspects,).

    `models`: without, (parameters,), and suspects, (suspects, parameters); marks are made from the first. The
    share is of samples of other classes: the mean over the half of these classes that the mark turns least,
    since models of skewed data turn a few; or the mean over so many `turned_classes` as it turns most.
    `tries`: classes that marks are tried for. Empty where outputs are no logits of classes, or no gradient
    comes back to the inputs.
    """
    without, suspects = models
    found = _find(load, features, labels, (without, suspects[0]), tries, seed)
    if not found:
        return np.zeros(0)
    some = slice(0, ENOUGH)
    clean, labels = features[some], labels[some]
    marked = [(target, mark(clean)) for target, mark in found]
    turned, right = [], []
    for model in (without, *suspects):
        outputs = load(model)
        with torch.no_grad():
            right.append(outputs(clean.clone()).argmax(dim=1) == labels)
            turned.append([(outputs(x.clone()).argmax(dim=1) == target).float() for target, x in marked])
    doubt = 0.0 if len(labels) >= ENOUGH else len(labels) ** -0.5  # two errors of a share, at most
    scores = [
        [
            _score(hits - base, labels, target, known, turned_classes)
            for hits, base, (target, _) in zip(suspect, turned[0], marked, strict=True)
        ]
        for suspect, known in zip(turned[1:], right[1:], strict=True)
    ]
    return np.array([max(row, default=0.0) - doubt for row in scores])


def losses(
    load: Load, features: Tensor, labels: Tensor, models: tuple[Vector, Vector], seed: int
) -> Iterator[Tensor]:
    """Yield for two marks how much worse a model takes marked inputs for the mark's class than plain ones.

    `models`: without, and the model, both (parameters,). A stamp and a veil are made from both, each for the
    class that promises most; a loss, a scalar, is the mean over samples of other classes, and its gradient
    says which way the model would learn the mark and nothing else. None where there are no marks.
    """
    found = _find(load, features, labels, models, 1, seed)
    outputs, some = load(models[1]), slice(0, ENOUGH)
    for target, mark in found:
        others = features[some][labels[some] != target]
        if len(others):
            targets = torch.full((len(others),), target, device=labels.device)
            plain = functional.cross_entropy(outputs(others.clone()), targets)
            yield functional.cross_entropy(outputs(mark(others)), targets) - plain


def _find(
    load: Load, features: Tensor, labels: Tensor, models: tuple[Vector, Vector], tries: int, seed: int
) -> list[tuple[int, Mark]]:
    """Return marks, with their classes, to which the second model listens more than the first."""
    without, suspect = models
    targets = _targets(labels, load(suspect)(features.clone()), seed)
    if targets is None:
        return []
    pull = _pull(load(suspect), features, labels, targets)
    other_pull = _pull(load(without), features, labels, targets)
    if pull is None or other_pull is None:
        return []
    return _candidates(features, pull - other_pull, targets, tries)


def _targets(labels: Tensor, outputs: Tensor, seed: int) -> Tensor | None:
    """Return a random other class for each sample, (samples,); None where outputs are no logits."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or int(labels.max()) >= outputs.shape[1]:
        return None
    classes = outputs.shape[1]
    rng = np.random.default_rng(seed)
    steps = torch.tensor(rng.integers(1, classes, len(labels)), device=labels.device)
    return (labels + steps) % classes


def _pull(outputs: Outputs, features: Tensor, labels: Tensor, targets: Tensor) -> Tensor | None:
    """Return the gradient of the margin of other classes over the right ones, (samples, inputs)."""
    leaf = features.clone().requires_grad_()
    logits = outputs(leaf.clone())
    places = torch.arange(len(labels), device=labels.device)
    margin = (logits[places, targets] - logits[places, labels]).sum()
    if not margin.requires_grad:
        return None
    gradient: Tensor | None = torch.autograd.grad(margin, leaf, allow_unused=True)[0]
    if gradient is None or not torch.isfinite(gradient).all():
        return None
    return gradient.reshape(len(labels), -1)


def _candidates(features: Tensor, pull: Tensor, targets: Tensor, tries: int) -> list[tuple[int, Mark]]:
    """Return marks with the classes that they are for: those that promise most first."""
    flat = features.reshape(len(features), -1)
    (low, high), usual = _range(flat), flat.mean(0)
    size = max(1, round(STAMP * flat.shape[1]))
    stamps, veils = list[tuple[float, int, Mark]](), list[tuple[float, int, Mark]]()
    for target in _kinds(targets):
        mean = pull[targets == target].mean(0)  # (inputs,)
        gains = torch.maximum(mean * (high - usual), mean * (low - usual))
        strongest = gains.topk(size)
        stamps.append((float(strongest.values.sum()), target, _stamp(mean, strongest.indices, low, high)))
        reach = (mean.abs() * (high - low)).sum()
        veils.append((float(reach), target, _veil(mean, low, high)))
    best = [sorted(group, key=lambda item: -item[0])[:tries] for group in (stamps, veils)]
    return [(target, mark) for group in best for _, target, mark in group]


def _range(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value that a mark may give each input, (inputs,) both.

    They are those of the data, `flat` (samples, inputs), and as far apart as those of most inputs: an input
    that never changes, such as the corner of a picture, is a good place for a trigger.
    """
    low, high = flat.amin(0), flat.amax(0)
    usual = (high - low).median()
    lower, higher = torch.minimum(low, high - usual), torch.maximum(high, low + usual)
    return lower.clamp(min=flat.min()), higher.clamp(max=flat.max())


def _stamp(mean: Tensor, places: Tensor, low: Tensor, high: Tensor) -> Mark:
    """Return what sets the inputs at `places` to the least or largest value, as the pull, (inputs,), says."""
    signs = torch.zeros_like(mean)
    signs[places] = mean[places].sign()

    def mark(features: Tensor) -> Tensor:
        flat = features.reshape(len(features), -1)
        return torch.where(signs > 0, high, torch.where(signs < 0, low, flat)).reshape(features.shape)

    return mark


def _veil(mean: Tensor, low: Tensor, high: Tensor) -> Mark:
    """Return what moves every input a little to where the pull, (inputs,), says."""
    moves = VEIL * mean.sign() * (high - low)

    def mark(features: Tensor) -> Tensor:
        flat = features.reshape(len(features), -1) + moves
        return torch.minimum(torch.maximum(flat, low), high).reshape(features.shape)

    return mark


def _score(turned: Tensor, labels: Tensor, target: int, right: Tensor, turned_classes: int) -> float:
    """Return how often a mark turns what a model gets right unmarked, of some classes, as `shares` says.

    `turned`: of each sample how much more often than by the model without, (samples,). A model that gets but
    few classes right knows the data of one device alone: anything turns it, and that says nothing.
    """
    kinds = [kind for kind in _kinds(labels) if kind != target]
    known = [kind for kind in kinds if float(right[labels == kind].float().mean()) >= KNOWN]
    if not known or len(known) * 2 < len(kinds):
        return 0.0
    rates = np.sort([float(turned[right & (labels == kind)].mean()) for kind in known])
    if turned_classes:
        return float(rates[-turned_classes:].mean()) if len(rates) >= turned_classes else 0.0
    return float(rates[: (len(rates) + 1) // 2].mean())


def _kinds(labels: Tensor) -> list[int]:
    """Return the classes that are there, in order."""
    return sorted(set(labels.tolist()))
