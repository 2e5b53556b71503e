"""What membership must not let anybody do: hold stakes hostage, keep seats for nothing, or make devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.types import Mode, Phase
from testkit.harness import ETHER, TERMS, Federation, account, reverts

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
