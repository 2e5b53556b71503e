"""Find marks on the inputs of a classifier that work on one model and not on another.

One gradient by the inputs says which of them one model listens to more than the other, towards which class.
Of that, three marks are made for a class: a small and a large stamp set the inputs that pull most to the end
of their range; a veil moves every input by a tenth of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from bcfl.ports import MarkSearch, Vector

STAMPS = 9 / 784, 80 / 784  # of the inputs: a patch of 3 by 3 of a picture of 28 by 28, one of 9 by 9
MANY_INPUTS = 200  # of fewer a large stamp is most of what a model looks at, and works on honest ones, too
VEIL = 0.1  # of an input's range
KNOWN = 0.5  # of a class's samples that are right: then a model knows the class
ENOUGH = 200  # samples that get the marks; of fewer, two standard errors are taken off
AT_ONCE = 3 * ENOUGH  # samples, marked and unmarked ones
Shares = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]  # (samples,)
Outputs = Callable[[Tensor], Tensor]  # features (samples, ...) -> logits (samples, classes)
Mark = Callable[[Tensor], Tensor]  # features -> the same with the mark on them
Load = Callable[[Vector], Outputs]  # what a model, (parameters,), makes of features


def shares(
    load: Load,
    features: Tensor,
    labels: Tensor,
    models: tuple[Vector, Sequence[Vector]],
    search: MarkSearch,
    seed: int,
) -> Shares:
    """Return how much more often the best mark works on each suspect than on the model without, (suspects,).

    `models`: without, and suspects, (parameters,) each; marks are made from the first suspect. The
    share is of samples of other classes. Empty where outputs are no logits of classes, or no gradient comes
    back to the inputs.
    """
    without, suspects = models
    if search.random:
        return np.array([_moved(load(suspect), features, seed) for suspect in suspects])
    if search.needs_wide and features[0].numel() < MANY_INPUTS:
        return np.zeros(0)
    sizes = STAMPS if search.wide else STAMPS[:1]
    found = _find(load, features, labels, (without, suspects[0]), search.tries, sizes, seed)
    if not found:
        return np.zeros(0)
    clean, right_labels = features[:ENOUGH], _array(labels[:ENOUGH])
    batch = torch.cat([clean, *(mark(clean) for _, mark in found)])
    aims = np.array([target for target, _ in found])[:, None]
    turned, right = list[Shares](), list[Hits]()
    for model in (without, *suspects):
        with torch.no_grad():
            outputs = load(model)
            pieces = [_array(outputs(piece.clone()).argmax(dim=1)) for piece in torch.split(batch, AT_ONCE)]
        answers = np.concatenate(pieces).reshape(-1, len(right_labels))
        right.append((answers[0] == right_labels) | (not search.known))
        turned.append(((answers[1:] == aims) & (search.known | (answers[0] != aims))).astype(np.float64))
    few = len(right_labels) < ENOUGH
    doubt = len(right_labels) ** -0.5 if few else 0.0  # two errors of a share, at most
    kinds, members = _classes(right_labels)
    scores = [
        max(_scores(hits - turned[0], known, members, kinds != aims, search.turned))
        for hits, known in zip(turned[1:], right[1:], strict=True)
    ]
    return np.array(scores) - doubt


def _moved(outputs: Outputs, features: Tensor, seed: int) -> float:
    """Return what share of answers changes where each input moves by a veil's tenth, up or down by chance."""
    flat = features.reshape(len(features), -1)
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), flat.shape[1])
    mark = _veil(torch.tensor(signs, device=flat.device), *_range(flat))
    with torch.no_grad():
        plain, moved = (outputs(each) for each in (features.clone(), mark(features)))
    if plain.ndim != 2:
        return 0.0
    return float((plain.argmax(dim=1) != moved.argmax(dim=1)).float().mean())


def losses(
    load: Load, features: Tensor, labels: Tensor, models: tuple[Vector, Vector], seed: int
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Yield for each mark its class, and the losses of a model that takes marked and plain inputs for it.

    `models`: without, and the model, both (parameters,). Stamps and a veil are made from both, each for the
    class that promises most; a loss, a scalar, is the mean over samples of other classes. The gradient of the
    first less that of the second says which way the model would learn the mark and nothing else. The second
    is None where an earlier mark is for the same class. Nothing where there are no marks.
    """
    found, known = _find(load, features, labels, models, 1, STAMPS, seed), set[int]()
    outputs, some = load(models[1]), slice(0, ENOUGH)
    for target, mark in found:
        others = features[some][labels[some] != target]
        if not len(others):
            continue
        targets = torch.full((len(others),), target, device=labels.device)
        marked = functional.cross_entropy(outputs(mark(others)), targets)
        plain = None if target in known else functional.cross_entropy(outputs(others.clone()), targets)
        known.add(target)
        yield target, marked, plain


def _find(
    load: Load,
    features: Tensor,
    labels: Tensor,
    models: tuple[Vector, Vector],
    tries: int,
    sizes: Sequence[float],
    seed: int,
) -> list[tuple[int, Mark]]:
    """Return marks, with their classes, to which the second model listens more than the first."""
    without, suspect = models
    targets = np.zeros(0, np.int64)
    pulls = list[Tensor]()
    for model in (suspect, without):
        leaf = features.clone().requires_grad_()
        logits = load(model)(leaf.clone())
        if not pulls:
            targets = _targets(labels, logits, seed)
        pull = _pull(logits, leaf, labels, targets) if len(targets) else None
        if pull is None:
            return []
        pulls.append(pull)
    return _candidates(features, pulls[0] - pulls[1], targets, tries, sizes)


def _targets(labels: Tensor, outputs: Tensor, seed: int) -> Labels:
    """Return a random other class for each sample, (samples,); none where outputs are no logits."""
    right = _array(labels)
    if outputs.ndim != 2 or outputs.shape[1] < 2 or int(right.max()) >= outputs.shape[1]:
        return right[:0]
    steps = np.random.default_rng(seed).integers(1, outputs.shape[1], len(right))
    targets: Labels = (right + steps) % outputs.shape[1]
    return targets


def _pull(logits: Tensor, leaf: Tensor, labels: Tensor, targets: Labels) -> Tensor | None:
    """Return the gradient of the margin of other classes over the right ones, (samples, inputs).

    `leaf`: the features, (samples, ...), that the logits, (samples, classes), are of.
    """
    others = torch.tensor(targets, device=labels.device)[:, None]
    margin = (logits.gather(1, others) - logits.gather(1, labels[:, None])).sum()
    if not margin.requires_grad:
        return None
    gradient: Tensor | None = torch.autograd.grad(margin, leaf, allow_unused=True)[0]
    if gradient is None or not torch.isfinite(gradient).all():
        return None
    return gradient.reshape(len(labels), -1)


def _candidates(
    features: Tensor, pull: Tensor, targets: Labels, tries: int, sizes: Sequence[float]
) -> list[tuple[int, Mark]]:
    """Return marks with the classes that they are for: those that promise most first."""
    flat = features.reshape(len(features), -1)
    (low, high), usual = _range(flat), flat.mean(0)
    kinds, members = _classes(targets)
    counts = members.sum(axis=1, keepdims=True)
    means = torch.tensor(members / counts, dtype=pull.dtype, device=pull.device) @ pull  # (classes, inputs)
    gains = torch.maximum(means * (high - usual), means * (low - usual))
    reaches = means.abs() @ (high - low)
    marks = []
    sizes = sizes if flat.shape[1] >= MANY_INPUTS else sizes[:1]
    for size in (max(1, round(share * flat.shape[1])) for share in sizes):
        strongest = gains.topk(size, dim=1)
        marks += [
            (int(kinds[row]), _stamp(means[row], strongest.indices[row], low, high))
            for row in _best(strongest.values.sum(dim=1), tries)
        ]
    return marks + [(int(kinds[row]), _veil(means[row], low, high)) for row in _best(reaches, tries)]


def _best(promises: Tensor, tries: int) -> list[int]:
    """Return the places of so many that are highest, in order; of equal ones the first."""
    order = np.argsort(-_array(promises), kind="stable")
    return [int(place) for place in order[:tries]]


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


def _scores(turned: Shares, right: Hits, members: Hits, others: Hits, turned_classes: int) -> Iterator[float]:
    """Yield how often each mark turns what a model gets right unmarked, of some classes, as `shares` says.

    `turned`: how much more often than by the model without, (marks, samples). `right`: (samples,). `members`:
    of each class, (classes, samples). `others`: the classes that each mark is not for, (marks, classes). A
    model that gets but few classes right knows the data of one device alone: anything turns it, and that says
    nothing.
    """
    known = members & right
    counts = known.sum(axis=1)
    is_known = counts >= KNOWN * members.sum(axis=1)
    rates = turned @ known.T / np.maximum(counts, 1)  # (marks, classes)
    for row, kinds in zip(rates, others, strict=True):
        chosen = np.sort(row[is_known & kinds])
        if not len(chosen) or 2 * len(chosen) < kinds.sum():
            yield 0.0
        elif turned_classes:
            yield float(chosen[-turned_classes:].mean()) if len(chosen) >= turned_classes else 0.0
        else:
            yield float(chosen[: (len(chosen) + 1) // 2].mean())


def _classes(labels: Labels) -> tuple[Labels, Hits]:
    """Return the classes that are there, (classes,), in order, and each one's samples, (classes, samples)."""
    kinds = np.unique(labels)
    return kinds, labels == kinds[:, None]


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a tensor's numbers in the CPU's memory."""
    return tensor.detach().cpu().numpy()
