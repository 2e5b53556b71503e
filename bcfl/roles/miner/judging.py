"""Judge the numbers of a round's updates by what the data of one learner say of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
from threadpoolctl import ThreadpoolController

from bcfl.errors import ConfigError, own_code
from bcfl.ports import Evaluation, Learner, MarkSearch, Matrix, Slopes, Vector
from bcfl.roles.checks import levels, pipeline
from bcfl.roles.checks.harm import Losses
from bcfl.roles.checks.pipeline import CheckInputs, Checks, PipelineResult, Reference


@dataclass(frozen=True)
class Case:
    """A round's updates, made from `model`, (parameters,), and the checks to make on them."""

    model: Vector
    number: int  # of the round
    inputs: CheckInputs
    checks: Checks


class Judgement(Protocol):
    """What checks say of updates, found elsewhere meanwhile."""

    def result(self) -> PipelineResult:
        """Wait for it; raises ConfigError where the learner's own code fails."""
        ...

    def drop(self) -> None:
        """Give it up."""
        ...


@runtime_checkable
class RemoteJudge(Protocol):
    """A learner whose data are elsewhere, and which judges there."""

    def begin(self, case: Case) -> Judgement:
        """Have updates judged, and go on."""
        ...


def judge(learner: Learner, case: Case) -> PipelineResult:
    """Return what the checks say of updates; raises ConfigError where the learner's own code fails."""
    with single_thread():
        return pipeline.judge(case.inputs, OwnData(learner, case.model, case.number).reference, case.checks)


def begin(learner: Learner, case: Case) -> Judgement:
    """Have updates judged where the learner's data are: elsewhere at once, here when the result is due."""
    return learner.begin(case) if isinstance(learner, RemoteJudge) else _Here(learner, case)


@dataclass(frozen=True)
class _Here:
    """A judgement that nobody has made yet."""

    learner: Learner
    case: Case

    def result(self) -> PipelineResult:
        return judge(self.learner, self.case)

    def drop(self) -> None:
        return None


def single_thread() -> AbstractContextManager[object]:
    """Have matrices multiplied on one thread.

    On several, products of this size take up to hundreds of times as long where others use the cores.
    """
    limit: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limit


@cache
def _libraries() -> ThreadpoolController:
    """Return the libraries that multiply matrices in this process."""
    return ThreadpoolController()


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
