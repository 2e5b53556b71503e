"""One contract through its adapter: values in and out, events, and every way to be refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
from eth_utils.crypto import keccak

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger.chain import Busy, refusal
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.devnet.embedded import GENESIS_TIME, EmbeddedChain
from bcfl.ledger.rpc import RpcChain

from .conftest import Account, Artifact

ZERO = "0x" + "00" * 20


@dataclass(frozen=True)
class Item:
    root: bytes
    samples: int
    owner: str


@pytest.fixture(params=["embedded", "anvil"])
def any_chain(request: pytest.FixtureRequest, device: Account) -> Iterator[EmbeddedChain | RpcChain]:
    """The same tests on both kinds of chain."""
    any_chain: EmbeddedChain | RpcChain
    if request.param == "embedded":
        any_chain = EmbeddedChain(None, accounts=[device.address])
    else:
        any_chain = RpcChain(request.getfixturevalue("anvil"), poll=0.01)
    yield any_chain
    any_chain.close()


@pytest.fixture
def any_contract(any_chain: EmbeddedChain | RpcChain, device: Account, probe: Artifact) -> Contract:
    return Contract.deploy(any_chain, device, probe.abi, probe.bytecode, [1])[0]


def test_default_behavior(any_contract: Contract, device: Account) -> None:
    receipt = any_contract.send(device, "store", 3, 4, "hello", value=7)
    assert any_contract.call("amounts", 3) == 4
    assert receipt.contract is None
    assert 21_000 < receipt.gas_used < 100_000
    (event,) = receipt.events
    assert event == Event(
        name="Stored",
        args={"device": device.address, "slot": 3, "amount": 4, "note": "hello"},
        block=receipt.block,
        timestamp=receipt.timestamp,
        transaction=receipt.hash,
        log_index=0,
        address=any_contract.address,
    )
    assert list(event.args) == ["device", "slot", "amount", "note"]
    assert list(any_contract.events(receipt.block)) == [event]
    with pytest.raises(FrozenInstanceError):
        event.block = 0  # type: ignore[misc]


def test_deploy(any_chain: EmbeddedChain | RpcChain, device: Account, probe: Artifact) -> None:
    contract, receipt = Contract.deploy(any_chain, device, probe.abi, probe.bytecode, [9], value=5)
    assert receipt.contract == contract.address
    assert contract.call("start") == 9
    assert any_chain.w3.eth.get_balance(contract.address) == 5  # type: ignore[arg-type]
    with pytest.raises(Reverted, match="probe: start is zero"):
        Contract.deploy(any_chain, device, probe.abi, probe.bytecode, [0])
    with pytest.raises(LedgerError, match="constructor: arguments that do not fit"):
        Contract.deploy(any_chain, device, probe.abi, probe.bytecode, [-1])


def test_structs_and_lists(contract: Contract, device: Account) -> None:
    item = Item(b"\x05" * 32, 2**255, device.address)
    plain = (item.root, item.samples, item.owner)
    assert contract.call("first", item) == plain
    assert contract.call("mirror", [item, plain], -3) == ((plain, plain), -3, "mirror")
    assert contract.call("mirror", [], 0) == ((), 0, "mirror")


def test_events_of_every_type(contract: Contract, device: Account, outsider: Account) -> None:
    members, digests = [device.address, outsider.address], [b"\x01" * 32]
    (event,) = contract.send(device, "enlist", "tag", members, digests, b"raw").events
    assert event.args == {
        "label": keccak(b"tag"),  # indexed text is on chain as its hash
        "members": tuple(members),
        "digests": tuple(digests),
        "blob": b"raw",
        "delta": -5,
        "last": True,
    }


def test_encode(contract: Contract) -> None:
    data = contract.encode("store", 1, 2)
    assert data == keccak(b"store(uint256,uint256)")[:4] + (1).to_bytes(32) + (2).to_bytes(32)
    assert contract.encode("store", 1, 2, "x")[:4] == keccak(b"store(uint256,uint256,string)")[:4]


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        ("stor", (1, 2), "no function stor; did you mean store"),
        ("store", (1,), "store takes 2 or 3 arguments, not 1"),
        ("store", (1, -1), "do not fit"),
        ("store", (1, 2**256), "do not fit"),
        ("store", (1, "2"), "do not fit"),
        ("first", ((b"\x01" * 33, 1, ZERO),), "do not fit"),
        ("first", ((b"", 1, "nobody"),), "do not fit"),
    ],
)
def test_arguments_that_cannot_be_sent(
    contract: Contract, function: str, args: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(LedgerError, match=message) as excinfo:
        contract.encode(function, *args)
    assert "\n" not in str(excinfo.value)


def test_wrong_address_and_wrong_abi(contract: Contract, chain: EmbeddedChain, probe: Artifact) -> None:
    with pytest.raises(LedgerError, match="no contract with count at"):
        Contract(chain, probe.abi, ZERO).call("count")
    other_abi = [
        {**entry, "outputs": [{"type": "string"}]} for entry in probe.abi if entry.get("name") == "count"
    ]
    with pytest.raises(LedgerError, match="do not fit the ABI"):
        Contract(chain, other_abi, contract.address).call("count")


REFUSALS = [
    ("store", (1, 0), "store", "amount is zero"),
    ("after_deadline", (2**40,), "clock", "too early"),
    ("no_reason", (), "", "reverted without a reason"),
    ("overflow", (2,), "", "reverted without a reason"),
    ("custom", (), "", f"custom error 0x{keccak(b'Refused(uint256)')[:4].hex()}"),
    ("control", (), "", "two?lines"),
]


@pytest.mark.parametrize(("function", "args", "module", "reason"), REFUSALS)
def test_revert_is_the_same_by_call_by_transaction_and_on_any_chain(
    any_contract: Contract, device: Account, function: str, args: tuple[Any, ...], module: str, reason: str
) -> None:
    for act in (
        lambda: any_contract.call(function, *args),
        lambda: any_contract.send(device, function, *args),
        lambda: any_contract.send(device, function, *args, gas=200_000),  # mined, then found to have failed
    ):
        with pytest.raises(Reverted) as excinfo:
            act()
        assert (excinfo.value.module, excinfo.value.reason) == (module, reason)


def test_other_failures_count_as_reverts(any_contract: Contract, device: Account) -> None:
    with pytest.raises(Reverted, match=r"(?i)invalid.*opcode"):
        any_contract.call("unreachable")
    with pytest.raises(Reverted):
        any_contract.send(device, "unreachable", gas=100_000)
    with pytest.raises(Reverted, match="out of gas"):
        any_contract.send(device, "burn", 50, gas=100_000)


def test_a_node_that_estimates_ever_less_makes_few_transactions_fail(
    anvil: str, device: Account, probe: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure doubles what is given next; all of them cost less than twice the call."""
    chain = RpcChain(anvil, poll=0.01)
    contract = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])[0]
    request, estimates, lies = chain.request, [], iter(range(40_000, 22_000, -500))

    def lie(method: str, *params: Any) -> Any:
        if method != "eth_estimateGas":
            return request(method, *params)
        estimates.append(int(request(method, *params), 16))
        return hex(next(lies))

    monkeypatch.setattr(chain, "request", lie)
    balance = int(chain.request("eth_getBalance", device.address, "latest"), 16)
    for _ in range(9):
        with suppress(Reverted):
            contract.send(device, "burn", 50)
            break
    failures = len(estimates) - 1
    assert 0 < failures < 6
    paid = balance - int(chain.request("eth_getBalance", device.address, "latest"), 16)
    assert paid < 4 * estimates[0] * chain.fees()[0]
    contract.send(device, "burn", 50)
    contract.send(device, "store", 3, 4, "hello")
    assert len(estimates) == failures + 3
    chain.close()


def test_reason_of_a_mined_failure_is_told_by_its_own_clock(
    chain: EmbeddedChain, contract: Contract, device: Account
) -> None:
    deadline = GENESIS_TIME + 100
    contract.send(device, "before_deadline", deadline)
    chain.warp(deadline)  # the call would still pass at the time of the block before
    with pytest.raises(Reverted, match="clock: too late"):
        contract.send(device, "before_deadline", deadline)


def test_failed_transaction_does_not_stop_the_next(any_contract: Contract, device: Account) -> None:
    with pytest.raises(Reverted):
        any_contract.send(device, "store", 1, 0, gas=200_000)
    assert any_contract.send(device, "store", 1, 1).events[0].args["amount"] == 1


def test_sent_twice_is_one_transaction(
    chain: EmbeddedChain, contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that repeats: the second submission of the same bytes ends in the first one's receipt."""
    request = chain.request

    def twice(method: str, *params: Any) -> Any:
        if method == "eth_sendRawTransaction":
            request(method, *params)
        return request(method, *params)

    monkeypatch.setattr(chain, "request", twice)
    contract.send(device, "store", 1, 1)
    assert contract.call("count") == 1


def test_events_by_name_and_range(
    contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        contract.send(device, "store", number, 1)
        contract.send(device, "enlist", "", [], [], b"")
    events = list(contract.events())
    assert [event.block for event in events] == list(range(2, 14))
    assert [event.name for event in events[:3]] == ["Stored", "Listed", "Stored"]
    assert [event.args["slot"] for event in contract.events(name="Stored")] == list(range(6))
    assert list(contract.events(4, 6)) == events[2:5]
    assert list(contract.events(99)) == []
    with pytest.raises(LedgerError, match="no event Store; did you mean Stored"):
        next(contract.events(name="Store"))
    monkeypatch.setattr("bcfl.ledger.contract.RANGE", 4)
    assert list(contract.events()) == events


def test_events_of_a_node_that_gives_little_at_once(
    chain: EmbeddedChain, contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        contract.send(device, "store", number, 1)
    events, request = list(contract.events()), chain.request
    spans: list[int] = []

    def stingy(method: str, *params: Any) -> Any:
        if method == "eth_getBlockByNumber":
            return {"timestamp": hex(GENESIS_TIME + int(params[0], 16))}
        if method != "eth_getLogs":
            return request(method, *params)
        spans.append(int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1)
        if spans[-1] > limit:
            raise LedgerError(f"query returns more than {limit} results")
        without = {"blockTimestamp"}  # older nodes do not say the time along
        return [{k: v for k, v in log.items() if k not in without} for log in request(method, *params)]

    monkeypatch.setattr(chain, "request", stingy)
    limit = 2
    assert list(contract.events()) == events
    assert spans == [7, 3, 1, 1, 1, 1, 2, 1]
    limit = 0
    with pytest.raises(LedgerError, match="more than 0 results"):
        list(contract.events())


def test_events_of_a_node_that_does_not_say_what_its_limit_is(
    chain: EmbeddedChain, contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As BSC's public nodes: asked for fewer blocks, and busy where it gives not even those of one."""
    contract.send(device, "store", 1, 1)
    events, request = list(contract.events()), chain.request

    def stingy(method: str, *params: Any) -> Any:
        if (
            method == "eth_getLogs"
            and int(params[0]["toBlock"], 16) >= int(params[0]["fromBlock"], 16) + limit
        ):
            raise refusal({"code": -32005, "message": "limit exceeded"}, method)
        return request(method, *params)

    monkeypatch.setattr(chain, "request", stingy)
    limit = 2
    assert list(contract.events()) == events
    limit = 0
    with pytest.raises(Busy, match="not even of block 0 alone: the node refused: limit exceeded"):
        list(contract.events())


def test_silent_node_is_not_asked_for_less(
    contract: Contract, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = []

    def silent(method: str, *_: Any) -> Any:
        methods.append(method)
        raise Unreachable("no answer")

    monkeypatch.setattr(chain, "request", silent)
    with pytest.raises(Unreachable):
        list(contract.events(0, 100))
    assert methods == ["eth_getLogs"]


ZERO_AMOUNT = (
    "0x08c379a00000000000000000000000000000000000000000000000000000000000000020"
    "000000000000000000000000000000000000000000000000000000000000001573746f72653a20616d6f756e74206973207a65"
    "726f0000000000000000000000"
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            {"code": 3, "message": "execution reverted: store: amount is zero", "data": ZERO_AMOUNT},
            "store: amount is zero",
        ),
        ({"code": -32000, "message": "execution reverted: store: amount is zero"}, "store: amount is zero"),
        ({"code": -32000, "message": "Execution reverted", "data": ZERO_AMOUNT}, "store: amount is zero"),
        (
            {"code": -32015, "message": "VM execution error.", "data": f"Reverted {ZERO_AMOUNT}"},
            "store: amount is zero",
        ),
        (
            {"code": -32603, "message": "VM Exception", "data": {"message": "Error", "data": ZERO_AMOUNT}},
            "store: amount is zero",
        ),
        (
            {"code": -32603, "message": "Error: reverted with reason string 'store: amount is zero'"},
            "store: amount is zero",
        ),
        ({"code": 3, "message": "execution reverted", "data": "0x"}, "reverted without a reason"),
        (
            {"code": 3, "message": "x", "data": "0x4e487b71" + "11".rjust(64, "0")},
            "panic 0x11, arithmetic overflow",
        ),
        ({"code": 3, "message": "x", "data": "0x08c379a0ffff"}, "custom error 0x08c379a0"),
        ({"code": -32603, "message": "EVM error OutOfGas"}, "EVM error OutOfGas"),
    ],
)
def test_reverts_as_nodes_of_all_makes_report_them(error: dict[str, Any], message: str) -> None:
    revert = refusal(error)
    assert isinstance(revert, Reverted)
    assert str(revert) == message


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32000, "message": "insufficient funds for gas * price + value"},
        {"code": -32000, "message": "nonce too low"},
        {"code": -32601, "message": "the method eth_nope does not exist/is not available"},
        "just text",
    ],
)
def test_other_errors_are_not_reverts(error: Any) -> None:
    assert type(refusal(error)) is LedgerError
