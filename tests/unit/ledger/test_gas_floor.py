"""A node lies about gas, or its blocks hold little: nobody pays more than is said, and what fits is sent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped]

from bcfl.errors import BcflError, LedgerError, Reverted, Unreachable
from bcfl.ledger import answers, delivery
from bcfl.ledger.abi import Abi
from bcfl.ledger.artifact import artifact
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Contract, transact
from bcfl.ledger.federation import FederationLedger
from bcfl.ledger.rpc import MAX_CUTS, RpcChain
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.limits import TRANSACTION_GAS

SENDER = Account.derive(0, "miner")
TARGET = "0x" + "ab" * 20
HASH = "0x" + "1" * 64
DEAREST = 4_000_000  # gas of the dearest call
CALLS = [ContractCall("advance"), ContractCall("resume", optional=True)]
MULTICALL = Abi(artifact()["abi"]).function("multicall", 3)


class Machine:
    """A chain on which every call needs `need` gas, and the node in front of it, which `lies`.

    Of a multicall with calls that may fail, these fail where it has less, and it succeeds with half.
    """

    def __init__(self, need: int = DEAREST, block_gas: int = 30_000_000) -> None:
        self.need, self.block_gas = need, block_gas
        self.nonce, self.paid, self.limits = 0, 0, list[int]()
        self.receipts: dict[str, Any] = {}
        self.lies: dict[str, Callable[..., Any]] = {}
        self.is_quicker = False  # whether somebody else has made the optional call
        self.failures = 0  # of optional calls, for want of gas

    def request(self, method: str, *params: Any) -> Any:
        result = self.lies.get(method, getattr(self, method))(*params)
        answers.check(method, params, result)
        return result

    def eth_chainId(self) -> str:
        return "0x1"

    def web3_clientVersion(self) -> str:
        return "Geth/v1.16"

    def eth_maxPriorityFeePerGas(self) -> str:
        return "0x1"

    def eth_getBlockByNumber(self, *_: Any) -> Any:
        block = {"number": "0x1", "hash": HASH, "timestamp": "0x1", "baseFeePerGas": "0x1"}
        return block | {"gasLimit": hex(self.block_gas)}

    def eth_getTransactionCount(self, *_: Any) -> str:
        return hex(self.nonce)

    def eth_getTransactionByHash(self, *_: Any) -> Any:
        return None

    def eth_getTransactionReceipt(self, name: str) -> Any:
        return self.receipts.get(name)

    def eth_call(self, *_: Any) -> str:
        return "0x"

    def eth_estimateGas(self, call: Any, *_: Any) -> str:
        is_optional = has_optional(bytes.fromhex(call["data"][2:]))
        if self.is_quicker and not is_optional:
            raise Reverted("rounds: nothing is due")
        return hex(self.need // 2 if is_optional else self.need)

    def eth_sendRawTransaction(self, raw: str) -> str:
        fields = rlp.decode(bytes.fromhex(raw[4:]))
        limit, data = int.from_bytes(fields[4], "big"), fields[7]
        if limit > TRANSACTION_GAS:
            raise LedgerError("the node refused: exceeds the gas of a transaction (EIP-7825)")
        if limit > self.block_gas:
            raise LedgerError("the node refused: exceeds block gas limit")
        is_short = limit < self.need
        is_mined = not is_short or (has_optional(data) and limit >= self.need // 2)
        self.failures += is_short and is_mined
        name = SignedTransaction(bytes.fromhex(raw[2:]), SENDER.address, self.nonce).hash
        self.nonce, self.paid = self.nonce + 1, self.paid + min(limit, self.need)
        self.limits.append(limit)
        self.receipts[name] = {
            "transactionHash": name, "blockNumber": "0x1", "blockHash": HASH, "logs": [],
            "gasUsed": hex(min(limit, self.need)), "status": hex(is_mined), "blockTimestamp": "0x1",
        }  # fmt: skip
        return name


def has_optional(data: bytes) -> bool:
    return data[:4] == MULTICALL.encode([b"", [], 0])[:4] and any(data[4 + 64 : 4 + 96])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The chain behind every RpcChain."""
    machine = Machine()
    monkeypatch.setattr(RpcChain, "request", lambda _, method, *params: machine.request(method, *params))
    monkeypatch.setattr(delivery, "CHECK_SECONDS", 0.0)
    return machine


def node() -> RpcChain:
    return RpcChain("http://node.example", poll=0.0, mining_timeout=0.2)


def send(chain: RpcChain) -> Any:
    return transact(chain, SENDER, TARGET, b"")


def sent(chain: RpcChain, times: int) -> int:
    """Send a call so often, whatever comes of it; return how often it was done."""
    count = 0
    for _ in range(times):
        with suppress(Reverted):
            send(chain)
            count += 1
    return count


def test_a_margin_leads_beyond_no_limit_of_the_chain(machine: Machine) -> None:
    """A call that fits is sent, however little is left above it."""
    machine.need = TRANSACTION_GAS - 100_000
    send(node())
    machine.need, machine.block_gas = 7_500_000, 8_000_000
    send(node())
    assert machine.limits == [TRANSACTION_GAS, 8_000_000]


def test_the_floor_leads_beyond_no_limit_of_the_chain(machine: Machine) -> None:
    """After one that ran short all others are sent still, on a chain of small blocks too."""
    machine.block_gas = 6_000_000
    machine.lies["eth_estimateGas"] = lambda *_: hex(3_000_000)
    chain = node()
    assert sent(chain, 5) == 4
    assert machine.limits == [3_600_000, *[6_000_000] * 4]


@pytest.mark.parametrize("estimate", [21_000, 100_000, 1_000_000, 3_900_000])
def test_too_low_estimates_cost_less_than_twice_the_call(machine: Machine, estimate: int) -> None:
    machine.lies["eth_estimateGas"] = lambda *_: hex(estimate)
    machine.need = 5_000_000
    assert sent(node(), 20) >= 12
    short = [limit for limit in machine.limits if limit < machine.need]
    assert sum(short) < 2 * machine.need


def test_a_lie_about_blocks_costs_a_few_more_and_is_told(machine: Machine) -> None:
    """The floor is cut where a block holds less; a node that says so for ever is not sent to for ever."""
    block = machine.eth_getBlockByNumber()
    machine.lies["eth_estimateGas"] = lambda *_: hex(1_000_000)
    machine.lies["eth_getBlockByNumber"] = lambda *_: block | {"gasLimit": hex(1_500_000)}
    chain = node()
    with pytest.raises(LedgerError, match="ran out of gas, and by this node a block has no more"):
        sent(chain, 50)
    assert len(machine.limits) == 1 + MAX_CUTS
    assert machine.paid < 2 * DEAREST
    machine.lies.clear()
    send(chain)  # where blocks hold enough, it goes on
    assert machine.limits[-1] >= DEAREST


def test_a_receipt_of_more_gas_than_there_was_raises_no_floor(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE_SECONDS", 0.0)

    def forged(name: str) -> Any:
        receipt = machine.receipts.get(name)
        return receipt and receipt | {"status": "0x0", "gasUsed": "0xffffffffffff"}

    machine.lies["eth_getTransactionReceipt"] = forged
    chain = node()
    with pytest.raises(Unreachable, match="used more gas than it had"):
        send(chain)
    machine.lies.clear()
    send(chain)
    assert machine.limits == [DEAREST + DEAREST // 5] * 2


def test_a_floor_makes_no_call_dearer_than_it_is(machine: Machine) -> None:
    """Else a party that has run short once would never again find that its claims are worth it."""
    chain = node()
    contract = Contract(chain, artifact()["abi"], TARGET)
    price = contract.price(SENDER, "advance")
    machine.lies["eth_estimateGas"] = lambda *_: hex(3_000_000)
    assert sent(chain, 3) == 2
    machine.lies.clear()
    assert chain.gas({"data": "0x"}) > DEAREST + DEAREST // 5
    assert contract.price(SENDER, "advance") == price == DEAREST * chain.fees()[0]


def test_calls_that_may_fail_do_not_fail_for_want_of_gas(machine: Machine) -> None:
    """An estimate is what a transaction succeeds with; here that is too little for a call in it."""
    ledger = FederationLedger(Contract(node(), artifact()["abi"], TARGET))
    ledger.send(SENDER, CALLS)
    assert (machine.failures, machine.limits) == (0, [DEAREST + DEAREST // 5])
    machine.is_quicker = True  # the estimate without calls that may fail says no
    ledger.send(SENDER, CALLS)
    assert machine.failures == 1
    ledger.send(SENDER, CALLS)
    assert (machine.failures, machine.limits[-1]) == (1, 2 * machine.limits[-2])


def test_calls_that_fail_for_want_of_gas_for_ever_cost_no_more(machine: Machine) -> None:
    """The transaction succeeds each time: what it has used tells that a call in it ran short."""
    machine.lies["eth_estimateGas"] = lambda *_: hex(DEAREST // 2)
    ledger = FederationLedger(Contract(node(), artifact()["abi"], TARGET))
    for _ in range(8):
        ledger.send(SENDER, CALLS)
    assert machine.failures == 1


NUMBERS = ("0x0", "0x1", "0x5208", "0xffffff", "0x1000000", "0x2000000", "0xffffffffffff")


def lie(chance: Random, machine: Machine, method: str) -> Callable[..., Any]:
    """Return what answers a method with something else, of the right shape or not."""
    name = {"eth_maxPriorityFeePerGas": "0x" + "f" * 64}.get(method, chance.choice(NUMBERS))
    field = chance.choice(("gasLimit", "baseFeePerGas", "timestamp", "gasUsed", "status", "blockNumber"))
    value = chance.choice((*NUMBERS, None, "0x2"))

    def other(*params: Any) -> Any:
        kind = chance.randrange(4)
        if kind == 0:
            raise chance.choice((LedgerError("the node refused"), Reverted("no"), Unreachable("away")))
        result = getattr(machine, method)(*params)
        if isinstance(result, dict):
            return result | {field: value}
        return None if kind == 1 else name

    return lambda *params: other(*params) if chance.random() < 0.4 else getattr(machine, method)(*params)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_node_says_of_gas_only_own_errors_come_and_the_bill_is_bounded(
    machine: Machine, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE_SECONDS", 0.0)
    chance = Random(seed)

    def checked(_: RpcChain, method: str, *params: Any) -> Any:
        try:
            return machine.request(method, *params)
        except answers.MalformedAnswer as error:
            raise Unreachable(str(error)) from None

    monkeypatch.setattr(RpcChain, "request", checked)
    chain = RpcChain("http://node.example", poll=0.0, mining_timeout=0.005)
    ledger = FederationLedger(Contract(chain, artifact()["abi"], TARGET))
    methods = [name for name in dir(machine) if name.startswith("eth_") and name != "eth_chainId"]
    machine.lies = {name: lie(chance, machine, name) for name in chance.sample(methods, 3)}
    for _ in range(12):
        with suppress(BcflError):
            ledger.send(SENDER, CALLS[: chance.randrange(1, 3)])
    short = [limit for limit in machine.limits if limit < machine.need]
    assert max(machine.limits, default=0) <= TRANSACTION_GAS
    is_hidden = {"eth_getTransactionReceipt", "eth_getTransactionByHash"} & set(machine.lies)
    assert is_hidden or sum(short) < (2 + MAX_CUTS) * machine.need
