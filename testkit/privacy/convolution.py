"""Reconstruct pictures that a convolutional model was trained on, by matching gradients.

Geiping et al. 2020, arXiv:2003.14053: cosine distance of the gradients and total variation, here with starts
at the attacker's own pictures. For one picture the last layer's change holds its features exactly, and they
are matched too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bcfl.learning.flat import FlatModule
from bcfl.learning.training import FIXED_SEED, build
from testkit.privacy.inversion import Guess, Knowledge, Labels, Reals, apportion
from testkit.privacy.settings import Observation

RATE, VARIATION, FEATURES = 0.1, 1e-3, 0.1
SMALLEST = 1e-12


def invert(
    seen: Observation, known: Knowledge, tries: int = 3, iterations: int = 600, seed: int = 0
) -> Guess:
    """Return what an attacker makes of a change of a model whose last layer is called `output`."""
    flat = FlatModule(build(seen.task, FIXED_SEED), seen.task.exponents)
    if flat.layout.exponents:
        raise ValueError("this attack knows no exponents: take a task whose layout has none")
    flat.load(seen.before.astype(np.float32))
    weights = list(flat.module.parameters())
    sizes = [weight.numel() for weight in weights]
    pieces = torch.split(torch.tensor(seen.delta, dtype=torch.float32), sizes)
    targets = [-piece.reshape(weight.shape) for piece, weight in zip(pieces, weights, strict=True)]
    labels = _labels(seen, known, flat.module, -targets[-1].double().numpy())
    search = _Search(flat.module, weights, targets, labels, known)
    rng, best = np.random.default_rng(seed), Guess(np.zeros((0, 0)), labels, float("inf"))
    for _ in range(tries):
        best = min(best, search.descend(rng, iterations), key=lambda guess: guess.misfit)
    return best


def _labels(seen: Observation, known: Knowledge, module: nn.Module, bias: Reals) -> Labels:
    with torch.no_grad():
        features = torch.tensor(known.features.reshape(-1, *known.shape), dtype=torch.float32)
        chances = torch.softmax(module(features), 1).double().numpy()
    means = np.stack([chances[known.labels == label].mean(axis=0) for label in range(seen.task.classes)])
    return apportion(seen.samples * bias / (seen.task.learning_rate * seen.steps), means, seen.samples)


class _Search:
    def __init__(
        self,
        module: nn.Module,
        weights: list[nn.Parameter],
        targets: list[Tensor],
        labels: Labels,
        known: Knowledge,
    ) -> None:
        self.module, self.weights, self.targets, self.known = module, weights, targets, known
        self.labels = labels
        self.size = sum(target.square().sum() for target in targets) ** 0.5 + SMALLEST
        self.low = torch.tensor(known.features.min(axis=0).reshape(known.shape), dtype=torch.float32)
        self.high = torch.tensor(known.features.max(axis=0).reshape(known.shape), dtype=torch.float32)
        self.features: Tensor | None = None
        if len(labels) == 1 and abs(bias := float(targets[-1][labels[0]])) > SMALLEST:
            self.features = targets[-2][labels[0]] / bias

    def descend(self, rng: np.random.Generator, iterations: int) -> Guess:
        """Return where one search ends that begins at the attacker's own pictures."""
        known = self.known
        rows = [known.features[rng.choice(np.flatnonzero(known.labels == label))] for label in self.labels]
        pictures = torch.tensor(np.array(rows).reshape(-1, *known.shape), dtype=torch.float32)
        mean, square, misfit = torch.zeros_like(pictures), torch.zeros_like(pictures), 0.0
        for number in range(1, iterations + 1):
            pictures.requires_grad_()
            distance = self._misfit(pictures)
            (slope,) = torch.autograd.grad(distance + VARIATION * _variation(pictures), pictures)
            pictures, misfit = pictures.detach(), float(distance.detach())
            mean.lerp_(slope, 0.1)
            square.lerp_(slope.square(), 0.001)
            pace = RATE * 0.5 * (1 + np.cos(np.pi * number / iterations))
            pictures -= pace * (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
            pictures.clamp_(self.low, self.high)
        return Guess(pictures.flatten(1).double().numpy(), self.labels, misfit)

    def _misfit(self, pictures: Tensor) -> Tensor:
        inputs: list[Tensor] = []
        handle = self.module.get_submodule("output").register_forward_pre_hook(
            lambda _module, arguments: inputs.append(arguments[0])
        )
        loss = functional.cross_entropy(self.module(pictures), torch.tensor(self.labels))
        handle.remove()
        slopes = torch.autograd.grad(loss, self.weights, create_graph=True)
        along = sum((slope * target).sum() for slope, target in zip(slopes, self.targets, strict=True))
        length = sum(slope.square().sum() for slope in slopes) ** 0.5 + SMALLEST
        misfit = 1 - along / length / self.size
        if self.features is not None:
            error = (inputs[0][0] - self.features).square().sum() / self.features.square().sum()
            misfit = misfit + FEATURES * error
        return torch.as_tensor(misfit)


def _variation(pictures: Tensor) -> Tensor:
    across = (pictures[..., 1:] - pictures[..., :-1]).abs().mean()
    return across + (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean()
