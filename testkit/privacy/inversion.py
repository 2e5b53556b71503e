"""Reconstruct training samples of the perceptron from the change of a model.

Labels are counted from the last bias (Zhao et al. 2020, arXiv:2001.02610; Ma et al. 2023, arXiv:2304.09417).
One sample, or a few, are read off by linear algebra (`rowspace`). More are searched for among the directions
of the first layer's change, so that replaying the training comes to the observed change (Zhu et al. 2019,
arXiv:1906.08935, in those few coordinates), and what noise leaves open is decided by the data that the
attacker has of the same kind. The attacker takes what explains the change best; it never sees the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional

from bcfl.learning import Samples
from testkit.privacy import dp, rowspace
from testkit.privacy.perceptron import Layers, Parts, replay, with_one
from testkit.privacy.settings import Observation

Reals = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
RIDGE = 0.02  # on the covariance of what the attacker knows
PRIOR_WEIGHT = 10.0  # of the attacker's data where the change is clear: more than their due, for the search
RATE, POLISH_RATE, NOISY_RATE = 0.2, 0.01, 0.05
FIRST_SHARPNESS, LAST_SHARPNESS, SOFT_SHARE = 10.0, 300.0, 0.7
MAX_DIRECTIONS = 64  # of the attacker's data, where the change shows none


@dataclass(frozen=True)
class Effort:
    """How long to search."""

    tries: int = 12
    iterations: int = 1200
    polish: int = 300


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What the attacker has of the same kind: samples of its own."""

    features: Reals  # (samples, features)
    labels: Labels
    shape: tuple[int, ...]

    @classmethod
    def of(cls, samples: Samples) -> Knowledge:
        """Take an attacker's own samples."""
        features = samples.features.reshape(len(samples), -1).astype(np.float64)
        return cls(features, samples.labels, samples.features.shape[1:])

    @property
    def mean(self) -> Reals:
        """Return the mean sample, (features,): the guess of who sees nothing."""
        return np.asarray(self.features.mean(axis=0))


@dataclass(frozen=True, eq=False)
class Guess:
    """What an attacker takes for the training data."""

    features: Reals  # (n, features)
    labels: Labels  # (n,)
    misfit: float  # of the change that they would have made, as a share of the observed one


def count_labels(seen: Observation, known: Knowledge) -> Labels:
    """Return the labels behind a change, sorted: as many of each class as the last bias speaks of."""
    classes = seen.task.classes
    before, change = Layers.of(seen.before, classes), Layers.of(seen.delta, classes)
    after = Layers.of(seen.before + seen.delta, classes)
    chances = np.zeros((classes, classes))  # of each label's samples, mean over those the attacker has
    for model in (before, after) if seen.steps > 1 else (before,):
        outputs = torch.softmax(torch.tensor(model.logits(known.features)), 1).numpy()
        chances += np.stack([outputs[known.labels == label].mean(axis=0) for label in range(classes)])
    chances /= 2 if seen.steps > 1 else 1
    pull = seen.samples * change.bias / (seen.task.learning_rate * seen.steps)
    return apportion(pull, chances, seen.samples)


def apportion(pull: Reals, chances: Reals, samples: int) -> Labels:
    """Return `samples` labels, sorted, whose pull, less what the model expects of them, is nearest `pull`."""
    classes = len(pull)
    if samples == 1:
        return np.array([pull.argmax()], np.int64)  # the only class whose bias training raises
    matrix = np.concatenate([np.eye(classes) - chances.T, np.ones((1, classes))])
    counts = nnls(matrix, np.append(pull, samples))[0]
    counts *= samples / max(counts.sum(), 1e-9)
    whole = np.floor(counts + 1e-9).astype(np.int64)
    order = np.argsort(whole - counts, kind="stable")
    whole[order[: max(0, samples - int(whole.sum()))]] += 1
    return np.repeat(np.arange(classes), whole)[:samples]


def invert(seen: Observation, known: Knowledge, effort: Effort | None = None, seed: int = 0) -> Guess:
    """Return what an attacker makes of a change of the perceptron."""
    effort, rng = effort or Effort(), np.random.default_rng(seed)
    labels, classes = count_labels(seen, known), seen.task.classes
    change, before = Layers.of(seen.delta, classes), Layers.of(seen.before, classes)
    parts = rowspace.factors(change.first, seen.samples, seen.noise)
    if not parts.is_clear:
        search = _Search(seen, known, _own_directions(known))
        return search.best([search.explore(labels, effort, rng)])
    search = _Search(seen, known, parts.basis)
    rows = rowspace.separate(parts, seen.noise, rng)
    guesses = []
    if rows is not None:
        guesses = [search.judged(rows[0], rowspace.dealt(rows[1], labels, before))]
        if seen.samples == 1:
            return guesses[0]
        guesses.append(search.polish(guesses[0], effort))
    guesses.append(search.polish(search.explore(labels, effort, rng), effort))
    return search.best(guesses)


def _own_directions(known: Knowledge) -> Reals:
    """Return an orthonormal basis, (k, features + 1), of what the attacker's samples are mostly made of."""
    centred = known.features - known.mean
    main = np.linalg.svd(centred, full_matrices=False)[2][:MAX_DIRECTIONS]
    ends = np.zeros((2, main.shape[1] + 1))
    ends[0, :-1], ends[1, -1] = known.mean, 1
    rows = np.concatenate([ends[1:], ends[:1], np.pad(main, ((0, 0), (0, 1)))])
    basis, scale = np.linalg.qr(rows.T)
    return np.asarray(basis.T[np.abs(np.diag(scale)) > 1e-6])


class _Search:
    """Gradient descent on coordinates of samples in a basis, (k, features + 1)."""

    def __init__(self, seen: Observation, known: Knowledge, basis: Reals) -> None:
        self.seen, self.known, self.basis = seen, known, basis
        classes = seen.task.classes
        before, change = Layers.of(seen.before, classes), Layers.of(seen.delta, classes)
        self.start = self._parts(before)
        self.target = self._parts(change)
        self.is_noisy = seen.multiplier is not None
        sizes = [float(part.square().sum()) for part in self.target]
        first, rest = sizes[0], sizes[1] + sizes[2]
        both = first + rest
        self.sizes = (both, both) if self.is_noisy else (max(first, 1e-12), max(rest, 1e-12))
        self._learn_prior()

    def _parts(self, layers: Layers) -> Parts:
        first, second, bias = layers.first @ self.basis.T, layers.second, layers.bias
        return tuple(torch.tensor(part, dtype=torch.float32) for part in (first, second, bias))  # type: ignore[return-value]

    def _learn_prior(self) -> None:
        """Learn how far a sample is from what the attacker knows, as a quadratic form of its coordinates."""
        count = self.known.features.shape[1]
        precision = np.zeros((count + 1, count + 1))
        covariance = np.cov(self.known.features.T) + RIDGE * np.eye(count)
        precision[:count, :count] = np.linalg.inv(covariance)
        precision[count, count] = 1e3  # what belongs to the bias is 1
        mean = np.append(self.known.mean, 1.0)
        turned = self.basis @ precision
        self.form = torch.tensor(turned @ self.basis.T, dtype=torch.float32)
        self.centre = torch.tensor(turned @ mean, dtype=torch.float32)
        weight = 1.0 if self.is_noisy else PRIOR_WEIGHT
        self.prior_weight = weight * self.seen.noise**2 / self.sizes[0]

    def _misfits(self, samples: Tensor, labels: Tensor, sharpness: float | None) -> Tensor:
        """Return the misfit of each try, (tries,)."""
        clip_norm = dp.CLIP_NORM if self.is_noisy else None
        rate, steps = self.seen.task.learning_rate, self.seen.steps
        first, second, bias = replay(samples, labels, self.start, rate, steps, sharpness, clip_norm)
        rest = (second - self.target[1]).square().sum((1, 2)) + (bias - self.target[2]).square().sum(1)
        return (first - self.target[0]).square().sum((1, 2)) / self.sizes[0] + rest / self.sizes[1]

    def _distance(self, samples: Tensor) -> Tensor:
        return ((samples @ self.form) * samples).sum((1, 2)) - 2 * (samples @ self.centre).sum(1)

    def _descend(self, tries: Reals, labels: Labels, rate: float, iterations: int, is_soft: bool) -> Guess:
        """Return the best of some tries, (tries, n, features), with labels (tries, n), after Adam."""
        rows = torch.tensor(with_one(tries) @ self.basis.T, dtype=torch.float32)
        one_hot = self._one_hot(labels)
        mean, square = torch.zeros_like(rows), torch.zeros_like(rows)
        for number in range(1, iterations + 1):
            share = number / iterations
            slope = FIRST_SHARPNESS * (LAST_SHARPNESS / FIRST_SHARPNESS) ** (share / SOFT_SHARE)
            rows.requires_grad_()
            misfits = self._misfits(rows, one_hot, slope if is_soft and share < SOFT_SHARE else None)
            loss = (misfits + self.prior_weight * self._distance(rows)).sum()
            (gradient,) = torch.autograd.grad(loss, rows)
            rows = rows.detach()
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.001)
            pace = rate * 0.5 * (1 + np.cos(np.pi * share))
            rows -= pace * (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
        with torch.no_grad():
            misfits = self._misfits(rows, one_hot, None)
            best = int((misfits + self.prior_weight * self._distance(rows)).argmin())
        features = (rows[best].double().numpy() @ self.basis)[:, :-1]
        return self.judged(features, labels[best])

    def _one_hot(self, labels: Labels) -> Tensor:
        return functional.one_hot(torch.tensor(labels), self.seen.task.classes).float()

    def judged(self, features: Reals, labels: Labels) -> Guess:
        """Return a guess of features, (n, features), that lie about where those of the attacker do."""
        low, high = self.known.features.min(axis=0), self.known.features.max(axis=0)
        margin = high - low
        plausible = np.clip(features, low - margin, high + margin)
        return Guess(plausible, labels, self.misfit(plausible, labels))

    def misfit(self, features: Reals, labels: Labels) -> float:
        """Return how far the change that samples, (n, features), would have made is from the observed one."""
        rows = torch.tensor(with_one(features) @ self.basis.T, dtype=torch.float32)[None]
        with torch.no_grad():
            return float(self._misfits(rows, self._one_hot(labels[None]), None))

    def explore(self, labels: Labels, effort: Effort, rng: np.random.Generator) -> Guess:
        """Return the best of many searches, which begin at samples of the attacker's own."""
        known = self.known
        if self.is_noisy:  # a single sample's label is what explains the change best
            choices = np.arange(self.seen.task.classes)[:, None] if len(labels) == 1 else labels[None]
            means = np.stack(
                [known.features[known.labels == label].mean(axis=0) for label in np.unique(choices)]
            )
            tries = means[np.searchsorted(np.unique(choices), choices)]
            return self._descend(tries, choices, NOISY_RATE, effort.polish, is_soft=False)
        starts = [
            [known.features[rng.choice(np.flatnonzero(known.labels == label))] for label in labels]
            for _ in range(effort.tries)
        ]
        dealt = np.tile(labels, (effort.tries, 1))
        return self._descend(np.array(starts), dealt, RATE, effort.iterations, is_soft=True)

    def polish(self, guess: Guess, effort: Effort) -> Guess:
        """Return a guess after a search that begins at it and stays near."""
        tries, labels = guess.features[None], guess.labels[None]
        return self._descend(tries, labels, POLISH_RATE, effort.polish, is_soft=False)

    def best(self, guesses: list[Guess]) -> Guess:
        """Return the guess that explains the change best."""
        return min(guesses, key=lambda guess: guess.misfit)
