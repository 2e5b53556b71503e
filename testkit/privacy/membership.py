"""Tell from a model whether a sample was trained on.

Thresholds on the loss (Yeom et al. 2018, arXiv:1709.01604), the same less the sample's own difficulty (Watson
et al. 2022, arXiv:2111.08440), and the likelihood ratio (Carlini et al. 2022, "LiRA", arXiv:2112.03570): each
model is the target once, and all others are the attacker's shadow models, half of which had the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bcfl.learning import Samples, Task
from bcfl.learning.training import initial_model
from testkit.privacy import measures
from testkit.privacy.ensemble import Perceptrons, average, train

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
SPREAD = 1e-3  # least deviation of a score that a likelihood counts with
CALIBRATED, RATIO, RAW = "loss less difficulty", "likelihood ratio", "loss alone"


@dataclass(frozen=True, eq=False)
class Scores:
    """What models say of candidates: each of `values` (signals, models, candidates), higher for members."""

    values: Reals
    is_member: Flags  # (models, candidates)


@dataclass(frozen=True)
class Rates:
    """How well an attack does, and on how many pairs of a model and a sample that rests."""

    auc: float
    at_thousandth: float  # true positives at 0.1% false positives
    at_hundredth: float
    others: int  # pairs that are no members


def local(
    task: Task,
    pool: Samples,
    devices: int,
    shadows: int,
    size: int,
    multiplier: float | None,
    seed: int,
    lookalike: Callable[[Perceptrons], Perceptrons] | None = None,
) -> list[Scores]:
    """Return the scores of devices' local models after round 1, one of `Scores` for each device.

    Each device has 2 * size candidates, and each of its shadows trained on another half. `lookalike` says
    what an adversary has in place of the local models; None: these.
    """
    features, labels = _tensors(pool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = torch.randperm(len(labels))[: devices * 2 * size].reshape(devices, 2 * size)
        halves = torch.rand(devices, shadows, 2 * size).argsort(-1)[..., :size]
        chosen = order[:, None].expand(-1, shadows, -1).gather(2, halves).reshape(-1, size)
        start = Perceptrons.of(torch.tensor(initial_model(task, seed)), features.shape[1], len(chosen))
        models = train(start, features[chosen], labels[chosen], task, multiplier)
        if lookalike is not None:
            models = lookalike(models)
    candidates = order.repeat_interleave(shadows, 0)
    values = torch.stack(_signals(start, models, features[candidates], labels[candidates]))
    is_member = torch.zeros(devices, shadows, 2 * size, dtype=torch.bool).scatter_(2, halves, True)
    grouped = values.reshape(len(values), devices, shadows, 2 * size).double().numpy()
    return [Scores(grouped[:, index], is_member[index].numpy()) for index in range(devices)]


def whole(
    task: Task,
    pool: Samples,
    federations: int,
    devices: int,
    rounds: int,
    multiplier: float | None,
    seed: int,
) -> tuple[Scores, float]:
    """Return the scores of federations' global models, and the mean share of right answers on what none had.

    Every federation trains on another half of the pool, dealt out evenly. The signals are those of the last
    model, and of the mean over all rounds' models.
    """
    features, labels = _tensors(pool)
    size = len(labels) // 2 // devices
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        halves = torch.rand(federations, len(labels)).argsort(1)[:, : devices * size]
        chosen = halves.reshape(federations * devices, size)
        models = Perceptrons.of(torch.tensor(initial_model(task, seed)), features.shape[1], len(chosen))
        confidences = []
        for _ in range(rounds):
            trained = train(models, features[chosen], labels[chosen], task, multiplier)
            models = average(trained, federations)
            heads = Perceptrons(models.hidden[::devices], models.output[::devices])
            outputs = heads.logits(features[None])
            confidences.append(confidence(outputs, labels.expand(federations, -1)))
    is_member = torch.zeros(federations, len(labels), dtype=torch.bool).scatter_(1, halves, True)
    right = (outputs.argmax(-1) == labels)[~is_member].float().mean()
    values = torch.stack([confidences[-1], torch.stack(confidences).mean(0)])
    return Scores(values.double().numpy(), is_member.numpy()), float(right)


def _tensors(samples: Samples) -> tuple[Tensor, Tensor]:
    return torch.tensor(samples.features).flatten(1), torch.tensor(samples.labels)


def confidence(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the logarithm of the odds of the right label, (models, samples), of logits."""
    right = outputs.gather(2, labels[..., None])[..., 0]
    others = outputs.scatter(2, labels[..., None], -torch.inf).logsumexp(2)
    return right - others


def _signals(start: Perceptrons, models: Perceptrons, features: Tensor, labels: Tensor) -> list[Tensor]:
    """Return what an update says of candidates: confidence, and how far it goes their gradients' way."""
    inner, inputs, outer, hidden = start.slopes(features, labels)
    along = ((inner @ (models.hidden - start.hidden)) * inputs).sum(-1)
    along += ((outer @ (models.output - start.output)) * hidden).sum(-1)
    return [confidence(models.logits(features), labels), -along]


def attack(scores: list[Scores]) -> dict[str, Rates]:
    """Return how well each attack does on models that had the same candidates, together."""
    members: dict[str, list[Reals]] = {RAW: [], CALIBRATED: [], RATIO: []}
    others: dict[str, list[Reals]] = {name: [] for name in members}
    for part in scores:
        ratios, calibrated = _ratios(part)
        for name, values in ((RAW, part.values[0]), (CALIBRATED, calibrated[0]), (RATIO, ratios)):
            members[name].append(values[part.is_member])
            others[name].append(values[~part.is_member])
    return {name: _rates(np.concatenate(members[name]), np.concatenate(others[name])) for name in members}


def _rates(members: Reals, others: Reals) -> Rates:
    thousandth, hundredth = (measures.true_positives(members, others, rate) for rate in (0.001, 0.01))
    return Rates(measures.auc(members, others), thousandth, hundredth, len(others))


def _ratios(scores: Scores) -> tuple[Reals, Reals]:
    """Return likelihood ratios, (models, candidates), and values less what other models say without a sample.

    Normal distributions for each sample, of the models other than the target, with and without it.
    """
    values, is_member = scores.values, scores.is_member[None]
    ratio, calibrated = np.zeros(values.shape[1:]), np.zeros(values.shape)
    for sign, flags in ((1, is_member), (-1, ~is_member)):
        weight = flags.astype(np.float64)
        count = weight.sum(1, keepdims=True) - weight  # without the target itself
        total = (values * weight).sum(1, keepdims=True) - values * weight
        square = (values**2 * weight).sum(1, keepdims=True) - values**2 * weight
        mean = total / np.maximum(count, 1)
        variance = np.maximum(square / np.maximum(count, 1) - mean**2, SPREAD**2)
        ratio += sign * (-0.5 * np.log(variance) - (values - mean) ** 2 / (2 * variance)).sum(0)
        if sign < 0:
            calibrated = values - mean
    return ratio, calibrated
