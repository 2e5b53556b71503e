"""Calls that somebody else has made in part: one place opened ahead of a batch, votes and claims twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.errors import Reverted
from bcfl.protocol.submissions import commitment
from bcfl.protocol.types import Phase
from testkit.harness import TERMS, Account, Federation, reverts


def batch_of(devices: int) -> tuple[Federation, Account]:
    """One miner and its batch in the reveal phase of 60 seconds."""
    terms = replace(TERMS, reveal_seconds=60, min_updates=devices // 4)
    federation = Federation(devices, 1, terms).open().until(Phase.REVEAL)
    return federation, federation.miner_keys[0]


def open_one(federation: Federation, place: int) -> int:
    """Let a stranger open one place of the miner's batch; return its gas."""
    miner, batch = federation.miner_keys[0], federation.share(0)
    return federation.reveal(federation.outsider, batch, bits=1 << place, submitter=miner).gas_used


def test_one_place_opened_ahead_takes_nothing_from_a_batch() -> None:
    """Whoever sees the batch opens one place of it first, block after block, until the time is over."""
    federation, miner = batch_of(24)
    open_one(federation, 5)
    receipt = federation.reveal(miner, federation.share(0))
    (event,) = [event for event in receipt.events if event.name == "Revealed"]
    assert event.args["taken"] == 2**24 - 1 & ~(1 << 5)
    assert federation.clock.phase is Phase.VOTE
    devices = [update.device for update in federation.updates()]
    assert devices == [5, *range(5), *range(6, 24)]
    federation.finish()
    assert federation.history().rounds[1].status == "finalized"
    assert len(federation.history().rounds[1].submissions) == 24


def test_a_batch_that_is_open_to_its_last_place_still_ends_the_miners_part() -> None:
    federation, miner = batch_of(8)
    for place in range(8):
        open_one(federation, place)
        assert federation.clock.phase is Phase.REVEAL
    receipt = federation.reveal(miner, federation.share(0))
    assert receipt.events[0].args["taken"] == 0
    assert federation.clock.phase is Phase.VOTE
    assert [update.device for update in federation.updates()] == list(range(8))
    federation.finish()


def test_to_be_ahead_costs_more_for_each_place_than_the_batch() -> None:
    federation, miner = batch_of(24)
    lone = [open_one(federation, place) for place in range(3)]
    batch = federation.reveal(miner, federation.share(0)).gas_used
    assert min(lone) > 2 * batch / 24


@pytest.mark.parametrize("places", [1, 2, 9])
def test_the_chain_of_updates_is_the_twins_whoever_was_ahead(places: int) -> None:
    federation, miner = batch_of(12)
    for place in range(places):
        open_one(federation, place)
    federation.reveal(miner, federation.share(0))
    federation.until(Phase.TALLY)
    federation.tally()  # takes the words of the twin or reverts
    assert len(federation.tallies[1].accepted) == 12


def test_a_place_that_is_skipped_is_bound_all_the_same() -> None:
    """Skipped places are part of the committed digest: nothing can be slipped in instead."""
    federation, miner = batch_of(8)
    open_one(federation, 0)
    batch = federation.share(0)
    batch[0] = replace(batch[0], samples=batch[0].samples + 1)
    with reverts("submissions: not the committed batch"):
        federation.reveal(miner, batch)
    assert commitment(federation.domain, batch[0]) != commitment(federation.domain, federation.share(0)[0])


def test_a_full_round_takes_a_batch_of_what_it_has() -> None:
    federation = Federation(4, 1, replace(TERMS, max_updates=3)).open().until(Phase.REVEAL)
    miner, batch = federation.miner_keys[0], federation.share(0)
    federation.reveal(federation.outsider, batch, bits=0b0111, submitter=miner)
    with reverts("submissions: round is full"):
        federation.reveal(miner, batch)
    federation.reveal(miner, batch, bits=0b0011)
    assert federation.clock.updates == 3


def test_a_vote_unveiled_ahead_leaves_the_others_of_a_transaction() -> None:
    federation = Federation().open().until(Phase.UNVEIL)
    openings = [federation.opening(index) for index in range(3)]
    federation.unveil(openings[1], federation.outsider)
    calls = [("unveil", federation.unveil_args(opening)) for opening in openings]
    federation.multi(federation.miner_keys[0], "all", calls)
    miners = [args["miner"] for args in federation.round_events("Voted")]
    assert miners == [openings[index].miner for index in (1, 0, 2)]
    assert federation.clock.phase is Phase.TALLY


@pytest.mark.parametrize("role", ["device", "miner"])
def test_a_claim_made_ahead_leaves_the_others_of_a_transaction(role: str) -> None:
    federation = Federation().open().finish().finish()
    args = {number: getattr(federation, f"claim_{role}_args")(number, 0) for number in (1, 2)}
    federation.send(federation.outsider, f"claim_{role}", *args[1])
    federation.multi(federation.outsider, "both", [(f"claim_{role}", args[number]) for number in (1, 2)])
    claims = [event.args["round"] for event in federation.contract.events(name="Claimed")]
    assert claims == [1, 2]


def multicall(federation: Federation, sender: Account, calls: list[bytes], optional: int) -> None:
    federation.send(sender, "multicall", b"".join(calls), [len(data) for data in calls], optional)


def test_an_optional_call_may_fail_and_the_others_stand() -> None:
    federation = Federation().open().until(Phase.TALLY)
    tally = federation.contract.encode("tally", *federation.tally_args())
    fund = federation.contract.encode("register_devices", [federation.outsider.address])
    federation.tally()  # somebody is ahead
    with reverts("rounds: not this phase"):
        multicall(federation, federation.owner, [tally, fund], 0b10)
    multicall(federation, federation.owner, [tally, fund], 0b01)
    assert federation.contract.call("device_of", federation.outsider.address) == 4


def test_an_optional_call_that_fails_changes_nothing() -> None:
    federation = Federation().open()
    miner = federation.miner_keys[0]
    first, second = (federation.contract.encode("commit", bytes([i]) * 32) for i in (1, 2))
    multicall(federation, miner, [first, second], 0b10)
    assert [args["digest"] for args in federation.round_events("Committed")] == [b"\x01" * 32]


def test_an_optional_call_has_to_add_up_too() -> None:
    federation = Federation()
    data = federation.contract.encode("start")
    with reverts("federation: lengths do not add up"):
        federation.send(federation.owner, "multicall", data + b"\0", [len(data)], 1)
    with pytest.raises(Reverted):
        federation.send(federation.owner, "multicall", data, [len(data) + 1], 1)
