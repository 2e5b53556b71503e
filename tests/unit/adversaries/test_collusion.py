"""What colluders share, and what becomes of an attack that comes to nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bcfl.adversaries.collusion import Coalition, Remembering
from bcfl.adversaries.vectors import Changed, scale
from bcfl.errors import ConfigError
from bcfl.ports import Trained, Vector
from tests.local_federation import Quadratic

MODEL = np.zeros(3, np.float32)


def quadratic(*optimum: float) -> Quadratic:
    return Quadratic(np.array(optimum, np.float32))


@dataclass
class Diverging(Quadratic):
    def train(self, model: Vector, round_: int) -> Trained:
        raise ConfigError(f"round {round_} diverged from a model of {len(model)} numbers")


def test_a_learner_trains_once_a_round() -> None:
    honest = quadratic(1, 2, 3)
    shared = Remembering(honest)
    first = shared.train(MODEL, 1)
    assert shared.train(MODEL.copy(), 1) is first
    assert honest.trained == 1
    shared.train(MODEL, 2)
    shared.train(MODEL + 1, 2)
    assert honest.trained == 3
    assert shared.samples == honest.samples
    assert shared.evaluate(MODEL) == honest.evaluate(MODEL)
    assert np.array_equal(shared.gradients(MODEL, 2), honest.gradients(MODEL, 2))


@pytest.mark.parametrize("knows_all", [False, True])
def test_a_circle_agrees_once_a_round(knows_all: bool) -> None:
    own, others = [quadratic(2, 0, 0), quadratic(4, 0, 0)], [quadratic(0, 2, 0), Diverging(MODEL)]
    coalition = Coalition(own, others if knows_all else [])
    asked: list[int] = []

    def craft(
        known: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        asked.append(len(known))
        return -known.mean(axis=0)

    plot = coalition.plot(MODEL, 1, craft)
    assert coalition.plot(MODEL, 1, craft) is plot
    assert asked == [1 if knows_all else 2]
    assert plot.target == pytest.approx([0, -1, 0] if knows_all else [-1.5, 0, 0], abs=0.01)
    assert plot.centre == pytest.approx([1.5, 0, 0], abs=0.01)
    coalition.plot(MODEL, 2, craft)
    assert len(asked) == 2


def test_an_attack_without_finite_numbers_sits_out() -> None:
    with pytest.raises(ConfigError, match="not finite"):
        Changed(quadratic(1, 2, 3), lambda honest, _: scale(honest, 1e300)).train(MODEL, 1)
