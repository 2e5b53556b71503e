"""Class swap: two classes change their names, quietly: in all rounds, by updates of the usual length.

A targeted data poisoning as in Tolpegin, Truex, Gursoy, Liu 2020, "Data Poisoning Attacks Against Federated
Learning Systems" (arXiv:2007.08432), both ways at once. Few devices that train on swapped labels are outvoted
by the many that teach the right names. So the devices find out together what the swap alone teaches, beyond
the same samples under their own names, and each adds a multiple of that to its honest update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.coalition import Coalition, CoalitionParts
from bcfl.adversaries.learners import Floats, delta_of, with_delta
from bcfl.errors import ConfigError
from bcfl.learning.datasets import Labels, Samples
from bcfl.ports import TrainingResult, Vector

if TYPE_CHECKING:
    from bcfl.adversaries.pool import Pool


def swap(labels: Labels, first: int, second: int) -> Labels:
    """Return labels, (samples,), in which two classes have each other's."""
    return np.where(labels == first, second, np.where(labels == second, first, labels))


def bend(honest: Floats, lesson: Floats, strength: float) -> Floats:
    """Add a multiple of a lesson to an update, (parameters,), and shorten the sum to the update's norm."""
    bent: Floats = honest + strength * lesson
    norm = float(np.linalg.norm(bent))
    return bent * min(1.0, float(np.linalg.norm(honest)) / norm) if norm else bent


class SwapCoalition(Coalition):
    """The devices of a swap, and their data put together."""

    def __init__(self, parts: CoalitionParts, pool: Pool) -> None:
        super().__init__(list(parts.colluders.values()), [])
        self.pool = pool


@dataclass(frozen=True)
class ClassSwap(TrainingAttack):
    """Adds what swapping two classes teaches to its honest update, at the honest length."""

    PAPER: ClassVar[str] = "Tolpegin et al. 2020, arXiv:2007.08432"
    colludes: ClassVar[bool] = True
    knowledge: ClassVar[str] = "colluders"
    first: int = option(0, "one of the two classes", minimum=0)
    second: int = option(6, "the other", minimum=0)
    strength: float = option(4.0, "times what the swap teaches", minimum=0, maximum=1000)

    def coalition(self, parts: CoalitionParts) -> Coalition:
        """Put the devices' data together; raises ConfigError where they hold none of a task's."""
        from bcfl.adversaries.pool import Pool  # imports torch

        if parts.task is None:
            raise ConfigError("class-swap needs a task whose data its devices hold")
        return SwapCoalition(parts, Pool(parts.task, list(parts.data.values()), parts.seed))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Train honestly and add the lesson; raises ConfigError where nobody put data together."""
        if not isinstance(context.coalition, SwapCoalition):
            raise ConfigError("class-swap plays in a run alone, where its devices form a coalition")
        trained = parts.learner.train(model, round_)
        lesson = context.coalition.pool.detour("swap", self._edit, model, round_)
        return with_delta(trained, model, bend(delta_of(trained, model), lesson, self.strength))

    def test_samples(self, samples: Samples) -> Samples:
        """Return the samples of both classes under each other's label."""
        of_both = samples.take(np.flatnonzero(np.isin(samples.labels, (self.first, self.second))))
        return self._edit(of_both)

    def _edit(self, samples: Samples) -> Samples:
        labels = samples.require_classes("class-swap").labels
        return samples.relabelled(swap(labels, self.first, self.second))
