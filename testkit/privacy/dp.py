"""Train by differentially private SGD, as a reference in few lines: the attacks need none of bcfl's own.

Abadi et al. 2016, arXiv:1607.00133: each sample's gradient is shortened to `clip_norm`, normal noise of
deviation `multiplier * clip_norm` is added to their sum. Batches are those of an epoch in mixed order, not
drawn by chance of their own each, so an accountant of Poisson sampling does not apply as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from bcfl.learning import Samples, Task
from bcfl.learning.flat import FlatModule
from bcfl.learning.loading import Tensors
from bcfl.learning.loops import batches
from bcfl.learning.training import FIXED_SEED, build
from bcfl.ports import Vector

CLIP_NORM = 1.0


def train(
    task: Task, model: Vector, share: Samples, multiplier: float, seed: int, clip_norm: float = CLIP_NORM
) -> Vector:
    """Return the model, (parameters,), after the task's epochs on a share, from `model`."""
    flat = FlatModule(build(task, FIXED_SEED), task.exponents, task.shared)
    flat.load(model)
    features, labels = torch.tensor(share.features), torch.tensor(share.labels)
    weights = {name: tensor.detach() for name, tensor in flat.module.named_parameters()}
    slopes = _per_sample(task, flat.module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(task.epochs):
            for batch, batch_labels in batches(Tensors(features, labels), task.batch_size):
                _step(
                    weights, slopes(weights, batch, batch_labels), task.learning_rate, multiplier, clip_norm
                )
    return flat.read()


def _per_sample(task: Task, module: torch.nn.Module) -> Callable[..., dict[str, Tensor]]:
    """Return a function of weights and a batch to gradients by name, (batch, ...)."""

    def loss(weights: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        outputs: Any = functional_call(module, weights, (sample[None],))
        return task.loss(outputs, label[None])

    function: Callable[..., dict[str, Tensor]] = vmap(grad(loss), (None, 0, 0))
    return function


def _step(
    weights: dict[str, Tensor], slopes: dict[str, Tensor], rate: float, multiplier: float, clip_norm: float
) -> None:
    """Move the weights in place by one noisy mean of shortened gradients, each (batch, ...)."""
    squares = torch.stack([slope.flatten(1).square().sum(1) for slope in slopes.values()])
    norms = squares.sum(0).sqrt()  # (batch,)
    factors = (clip_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
    for name, slope in slopes.items():
        total = torch.einsum("b,b...->...", factors, slope)
        total = total + multiplier * clip_norm * torch.randn(total.shape)
        weights[name].sub_(total, alpha=rate / len(norms))
