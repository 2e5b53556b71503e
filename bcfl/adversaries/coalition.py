"""What colluders know: the honest trainings of a round, their own or everybody's.

Under commit and reveal nobody sees an update of the running round before its own is fixed, so colluders know
what they train themselves (`knowledge=colluders`). The papers' stronger adversary knows the updates of all
honest devices (`knowledge=all`): it has their learners, which train the same whoever asks, up to the residual
of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bcfl.adversaries.learners import Floats, Matrix, RoundCache, delta_of
from bcfl.errors import ConfigError
from bcfl.learning.datasets import Samples
from bcfl.learning.tasks import Task
from bcfl.ports import Learner, TrainingResult, Vector


@dataclass(frozen=True)
class CoalitionParts:
    """What a coalition is made of; all by index of the device."""

    colluders: dict[int, Learner]
    honest: dict[int, Learner]  # of whom they know what they train
    data: dict[int, Samples]  # of the colluders; empty where the learners hold it
    task: Task | None  # None where it is no task of torch modules
    seed: int


@dataclass(frozen=True)
class JointAttack:
    """What colluders agreed on for a round."""

    target: Floats  # (parameters,): what the mean of their updates should be
    mean_update: Floats  # (parameters,): of what they have trained honestly


class Coalition:
    """The devices that carry one attack out together; each round they agree once.

    `colluders` are their own learners, `honest` those of the others as far as they know them.
    """

    def __init__(self, colluders: Sequence[Learner], honest: Sequence[Learner]) -> None:
        self.colluders, self.honest = colluders, honest
        self._cache: RoundCache[JointAttack] = RoundCache()

    def agree(self, model: Vector, round_: int, craft: Callable[[Matrix], Floats]) -> JointAttack:
        """Return this round's agreement; `craft` makes the target of the honest updates that are known."""
        return self._cache.get(model, round_, lambda: self._agree(model, round_, craft))

    def _agree(self, model: Vector, round_: int, craft: Callable[[Matrix], Floats]) -> JointAttack:
        trainings = trainings_of(self.colluders, model, round_)
        honest = trainings_of(self.honest, model, round_)
        target = craft(deltas_of(honest or trainings, model))
        return JointAttack(target, deltas_of(trainings, model).mean(axis=0))


def trainings_of(learners: Sequence[Learner], model: Vector, round_: int) -> list[TrainingResult]:
    """Return the trainings of a round; learners whose training diverges are left out."""
    trainings = []
    for learner in learners:
        try:
            trainings.append(learner.train(model, round_))
        except ConfigError:
            continue
    return trainings


def deltas_of(trainings: Sequence[TrainingResult], model: Vector) -> Matrix:
    """Return what each training added to the model, (updates, parameters); one row of zeros for none."""
    rows = [delta_of(trained, model) for trained in trainings]
    return np.stack(rows) if rows else np.zeros((1, len(model)))
