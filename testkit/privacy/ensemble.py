"""Train many perceptrons at once, each on data of its own: shadow models by the hundred in seconds.

The training is that of `bcfl.learning.training`: batches of an epoch in mixed order, SGD, the mean
cross-entropy. A gradient's length follows from its factors, so DP-SGD costs no more (Goodfellow 2015,
arXiv:1510.01799).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bcfl.learning.models import HIDDEN
from bcfl.learning.tasks import Task
from testkit.privacy.dp import CLIP_NORM

STEP = 2.0**-14  # that a lane of 16 bits is worth


@dataclass(frozen=True)
class Perceptrons:
    """The tensors of many perceptrons."""

    hidden: Tensor  # (models, HIDDEN, features + 1), the bias last
    output: Tensor  # (models, classes, HIDDEN + 1), the bias last

    @classmethod
    def of(cls, vector: Tensor, features: int, copies: int) -> Perceptrons:
        """Return copies of one vector, (parameters,)."""
        sizes = [HIDDEN * features, HIDDEN, len(vector) - HIDDEN * (features + 1)]
        weights, biases, rest = torch.split(vector, sizes)
        classes = len(rest) // (HIDDEN + 1)
        second, last = torch.split(rest, [HIDDEN * classes, classes])
        hidden = torch.cat([weights.reshape(HIDDEN, features), biases[:, None]], 1)
        output = torch.cat([second.reshape(classes, HIDDEN), last[:, None]], 1)
        return cls(hidden.repeat(copies, 1, 1), output.repeat(copies, 1, 1))

    def logits(self, features: Tensor) -> Tensor:
        """Return logits, (models, samples, classes), of features (models or 1, samples, features)."""
        hidden = torch.relu(_with_one(features) @ self.hidden.transpose(1, 2))
        return _with_one(hidden) @ self.output.transpose(1, 2)

    def slopes(self, features: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return factors of each sample's gradient: two slopes and two inputs, (models, samples, ...)."""
        inputs = _with_one(features)
        sums = inputs @ self.hidden.transpose(1, 2)
        hidden = _with_one(torch.relu(sums))
        chances = torch.softmax(hidden @ self.output.transpose(1, 2), -1)
        outer = chances - torch.nn.functional.one_hot(labels, chances.shape[-1])
        inner = (outer @ self.output[..., :-1]) * (sums > 0)
        return inner, inputs, outer, hidden


def _with_one(values: Tensor) -> Tensor:
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


def train(
    models: Perceptrons, features: Tensor, labels: Tensor, task: Task, multiplier: float | None
) -> Perceptrons:
    """Return the models after a round on their own samples, (models, samples, ...), as updates hold it.

    Draws from torch's generator: batches, and with a `multiplier` DP-SGD's noise.
    """
    hidden, output = models.hidden.clone(), models.output.clone()
    count = labels.shape[1]
    for _ in range(task.epochs):
        order = torch.rand(labels.shape).argsort(1)
        for start in range(0, count, task.batch_size):
            batch = order[:, start : start + task.batch_size]
            rows = features.gather(1, batch[..., None].expand(-1, -1, features.shape[2]))
            inner, inputs, outer, active = Perceptrons(hidden, output).slopes(rows, labels.gather(1, batch))
            rate = task.learning_rate / batch.shape[1]
            if multiplier is not None:
                squares = inner.square().sum(-1) * inputs.square().sum(-1)
                squares += outer.square().sum(-1) * active.square().sum(-1)
                shares = (CLIP_NORM / squares.sqrt().clamp(min=1e-12)).clamp(max=1)[..., None]
                inner, outer = inner * shares, outer * shares
                for part in (hidden, output):
                    part.add_(torch.randn(part.shape), alpha=rate * multiplier * CLIP_NORM)
            hidden.sub_(inner.transpose(1, 2) @ inputs, alpha=rate)
            output.sub_(outer.transpose(1, 2) @ active, alpha=rate)
    parts = ((hidden, models.hidden), (output, models.output))
    return Perceptrons(*(old + ((new - old) / STEP).round() * STEP for new, old in parts))


def average(models: Perceptrons, federations: int) -> Perceptrons:
    """Return the mean model of each federation, for every one of its devices."""
    parts = []
    for part in (models.hidden, models.output):
        grouped = part.reshape(federations, -1, *part.shape[1:])
        parts.append(grouped.mean(1, keepdim=True).expand_as(grouped).reshape(part.shape))
    return Perceptrons(*parts)
