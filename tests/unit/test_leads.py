"""What an attacker can lead above its share, in the small: docs/turns.md does not drift unnoticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.turns import UNIT
from testkit.lead_search import MANY, TRICKS, Scenario, outcome, search
from testkit.leads import Federation, best_gain, followed_gain

EQUAL = (
    (Federation((1,), (1, 1, 1)), 6),
    (Federation((1,), (1, 1, 1), lower_seats=False), 6),
    (Federation((1, 1), (2, 2)), 3),
    (Federation((1, 1), (1, 1, 1)), 3),
)
HALF_AWAY = Federation((1, 1), (1, 1), idle=1)  # the honest alone can make nothing final
OTHERS = TRICKS["withholds, other content, new seats"]


@pytest.mark.parametrize(("federation", "rounds"), EQUAL)
def test_nothing_that_a_small_attacker_does_is_better_than_the_protocol(
    federation: Federation, rounds: int
) -> None:
    assert best_gain(federation, rounds) == pytest.approx(followed_gain(federation, rounds))


def test_who_tops_up_or_is_heavier_gains_less_than_a_lead_a_seat() -> None:
    for federation, rounds in ((Federation((1,), (1, 1, 1), reserve=1), 6), (Federation((2,), (1, 1, 1)), 8)):
        assert followed_gain(federation, rounds) + 0.5 < best_gain(federation, rounds) < federation.bound / 2


def test_a_new_seat_that_cost_nothing_would_be_a_gain_without_end() -> None:
    federation = Federation((1,), (1, 1, 1), joining=UNIT)
    assert best_gain(federation, 6) == pytest.approx(6 * (1 - federation.share))


def test_content_that_keeps_its_author_bounds_whoever_can_block() -> None:
    kept = replace(HALF_AWAY, keeps_author=True)
    assert max(best_gain(kept, rounds) for rounds in range(1, 4)) == 1


def test_content_that_changed_its_author_would_let_an_attacker_that_can_block_lead_every_round() -> None:
    assert [best_gain(HALF_AWAY, rounds) for rounds in (1, 2, 3)] == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(("share", "identities"), [(0.1, 1), (0.1, MANY), (0.33, 4)])
def test_a_large_attacker_gains_less_than_a_lead_a_seat(share: float, identities: int) -> None:
    scenario = Scenario(share, identities, rounds=300)
    found = outcome(scenario, search(scenario, 2, 100))
    assert 2 < found.most < identities + 18
    assert found.blocks == found.rounds == 300


def test_other_content_in_between_gains_nothing_where_content_keeps_its_author() -> None:
    kept, changed = (
        outcome(Scenario(0.33, 4, 0.2, keeps_author, rounds=500), OTHERS).gain
        for keeps_author in (True, False)
    )
    assert kept < 2 < 8 < changed


def test_scores_that_change_give_no_more() -> None:
    scenario = Scenario(0.2, 4, scores=True, rounds=300)
    assert abs(outcome(scenario, TRICKS["follows the protocol"]).most) < 4
