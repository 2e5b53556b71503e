"""rounds.vy: the clock, its deadlines, early ends, and the binding of devices to miners."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from bcfl.protocol.types import Phase, Verdict, VoidReason
from testkit.harness import TERMS, Federation, reverts


def test_default_behavior() -> None:
    federation = Federation().open()
    phases = []
    for phase in (0, 1, 2, 3, 4, 6, 7):
        federation.until(Phase(phase))
        phases.append(federation.clock)
    assert [clock.phase for clock in phases] == [Phase(n) for n in (0, 1, 2, 3, 4, 6, 7)]
    assert {clock.round for clock in phases} == {1}
    assert len({clock.opened for clock in phases}) == 1
    assert phases[0].expected == 0b111
    federation.finish()
    assert federation.clock.round == 2
    assert federation.clock.phase is Phase.COMMIT


def test_only_the_owner_starts_and_once() -> None:
    federation = Federation()
    with reverts("rounds: not the owner"):
        federation.send(federation.outsider, "start")
    federation.open()
    with reverts("rounds: already started"):
        federation.send(federation.owner, "start")


def test_nothing_is_due_before_a_deadline() -> None:
    federation = Federation()
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "advance")
    federation.open()
    deadline = federation.clock.deadline
    federation.chain.warp(deadline - 1)
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "advance")
    assert federation.chain.now() == deadline
    federation.send(federation.outsider, "advance")
    assert federation.clock.phase is Phase.REVEAL


def test_a_deadline_counts_from_the_call_that_noticed_it() -> None:
    federation = Federation().open()
    federation.commit(federation.miner_keys[0], federation.share(0))
    federation.wait(5000)
    receipt = federation.send(federation.outsider, "advance")
    assert federation.clock.deadline == receipt.timestamp + TERMS.reveal_seconds
    assert federation.clock.expected == 0b001


def test_nothing_of_a_round_before_the_start() -> None:
    federation = Federation()
    with reverts("rounds: not this phase"):
        federation.send(federation.miner_keys[0], "commit", bytes(32))
    with reverts("rounds: not this phase"):
        federation.send(federation.outsider, "skip", [], [])


STEPS = {
    "commit": [bytes(32)],
    "commit_vote": [bytes(32)],
    "tally": [[], [], [], [], [], 0],
    "solve": [0],
    "propose": [bytes(32)] * 4,
    "attest": [bytes(32)],
    "finalize": [bytes(32)] * 3,
    "skip": [[], []],
}
DUE = {
    "commit": Phase.COMMIT,
    "commit_vote": Phase.VOTE,
    "tally": Phase.TALLY,
    "solve": Phase.ELECT,
    "propose": Phase.PROPOSE,
    "attest": Phase.ATTEST,
    "finalize": Phase.ATTEST,
}


@pytest.mark.parametrize("phase", [Phase(n) for n in range(8)])
def test_what_is_not_due_is_refused(phase: Phase) -> None:
    federation = Federation(terms=replace(TERMS, engine=1)).open().until(phase)
    calls: list[tuple[str, Any]] = [item for item in STEPS.items() if DUE.get(item[0]) is not phase]
    if phase in (Phase.PROPOSE, Phase.ATTEST):
        calls = [(name, args) for name, args in calls if name != "skip"]
    if phase is not Phase.REVEAL:
        one = [federation.update(0)]
        calls.append(("reveal", [federation.miner_keys[0].address, *federation.reveal_args(one)]))
    if phase is not Phase.UNVEIL:
        calls.append(("unveil", [federation.miner_keys[0].address, [0], 0, bytes(32)]))
    for name, args in calls:
        with reverts("rounds: not this phase"):
            federation.send(federation.miner_keys[0], name, *args)
    assert federation.clock.phase is phase


def test_phases_end_early_when_all_have_acted() -> None:
    federation = Federation().open()
    began = federation.chain.now()
    federation.finish()
    assert federation.chain.now() - began < TERMS.commit_seconds


def test_grace_keeps_a_phase_open_for_others() -> None:
    federation = Federation(terms=replace(TERMS, grace=30)).open()
    federation.commit_all()
    clock = federation.clock
    assert clock.phase is Phase.COMMIT
    assert clock.deadline <= federation.chain.now() + 30
    batch = [federation.update(0)]
    federation.commit(federation.device_keys[0], batch)
    federation.expire()
    assert federation.clock.phase is Phase.REVEAL
    federation.reveal_all()
    assert federation.clock.phase is Phase.REVEAL
    federation.expire()
    assert Phase(federation.clock.phase) is Phase.VOTE


def test_grace_does_not_prolong_a_phase() -> None:
    federation = Federation(terms=replace(TERMS, grace=300)).open()
    deadline = federation.clock.deadline
    federation.chain.warp(deadline - 100)
    federation.commit_all()
    assert federation.clock.deadline == deadline


def test_a_void_round_opens_the_next() -> None:
    federation = Federation(terms=replace(TERMS, min_updates=5)).open()
    federation.until(Phase.REVEAL)
    federation.reveal_all()
    clock = federation.clock
    assert (clock.phase, clock.updates) == (Phase.VOID, VoidReason.FEW_UPDATES)
    with reverts("rounds: not this phase"):
        federation.send(federation.miner_keys[0], "commit", bytes(32))
    receipt = federation.send(federation.outsider, "advance")
    assert [event.name for event in receipt.events] == ["Voided", "RoundOpened"]
    assert receipt.events[0].args == {"round": 1, "reason": VoidReason.FEW_UPDATES}
    assert federation.clock.round == 2


def test_the_model_stays_in_a_void_round() -> None:
    federation = Federation().open()
    model = federation.contract.call("model"), federation.contract.call("ledger", 0)
    federation.push()
    assert (federation.contract.call("model"), federation.contract.call("ledger", 0)) == model
    assert federation.contract.call("ledger", 1) == bytes(32)


def test_a_round_after_a_void_one_continues_the_ledger() -> None:
    federation = Federation().open().finish().push().finish()
    events = [event.args for event in federation.contract.events(name="Finalized")]
    assert [event["round"] for event in events] == [1, 3]
    assert federation.contract.call("ledger", 3) == events[1]["block_hash"]
    federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(3, 0))


def test_binding_spreads_devices_evenly() -> None:
    federation = Federation(devices=0, miners=3).open()
    counts = Counter(federation.contract.call("binding", device) for device in range(30))
    assert counts == Counter({key.address: 10 for key in federation.miner_keys})


def test_binding_leaves_out_who_has_left() -> None:
    federation = Federation().open()
    leaver = federation.miner_keys[0]
    federation.send(leaver, "leave_miner")
    federation.finish()
    assert leaver.address not in {federation.contract.call("binding", device) for device in range(6)}


def test_no_miner_to_bind_to() -> None:
    federation = Federation(miners=0).open()
    with reverts("rounds: no miner"):
        federation.contract.call("binding", 0)


def test_every_kind_of_void() -> None:
    federation = Federation().open()
    federation.push()  # nobody revealed
    federation.until(Phase.VOTE).push()  # nobody voted
    federation.until(Phase.UNVEIL).push()  # nobody unveiled
    federation.until(Phase.VOTE).vote_all([[Verdict.QUALITY] * 4] * 3)
    federation.tally()  # nothing accepted
    federation.until(Phase.PROPOSE).push()  # nobody proposed
    federation.until(Phase.TALLY)
    federation.send(federation.outsider, "advance")  # from now on the time to count runs
    federation.expire()
    federation.send(federation.outsider, "advance")  # nobody counted
    reasons = [event.args["reason"] for event in federation.contract.events(name="Voided")]
    assert reasons == [
        VoidReason.FEW_UPDATES,
        VoidReason.NO_VOTES,
        VoidReason.NO_QUORUM,
        VoidReason.FEW_ACCEPTED,
        VoidReason.NO_LEADER,
        VoidReason.NO_TALLY,
    ]
