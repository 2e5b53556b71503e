"""What colluders share, and an attack without finite numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bcfl.adversaries.coalition import Coalition
from bcfl.adversaries.learners import CachedLearner, MaliciousLearner, delta_of, with_delta
from bcfl.adversaries.vectors import scale
from bcfl.errors import ConfigError
from bcfl.ports import TrainingResult, Vector
from tests.local_federation import Quadratic

MODEL = np.zeros(3, np.float32)


def quadratic(*optimum: float) -> Quadratic:
    return Quadratic(np.array(optimum, np.float32))


@dataclass
class Diverging(Quadratic):
    def train(self, model: Vector, round_: int) -> TrainingResult:
        raise ConfigError(f"round {round_} diverged from a model of {len(model)} numbers")


def test_a_learner_trains_once_a_round() -> None:
    honest = quadratic(1, 2, 3)
    cached_learner = CachedLearner(honest)
    first = cached_learner.train(MODEL, 1)
    assert cached_learner.train(MODEL.copy(), 1) is first
    assert honest.trainings == 1
    cached_learner.train(MODEL, 2)
    cached_learner.train(MODEL + 1, 2)
    assert honest.trainings == 3
    assert cached_learner.samples == honest.samples
    assert cached_learner.evaluate(MODEL) == honest.evaluate(MODEL)
    assert np.array_equal(
        cached_learner.slopes(MODEL, 2, 1000).gradients, honest.slopes(MODEL, 2, 1000).gradients
    )


@pytest.mark.parametrize("knows_all", [False, True])
def test_a_coalition_agrees_once_a_round(knows_all: bool) -> None:
    colluders, honest = (
        [quadratic(2, 0, 0), quadratic(4, 0, 0)],
        [quadratic(0, 2, 0), Diverging(MODEL)],
    )
    coalition = Coalition(colluders, honest if knows_all else [])
    counts: list[int] = []

    def craft(
        updates: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        counts.append(len(updates))
        target: np.ndarray[tuple[int], np.dtype[np.float64]] = -updates.mean(axis=0)
        return target

    joint = coalition.agree(MODEL, 1, craft)
    assert coalition.agree(MODEL, 1, craft) is joint
    assert counts == [1 if knows_all else 2]
    assert joint.target == pytest.approx([0, -1, 0] if knows_all else [-1.5, 0, 0], abs=0.01)
    assert joint.mean_update == pytest.approx([1.5, 0, 0], abs=0.01)
    coalition.agree(MODEL, 2, craft)
    assert len(counts) == 2


def test_an_attack_without_finite_numbers_sits_out() -> None:
    honest = quadratic(1, 2, 3)

    def forge(model: Vector, round_: int) -> TrainingResult:
        result = honest.train(model, round_)
        return with_delta(result, model, scale(delta_of(result, model), 1e300))

    with pytest.raises(ConfigError, match="not finite"):
        MaliciousLearner(honest, forge).train(MODEL, 1)
