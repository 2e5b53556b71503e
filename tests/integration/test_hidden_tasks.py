"""A group among many that teaches the model something nobody searches for; real pictures, no chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.config import Config
from bcfl.learning.datasets import FASHION_DIRECTORY
from bcfl.roles.checks import hidden_task
from testkit.chainless import Chainless, RoundOutcome
from testkit.trigger_attacks import PLANS, Triggers, set_up

DEVICES, ROUNDS, SAMPLES = 48, 2, 9_600

pytestmark = pytest.mark.skipif(
    not Path(FASHION_DIRECTORY).is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


def play(attack: str) -> tuple[set[int], list[RoundOutcome], float]:
    """Play with 14 devices that teach a trigger; return who they are, the rounds, and how often it works."""
    config = Config(
        devices=DEVICES, miners=2, rounds=ROUNDS, task="fashion-mnist", min_updates=1, check_time=False,
        seed=0, partition="dirichlet", alpha=0.5, adversary=("noise:0.3:std=0",),
        epochs=2, batch_size=32, learning_rate=0.1,
    )  # fmt: skip
    data = set_up(config, SAMPLES)
    federation = Chainless.create(config, data)
    attackers = frozenset(federation.assignment.device_specs)
    triggers = Triggers(federation, attackers, PLANS[attack], *data)
    triggers.join()
    outcomes = [federation.play_round() for _ in range(ROUNDS)]
    return set(attackers), outcomes, max(triggers.success())


def test_a_group_is_found_whatever_it_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Light and dark exchanged sets no input to a value of its own: no search for marks has to do with it."""
    attackers, outcomes, success = play("negative")
    assert all(set(outcome.rejected) <= attackers for outcome in outcomes), "nobody honest is rejected"
    assert all(len(outcome.rejected) > 0.8 * len(attackers) for outcome in outcomes)
    assert set().union(*(outcome.rejected.values() for outcome in outcomes)) == {"outlier"}
    assert success < 0.1
    monkeypatch.setattr(hidden_task, "MIN_UPDATES", DEVICES + 1)
    _, without, success = play("negative")
    assert success > 0.5
    assert all(outcome.accepted >= attackers for outcome in without), "the other rules do not find them"
