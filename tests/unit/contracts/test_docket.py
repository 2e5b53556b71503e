"""docket.vy: when a challenge is announced, opened and settled, and what the round waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.challenges import Challenge, LeafChallenge, Trees, WeightsChallenge, rows_digest
from bcfl.protocol.evidence import Evidence
from testkit.harness import CHALLENGED, account, reverts
from testkit.proposal_fixture import CID, ProposalFixture

SMALL = PROPOSAL_TERMS = replace(CHALLENGED, parameters=70, leaf_lanes=16, max_updates=64)  # 5 leaves
OTHER = bytes(range(32))
LATE = account("late", 2)


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    """A right proposal that waits for attestations."""
    evidence = fixture.evidence(7, [True] * 3)
    fixture.put_proposal(evidence.context)
    return evidence


def weights_of(e: Evidence) -> WeightsChallenge:
    return WeightsChallenge(e.candidate, e.tally, tuple(e.words), e.samples)


def leaf_of(e: Evidence) -> LeafChallenge:
    return LeafChallenge(e.candidate, e.tally, Trees.ROWS, 3, e.rows.proof(3), b"\0" + e.rows.leaf(3))


def proposal_of(e: Evidence) -> tuple[bytes, bytes, bytes]:
    return e.candidate.root, CID, rows_digest(e.candidate.weights, e.candidate.rows)


def test_a_round_that_waits_neither_ends_nor_passes_the_lead_on(
    fixture: ProposalFixture, right: Evidence
) -> None:
    """Until the last announcement could be opened; then it goes on without anybody's doing."""
    federation, proposal = fixture.federation, proposal_of(right)
    fixture.put_proposal(right.context, 0b111)
    federation.wait(SMALL.challenge_seconds - 5)
    fixture.announce(weights_of(right))
    federation.wait(3 * fixture.part - 5)
    with reverts("proposals: not undisputed"):
        federation.send(federation.outsider, "finalize", *proposal)
    fixture.storage.put(("verification.votes", None, 0))
    with reverts("proposals: not undisputed"):
        federation.send(federation.outsider, "skip", [], [])
    federation.wait(5)
    federation.send(federation.outsider, "finalize", *proposal)
    assert federation.clock.round == 2


def test_terms_without_challenges_take_none() -> None:
    fixture = ProposalFixture(replace(SMALL, challenge_seconds=0, challenge_bond=0))
    evidence = fixture.evidence(7, [True] * 3)
    fixture.put_proposal(evidence.context)
    federation, fields = fixture.federation, (*proposal_of(evidence)[::2], 0)
    for call in (("announce_challenge", bytes(32)), ("dispute", *fields)):
        for value in (0, 1):
            with reverts("docket: no challenges in these terms"):
                federation.send(federation.outsider, *call, value=value)


def test_when_an_announcement_can_be_made_opened_and_settled(
    fixture: ProposalFixture, right: Evidence
) -> None:
    federation, challenge, outsider = fixture.federation, weights_of(right), fixture.federation.outsider
    for bond in (0, SMALL.challenge_bond - 1, SMALL.challenge_bond + 1):
        with reverts("docket: not the bond"):
            federation.send(outsider, "announce_challenge", OTHER, value=bond)
    start = federation.chain.now()
    sealed = fixture.announce(challenge)
    with reverts("docket: announced already"):
        fixture.announce(challenge)
    with reverts("docket: not announced"):
        federation.send(outsider, "settle", LATE.address, sealed)
    federation.wait(fixture.part - 10)
    with reverts("docket: too early to open"):
        fixture.open(challenge)
    with reverts("docket: not yet due"):
        federation.send(LATE, "settle", outsider.address, sealed)
    federation.wait(2 * fixture.part + 10)
    with reverts("docket: too late to open"):
        fixture.open(challenge)
    before = federation.money()
    (event,) = federation.send(LATE, "settle", outsider.address, sealed).events
    assert (event.name, event.args["returned"]) == ("AnnouncementEnded", False)
    assert federation.money()[2:] == (before[2] - SMALL.challenge_bond, before[3] + SMALL.challenge_bond)
    with reverts("docket: not announced"):
        federation.send(LATE, "settle", outsider.address, sealed)
    federation.chain.warp(start + SMALL.challenge_seconds)
    with reverts("docket: window over"):
        fixture.announce(challenge)


def test_an_announcement_is_of_one_turn_and_one_proposal(fixture: ProposalFixture, right: Evidence) -> None:
    challenge = weights_of(right)
    fixture.announce(challenge)
    federation = fixture.federation
    federation.wait(fixture.part)
    fixture.stand(right.context, turn=1)
    with reverts("docket: not announced"):
        fixture.open(challenge)


@pytest.mark.parametrize("change", ["form", "leaf", "place"])
def test_an_announcement_is_of_one_place(fixture: ProposalFixture, right: Evidence, change: str) -> None:
    announced: dict[str, Challenge] = {
        "form": leaf_of(right),
        "leaf": right.sum_challenge(2, 5),
        "place": right.sum_challenge(3, 6),
    }
    fixture.announce(announced[change])
    fixture.federation.wait(fixture.part)
    with reverts("docket: not announced"):
        fixture.open(right.sum_challenge(3, 5))


def test_an_outage_does_not_end_the_window_nor_an_announcement() -> None:
    """Where phases last some blocks too, a chain that stands still makes nobody late."""
    fixture = ProposalFixture(replace(SMALL, min_blocks=4))
    right = fixture.evidence(7, [True] * 3)
    fixture.put_proposal(right.context, 0b111)
    federation, proposal = fixture.federation, proposal_of(right)
    federation.wait(10 * SMALL.challenge_seconds)
    with reverts("proposals: window still open"):
        federation.send(federation.outsider, "finalize", *proposal)
    sealed = fixture.announce(weights_of(right))
    federation.wait(10 * SMALL.challenge_seconds)
    with reverts("docket: not yet due"):
        federation.send(LATE, "settle", federation.outsider.address, sealed)
    names = [event.name for event in fixture.open(weights_of(right)).events]
    assert names == ["ChallengeFailed", "AnnouncementEnded"]
    for _ in range(4):
        federation.send(federation.owner, "fund", value=1)
    with reverts("docket: window over"):
        fixture.announce(leaf_of(right))
    federation.send(federation.outsider, "finalize", *proposal)
