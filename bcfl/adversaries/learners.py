"""Learners before an honest one: one that trains once a round, and one whose training is an attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from bcfl import ports
from bcfl.errors import ConfigError
from bcfl.ports import Evaluation, Learner, TrainingResult, Vector

Floats = npt.NDArray[np.float64]  # (parameters,)
Matrix = npt.NDArray[np.float64]  # (updates, parameters)
Result = TypeVar("Result")


class RoundCache(Generic[Result]):
    """The result of a computation that follows from round and model, until another round or model comes."""

    def __init__(self) -> None:
        self._entry: tuple[int, Vector, Result] | None = None

    def get(self, model: Vector, round_: int, compute: Callable[[], Result]) -> Result:
        """Return the result for this round and `model`, (parameters,), computed once."""
        entry = self._entry
        if entry is not None and entry[0] == round_ and np.array_equal(entry[1], model):
            return entry[2]
        result = compute()
        self._entry = round_, model, result
        return result


class LearnerProxy:
    """What a learner does besides training, as the honest learner behind it does it."""

    def __init__(self, honest: Learner) -> None:
        self.honest = honest

    @property
    def samples(self) -> int:
        """Number of training samples held."""
        return self.honest.samples

    def blind(self, secret: bytes) -> None:
        """Have the honest learner draw noise from `secret`, where it can."""
        blind = getattr(self.honest, "blind", None)
        if blind is not None:
            blind(secret)

    def evaluate(self, model: Vector) -> Evaluation:
        """Evaluate as the honest learner does."""
        return self.honest.evaluate(model)

    def slopes(self, model: Vector, parts: int, samples: int) -> ports.Slopes:
        """Compute loss and gradients as the honest learner does."""
        return self.honest.slopes(model, parts, samples)

    def losses(self, model: Vector, samples: int) -> Vector:
        """Return losses on pieces of the held-out data, (pieces,), as the honest learner does."""
        return self.honest.losses(model, samples)

    def class_slopes(self, model: Vector, samples: int) -> ports.Matrix:
        """Return gradients by class, (classes, parameters), as the honest learner does."""
        return self.honest.class_slopes(model, samples)

    def marks(self, without: Vector, suspects: Sequence[Vector], search: ports.MarkSearch) -> Vector:
        """Return how often marks work, (suspects,), as the honest learner does."""
        return self.honest.marks(without, suspects, search)

    def mark_slopes(self, without: Vector, model: Vector, samples: int) -> ports.Matrix:
        """Return gradients of marks, (2 * marks, parameters), as the honest learner does."""
        return self.honest.mark_slopes(without, model, samples)


class CachedLearner(LearnerProxy):
    """A learner that trains once a round, however many ask for it."""

    def __init__(self, honest: Learner) -> None:
        super().__init__(honest)
        self._cache: RoundCache[TrainingResult] = RoundCache()

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, or return what this round's training came to."""
        return self._cache.get(model, round_, lambda: self.honest.train(model, round_))


class MaliciousLearner(LearnerProxy):
    """A learner that passes what `forge` makes of model and round off as its training."""

    def __init__(self, honest: Learner, forge: Callable[[Vector, int], TrainingResult]) -> None:
        super().__init__(honest)
        self.forge = forge

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Carry the attack out; raises ConfigError, and so sits out, if nothing finite comes of it."""
        trained = self.forge(model, round_)
        if not np.isfinite(trained.vector).all():
            raise ConfigError("the attack comes to numbers that are not finite: lower its parameters")
        return trained


def with_delta(trained: TrainingResult, model: Vector, delta: Floats) -> TrainingResult:
    """Return a training with the same claims whose outcome is `model + delta`, both (parameters,)."""
    with np.errstate(over="ignore"):
        return replace(trained, vector=(model + delta).astype(np.float32))


def delta_of(trained: TrainingResult, model: Vector) -> Floats:
    """Return what a training added to the model, (parameters,)."""
    return trained.vector.astype(np.float64) - model
