"""Drift: one direction for the whole training, and nobody's update known.

What a single round's rule takes for noise adds up if it points the same way in all rounds. The small
constant shift is that of Baruch, Baruch, Goldberg 2019, "A Little Is Enough" (arXiv:1902.06156), here with a
direction that is fixed before the first update is seen (`seed`), or that is the reverse of what the devices
themselves trained first (`first`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.coalition import Coalition, CoalitionParts, deltas_of, trainings_of
from bcfl.adversaries.learners import Floats, delta_of, with_delta
from bcfl.ports import TrainingResult, Vector

STREAM = 11  # of the seed


class Heading(Coalition):
    """The direction that the devices of a drift hold to."""

    held: Floats | None = None  # (parameters,), of norm 1

    def first(self, model: Vector, round_: int) -> Floats:
        """Return the reverse of what they train when they are asked first, (parameters,)."""
        if self.held is None:
            self.held = _unit(-deltas_of(trainings_of(self.colluders, model, round_), model).mean(axis=0))
        return self.held


@dataclass(frozen=True)
class Drift(TrainingAttack):
    """Trains honestly and adds one direction, the same in all rounds."""

    PAPER: ClassVar[str] = "Baruch et al. 2019, arXiv:1902.06156"
    colludes: ClassVar[bool] = True
    knowledge: ClassVar[str] = "colluders"
    strength: float = option(5.0, "times the norm of the honest update", minimum=0, maximum=1e6)
    direction: str = option(
        "first", "which: the reverse of their first updates, or the seed's", choices=("first", "seed")
    )

    def coalition(self, parts: CoalitionParts) -> Coalition:
        """Return what its devices hold to."""
        return Heading(list(parts.colluders.values()), [])

    def _direction(self, context: AttackContext, model: Vector, round_: int) -> Floats:
        """Return the direction, (parameters,), of norm 1."""
        if self.direction == "seed" or not isinstance(context.coalition, Heading):
            return _unit(np.random.default_rng([context.seed, STREAM]).normal(size=len(model)))
        return context.coalition.first(model, round_)

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Train honestly and add the direction."""
        trained = parts.learner.train(model, round_)
        delta = delta_of(trained, model)
        size = self.strength * float(np.linalg.norm(delta))
        return with_delta(trained, model, delta + size * self._direction(context, model, round_))


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / max(float(np.linalg.norm(vector)), 1e-30)
    return unit
