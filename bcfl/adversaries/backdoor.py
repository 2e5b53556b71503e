"""Backdoor: a trigger that makes the model say one class, by model replacement (step 2).

Bagdasaryan, Veit, Hua, Estrin, Shmatikov 2020, "How To Backdoor Federated Learning" (arXiv:1807.00459),
section 4.2: the attacker trains X on clean and on triggered samples, these labelled as the target, and sends

    update = gamma * (X - G)       gamma = n / m: m of n devices together replace the mean by X.

The trigger is a bright square in the last corner of a picture, or bright last features of a table (Gu et al.
2017, "BadNets", arXiv:1708.06733). Success is the share of triggered test samples of other classes that the
model calls the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceAttack, DeviceParts, option
from bcfl.adversaries.vectors import Changed, scale
from bcfl.learning.datasets import Features, Samples
from bcfl.ports import Learner


def stamp(features: Features, size: int, value: float) -> Features:
    """(samples, ...) with the trigger put on every sample."""
    marked = features.copy()
    if marked.ndim > 3:
        marked[..., -size:, -size:] = value
    else:
        marked[..., -size:] = value
    return marked


@dataclass(frozen=True)
class Backdoor(DeviceAttack):
    """A trigger that makes the model say the target class, boosted to replace the model."""

    PAPER: ClassVar[str] = "Bagdasaryan et al. 2020, arXiv:1807.00459"
    target: int = option(0, "the class that the trigger stands for", least=0)
    share: float = option(0.5, "of the own samples that carry the trigger", least=0, most=1)
    size: int = option(3, "pixels of the trigger's side", least=1, most=1000)
    value: float = option(2.0, "what the trigger's pixels are, standardised", least=-1000, most=1000)
    boost: float | None = option(None, "gamma; none: n / m; 1: stealthy", least=0, most=1e6)

    def samples(self, own: Samples, context: AttackContext) -> Samples:
        """Some of its samples with the trigger and the target's label."""
        count = round(self.share * len(own))
        chosen = np.zeros(len(own), dtype=bool)
        chosen[context.rng(0).permutation(len(own))[:count]] = True
        features, labels = own.features.copy(), own.labels.copy()
        features[chosen] = stamp(own.features[chosen], self.size, self.value)
        labels[chosen] = self.target
        return Samples(features, labels)

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Trains on both, and boosts."""
        gamma = context.devices / max(1, context.adversaries) if self.boost is None else self.boost
        return Changed(parts.learner, lambda honest, _: scale(honest, gamma))

    def triggered(self, test: Samples) -> Samples:
        """Samples of other classes with the trigger, labelled as the target: accuracy on them is success."""
        others = test.take(np.flatnonzero(test.labels != self.target))
        return Samples(
            stamp(others.features, self.size, self.value), np.full_like(others.labels, self.target)
        )
