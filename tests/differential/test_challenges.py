"""The campaign's forged and right proposals, a few of each, on the twin and on the contract: one ruling."""

from __future__ import annotations

from random import Random

import pytest

from bcfl.protocol.types import Rule
from testkit.challenges import against_honest, on_the_twin
from testkit.forged_proposals import FORGERIES, WIDTHS, evidence, forged, hostile, random_terms, ruling
from testkit.proposal_fixture import ProposalFixture


@pytest.mark.parametrize("lane_bits", WIDTHS)
@pytest.mark.parametrize("rule", Rule)
def test_one_ruling(rule: Rule, lane_bits: int) -> None:
    """Two forged proposals and some hostile challenges of right ones for every rule and width."""
    rng = Random(100 * rule + lane_bits)
    trial = ProposalFixture(random_terms(rng, rule, lane_bits))
    wrong, tried = 0, 0
    while wrong < 2:
        made = evidence(rng, trial.terms, rng.randint(1, 7), trial.setting)
        found = rng.choice(FORGERIES)(rng, made)
        tried += 1
        if found is None:
            continue
        challenge = found.find()
        assert challenge is not None
        assert ruling(challenge, found.context) is True
        trial.stand(found.context)
        assert trial.ruling(challenge) is True
        wrong += 1
    right = evidence(rng, trial.terms, rng.randint(1, 7), trial.setting)
    trial.stand(right.context)
    for _ in range(6):
        attack = hostile(rng, right)
        assert trial.ruling(attack) == ruling(attack, right.context) is not True


def test_a_profile_of_the_campaign() -> None:
    assert sum(on_the_twin(80).values()) == 80
    assert against_honest(80)["right there, bond lost"] > 20


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_is_right(forgery: object) -> None:
    """What the campaign counts as refuted was wrong in the first place: no honest proposal has its digest."""
    wrong = forged(Random(1), forgery)  # type: ignore[arg-type]
    assert wrong.find() is not None
