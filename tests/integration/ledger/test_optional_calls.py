"""Calls of a transaction that may fail do not fail for want of gas, whatever a node takes for enough."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
import vyper

from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract
from bcfl.ledger.federation import FederationLedger
from bcfl.ledger.rpc import RpcChain
from bcfl.ports import ContractCall

SOURCE = """
# pragma version 0.4.3
amounts: public(HashMap[uint256, uint256])

@external
def once(start: uint256, rounds: uint256):
    assert self.amounts[start] == 0, "amounts: somebody was quicker"
    for place: uint256 in range(start, start + rounds, bound=1_000):
        self.amounts[place] += 1

@external
def multicall(calls: Bytes[20480], lengths: DynArray[uint256, 32], optional: uint256):
    start: uint256 = 0
    bit: uint256 = optional
    for length: uint256 in lengths:
        if bit & 1 == 1:
            success: bool = raw_call(
                self, slice(calls, start, length), is_delegate_call=True, revert_on_failure=False
            )
        else:
            raw_call(self, slice(calls, start, length), is_delegate_call=True)
        start += length
        bit >>= 1
"""
STARTS = (100, 200, 300)


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    output: dict[str, Any] = vyper.compile_code(SOURCE, output_formats=["abi", "bytecode"])
    return output


def calls(offset: int, optional: Sequence[bool]) -> list[ContractCall]:
    return [
        ContractCall("once", (offset + start, 20), optional=may_fail)
        for start, may_fail in zip(STARTS, optional, strict=True)
    ]


def check(chain: Chain, key: Any, compiled: dict[str, Any]) -> None:
    """Send calls of which some may fail, and one that somebody else has made already."""
    code = bytes.fromhex(compiled["bytecode"][2:])
    contract = Contract.deploy(chain, key, compiled["abi"], code)[0]
    ledger = FederationLedger(contract)
    masks = [(False, True, False), (False, False, True), (True, True, True)]
    for place, optional in enumerate(masks):
        offset = 10_000 * place
        ledger.send(key, calls(offset, optional))
        assert [contract.call("amounts", offset + start) for start in STARTS] == [1, 1, 1]
    contract.send(key, "once", 50_000 + STARTS[1], 20)
    ledger.send(key, calls(50_000, (False, True, False)))
    assert [contract.call("amounts", 50_000 + start) for start in STARTS] == [1, 1, 1]


def test_anvil_gives_them_the_gas_that_they_need(anvil: str, device: Any, compiled: dict[str, Any]) -> None:
    """It estimates what suffices for the transaction, with which calls in it run short."""
    with closing(RpcChain(anvil, poll=0.01)) as chain:
        check(chain, device, compiled)


def test_a_served_chain_gives_them_the_gas_that_they_need(
    embedded_url: str, device: Any, compiled: dict[str, Any]
) -> None:
    with closing(RpcChain(embedded_url, poll=0.01)) as chain:
        check(chain, device, compiled)
