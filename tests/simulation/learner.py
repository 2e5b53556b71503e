"""A learner that costs nothing, and whose trainings take a little longer each time, as real ones differ."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.ports import TrainingResult, Vector
from tests.local_federation import Quadratic


@dataclass
class StepLearner(Quadratic):
    """Steps half way to its own optimum; the measured time is never twice the same."""

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,)."""
        result = super().train(model, round_)
        return TrainingResult(result.vector, result.samples, result.microseconds + 7 * self.trainings)
