"""The gain of a best-response attacker, in the small: docs/randomness.md does not drift unnoticed."""

from __future__ import annotations

import pytest

from testkit import withholding
from testkit.withholding import DEFAULTS, LEADER, MANY, Scenario, outcomes, salts


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SAMPLES": 8000, "GENERATIONS": 14, "SETTLED": 6}.items():
        monkeypatch.setattr(withholding, name, value)


def gain(scenario: Scenario) -> float:
    """Points of leadership."""
    outcome = outcomes(scenario)
    return 100 * (outcome.best - outcome.honest)


@pytest.mark.parametrize("committee", [None, 5])
def test_a_tenth_of_the_weight_gains_less_than_a_point(committee: int | None) -> None:
    assert -0.5 < gain(Scenario(0.1, MANY, committee)) < 1
    assert abs(gain(Scenario(0.1, 1, committee))) < 0.5


def test_whoever_refuses_turns_for_leads_loses_money() -> None:
    outcome = outcomes(Scenario(0.2, MANY))
    assert 0 < (outcome.best - outcome.honest) * LEADER < outcome.refusals * DEFAULTS.leader_penalty


def test_withheld_attestations_are_worth_the_more_the_fewer_are_needed_to_withhold() -> None:
    two_thirds, half = (gain(Scenario(0.1, MANY, 5, threshold, blocks=True)) for threshold in (2 / 3, 1 / 2))
    assert half < 1.5 < two_thirds


def test_the_former_beacon_was_worth_most_of_all_leads() -> None:
    assert salts(0.1, MANY, 1, 0, rounds=200) > 0.9
