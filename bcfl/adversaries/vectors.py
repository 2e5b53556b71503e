"""Attacks on one's own update alone (step 2): reversed, scaled, or drowned in noise.

sign-flip:  update = -factor * honest          Li et al. 2019, "RSA: Byzantine-robust stochastic aggregation
                                               methods for distributed learning from heterogeneous datasets"
                                               (arXiv:1811.03761)
scaling:    update = factor * honest           Bhagoji et al. 2019, "Analyzing federated learning through an
                                               adversarial lens" (arXiv:1811.12470): explicit boosting
noise:      update = honest + N(0, std**2)     Chen et al. 2021, "Robust blockchained federated learning with
                                               model validation and proof-of-stake inspired consensus" (VBFL,
                                               arXiv:2101.03300): on the weights, there of variance 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import (
    AttackContext,
    Bent,
    DeviceAttack,
    DeviceParts,
    Floats,
    delta_of,
    moved,
    option,
)
from bcfl.ports import Learner, Trained, Vector

Change = Callable[[Floats, int], Floats]  # honest update and round to what is sent


class Changed(Bent):
    """Trains honestly and sends something made of it."""

    def __init__(self, honest: Learner, change: Change) -> None:
        super().__init__(honest)
        self.change = change

    def bend(self, model: Vector, round_: int) -> Trained:
        """The honest training with its update changed."""
        trained = self.honest.train(model, round_)
        return moved(trained, model, self.change(delta_of(trained, model), round_))


def flip_sign(honest: Floats, factor: float) -> Floats:
    """The update reversed."""
    return -factor * honest


def scale(honest: Floats, factor: float) -> Floats:
    """The update boosted."""
    return factor * honest


def add_noise(honest: Floats, std: float, rng: np.random.Generator) -> Floats:
    """The update with Gaussian noise on every weight."""
    return honest + rng.normal(0.0, std, honest.shape)


@dataclass(frozen=True)
class SignFlip(DeviceAttack):
    """The honest update reversed and stretched."""

    PAPER: ClassVar[str] = "Li et al. 2019, arXiv:1811.03761"
    factor: float = option(4.0, "times the honest update, reversed", least=0, most=1e6)

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """Trains and reverses."""
        return Changed(parts.learner, lambda honest, _: flip_sign(honest, self.factor))


@dataclass(frozen=True)
class Scaling(DeviceAttack):
    """The honest update stretched."""

    PAPER: ClassVar[str] = "Bhagoji et al. 2019, arXiv:1811.12470"
    factor: float = option(10.0, "times the honest update", least=0, most=1e6)

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """Trains and stretches."""
        return Changed(parts.learner, lambda honest, _: scale(honest, self.factor))


@dataclass(frozen=True)
class Noise(DeviceAttack):
    """The honest update with Gaussian noise on every weight."""

    PAPER: ClassVar[str] = "Chen et al. 2021 (VBFL), arXiv:2101.03300"
    std: float = option(0.1, "standard deviation of the noise on a weight", least=0, most=1e6)

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Trains and adds noise."""
        return Changed(parts.learner, lambda honest, round_: add_noise(honest, self.std, context.rng(round_)))
