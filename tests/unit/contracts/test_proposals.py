"""proposals.vy: propose, attest, finalize, skip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Phase, VoidReason
from bcfl.protocol.verification import tally_digest
from testkit.harness import ETHER, TERMS, Federation, digest, reverts


def test_default_behavior() -> None:
    federation = Federation().open().finish()
    block = federation.block(1)
    assert federation.contract.call("ledger", 1) == block_hash(block)
    assert block.parent == federation.contract.call("ledger", 0)
    assert block.accepted == tally_digest(federation.tallies[1])
    assert (
        federation.contract.call("model")
        == (block.root, block.cid)
        == (digest("model", 1), digest("model cid", 1))
    )
    assert federation.clock.round == 2


def test_propose_by_another() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    leader = federation.leader()
    for key in [*federation.miner_keys, federation.outsider]:
        if key is not leader:
            with reverts("proposals: not the leader"):
                federation.send(key, "propose", *federation.proposal())


def test_propose_too_late() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    federation.expire()
    with reverts("proposals: too late"):
        federation.propose()


def test_propose_at_the_last_second() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    federation.chain.warp(federation.clock.deadline - 1)
    federation.propose()


def test_the_leaders_own_weight_attests() -> None:
    federation = Federation(miners=3, stakes=(ETHER, 2 * ETHER, 3 * ETHER)).open().until(Phase.ATTEST)
    weight = federation.contract.call("miner", federation.leader().address)[1]
    assert federation.contract.call("lead_now")[2:4] == (6, weight)
    with reverts("proposals: already attested"):
        federation.send(federation.leader(), "attest", federation.proposal_digest())


def other(federation: Federation) -> object:
    leader = federation.leader().address
    return next(key for key in federation.miner_keys if key.address != leader)


def test_attest_something_else() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    wrong = keccak(word(1) + digest("other") + b"".join(federation.proposal()[1:]))
    with reverts("proposals: not what was proposed"):
        federation.send(other(federation), "attest", wrong)  # type: ignore[arg-type]


def test_attest_by_a_stranger() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    with reverts("proposals: not a voter of this round"):
        federation.send(federation.outsider, "attest", federation.proposal_digest())


def test_attest_too_late() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.expire()
    with reverts("proposals: too late"):
        federation.send(other(federation), "attest", federation.proposal_digest())  # type: ignore[arg-type]


def test_finalize_needs_more_than_two_thirds() -> None:
    federation = Federation(miners=3).open().until(Phase.ATTEST)
    federation.send(other(federation), "attest", federation.proposal_digest())  # type: ignore[arg-type]
    with reverts("proposals: not enough attestations"):
        federation.finalize()  # two of three are exactly two thirds
    federation.attest_enough()
    federation.finalize()


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_finalize_something_else(part: int) -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.attest_enough()
    proposal = list(federation.proposal())
    proposal[part] = digest("other")
    with reverts("proposals: not what was proposed"):
        federation.send(federation.outsider, "finalize", *proposal)


def test_finalize_inside_the_window() -> None:
    federation = Federation(terms=replace(TERMS, challenge_seconds=300)).open().until(Phase.ATTEST)
    federation.attest_enough()
    with reverts("proposals: window still open"):
        federation.finalize()
    opens = federation.clock.deadline - TERMS.attest_seconds + 300
    federation.chain.warp(opens - 1)
    with reverts("proposals: window still open"):
        federation.finalize()
    assert federation.chain.now() == opens
    federation.finalize()


def test_finalize_has_no_deadline() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.attest_enough()
    federation.wait(10**6)
    with reverts("proposals: attested"):
        federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.finalize()


def test_finalize_twice() -> None:
    federation = Federation().open()
    federation.finish()
    with reverts("rounds: not this phase"):
        federation.send(
            federation.outsider,
            "finalize",
            digest("model", 1),
            digest("model cid", 1),
            digest("rows", 1),
            bytes(32),
        )


@pytest.mark.parametrize("phase", [Phase.PROPOSE, Phase.ATTEST])
def test_skip_before_the_deadline(phase: Phase) -> None:
    federation = Federation().open().until(phase)
    federation.chain.warp(federation.clock.deadline - 1)
    with reverts("proposals: not yet due"):
        federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.send(federation.outsider, "skip", *federation.skip_args())


def test_skip_with_other_votes() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    federation.expire()
    voters, bodies = federation.skip_args()
    wrong: Any
    for wrong in ([[], []], [voters[::-1], bodies[::-1]], [voters[:2], bodies[:2]]):  # type: ignore[index]
        with reverts("proposals: not the votes of this round"):
            federation.send(federation.outsider, "skip", *wrong)
    with reverts("verification: lists differ"):
        federation.send(federation.outsider, "skip", voters, bodies[:2])  # type: ignore[index]


def test_a_late_leader_pays_and_the_next_in_line_leads() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    late, following = federation.ranking()[:2]
    federation.expire()
    money_before = federation.money()
    receipt = federation.send(federation.outsider, "skip", *federation.skip_args())
    assert [event.name for event in receipt.events] == ["Penalized", "Skipped", "Elected"]
    assert receipt.events[1].args == {"round": 1, "leader": late, "turn": 0}
    assert receipt.events[2].args["leader"] == following
    assert federation.money()[1] == money_before[1] - TERMS.leader_penalty
    assert federation.money()[3] == money_before[3] + TERMS.leader_penalty
    federation.finish()
    assert federation.block(1).leader == following


def test_a_leader_without_support_pays_nothing_and_loses_its_turn() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    following = federation.ranking()[1]
    money_before = federation.money()
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    leader, turn, voting, weight, mask, failures, *_ = federation.contract.call("lead_now")
    assert (leader, turn, voting, weight, mask) == (following, 1, 3, 0, 0)
    assert failures.bit_count() == 1
    assert federation.money() == money_before
    federation.finish()


def test_the_last_in_line_fails_too() -> None:
    federation = Federation().open().until(Phase.PROPOSE).push()
    (event,) = federation.contract.events(name="Voided")
    assert event.args["reason"] == VoidReason.NO_LEADER
    assert federation.contract.call("model") == (digest("root", 0), digest("cid", 0))


def test_attestations_of_a_failed_proposal_do_not_count_for_the_next() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.send(other(federation), "attest", federation.proposal_digest())  # type: ignore[arg-type]
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.propose()
    assert federation.contract.call("lead_now")[3] == 1
    with reverts("proposals: not enough attestations"):
        federation.finalize()


def test_distinct_attesters_are_counted() -> None:
    federation = Federation(miners=4).open().until(Phase.ATTEST)
    key = other(federation)
    federation.send(key, "attest", federation.proposal_digest())  # type: ignore[arg-type]
    for _ in range(2):
        with reverts("proposals: already attested"):
            federation.send(key, "attest", federation.proposal_digest())  # type: ignore[arg-type]
    assert federation.contract.call("lead_now")[3] == 2
