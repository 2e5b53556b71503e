"""treasury.vy: the pool, withdrawals, and receivers that misbehave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.ledger.contract import Contract
from testkit.harness import ETHER, TERMS, Federation, reverts
from testkit.mocks import put


def test_default_behavior() -> None:
    federation = Federation().open()
    federation.send(federation.outsider, "fund", value=3)
    assert federation.contract.call("pool") == 5 * ETHER + 3
    federation.finish()
    key = federation.miner_keys[0]
    federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, 0))
    amount = federation.contract.call("credits", key.address)
    balance, owed = federation.balance(key.address), federation.contract.call("owed")
    receipt = federation.send(federation.outsider, "withdraw", key.address)
    assert receipt.events[0].args == {"account": key.address, "amount": amount}
    assert federation.balance(key.address) == balance + amount
    assert federation.contract.call("owed") == owed - amount
    assert federation.contract.call("credits", key.address) == 0


def test_nothing_to_withdraw() -> None:
    federation = Federation().open()
    with reverts("treasury: nothing to withdraw"):
        federation.send(federation.outsider, "withdraw", federation.miner_keys[0].address)


@pytest.mark.parametrize("value", [0, 1, 10**20])
def test_fund(value: int) -> None:
    federation = Federation(pool=0)
    receipt = federation.send(federation.outsider, "fund", value=value)
    assert receipt.events[0].args == {"sender": federation.outsider.address, "amount": value}
    assert federation.money() == (value, 0, 0, value)


def puppet() -> tuple[Federation, Contract]:
    """A federation of which a contract is a miner that is about to leave for good."""
    federation = Federation(terms=replace(TERMS, exit_rounds=1)).open()
    contract = put(federation.chain, federation.owner, "mocks/Puppet.vy")
    address = federation.contract.address
    contract.send(
        federation.outsider,
        "act",
        address,
        federation.contract.encode("register_miner"),
        value=ETHER,
    )
    contract.send(federation.outsider, "act", address, federation.contract.encode("leave_miner"))
    federation.finish().push()
    return federation, contract


@pytest.mark.evm("another contract beside it")
def test_a_receiver_that_refuses_harms_only_itself() -> None:
    federation, contract = puppet()
    money_before = federation.money()
    release = federation.contract.encode("release_stake")
    with reverts("treasury: receiver refused"):
        contract.send(federation.outsider, "act", federation.contract.address, release)
    assert federation.money() == money_before


@pytest.mark.evm("another contract beside it")
@pytest.mark.parametrize("function", ["release_stake", "leave_miner"])
def test_a_receiver_that_calls_back_gets_nothing_twice(function: str) -> None:
    federation, contract = puppet()
    money_before = federation.money()
    contract.send(federation.outsider, "learn", federation.contract.encode(function))
    with reverts("treasury: receiver refused"):
        contract.send(
            federation.outsider,
            "act",
            federation.contract.address,
            federation.contract.encode("release_stake"),
        )
    assert federation.money() == money_before


@pytest.mark.evm("another contract beside it")
def test_a_receiver_may_call_what_anybody_may() -> None:
    federation, contract = puppet()
    contract.send(federation.outsider, "learn", federation.contract.encode("fund"))
    contract.send(
        federation.outsider, "act", federation.contract.address, federation.contract.encode("release_stake")
    )
    assert federation.balance(contract.address) == ETHER
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool
