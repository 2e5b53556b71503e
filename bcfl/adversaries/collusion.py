"""What colluders know (step 2): the honest trainings of a round, their own or everybody's.

Under commit and reveal nobody sees an update of the running round before its own is fixed, so colluders know
what they train themselves (`knowledge=colluders`). The papers' stronger adversary knows the updates of all
honest devices (`knowledge=all`): it is given their learners, which train the same whoever asks, up to the
carry of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl import ports
from bcfl.errors import ConfigError
from bcfl.ports import Evaluation, Learner, Trained, Vector

Floats = npt.NDArray[np.float64]  # (parameters,)
Matrix = npt.NDArray[np.float64]  # (updates, parameters)


class Remembering:
    """A learner that trains once a round, however many ask for it."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._kept: tuple[int, Vector, Trained] | None = None

    @property
    def samples(self) -> int:
        """Number of training samples held."""
        return self._learner.samples

    def train(self, model: Vector, round_: int) -> Trained:
        """The training of this round from this model, perhaps an earlier one's outcome."""
        kept = self._kept
        if kept is not None and kept[0] == round_ and np.array_equal(kept[1], model):
            return kept[2]
        trained = self._learner.train(model, round_)
        self._kept = round_, model, trained
        return trained

    def evaluate(self, model: Vector) -> Evaluation:
        """As the learner does."""
        return self._learner.evaluate(model)

    def gradients(self, model: Vector, parts: int) -> ports.Matrix:
        """As the learner does."""
        return self._learner.gradients(model, parts)


@dataclass(frozen=True)
class Plot:
    """What colluders agreed on for a round."""

    honest: list[Trained]  # of the honest devices; empty where they know only themselves
    target: Floats  # (parameters,) what the update of each should be
    centre: Floats  # (parameters,) the mean of what the colluders have trained honestly


class Coalition:
    """Those who play one attack together; each round they agree once.

    `colluders` are their own learners, `honest` those of the others as far as they know them.
    """

    def __init__(self, colluders: Sequence[Learner], honest: Sequence[Learner]) -> None:
        self.colluders, self.honest = colluders, honest
        self._kept: tuple[int, Vector, Plot] | None = None

    def plot(self, model: Vector, round_: int, craft: Callable[[Matrix], Floats]) -> Plot:
        """This round's agreement; `craft` makes the target of the honest updates that are known."""
        kept = self._kept
        if kept is not None and kept[0] == round_ and np.array_equal(kept[1], model):
            return kept[2]
        own = trainings(self.colluders, model, round_)
        honest = trainings(self.honest, model, round_)
        known = deltas(honest or own, model)
        made = Plot(honest, craft(known), deltas(own, model).mean(axis=0))
        self._kept = round_, model, made
        return made


def trainings(learners: Sequence[Learner], model: Vector, round_: int) -> list[Trained]:
    """What some learners train in a round; whose training diverges sits out."""
    found = []
    for learner in learners:
        try:
            found.append(learner.train(model, round_))
        except ConfigError:
            continue
    return found


def deltas(trained: Sequence[Trained], model: Vector) -> Matrix:
    """The updates that some trainings come to: (updates, parameters)."""
    rows = [each.vector.astype(np.float64) - model for each in trained]
    return np.stack(rows) if rows else np.zeros((1, len(model)))
