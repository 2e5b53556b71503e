"""A learner that costs nothing, and whose trainings take a little longer each time, as real ones differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcfl.ports import TrainingResult, Vector
from tests.local_federation import Quadratic


@dataclass
class StepLearner(Quadratic):
    """Steps half way to its own optimum; the measured time is never twice the same.

    Where it `drifts`, what it learns is not either.
    """

    drifts: bool = False

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,)."""
        result = super().train(model, round_)
        vector = result.vector
        if self.drifts:
            noise = np.random.default_rng(self.trainings).normal(0, 1e-3, vector.shape)
            vector = vector + noise.astype(np.float32)
        return TrainingResult(vector, result.samples, result.microseconds + 7 * self.trainings)
