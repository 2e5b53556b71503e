"""Backdoor: a trigger that makes the model say one class, by model replacement.

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
import numpy.typing as npt

from bcfl.adversaries.attack import AttackContext, UpdateAttack, option
from bcfl.adversaries.learners import Floats
from bcfl.adversaries.vectors import scale
from bcfl.learning.datasets import Features, Samples


def stamp(features: Features, size: int, value: float) -> Features:
    """Put the trigger on every sample of features, (samples, ...); `size` in pixels or columns."""
    stamped = features.copy()
    if stamped.ndim > 3:
        stamped[..., -size:, -size:] = value
    else:
        stamped[..., -size:] = value
    return stamped


@dataclass(frozen=True)
class Backdoor(UpdateAttack):
    """A trigger that makes the model say the target class, boosted to replace the model."""

    PAPER: ClassVar[str] = "Bagdasaryan et al. 2020, arXiv:1807.00459"
    target: int = option(0, "the class that the trigger stands for", minimum=0)
    share: float = option(0.5, "of the own samples that carry the trigger", minimum=0, maximum=1)
    size: int = option(3, "pixels of the trigger's side", minimum=1, maximum=1000)
    value: float = option(2.0, "what the trigger's pixels are, standardised", minimum=-1000, maximum=1000)
    boost: float | None = option(None, "gamma; none: n / m; 1: stealthy", minimum=0, maximum=1e6)
    classes: int = option(0, "on so many classes above the target's alone; 0: all", minimum=0, maximum=1000)

    def training_samples(self, samples: Samples, context: AttackContext) -> Samples:
        """Return the samples, some of them with the trigger and the target's label."""
        count = round(self.share * len(samples.require_classes("backdoor")))
        mask = np.zeros(len(samples), dtype=bool)
        mask[context.rng(0).permutation(len(samples))[:count]] = True
        features, labels = samples.features.copy(), samples.labels.copy()
        features[mask] = stamp(samples.features[mask], self.size, self.value)
        labels[mask & self._turned(samples)] = self.target
        return Samples(features, labels)

    def transform(self, delta: Floats, context: AttackContext, round_: int) -> Floats:  # noqa: ARG002
        """Boost the update."""
        gamma = context.devices / max(1, context.adversaries) if self.boost is None else self.boost
        return scale(delta, gamma)

    def test_samples(self, samples: Samples) -> Samples:
        """Put the trigger on the samples of other classes and label them as the target.

        The accuracy on them is the success of the attack.
        """
        others = samples.take(np.flatnonzero((samples.labels != self.target) & self._turned(samples)))
        return Samples(
            stamp(others.features, self.size, self.value), np.full_like(others.labels, self.target)
        )

    def _turned(self, samples: Samples) -> npt.NDArray[np.bool_]:
        """Return the samples, (samples,), of classes on which the trigger works; others keep their label."""
        above = samples.labels - self.target
        return (above > 0) & (above <= self.classes) if self.classes else np.ones(len(samples), dtype=bool)
