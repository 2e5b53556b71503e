"""What a best-response attacker gains, in the small: docs/randomness.md does not drift unnoticed."""

from __future__ import annotations

import pytest

from testkit import withholding
from testkit.withholding import DEFAULTS, LEADER, MANY, Game, outcomes, salts


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLES": 8000, "GENERATIONS": 14, "SETTLED": 6}.items():
        monkeypatch.setattr(withholding, name, value)


def gain(game: Game) -> float:
    """Points of leadership."""
    found = outcomes(game)
    return 100 * (found.best - found.honest)


@pytest.mark.parametrize("committee", [None, 5])
def test_a_tenth_of_the_weight_gains_less_than_a_point(committee: int | None) -> None:
    assert -0.5 < gain(Game(0.1, MANY, committee)) < 1
    assert abs(gain(Game(0.1, 1, committee))) < 0.5


def test_whoever_refuses_turns_for_leads_loses_money() -> None:
    found = outcomes(Game(0.2, MANY))
    assert 0 < (found.best - found.honest) * LEADER < found.refused * DEFAULTS.leader_penalty


def test_withheld_attestations_are_worth_the_more_the_fewer_are_needed_to_withhold() -> None:
    two_thirds, half = (gain(Game(0.1, MANY, 5, needed, blocks=True)) for needed in (2 / 3, 1 / 2))
    assert half < 1.5 < two_thirds


def test_the_beacon_before_was_worth_most_of_all_leads() -> None:
    assert salts(0.1, MANY, 1, 0, rounds=200) > 0.9
