"""Know the built-in perceptron from inside: its layers in a vector, and its training in few coordinates.

Every change of the first layer is a sum of samples, each a row with 1 appended for the bias. So all that
training does to it happens among the samples' directions, and it can be replayed in coordinates of a basis
of these, however many features there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bcfl.learning.models import HIDDEN

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layers:
    """The perceptron's tensors, or their changes."""

    first: Reals  # (hidden, features + 1), the bias last
    second: Reals  # (classes, hidden)
    bias: Reals  # (classes,)

    @classmethod
    def of(cls, vector: Reals, classes: int) -> Layers:
        """Divide a vector, (parameters,), into layers."""
        features = (len(vector) - classes * (HIDDEN + 1)) // HIDDEN - 1
        weights, biases, second, last = np.split(
            vector, np.cumsum([HIDDEN * features, HIDDEN, classes * HIDDEN])
        )
        first = np.concatenate([weights.reshape(HIDDEN, features), biases[:, None]], axis=1)
        return cls(first, second.reshape(classes, HIDDEN), last)

    def logits(self, features: Reals) -> Reals:
        """Return logits, (samples, classes), of features (samples, features)."""
        hidden = np.maximum(with_one(features) @ self.first.T, 0)
        return np.asarray(hidden @ self.second.T + self.bias)


def with_one(features: Reals) -> Reals:
    """Append a 1 to each row, which the bias belongs to."""
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


Parts = tuple[Tensor, Tensor, Tensor]  # of first (..., hidden, k), second (..., classes, hidden), bias


def replay(
    samples: Tensor,
    labels: Tensor,
    start: Parts,
    rate: float,
    steps: int,
    sharpness: float | None,
    clip_norm: float | None = None,
) -> Parts:
    """Return the changes of the layers by `steps` steps of full-batch SGD, differentiable.

    `samples` (tries, n, k) are coordinates in an orthonormal basis, `labels` (tries, n, classes) one-hot, the
    first layer of `start` is in the same coordinates. With a `sharpness` a unit is switched on by a sigmoid
    of that slope and not by a step: so the search sees which units it could switch. With `clip_norm` each
    sample's gradient is shortened to it, as DP-SGD does.
    """
    first, second, bias = (part.expand(len(samples), *part.shape) for part in start)
    for _ in range(steps):
        inputs = samples @ first.transpose(1, 2)
        gate = (inputs > 0).to(inputs) if sharpness is None else torch.sigmoid(sharpness * inputs)
        hidden = inputs * gate
        slopes = torch.softmax(hidden @ second.transpose(1, 2) + bias[:, None], -1) - labels
        inner = (slopes @ second) * gate
        weight: Tensor | float = rate / samples.shape[1]
        if clip_norm is not None:
            squares = slopes.square().sum(-1) * (hidden.square().sum(-1) + 1)
            squares = squares + inner.square().sum(-1) * samples.square().sum(-1)
            weight = (clip_norm / squares.sqrt().clamp(min=1e-12)).clamp(max=1)[..., None] * weight
        slopes, inner = slopes * weight, inner * weight
        first = first - inner.transpose(1, 2) @ samples
        second = second - slopes.transpose(1, 2) @ hidden
        bias = bias - slopes.sum(1)
    return first - start[0], second - start[1], bias - start[2]
