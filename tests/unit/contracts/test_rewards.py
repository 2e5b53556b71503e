"""rewards.vy: prices, what is set aside, and claims: once each, in any order, by anybody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.errors import Reverted
from bcfl.protocol import verification
from bcfl.protocol.rewards import earned, prices
from bcfl.protocol.types import Phase, Verdict
from testkit.harness import ETHER, TERMS, Federation, reverts
from testkit.mocks import mock


def test_default_behavior() -> None:
    federation = Federation(devices=4, miners=3).open().finish()
    tally, reward = federation.tallies[1], federation.block(1).reward
    price = prices(TERMS, reward, tally)
    assert reward == TERMS.reward
    assert federation.contract.call("owed") == earned(TERMS, reward, tally)
    for position, update in enumerate(federation.updates(1)):
        device = federation.device_keys[update.device].address
        assert federation.contract.call("claimed", device, 1) == (False, False)
        federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, position))
        assert federation.contract.call("credits", device) == price.sample * 3 * min(
            update.samples, tally.cap
        )
        assert federation.contract.call("claimed", device, 1) == (True, False)
    for position, key in enumerate(federation.miner_keys):
        federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, position))
        leads = price.leader if federation.block(1).leader == key.address else 0
        assert federation.contract.call("credits", key.address) == price.verdict * 4 + leads
        assert federation.contract.call("claimed", key.address, 1) == (False, True)
    everyone = federation.device_keys + federation.miner_keys
    credits = sum(federation.contract.call("credits", key.address) for key in everyone)
    assert credits == federation.contract.call("owed")
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool


def test_only_verdicts_that_match_earn() -> None:
    federation = Federation().open().until(Phase.VOTE)
    yes, no = Verdict.ACCEPTED, Verdict.TIME
    federation.vote_all([[yes] * 4, [yes] * 4, [no] * 4])
    federation.finish()
    price = prices(TERMS, TERMS.reward, federation.tallies[1])
    for position, key in enumerate(federation.miner_keys):
        federation.send(key, "claim_miner", *federation.claim_miner_args(1, position))
    leads = price.leader if federation.block(1).leader == federation.miner_keys[2].address else 0
    assert federation.contract.call("credits", federation.miner_keys[2].address) == leads


def test_rejected_updates_earn_nothing() -> None:
    federation = Federation().open().until(Phase.VOTE)
    federation.vote_all([[Verdict.QUALITY, *[Verdict.ACCEPTED] * 3]] * 3)
    federation.finish()
    with reverts("rewards: not accepted"):
        federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, 0))
    federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, 1))


@pytest.mark.parametrize("role", ["device", "miner"])
def test_what_is_claimed_already_stays(role: str) -> None:
    federation = Federation().open().finish()
    args = getattr(federation, f"claim_{role}_args")(1, 0)
    federation.send(federation.outsider, f"claim_{role}", *args)
    money = federation.money()
    assert federation.send(federation.outsider, f"claim_{role}", *args).events == ()
    assert federation.money() == money
    assert len(list(federation.contract.events(name="Claimed"))) == 1


@pytest.mark.parametrize("role", ["device", "miner"])
def test_a_claim_by_somebody_else_takes_no_other_round_away(role: str) -> None:
    federation = Federation().open().finish().finish().finish()
    for number in (3, 1, 2):
        args = getattr(federation, f"claim_{role}_args")(number, 0)
        federation.send(federation.outsider, f"claim_{role}", *args)
        federation.send(federation.outsider, f"claim_{role}", *args)
    amounts = [event.args["amount"] for event in federation.contract.events(name="Claimed")]
    assert len(amounts) == 3
    assert min(amounts) > 0


def test_a_device_that_mines_claims_both_shares() -> None:
    federation = Federation(3, 3, full=True).open().finish()
    device = federation.miner_keys[0].address
    federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, 0))
    federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, 0))
    assert federation.contract.call("claimed", device, 1) == (True, True)
    assert [event.args["as_miner"] for event in federation.contract.events(name="Claimed")] == [False, True]


def test_many_rounds_in_one_transaction() -> None:
    federation = Federation().open().finish().finish()
    calls = [("claim_miner", federation.claim_miner_args(number, 1)) for number in (1, 2)]
    calls.append(("withdraw", [federation.miner_keys[1].address]))
    federation.multi(federation.outsider, "claims", calls)
    assert federation.contract.call("credits", federation.miner_keys[1].address) == 0


@pytest.mark.parametrize("field", ["parent", "accepted", "root", "cid", "leader", "reward"])
def test_a_block_that_is_not_in_the_ledger(field: str) -> None:
    federation = Federation().open().finish()
    args = federation.claim_miner_args(1, 0)
    other = {"leader": federation.outsider.address, "reward": 2 * TERMS.reward}.get(field, bytes(32))
    args[0] = replace(args[0], **{field: other})  # type: ignore[type-var]
    with reverts("rewards: not in the ledger"):
        federation.send(federation.outsider, "claim_miner", *args)


def test_the_block_of_another_round() -> None:
    federation = Federation().open().finish().finish()
    args = federation.claim_miner_args(1, 0)
    for number in (0, 2, 99):
        with reverts("rewards: not in the ledger"):
            federation.send(federation.outsider, "claim_miner", replace(args[0], round=number), *args[1:])  # type: ignore[type-var]


@pytest.mark.parametrize("role", ["device", "miner"])
def test_another_tally(role: str) -> None:
    federation = Federation().open().finish()
    args = getattr(federation, f"claim_{role}_args")(1, 0)
    twin = federation.tallies[1]
    for other in (replace(twin, samples=1), replace(twin, matches=(12, 0, 0)), replace(twin, levels=())):
        args[1] = verification.tally_fields(other)
        with reverts("rewards: not the block's tally"):
            federation.send(federation.outsider, f"claim_{role}", *args)


def test_other_updates() -> None:
    federation = Federation(devices=40, miners=4).open().finish()
    args = federation.claim_device_args(1, 35)
    words = federation.words(1)
    for other in (words[:32], words[32:-1], [*words[32:-1], words[-1] ^ 1], []):
        with reverts("rewards: not the round's updates"):
            federation.send(federation.outsider, "claim_device", *args[:3], other)
    federation.send(federation.outsider, "claim_device", *args)
    device = federation.updates(1)[35].device
    assert federation.contract.call("claimed", federation.device_keys[device].address, 1) == (True, False)


@pytest.mark.parametrize("position", [4, 31, 32, 255, 256, 2**255])
def test_positions_beyond_the_updates(position: int) -> None:
    federation = Federation().open().finish()
    args = federation.claim_device_args(1, 0)
    args[2] = position
    with pytest.raises(Reverted):
        federation.send(federation.outsider, "claim_device", *args)
    with pytest.raises(Reverted):
        federation.send(federation.outsider, "claim_miner", *args[:2], position)


def test_an_empty_pool_pays_nothing_and_stops_nothing() -> None:
    federation = Federation(pool=0).open().finish()
    assert federation.block(1).reward == 0
    assert federation.money()[2:] == (0, 0)
    federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, 0))
    assert federation.contract.call("credits", federation.miner_keys[0].address) == 0
    federation.finish()


def test_a_pool_that_runs_dry() -> None:
    federation = Federation(pool=TERMS.reward + 1000).open().finish()
    remainder = federation.contract.call("pool")
    federation.finish()
    assert federation.block(2).reward == remainder < TERMS.reward
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool
    assert owed + pool == TERMS.reward + 1000


def test_claims_across_a_word_of_rounds() -> None:
    """Rounds 127 and 128 are kept in different words, and no bit of one is taken for another's."""
    federation = Federation(1, 1, replace(TERMS, min_updates=1)).open()
    for _ in range(126):
        federation.push()  # nothing happens
    federation.finish().finish().finish()
    device = federation.device_keys[0].address
    for number in (127, 128, 129):
        assert federation.contract.call("claimed", device, number) == (False, False)
        federation.send(federation.outsider, "claim_device", *federation.claim_device_args(number, 0))
        assert federation.contract.call("claimed", device, number) == (True, False)
    assert federation.contract.call("claimed", device, 126) == (False, False)


def test_a_void_round_pays_nobody() -> None:
    federation = Federation().open().until(Phase.PROPOSE).push()
    assert federation.money()[2] == 0
    assert federation.money()[3] == 5 * ETHER + 3 * TERMS.leader_penalty


@pytest.mark.parametrize(
    ("pool", "reward"), [(0, 0), (1, 1), (TERMS.reward, TERMS.reward), (10 * ETHER, TERMS.reward)]
)
def test_reserve(pool: int, reward: int) -> None:
    rewards, _ = mock("RewardsMock")
    owed = 7 * ETHER
    set_aside, totals = rewards.call("reserve", owed << 128 | pool, 100, 9)
    sample, verdict, leader = rewards.call("prices", reward, 100, 9)
    total = sample * 100 + verdict * 9 + leader
    assert set_aside == reward
    assert total <= reward
    assert totals == (owed + total) << 128 | pool - total
