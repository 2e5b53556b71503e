"""Judge the numbers of a round's updates by what the data of one learner say of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from bcfl.errors import ConfigError, own_code
from bcfl.ports import Evaluation, Learner, MarkSearch, Matrix, Slopes, Vector
from bcfl.roles.checks import levels, pipeline
from bcfl.roles.checks.harm import Losses
from bcfl.roles.checks.pipeline import CheckInputs, Checks, PipelineResult, Reference


def judge(
    learner: Learner, model: Vector, number: int, inputs: CheckInputs, checks: Checks
) -> PipelineResult:
    """Return what the checks say of updates that were made from `model`, (parameters,), in a round.

    Raises ConfigError where the learner's own code fails.
    """
    return pipeline.judge(inputs, OwnData(learner, model, number).reference, checks)


@dataclass(frozen=True)
class OwnData:
    """A miner's learner, asked about models that are so many steps from the round's, (parameters,)."""

    learner: Learner
    model: Vector
    number: int

    @property
    def reference(self) -> Reference:
        """What the checks may ask."""
        return Reference(
            self.training,
            self.slopes,
            self.evaluation,
            self.losses,
            self.marks,
            self.mark_slopes,
            self.class_slopes,
        )

    def training(self) -> Vector:
        """Return where the miner's own training leads, (parameters,); where it cannot train, its descent."""
        if self.learner.samples:
            with suppress(ConfigError), own_code("training failed"):
                return np.subtract(
                    self.learner.train(self.model, self.number).vector, self.model, dtype=np.float32
                )
        gradients = self.slopes(np.zeros_like(self.model), 1).gradients
        return -gradients[0] if len(gradients) else np.zeros_like(self.model)

    def slopes(self, delta: Vector, parts: int) -> Slopes:
        """Return loss and gradients after a delta, on so many parts of the held-out data."""
        with own_code("judging failed"):
            return self.learner.slopes(self._after(delta), parts, levels.SAMPLES)

    def evaluation(self, delta: Vector) -> Evaluation:
        """Return metrics and loss after a delta."""
        with own_code("judging failed"):
            return self.learner.evaluate(self._after(delta))

    def losses(self, delta: Vector, samples: int) -> tuple[Losses, int]:
        """Return losses on pieces of the held-out data, or their mean as one, and the samples in all."""
        with own_code("judging failed"):
            losses = self.learner.losses(self._after(delta), samples)
        if len(losses):
            return losses.astype(np.float64), samples
        evaluation = self.evaluation(delta)
        return np.full(min(1, evaluation.samples), evaluation.loss), evaluation.samples

    def marks(self, without: Vector, suspects: Sequence[Vector], search: MarkSearch) -> Vector:
        """Return how often marks work after each of some deltas and not after another, (suspects,)."""
        with own_code("judging failed"):
            return self.learner.marks(self._after(without), [*map(self._after, suspects)], search)

    def mark_slopes(self, without: Vector, delta: Vector, samples: int) -> Matrix:
        """Return gradients of marked and of plain inputs after a delta, (2 * marks, parameters)."""
        with own_code("judging failed"):
            return self.learner.mark_slopes(self._after(without), self._after(delta), samples)

    def class_slopes(self, samples: int) -> Matrix:
        """Return gradients by class at the round's model, (classes, parameters)."""
        with own_code("judging failed"):
            return self.learner.class_slopes(self.model, samples)

    def _after(self, delta: Vector) -> Vector:
        return np.add(self.model, delta, dtype=np.float32)
