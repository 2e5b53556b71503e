"""election.vy: turns and races, the next in line, and the target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol import turns
from bcfl.protocol.election import ease, proof_value, retarget, search
from bcfl.protocol.types import Phase, VoidReason
from testkit.harness import ETHER, TERMS, Federation, reverts
from testkit.mocks import mock
from tests.unit.contracts.votes import vote_some

POW = replace(TERMS, engine=1, pow_target=2**252, pow_seconds=60, elect_seconds=600)


def test_default_behavior() -> None:
    federation = (
        Federation(miners=4, stakes=(ETHER, 2 * ETHER, 3 * ETHER, 4 * ETHER)).open().until(Phase.PROPOSE)
    )
    leader, turn, whole, weight, *_ = federation.contract.call("lead_now")
    assert (leader, turn, whole, weight) == (federation.miner_keys[3].address, 0, 10, 0)
    assert federation.round_events("Elected") == [{"round": 1, "leader": leader, "turn": 0, "nonce": 0}]


def test_every_voter_leads_once_in_the_order_of_the_ranking() -> None:
    federation = Federation(miners=4).open().until(Phase.PROPOSE)
    ranking = federation.ranking()
    federation.push()
    assert [event.args["leader"] for event in federation.contract.events(name="Elected")] == ranking
    assert sorted(ranking) == sorted(key.address for key in federation.miner_keys)


def credits(federation: Federation) -> list[int]:
    return list(federation.contract.call("turn_credits"))[: federation.miners]


def test_credits_are_the_twins() -> None:
    federation = Federation(miners=3, stakes=(ETHER, 2 * ETHER, 4 * ETHER)).open()
    assert credits(federation) == [turns.JOINING] * 3
    twin: turns.Credits = {}
    for _ in range(4):
        leader, twin = turns.take_turn(twin, {0: 1, 1: 2, 2: 4})
        federation.until(Phase.PROPOSE)
        assert federation.leader() is federation.miner_keys[leader]
        assert credits(federation) == [twin[seat] for seat in range(3)]
        federation.finish()
    assert {seat: federation.history().credits[seat] for seat in range(3)} == twin


def test_the_race_ends_with_the_first_proof() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    assert federation.contract.call("lead_now")[0] == "0x" + "00" * 20
    federation.solve(1)
    leader = federation.miner_keys[1].address
    assert federation.contract.call("lead_now")[0] == leader
    (event,) = federation.round_events("Elected")
    assert event["leader"] == leader
    with reverts("rounds: not this phase"):
        federation.solve(0)
    federation.finish()


def test_above_the_target() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    key, seed = federation.miner_keys[0], federation.contract.call("puzzle")
    nonce = next(n for n in range(1000) if proof_value(seed, 0, key.address, n) >= POW.pow_target)
    with reverts("election: above the target"):
        federation.send(key, "solve", nonce)


def test_a_proof_is_bound_to_its_miner() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    seed = federation.contract.call("puzzle")
    first, second = (key.address for key in federation.miner_keys[:2])
    nonce = next(
        n
        for n in range(10_000)
        if proof_value(seed, 0, first, n) < POW.pow_target <= proof_value(seed, 0, second, n)
    )
    with reverts("election: above the target"):
        federation.send(federation.miner_keys[1], "solve", nonce)


def test_only_voters_race() -> None:
    federation = Federation(terms=POW).open().until(Phase.VOTE)
    vote_some(federation, 2)
    federation.tally()
    with reverts("election: not a voter of this round"):
        federation.solve(2)
    with reverts("election: not a voter of this round"):
        federation.send(federation.outsider, "solve", 0)


def test_who_lost_its_turn_does_not_race_again() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    federation.solve(0)
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    assert federation.clock.phase is Phase.ELECT
    assert federation.contract.call("lead_now")[1] == 1
    with reverts("election: lost its turn"):
        federation.solve(0)
    federation.solve(2)
    federation.finish()
    assert federation.block(1).leader == federation.miner_keys[2].address
    assert federation.history().credits == dict.fromkeys(range(3), turns.JOINING)  # a race moves none


def test_a_race_that_all_lose_ends() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    for miner in range(3):
        federation.solve(miner)
        federation.expire()
        receipt = federation.send(federation.outsider, "skip", *federation.skip_args())
    assert receipt.events[-2].args["reason"] == VoidReason.NO_LEADER


@pytest.mark.parametrize("wait", [0, 40, 300])
def test_the_target_follows_the_seconds(wait: int) -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    began = federation.clock.deadline - POW.elect_seconds
    federation.wait(wait)
    receipt = federation.solve()
    expected = retarget(POW.pow_target, receipt.timestamp - began, POW.pow_seconds)
    assert federation.contract.call("target") == expected


def test_a_race_without_a_winner_eases_the_next() -> None:
    terms = replace(POW, pow_target=2**100)
    federation = Federation(terms=terms).open()
    federation.until(Phase.ELECT).push()
    assert federation.contract.call("target") == 2**100
    federation.until(Phase.ELECT)
    assert federation.contract.call("target") == ease(2**100, POW.pow_seconds) == 2**128


def test_a_hard_target_becomes_feasible() -> None:
    federation = Federation(terms=replace(POW, pow_target=2**240)).open()
    for expected in (2**240, 2**242, 2**244):
        federation.until(Phase.ELECT)
        assert abs(federation.contract.call("target") - expected) < expected >> 200
        federation.push()


@pytest.mark.parametrize("target", [1, 2**128, 2**255, 2**256 - 1])
@pytest.mark.parametrize("seconds", [0, 60, 2**36])
def test_retarget(target: int, seconds: int) -> None:
    election, _ = mock("ElectionMock", POW)
    assert election.call("retarget", target, seconds) == retarget(target, seconds, POW.pow_seconds)


def test_search_finds_what_the_contract_takes() -> None:
    federation = Federation(terms=POW).open().until(Phase.ELECT)
    seed, key = federation.contract.call("puzzle"), federation.miner_keys[0]
    assert search(seed, 0, key.address, 0, 0, 10) is None
    nonce = search(seed, 0, key.address, POW.pow_target, 0, 10_000)
    assert nonce is not None
    federation.send(key, "solve", nonce)
