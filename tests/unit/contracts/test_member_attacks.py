"""What miners and outsiders try against the docket, their seats and the others, and what stops each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from bcfl.protocol.challenges import Challenge, Trees
from bcfl.protocol.docket import MIN_SALT
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.types import Phase, Verdict
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import case_of, with_model
from testkit.harness import CHALLENGED, ETHER, TERMS, Federation, account, digest, reverts
from testkit.proposal_fixture import ProposalFixture

DEEP = PROPOSAL_TERMS = replace(CHALLENGED, parameters=16 * 700, leaf_lanes=16, max_updates=64)
BOND = DEEP.challenge_bond
WINDOW = DEEP.challenge_seconds
ACCOMPLICE = account("late", 1)
LATE = account("late", 2)
NOBODY = "0x" + "00" * 20


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    return fixture.evidence(5, [True] * 3)


@pytest.fixture
def wrong(right: Evidence) -> Evidence:
    model = case_of(right).model()
    model[7] += 1
    proposal = with_model(right, model)
    assert proposal is not None
    return proposal


def challenge_of(evidence: Evidence) -> Challenge:
    challenge = evidence.find()
    assert challenge is not None
    return challenge


def check_balance(federation: Federation) -> None:
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool


def test_a_flood_of_announcements_holds_a_round_no_longer_than_one(
    fixture: ProposalFixture, right: Evidence
) -> None:
    """Two dozen bonds, the last in the last second of the window, hold it as long as that one."""
    fixture.put_proposal(right.context, 0b111)
    federation, start = fixture.federation, fixture.federation.chain.now()
    proposal = DisputeDriver(fixture, right, Trees.MODEL, stands=True).proposal
    pool = federation.contract.call("pool")
    sealed = [digest("flood", number) for number in range(24)]
    federation.chain.warp(start + WINDOW - len(sealed) - 1)
    for item in sealed:
        federation.send(ACCOMPLICE, "announce_challenge", item, value=BOND)
    with reverts("docket: window over"):
        federation.chain.warp(start + WINDOW)
        federation.send(ACCOMPLICE, "announce_challenge", digest("late"), value=BOND)
    federation.chain.warp(start + WINDOW + 3 * fixture.part)
    federation.send(federation.outsider, "finalize", *proposal)
    assert federation.clock.round == 2
    for item in sealed:
        federation.send(federation.outsider, "settle", ACCOMPLICE.address, item)
    assert federation.contract.call("credits", ACCOMPLICE.address) == 0
    paid = list(federation.contract.events(name="Finalized"))[-1].args["reward"]
    assert federation.contract.call("pool") >= pool + len(sealed) * BOND - paid
    check_balance(federation)


def test_who_leaves_before_it_is_refuted_is_slashed_all_the_same(
    fixture: ProposalFixture, wrong: Evidence
) -> None:
    fixture.put_proposal(wrong.context, 0b011)
    federation, stake = fixture.federation, fixture.stake(0)
    for key in federation.miner_keys[:2]:
        federation.send(key, "leave_miner")
        with reverts("registry: stake still locked"):
            federation.send(key, "release_stake")
    fixture.send(challenge_of(wrong))
    assert fixture.stake(0) == 0
    assert fixture.stake(1) == stake - stake * DEEP.attest_slash // 10_000
    with reverts("registry: stake still locked"):
        federation.send(federation.miner_keys[1], "release_stake")
    check_balance(federation)


def test_a_bond_does_not_come_back_by_passing_the_lead_on(fixture: ProposalFixture, right: Evidence) -> None:
    """Nobody attests; the lead cannot pass on while the dispute is open, and its bond is lost before."""
    fixture.put_proposal(right.context, 0b001)
    federation, author = fixture.federation, fixture.federation.miner_keys[0]
    driver = DisputeDriver(fixture, right, Trees.MODEL, ACCOMPLICE, stands=True)
    driver.open()
    driver.answer()
    federation.wait(DEEP.attest_seconds - DEEP.answer_seconds - 10)
    voters, bodies = fixture.votes()
    federation.wait(DEEP.answer_seconds + 10)
    with reverts("proposals: not undisputed"):
        federation.send(ACCOMPLICE, "skip", voters, bodies)
    driver.expire()
    federation.send(ACCOMPLICE, "skip", voters, bodies)
    assert federation.contract.call("credits", ACCOMPLICE.address) == 0
    assert federation.contract.call("credits", author.address) == BOND // 2
    with reverts("disputes: none is open"):
        driver.expire()
    check_balance(federation)


def test_two_announcements_of_one_place_bring_one_reward(fixture: ProposalFixture, wrong: Evidence) -> None:
    fixture.put_proposal(wrong.context, 0b011)
    federation, challenge, stake = fixture.federation, challenge_of(wrong), fixture.stake(0)
    salts = [MIN_SALT | number for number in range(3)]
    sealed = [fixture.announce(challenge, ACCOMPLICE, salt) for salt in salts]
    federation.wait(fixture.part)
    fixture.open(challenge, ACCOMPLICE, salts[0])
    with reverts("rounds: not this phase"):
        fixture.open(challenge, ACCOMPLICE, salts[1])
    with reverts("docket: not announced"):
        federation.send(ACCOMPLICE, "settle", ACCOMPLICE.address, sealed[0])
    for item in sealed[1:]:
        federation.send(ACCOMPLICE, "settle", ACCOMPLICE.address, item)
        with reverts("docket: not announced"):
            federation.send(ACCOMPLICE, "settle", ACCOMPLICE.address, item)
    assert federation.contract.call("credits", ACCOMPLICE.address) == 3 * BOND + stake // 4
    check_balance(federation)


def test_who_takes_a_slashed_seat_inherits_nothing(fixture: ProposalFixture, wrong: Evidence) -> None:
    """A dispute about a proposal that is gone takes nothing from the next holder of its author's seat."""
    fixture.put_proposal(wrong.context, 0b011)
    federation = fixture.federation
    author = federation.miner_keys[0]
    driver = DisputeDriver(fixture, wrong, Trees.MODEL, ACCOMPLICE, stands=True)
    driver.open()
    fixture.send(challenge_of(wrong))  # too little weight is left: the round is void
    federation.send(federation.outsider, "advance")
    assert federation.contract.call("miner_at", 0) == NOBODY
    federation.send(LATE, "register_miner", value=ETHER)
    assert federation.contract.call("miner_at", 0) == LATE.address
    driver.send("expire", [], [])
    assert federation.contract.call("credits", ACCOMPLICE.address) == BOND
    assert federation.contract.call("miner", LATE.address)[2] == ETHER
    assert federation.contract.call("credits", LATE.address) == 0
    with reverts("registry: already a miner"):
        federation.send(author, "register_miner", value=ETHER)
    check_balance(federation)


def play(federation: Federation, silent: Collection[int]) -> None:
    """Play a round to its end in which some neither vote nor attest, nor propose where they lead."""
    federation.until(Phase.VOTE)
    openings = [federation.opening(index) for index in federation.jury() if index not in silent]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    federation.propose()
    federation.attest_enough()
    federation.finalize()


@pytest.mark.parametrize(("miners", "silent"), [(3, {2}), (6, {4, 5}), (5, {3, 4})])
def test_a_silent_minority_stops_nothing_and_pays(miners: int, silent: set[int]) -> None:
    federation = Federation(devices=2, miners=miners).open()
    before = federation.contract.call("miner", federation.miner_keys[-1].address)[2]
    play(federation, silent)
    assert [event.args["round"] for event in federation.contract.events(name="Finalized")] == [1]
    assert list(federation.contract.events(name="Voided")) == []
    for index, key in enumerate(federation.miner_keys):
        stake = federation.contract.call("miner", key.address)[2]
        assert stake == before - (before * TERMS.absence_penalty // 10_000 if index in silent else 0)


def test_a_minority_that_refuses_every_proposal_does_not_stop_the_others() -> None:
    """Two of six vote no on everything and attest nothing: what four of six say is accepted and final."""
    federation = Federation(devices=3, miners=6, terms=TERMS).open().until(Phase.VOTE)
    rows = [[Verdict.ACCEPTED] * 3] * 4 + [[Verdict.QUALITY] * 3] * 2
    federation.vote_all(rows)
    federation.tally()
    assert federation.round_events("Tallied")[0]["levels"] == (0x333,)
    federation.propose()
    leader = federation.leader()
    for key in federation.miner_keys[:4]:
        if key is not leader:
            federation.send(key, "attest", federation.proposal_digest())
    federation.finalize()
    assert federation.clock.round == 2


def test_the_same_ether_does_not_vote_from_two_seats() -> None:
    """Who leaves has its stake back only after its last round, and the new seat votes a round later still."""
    federation = Federation(devices=2, miners=3).open()
    key = federation.miner_keys[2]
    federation.send(key, "leave_miner")
    federation.push()
    with reverts("registry: already a miner"):
        federation.send(key, "register_miner", value=2 * ETHER)
    with reverts("registry: stake still locked"):
        federation.send(key, "release_stake")
    assert federation.contract.call("active_miners") == (0b011, 2)
    for _ in range(TERMS.exit_rounds):
        federation.push()
    federation.send(key, "release_stake")
    federation.send(LATE, "register_miner", value=2 * ETHER)
    assert federation.contract.call("active_miners") == (0b011, 2)
    federation.push()
    assert federation.contract.call("active_miners") == (0b111, 4)
    check_balance(federation)
