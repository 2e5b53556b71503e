"""proposals.vy: propose, attest, finalize, skip."""

from __future__ import annotations

from typing import Any

import pytest

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.turns import UNIT
from bcfl.protocol.types import Phase, VoidReason
from bcfl.protocol.verification import tally_digest
from testkit.harness import CHALLENGED, ETHER, TERMS, Account, Federation, digest, reverts
from tests.unit.contracts.votes import vote_some


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
                federation.send(key, "propose", federation.accepted(), *federation.proposal())


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
    federation = Federation(miners=3, stakes=(2 * ETHER, 3 * ETHER, 4 * ETHER)).open().until(Phase.ATTEST)
    weight = federation.contract.call("miner", federation.leader().address)[1]
    assert federation.contract.call("lead_now")[2:4] == (9, weight)
    with reverts("proposals: already attested"):
        federation.send(federation.leader(), "attest", federation.proposal_digest())


def other(federation: Federation) -> Account:
    leader = federation.leader().address
    return next(key for key in federation.miner_keys if key.address != leader)


def test_attest_something_else() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    wrong = federation.proposal_digest((digest("other"), *federation.proposal()[1:]))
    with reverts("proposals: not what was proposed"):
        federation.send(other(federation), "attest", wrong)


def test_attest_by_a_stranger() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    with reverts("proposals: not a voter of this round"):
        federation.send(federation.outsider, "attest", federation.proposal_digest())


def test_attest_too_late() -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.expire()
    with reverts("proposals: too late"):
        federation.send(other(federation), "attest", federation.proposal_digest())


def test_finalize_needs_more_than_half_of_all_active_weight() -> None:
    federation = Federation(miners=4).open().until(Phase.ATTEST)
    federation.send(other(federation), "attest", federation.proposal_digest())
    with reverts("proposals: not enough attestations"):
        federation.finalize()  # two of four are exactly half
    federation.attest_enough()
    federation.finalize()


def test_weight_that_is_absent_counts_against_a_proposal() -> None:
    federation = Federation(miners=5).open().until(Phase.VOTE)
    vote_some(federation, 3)
    federation.tally()
    federation.propose()
    voters = [key for key in federation.miner_keys[:3] if key is not federation.leader()]
    federation.send(voters[0], "attest", federation.proposal_digest())
    assert federation.contract.call("lead_now")[2:4] == (5, 2)
    with reverts("proposals: not enough attestations"):
        federation.finalize()
    with reverts("proposals: not a voter of this round"):
        federation.send(federation.miner_keys[4], "attest", federation.proposal_digest())
    federation.send(voters[1], "attest", federation.proposal_digest())
    federation.finalize()


def test_a_proposal_on_another_accepted_set_is_refused() -> None:
    federation = Federation().open().until(Phase.PROPOSE)
    with reverts("proposals: another accepted set"):
        federation.send(federation.leader(), "propose", digest("fork"), *federation.proposal())


@pytest.mark.parametrize("part", [0, 1, 2])
def test_finalize_something_else(part: int) -> None:
    federation = Federation().open().until(Phase.ATTEST)
    federation.attest_enough()
    proposal = list(federation.proposal())
    proposal[part] = digest("other")
    with reverts("proposals: another CID" if part == 1 else "proposals: not what was proposed"):
        federation.send(federation.outsider, "finalize", *proposal)


def test_finalize_inside_the_window() -> None:
    federation = Federation(terms=CHALLENGED).open().until(Phase.ATTEST)
    federation.attest_enough()
    with reverts("proposals: window still open"):
        federation.finalize()
    opens = federation.clock.deadline - CHALLENGED.attest_seconds + CHALLENGED.challenge_seconds
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
    late, following = federation.ranking()[:2]
    money_before = federation.money()
    credits = federation.contract.call("turn_credits")
    seat = federation.contract.call("miner", late)[0]
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    leader, turn, whole, weight, mask, failures, *_, standing = federation.contract.call("lead_now")
    assert (leader, turn, whole, weight, mask) == (following, 1, 3, 1, 1 << seat)
    assert (failures, standing) == (1 << seat, True)
    assert federation.money() == money_before
    assert federation.contract.call("turn_credits") == credits  # nothing is shared out while it stands
    federation.finish()
    assert federation.block(1).leader == late


def test_the_last_in_line_fails_too() -> None:
    federation = Federation().open().until(Phase.PROPOSE).push()
    (event,) = federation.contract.events(name="Voided")
    assert event.args["reason"] == VoidReason.NO_LEADER
    assert federation.contract.call("model") == (digest("root", 0), digest("cid", 0))


def test_attestations_stay_where_the_next_leader_proposes_the_same() -> None:
    federation = Federation(miners=5).open().until(Phase.ATTEST)
    author = federation.leader()
    federation.send(other(federation), "attest", federation.proposal_digest())
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    assert federation.contract.call("lead_now")[3] == 2
    federation.propose()
    assert federation.round_events("Proposed")[-1]["author"] == author.address
    federation.attest_enough()
    federation.finalize()
    assert federation.block(1).leader == author.address


def test_another_model_is_paid_for_and_attested_anew() -> None:
    federation = Federation(miners=5).open().until(Phase.ATTEST)
    federation.send(other(federation), "attest", federation.proposal_digest())
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    leader = federation.leader()
    seat = federation.contract.call("miner", leader.address)[0]
    credit = federation.contract.call("turn_credits")[seat]
    model = digest("another"), digest("another cid"), digest("another rows")
    receipt = federation.send(leader, "propose", federation.accepted(), *model)
    assert receipt.events[0].args["author"] == leader.address
    assert federation.contract.call("turn_credits")[seat] == credit - UNIT
    assert federation.contract.call("lead_now")[3:5] == (1, 1 << seat)
    with reverts("proposals: not what was proposed"):
        federation.send(other(federation), "attest", federation.proposal_digest())
    with reverts("proposals: not enough attestations"):
        federation.send(federation.outsider, "finalize", *model)


def test_a_leader_that_attested_what_stands_is_not_counted_twice() -> None:
    federation = Federation(miners=5).open().until(Phase.ATTEST)
    following = federation.ranking()[1]
    key = next(key for key in federation.miner_keys if key.address == following)
    federation.send(key, "attest", federation.proposal_digest())
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    assert federation.leader() == key
    federation.propose()
    assert federation.contract.call("lead_now")[3] == 2


def test_distinct_attesters_are_counted() -> None:
    federation = Federation(miners=4).open().until(Phase.ATTEST)
    key = other(federation)
    federation.send(key, "attest", federation.proposal_digest())
    for _ in range(2):
        with reverts("proposals: already attested"):
            federation.send(key, "attest", federation.proposal_digest())
    assert federation.contract.call("lead_now")[3] == 2
