"""registry.vy and membership.vy: joining, leaving, stakes, weights and indices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bcfl.protocol.types import Phase
from testkit.harness import ETHER, TERMS, Account, Federation, account, reverts
from testkit.mocks import mock

LATE = account("late", 0)


def miner(federation: Federation, key: Account) -> dict[str, object]:
    names = ("index", "weight", "stake", "active", "exit_round", "exit_time")
    return dict(zip(names, federation.contract.call("miner", key.address), strict=True))


def state(index: int, weight: int, stake: int, active: bool) -> dict[str, object]:
    return {
        "index": index,
        "weight": weight,
        "stake": stake,
        "active": active,
        "exit_round": 0,
        "exit_time": 0,
    }


def test_default_behavior() -> None:
    federation = Federation(miners=2, stakes=(ETHER, 7 * ETHER + 1)).open()
    first, second = federation.miner_keys
    assert miner(federation, first) == state(0, 1, ETHER, True)
    assert miner(federation, second) == state(1, 7, 7 * ETHER + 1, True)
    assert federation.contract.call("active_miners") == (0b11, 8)
    assert federation.contract.call("miner_at", 1) == second.address
    assert federation.contract.call("device", 3) == (federation.device_keys[3].address, 1, 2**32 - 1)
    assert federation.contract.call("device_of", federation.device_keys[3].address) == 3
    assert federation.contract.call("devices_registered") == 4
    assert federation.contract.call("staked") == 8 * ETHER + 1


def test_register_miner_twice() -> None:
    federation = Federation().open()
    with reverts("registry: already a miner"):
        federation.send(federation.miner_keys[0], "register_miner", value=ETHER)


@pytest.mark.parametrize("value", [0, ETHER - 1])
def test_register_miner_with_too_little(value: int) -> None:
    federation = Federation().open()
    with reverts("registry: stake below the minimum"):
        federation.send(LATE, "register_miner", value=value)


def test_register_miner_takes_effect_in_the_next_round() -> None:
    federation = Federation().open()
    federation.send(LATE, "register_miner", value=2 * ETHER)
    assert miner(federation, LATE) == state(3, 0, 2 * ETHER, False)
    with reverts("submissions: neither miner nor device"):
        federation.send(LATE, "commit", bytes(32))
    federation.finish()
    assert miner(federation, LATE)["weight"] == 2
    assert federation.contract.call("active_miners") == (0b1111, 5)


def test_no_room_for_a_miner() -> None:
    federation = Federation(devices=0, miners=64).open()
    with reverts("registry: no room for a miner"):
        federation.send(LATE, "register_miner", value=ETHER)


def test_weight_is_capped() -> None:
    terms = replace(TERMS, min_stake=10, reward=10, vote_penalty=2, leader_penalty=0)
    federation = Federation(miners=2, terms=terms, stakes=(655_350, 6_553_500)).open()
    assert [miner(federation, key)["weight"] for key in federation.miner_keys] == [65_535, 65_535]


def test_top_up() -> None:
    federation = Federation().open()
    key = federation.miner_keys[0]
    federation.send(key, "top_up", value=2 * ETHER)
    assert miner(federation, key)["weight"] == 1
    federation.finish()
    assert miner(federation, key)["weight"] == 3
    assert federation.contract.call("active_miners") == (0b111, 5)


def test_top_up_by_a_stranger() -> None:
    federation = Federation().open()
    with reverts("registry: not a miner"):
        federation.send(LATE, "top_up", value=ETHER)


def test_leave_and_release() -> None:
    federation = Federation(terms=replace(TERMS, exit_rounds=1)).open()
    key = federation.miner_keys[1]
    federation.send(key, "leave_miner")
    assert miner(federation, key)["exit_round"] == 3
    for function, value in (("leave_miner", 0), ("top_up", ETHER)):
        with reverts("registry: leaving"):
            federation.send(key, function, value=value)
    federation.finish()  # it still does its part in the running round
    assert federation.contract.call("active_miners") == (0b101, 2)
    assert federation.contract.call("miner_at", 1) == "0x" + "00" * 20
    with reverts("registry: stake still locked"):
        federation.send(key, "release_stake")
    with reverts("registry: already a miner"):
        federation.send(key, "register_miner", value=ETHER)
    federation.push()
    balance = federation.balance(key.address)
    receipt = federation.send(key, "release_stake")
    assert federation.balance(key.address) > balance
    assert receipt.events[0].args["stake"] == 0
    with reverts("registry: not leaving"):
        federation.send(key, "release_stake")
    federation.send(key, "register_miner", value=ETHER)
    assert miner(federation, key)["index"] == 1


def test_leave_without_having_joined() -> None:
    federation = Federation().open()
    with reverts("registry: not a miner"):
        federation.send(LATE, "leave_miner")
    with reverts("registry: not leaving"):
        federation.send(LATE, "release_stake")
    with reverts("registry: not a miner"):
        federation.contract.call("miner", LATE.address)


def test_leave_before_ever_being_active() -> None:
    federation = Federation(terms=replace(TERMS, exit_rounds=1)).open()
    federation.send(LATE, "register_miner", value=ETHER)
    federation.send(LATE, "leave_miner")
    federation.finish()
    assert federation.contract.call("active_miners") == (0b111, 3)
    federation.push()
    federation.send(LATE, "release_stake")


def test_an_index_that_is_used_again_brings_no_rights_in_the_running_round() -> None:
    federation = Federation().open()
    federation.send(federation.miner_keys[2], "leave_miner")
    federation.finish()
    federation.send(LATE, "register_miner", value=ETHER)
    assert miner(federation, LATE)["index"] == 2
    federation.miners = 2
    federation.miner_keys.pop()
    federation.until(Phase.VOTE)
    with reverts("verification: not a miner of this round"):
        federation.send(LATE, "commit_vote", federation.links())


def test_only_the_owner_admits_devices() -> None:
    federation = Federation()
    with reverts("registry: not the owner"):
        federation.send(federation.outsider, "register_devices", [LATE.address])


def test_devices_are_admitted_once_and_have_an_account() -> None:
    federation = Federation()
    with reverts("registry: already a device"):
        federation.send(federation.owner, "register_devices", [LATE.address, LATE.address])
    with reverts("registry: no account"):
        federation.send(federation.owner, "register_devices", ["0x" + "00" * 20])


def test_no_room_for_a_device() -> None:
    registry, owner = mock("RegistryMock")
    registry.send(owner, "pretend_devices", 65_534)
    with reverts("registry: no room for a device"):
        registry.send(owner, "register_devices", [LATE.address, owner.address], 1)
    registry.send(owner, "register_devices", [LATE.address], 1)
    assert registry.call("device", 65_534) == (LATE.address, 2, 2**32 - 1)
    with reverts("registry: no room for a device"):
        registry.send(owner, "register_devices", [owner.address], 1)


def test_a_device_leaves_from_the_next_round_on() -> None:
    federation = Federation().open()
    device = federation.device_keys[0]
    federation.send(device, "leave_device", device.address)
    assert federation.contract.call("device", 0) == (device.address, 1, 2)
    federation.finish()
    federation.until(Phase.REVEAL)
    with reverts("submissions: not a device of this round"):
        federation.reveal(federation.miner_keys[0], federation.share(0))
    with reverts("registry: leaving"):
        federation.send(device, "leave_device", device.address)


def test_the_owner_lets_a_device_go_and_nobody_else() -> None:
    federation = Federation().open()
    device = federation.device_keys[0]
    with reverts("registry: not the device"):
        federation.send(federation.outsider, "leave_device", device.address)
    federation.send(federation.owner, "leave_device", device.address)
    with reverts("registry: not a device"):
        federation.send(federation.owner, "leave_device", LATE.address)


def test_strangers_are_not_devices() -> None:
    federation = Federation().open()
    with reverts("registry: not a device"):
        federation.contract.call("device", 4)
    with reverts("registry: not a device"):
        federation.contract.call("device_of", LATE.address)


def test_a_device_admitted_during_a_round_waits_for_the_next() -> None:
    federation = Federation(devices=2).open()
    federation.send(federation.owner, "register_devices", [LATE.address])
    federation.device_keys.append(LATE)
    early = [federation.update(2)]
    federation.commit(LATE, early)
    federation.commit_all()
    with reverts("submissions: not a device of this round"):
        federation.reveal(LATE, early)
    federation.reveal_all()
    federation.finish()
    federation.commit(LATE, [federation.update(2)])
    federation.commit_all()
    federation.reveal(LATE, [federation.update(2)])


@pytest.mark.parametrize("device_first", [True, False])
def test_both_roles_in_one_account(device_first: bool) -> None:
    federation = Federation(devices=2, miners=2).open()
    calls: list[tuple[Any, str, list[object], int]] = [
        (federation.owner, "register_devices", [[LATE.address]], 0),
        (LATE, "register_miner", [], ETHER),
    ]
    for sender, function, args, value in calls if device_first else reversed(calls):
        federation.send(sender, function, *args, value=value)
    federation.send(LATE, "accept_device")
    federation.device_keys.append(LATE)
    federation.miner_keys.append(LATE)
    federation.push()
    federation.devices, federation.miners = 3, 3
    federation.until(Phase.TALLY)
    assert [vote.voter.device for vote in federation.votes()] == [None, None, 2]
    federation.tally()


def test_a_miner_announces_where_it_is_reached() -> None:
    federation = Federation().open()
    miner = federation.miner_keys[0]
    federation.send(miner, "announce", "http://127.0.0.1:9000")
    (event,) = federation.contract.events(name="Announced")
    assert event.args == {"miner": miner.address, "endpoint": "http://127.0.0.1:9000"}
    with reverts("membership: not a miner"):
        federation.send(federation.outsider, "announce", "http://127.0.0.1:9000")
