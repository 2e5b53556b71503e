"""Attacks on a device's own update alone: reversed, scaled, or drowned in noise.

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

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, UpdateAttack, option
from bcfl.adversaries.learners import Floats
from bcfl.roles.checks.norm import CLIP
from bcfl.roles.common import norm_bound
from bcfl.roles.device.device import Device


def scale(honest: Floats, factor: float) -> Floats:
    """Multiply an update, (parameters,)."""
    return factor * honest


def add_noise(honest: Floats, std: float, rng: np.random.Generator) -> Floats:
    """Add Gaussian noise to every weight of an update, (parameters,)."""
    return honest + rng.normal(0.0, std, honest.shape)


@dataclass(frozen=True)
class Scaling(UpdateAttack):
    """The honest update stretched."""

    PAPER: ClassVar[str] = "Bhagoji et al. 2019, arXiv:1811.12470"
    SIGN: ClassVar[int] = 1
    factor: float = option(10.0, "times the honest update", minimum=0, maximum=1e6)

    def transform(self, delta: Floats, context: AttackContext, round_: int) -> Floats:  # noqa: ARG002
        """Stretch the update."""
        return scale(delta, self.SIGN * self.factor)


@dataclass(frozen=True)
class SignFlip(Scaling):
    """The honest update reversed and stretched."""

    PAPER: ClassVar[str] = "Li et al. 2019, arXiv:1811.03761"
    SIGN: ClassVar[int] = -1
    factor: float = option(4.0, "times the honest update, reversed", minimum=0, maximum=1e6)
    length: float = option(CLIP, "reference norms that it is shortened to", minimum=0.01, maximum=100)

    def device(self, parts: DeviceParts, context: AttackContext) -> Device:
        """Return the device, which shortens what it sends to `length`."""
        device = super().device(parts, context)
        device.trainer.bound = norm_bound.multiple(self.length)
        return device


@dataclass(frozen=True)
class Noise(UpdateAttack):
    """The honest update with Gaussian noise on every weight."""

    PAPER: ClassVar[str] = "Chen et al. 2021 (VBFL), arXiv:2101.03300"
    std: float = option(0.1, "standard deviation of the noise on a weight", minimum=0, maximum=1e6)

    def transform(self, delta: Floats, context: AttackContext, round_: int) -> Floats:
        """Add noise to the update."""
        return add_noise(delta, self.std, context.rng(round_))
