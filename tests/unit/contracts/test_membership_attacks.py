"""What membership must not let anybody do: hold stakes hostage, keep seats for nothing, or make devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.scores import Resources
from bcfl.protocol.types import Engine, Mode, Phase
from testkit.harness import ETHER, TERMS, Account, Federation, account, reverts

LATE = account("late", 0)
NOBODY = "0x" + "00" * 20
SHORT = replace(TERMS, exit_seconds=4800)


def test_no_stake_waits_for_an_owner_that_does_not_start() -> None:
    federation = Federation(devices=2, miners=3)
    for key in federation.miner_keys:
        federation.send(key, "register_miner", value=10 * ETHER)
    for key in federation.miner_keys:
        federation.send(key, "leave_miner")
        federation.send(key, "release_stake")
    assert federation.contract.call("staked") == 0
    assert [federation.contract.call("miner_at", seat) for seat in range(3)] == [NOBODY] * 3
    federation.send(LATE, "register_miner", value=ETHER)
    assert federation.contract.call("miner", LATE.address)[0] == 0


def test_anybody_starts_in_time() -> None:
    federation = Federation(terms=SHORT)
    opened = federation.clock.opened
    federation.chain.warp(opened + SHORT.exit_seconds - 1)
    with reverts("rounds: not the owner"):
        federation.send(federation.outsider, "start")
    federation.chain.warp(opened + SHORT.exit_seconds)
    federation.send(federation.outsider, "start")
    assert federation.clock.round == 1


def test_a_stake_is_free_in_time_however_few_rounds_pass() -> None:
    federation = Federation(terms=replace(SHORT, exit_rounds=50)).open()
    first = federation.miner_keys[0]
    federation.send(first, "leave_miner")
    federation.wait(SHORT.exit_seconds)
    with reverts("registry: stake still locked"):
        federation.send(first, "release_stake")  # the time runs from the last round's end
    federation.push()
    exit_time = federation.contract.call("miner", first.address)[5]
    assert exit_time == federation.chain.now() - 1
    federation.chain.warp(exit_time + SHORT.exit_seconds - 1)
    with reverts("registry: stake still locked"):
        federation.send(first, "release_stake")
    federation.chain.warp(exit_time + SHORT.exit_seconds)
    federation.send(first, "release_stake")


def test_a_seat_without_stake_is_freed_for_a_newcomer() -> None:
    federation = Federation(
        devices=2, miners=64, stakes=(ETHER,) * 64, terms=replace(TERMS, leader_penalty=0)
    ).open()
    federation.until(Phase.VOTE)
    openings = [federation.opening(index) for index in range(63)]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.tally()  # the fee leaves the last one less than the minimum
    with reverts("registry: no room for a miner"):
        federation.send(LATE, "register_miner", value=ETHER)
    federation.push()
    assert federation.contract.call("miner_at", 63) == NOBODY
    federation.send(LATE, "register_miner", value=ETHER)
    assert federation.contract.call("miner", LATE.address)[0] == 63


def full() -> Federation:
    return Federation(4, 3, replace(TERMS, mode=Mode.FULL), full=True).open()


@pytest.mark.parametrize("by_owner", [True, False])
def test_in_mode_full_a_seat_goes_with_its_device(by_owner: bool) -> None:
    federation = full()
    key = federation.miner_keys[2]
    receipt = federation.send(federation.owner if by_owner else key, "leave_device", key.address)
    assert [event.name for event in receipt.events] == ["DeviceLeft", "MinerLeft"]
    assert federation.contract.call("miner", key.address)[3]  # until the round is over
    federation.push()
    assert federation.contract.call("active_miners") == (0b011, 2)


def test_in_mode_full_who_is_leaving_leaves_once() -> None:
    federation = full()
    key = federation.miner_keys[2]
    federation.send(key, "leave_miner")
    receipt = federation.send(key, "leave_device", key.address)
    assert [event.name for event in receipt.events] == ["DeviceLeft"]


def test_in_mode_full_only_a_device_registers() -> None:
    federation = full()
    with reverts("registry: not a device"):
        federation.send(LATE, "register_miner", value=ETHER)
    expelled = federation.device_keys[3]
    federation.send(federation.owner, "leave_device", expelled.address)
    with reverts("registry: not a device"):
        federation.send(expelled, "register_miner", value=ETHER)


def test_a_device_that_has_left_returns_to_its_index() -> None:
    federation = Federation().open()
    device = federation.device_keys[1]
    federation.send(device, "leave_device", device.address)
    with reverts("registry: already a device"):
        federation.send(federation.owner, "register_devices", [device.address])
    federation.push()
    receipt = federation.send(federation.owner, "register_devices", [device.address])
    assert receipt.events[0].args == {"device": device.address, "index": 1, "from_round": 3}
    assert federation.contract.call("devices_registered") == 4
    assert federation.contract.call("device", 1) == (device.address, 3, 2**32 - 1)
    federation.push()
    federation.until(Phase.REVEAL)
    federation.reveal_all()
    assert federation.clock.updates == 4


def test_nobody_is_made_a_device_in_a_running_round() -> None:
    """The owner has no power over a running round, whatever it admits."""
    notes = []
    for owner_acts in (False, True):
        federation = Federation(terms=replace(TERMS, engine=2)).open()
        key = federation.miner_keys[2]
        federation.until(Phase.VOTE)
        if owner_acts:
            federation.send(federation.owner, "register_devices", [key.address])
        federation.finish().finish()
        notes.append(
            [vote.voter.device for number in (1, 2) for vote in federation.history().rounds[number].votes]
        )
    assert notes[0] == notes[1] == [None] * 6


def test_a_miner_consents_to_be_a_device() -> None:
    federation = Federation(devices=3).open()
    key = federation.miner_keys[2]
    with reverts("registry: not a device"):
        federation.send(key, "accept_device")
    federation.send(federation.owner, "register_devices", [key.address])
    receipt = federation.send(key, "accept_device")
    assert receipt.events[0].args == {"miner": key.address, "index": 3}
    with reverts("registry: already a device"):
        federation.send(key, "accept_device")
    federation.device_keys.append(key)
    federation.push()
    federation.devices = 4
    federation.until(Phase.TALLY)
    assert {vote.voter.account: vote.voter.device for vote in federation.votes()}[key.address] == 3


def voted_as(federation: Federation, key: Account) -> int | None:
    """Return the device that a miner's vote of this round names."""
    votes = federation.until(Phase.TALLY).votes()
    return {vote.voter.account: vote.voter.device for vote in votes}[key.address]


@pytest.mark.parametrize("owner_is_first", [False, True])
def test_who_was_admitted_before_it_registers_consents_too(owner_is_first: bool) -> None:
    """The owner sees a newcomer's transaction and admits its account as a device first: nothing follows."""
    federation = Federation(devices=4, miners=3, terms=replace(TERMS, engine=Engine.RESOURCE)).open()
    if owner_is_first:
        federation.send(federation.owner, "register_devices", [LATE.address])
    federation.send(LATE, "register_miner", value=ETHER)
    federation.miner_keys.append(LATE)
    federation.push()
    federation.miners = 4
    assert voted_as(federation, LATE) is None
    for _ in range(3):
        federation.finish()
    storage, quality, stability, rate, _ = federation.contract.call("resources", LATE.address)
    assert storage == quality == stability > 65_535 // 4
    assert rate == 1
    if owner_is_first:
        federation.send(LATE, "accept_device")
        federation.push()
        assert voted_as(federation, LATE) == 4


def test_a_miner_whose_device_is_let_go_scores_as_one_that_is_none() -> None:
    """The owner lowers no score for ever, and no former device lives on the rate that it had."""
    federation = Federation(4, 3, replace(TERMS, engine=Engine.RESOURCE), full=True).open().finish()
    key = federation.miner_keys[2]
    federation.send(federation.owner, "leave_device", key.address)
    assert voted_as(federation, key) == 2  # until the round is over
    federation.finish()
    share = federation.share
    federation.share = lambda miner, round_=None: [  # type: ignore[method-assign]
        update for update in share(miner, round_) if update.device != 2
    ]
    assert voted_as(federation, key) is None
    for _ in range(3):
        before = Resources(*federation.contract.call("resources", key.address)[:4])
        federation.finish()
        after = before.after(on_time=True, available=True, accepted=True, pace=1)
        assert after == Resources(*federation.contract.call("resources", key.address)[:4])
        assert after.rate < before.rate
        assert after.storage > before.storage


def test_consent_ends_with_the_device() -> None:
    federation = Federation(devices=3).open()
    key = federation.miner_keys[2]
    federation.send(federation.owner, "register_devices", [key.address])
    federation.send(key, "accept_device")
    federation.send(federation.owner, "leave_device", key.address)
    with reverts("registry: not a device"):
        federation.send(key, "accept_device")
    federation.push()
    assert voted_as(federation, key) is None
    federation.finish()
    federation.send(federation.owner, "register_devices", [key.address])
    federation.push()
    assert voted_as(federation, key) is None  # it returns as a device, and has not consented again
    federation.send(key, "accept_device")
    federation.push()
    assert voted_as(federation, key) == 3


def test_in_mode_full_who_registers_is_a_device_without_another_call() -> None:
    federation = full()
    assert [voted_as(federation, key) for key in federation.miner_keys] == [0, 1, 2]
    with reverts("registry: already a device"):
        federation.send(federation.miner_keys[0], "accept_device")


def test_only_who_stays_consents() -> None:
    federation = Federation().open()
    key = federation.miner_keys[0]
    federation.send(federation.owner, "register_devices", [key.address, LATE.address])
    with reverts("registry: not a miner"):
        federation.send(LATE, "accept_device")
    federation.send(key, "leave_miner")
    with reverts("registry: leaving"):
        federation.send(key, "accept_device")


def test_the_owner_hands_on_what_it_may() -> None:
    federation = Federation()
    with reverts("registry: not the owner"):
        federation.send(federation.outsider, "transfer_ownership", federation.outsider.address)
    receipt = federation.send(federation.owner, "transfer_ownership", LATE.address)
    assert receipt.events[0].args == {"previous": federation.owner.address, "owner": LATE.address}
    with reverts("registry: not the owner"):
        federation.send(federation.owner, "register_devices", [federation.outsider.address])
    with reverts("rounds: not the owner"):
        federation.send(federation.owner, "start")
    federation.send(LATE, "register_devices", [federation.outsider.address])
    federation.send(LATE, "start")


def test_ownership_is_given_up_for_ever() -> None:
    federation = Federation().open()
    federation.send(federation.owner, "transfer_ownership", NOBODY)
    assert federation.contract.call("owner") == NOBODY
    with reverts("registry: not the owner"):
        federation.send(federation.owner, "register_devices", [LATE.address])
    with reverts("registry: not the owner"):
        federation.send(federation.owner, "transfer_ownership", federation.owner.address)
    assert federation.finish().clock.round == 2
