"""Twin and contract rule alike on a few forged and right proposals of the campaign."""

from __future__ import annotations

from random import Random

import pytest

from bcfl.protocol.types import Rule
from testkit.challenges import against_honest, on_the_twin
from testkit.forged_proposals import (
    FORGERIES,
    WIDTHS,
    evidence,
    forge,
    hostile_challenge,
    random_terms,
    ruling,
)
from testkit.proposal_fixture import ProposalFixture


@pytest.mark.parametrize("lane_bits", WIDTHS)
@pytest.mark.parametrize("rule", Rule)
def test_one_ruling(rule: Rule, lane_bits: int) -> None:
    """Two forged proposals and some hostile challenges of right ones for every rule and width."""
    rng = Random(100 * rule + lane_bits)
    fixture = ProposalFixture(random_terms(rng, rule, lane_bits))
    count = 0
    while count < 2:
        honest = evidence(rng, fixture.terms, rng.randint(1, 7), fixture.setting)
        forgery = rng.choice(FORGERIES)(rng, honest)
        if forgery is None:
            continue
        challenge = forgery.find()
        assert challenge is not None
        assert ruling(challenge, forgery.context) is True
        fixture.put_proposal(forgery.context)
        assert fixture.ruling(challenge) is True
        count += 1
    right = evidence(rng, fixture.terms, rng.randint(1, 7), fixture.setting)
    for _ in range(6):
        fixture.put_proposal(right.context)
        attack = hostile_challenge(rng, right)
        assert fixture.ruling(attack) == ruling(attack, right.context) is not True


def test_a_profile_of_the_campaign() -> None:
    assert sum(on_the_twin(80).values()) == 80
    assert against_honest(80)["right there, bond lost"] > 20


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_is_right(forgery: object) -> None:
    """What the campaign counts as refuted was wrong in the first place: no honest proposal has its digest."""
    proposal = forge(Random(1), forgery)  # type: ignore[arg-type]
    assert proposal.find() is not None
