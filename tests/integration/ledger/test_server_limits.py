"""Limits of a served chain: calls, precompiles and transactions without end, filters, names."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from eth_account import Account as Signer

from bcfl.ledger.contract import transact
from bcfl.ledger.devnet import filters, methods
from bcfl.ledger.devnet.deadline import power
from bcfl.ledger.devnet.node import NodeError
from bcfl.ledger.devnet.server import serve
from bcfl.ledger.rpc import RpcChain

from .conftest import Account, ask, raw, transfer

FOREVER = "5b600056"  # jumps back to its start
# Inputs of precompiles on which py-evm computes for minutes, within the gas of a transaction.
POINTS = bytes(64) + bytes.fromhex(
    "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2"
    "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed"
    "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b"
    "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa"
)
SLOW_INPUTS = {
    8: POINTS * 400,  # pairings
    9: (16_000_000).to_bytes(4, "big") + bytes(64 + 128) + bytes(16) + b"\x01",  # rounds of BLAKE2
}


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_call_that_takes_too_long(
    embedded_url: str, device: Account, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.3)
    began = time.monotonic()
    assert ask(embedded_url, method, {"data": "0x" + FOREVER}) == -32005
    assert time.monotonic() - began < 3
    assert ask(embedded_url, "eth_call", {"to": device.address}) == "0x"


def test_inner_call_that_takes_too_long_is_no_result(
    embedded_url: str, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = RpcChain(embedded_url, poll=0.01)
    loop = bytes.fromhex(FOREVER)
    creation = bytes.fromhex(f"60{len(loop):02x}600c60003960{len(loop):02x}6000f3") + loop
    inner = transact(chain, device, None, creation)["contractAddress"]
    outer = f"600060006000600060007 3{inner[2:]}5af1600160005260206000f3".replace(" ", "")
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.3)
    assert ask(embedded_url, "eth_call", {"data": "0x" + outer}) == -32005
    chain.close()


def test_precompile_that_takes_too_long(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these takes minutes for the gas of one call; pure Python is interrupted where it stands."""
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.3)
    for address, data in SLOW_INPUTS.items():
        call = {"to": f"0x{address:040x}", "data": "0x" + data.hex()}
        for method in ("eth_call", "eth_estimateGas"):
            began = time.monotonic()
            assert ask(embedded_url, method, call) == -32005, address
            assert time.monotonic() - began < 6, address


def test_what_runs_as_garbage_is_collected_swallows_no_limit(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python ignores what is raised within a collection; so the end of a limit must come after it."""
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.3)
    end = time.monotonic() + 0.5

    def collected(*_: object) -> None:
        while time.monotonic() < end:  # the limit ends in here
            pass

    gc.callbacks.append(collected)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        call = {"to": f"0x{8:040x}", "data": "0x" + SLOW_INPUTS[8].hex()}
        assert ask(embedded_url, "eth_call", call) == -32005
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)


def test_transaction_that_takes_too_long_is_refused_and_changes_nothing(
    node: RpcChain, embedded_url: str, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "TRANSACTION_SECONDS", 0.3)
    monkeypatch.setattr(methods, "SLOW_SECONDS", 0.0)
    state = ask(embedded_url, "eth_getBlockByNumber", "latest", False)["stateRoot"]
    nonce = int(ask(embedded_url, "eth_getTransactionCount", device.address), 16)
    fields = {"gas": 2**24, "nonce": nonce, "chainId": node.chain_id, "value": 0}
    fields |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0}
    inputs: list[dict[str, str]] = [{"data": "0x" + FOREVER}]
    inputs += [{"to": f"0x{n:040x}", "data": "0x" + data.hex()} for n, data in SLOW_INPUTS.items()]
    for input_ in inputs:
        raw_ = Signer.sign_transaction({**fields, **input_}, device.key).raw_transaction.to_0x_hex()
        assert ask(embedded_url, "eth_sendRawTransaction", raw_) == -32005
    assert ask(embedded_url, "eth_getBlockByNumber", "latest", False)["stateRoot"] == state
    monkeypatch.undo()
    assert isinstance(ask(embedded_url, "eth_sendRawTransaction", transfer(node, device, device)), str)


def test_slow_calls_hold_up_no_transaction(
    node: RpcChain, embedded_url: str, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many calls as may run, and more, each of them endless: what is written is written meanwhile."""
    monkeypatch.setattr(methods, "CALL_SECONDS", 12.0)
    codes: list[Any] = []
    threads = [
        threading.Thread(target=lambda: codes.append(ask(embedded_url, "eth_call", {"data": "0x" + FOREVER})))
        for _ in range(methods.CALLS_AT_ONCE + 2)
    ]
    for thread in threads:
        thread.start()
    for _ in range(3):
        assert isinstance(ask(embedded_url, "eth_sendRawTransaction", transfer(node, device, device)), str)
    assert codes == []
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.1)
    for thread in threads:
        thread.join()
    assert len(codes) == len(threads)
    assert set(codes) <= {-32005, -32000}  # its time is over; or its gas, where the processor is fast


def test_a_power_of_a_large_exponent_holds_up_nobody(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python computes a power in one function of C, which neither ends early nor lets other threads run."""
    monkeypatch.setattr(methods, "CALL_SECONDS", 0.1)
    sizes = b"".join(size.to_bytes(32, "big") for size in (8, 1_900_000, 8))
    exponent, modulus = b"\xff" * 1_900_000, b"\xff" * 8
    data = sizes + (3).to_bytes(8, "big") + exponent + modulus
    began = time.monotonic()
    pow(3, int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
    in_one = time.monotonic() - began
    began = time.monotonic()
    assert ask(embedded_url, "eth_call", {"to": f"0x{5:040x}", "data": "0x" + data.hex()}) == -32005
    assert time.monotonic() - began < in_one / 2


@pytest.mark.parametrize("bits", [1, 64, 1_000, 30_000])
def test_a_power_in_pieces(bits: int) -> None:
    random = Random(bits)
    for modulus in (1, 2, random.getrandbits(bits) | 1):
        for exponent in (0, 1, random.getrandbits(9), random.getrandbits(20_000 // bits + 100)):
            base = random.getrandbits(bits + 10)
            assert power(base, exponent, modulus) == pow(base, exponent, modulus)


def test_filters_of_one_client_drop_none_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_SHARE", 2)
    monkeypatch.setattr(filters, "MAX_FILTERS", 3)
    now = [0.0]
    kept = filters.Filters(lambda _: [], lambda *_: ["hash"], lambda: now[0])
    first = kept.add("client", None, 1)
    for _ in range(2):
        kept.add("hostile", None, 1)
    for client in ("hostile", "a third"):
        with pytest.raises(NodeError):
            kept.add(client, None, 1)
    now[0] = filters.IDLE_SECONDS - 1
    assert kept.changes(first, 1) == ["hash"]
    now[0] += 2  # the hostile ones were never polled
    assert kept.changes(kept.add("a third", None, 1), 1) == ["hash"]
    assert kept.changes(first, 2) == ["hash"]


def test_filters_are_bounded(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_SHARE", 2)
    first, second, third = (ask(embedded_url, "eth_newBlockFilter") for _ in range(3))
    assert third == -32005
    assert ask(embedded_url, "eth_getFilterChanges", first) == []
    assert ask(embedded_url, "eth_getFilterLogs", second) == -32000
    for key in (first, second):
        assert ask(embedded_url, "eth_uninstallFilter", key) is True
    assert ask(embedded_url, "eth_newFilter", {"address": ["0x" + "11" * 20] * 201}) == -32005
    assert ask(embedded_url, "eth_newFilter", {"address": "0x" + "11" * 10_000}) == -32602


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost", True),
        ("LOCALHOST:8545", True),
        ("127.0.0.1:1", True),
        ("127.1.2.3", True),
        ("[::1]:8545", True),
        ("chain.example:8545", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example@localhost", True),
        ("192.0.2.1", False),
        ("", False),
        ("[::", False),
    ],
)
def test_a_name_that_was_bound_to_this_machine_gets_no_answer(
    named_url: str, host: str, is_answered: bool
) -> None:
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    assert raw(named_url, head.encode())[9:12] == (b"200" if is_answered else b"403")


@pytest.fixture(scope="module")
def named_url(device: Account) -> Iterator[str]:
    """The URL of a chain that has a name, too."""
    with serve(None, [device.address], port=0, allowed_hosts=["Chain.example"]) as server:
        yield server.url
