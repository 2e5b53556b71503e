"""A served chain and those who mean it harm: malformed, oversized, slow, many, replayed, forged, endless."""

from __future__ import annotations

import gc
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as Signer

from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet import jsonrpc, methods
from bcfl.ledger.devnet import node as node_module
from bcfl.ledger.devnet.server import LIMITS, serve
from bcfl.ledger.rpc import RpcChain
from tests.processes import STALL_SECONDS

from .conftest import Account, Artifact, ask, post, raw, transfer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"\xff\xfe", -32700),
        (b"{", -32700),
        (b"[" * 200_000, -32700),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, -32700),
        (b'{"id": NaN, "method": "eth_chainId"}', -32700),
        (b'{"id": 1, "method": "eth_chainId", "params": [' + b"9" * 5_000 + b"]}", -32700),
        (b"7", -32600),
        (b"[]", -32600),
        (b"[" + b"1," * 1_000 + b"1]", -32600),
        (b'{"id": 1, "method": 5}', -32600),
        (b'{"id": 1e400, "method": "eth_chainId"}', -32600),
        (b'{"id": -1e400, "method": 5}', -32600),
        (b'{"id": ' + b"9" * 200 + b', "method": "eth_chainId"}', -32600),
        (b'{"id": true, "method": "eth_chainId"}', -32600),
        (b'{"id": [1], "method": "eth_chainId"}', -32600),
        (b'{"id": 1, "method": "eth_feeHistory", "params": [1e400]}', -32602),
        (b'{"id": 1, "method": "eth_chainId", "params": {"a": 1}}', -32602),
        (b'{"id": 1, "method": "eth_nothing"}', -32601),
        (b'{"id": 1, "method": "__init__"}', -32601),
        (b'{"id": 1, "method": "' + b"x" * 100_000 + b'"}', -32601),
    ],
)
def test_malformed_requests(embedded_url: str, body: bytes, code: int) -> None:
    answer = post(embedded_url, body)
    assert answer.json()["error"]["code"] == code
    assert len(answer.content) < 1_000
    assert ask(embedded_url, "eth_chainId") == "0x7a69"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_chainId", ["one too many"]),
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x12"]),
        ("eth_getBalance", [{"a": 1}]),
        ("eth_getBalance", [10**12]),
        ("eth_call", [{"data": 10**12}]),
        ("eth_getBalance", ["0x" + "11" * 20, "0x" + "f" * 1_000]),
        ("eth_getBalance", ["0x" + "11" * 20, "lately"]),
        ("eth_getBlockByHash", ["0x12"]),
        ("eth_getStorageAt", ["0x" + "11" * 20, "0x" + "f" * 100]),
        ("eth_call", [None]),
        ("eth_call", [{"to": "0x" + "11" * 20, "value": hex(2**256)}]),
        ("eth_call", [{"to": "0x" + "11" * 20, "gas": "-0x5"}]),
        ("eth_estimateGas", [{"to": "0x" + "11" * 20, "data": "0xzz"}]),
        ("eth_estimateGas", [{"to": "0x" + "11" * 20, "gas": "0x1"}]),
        ("eth_sendRawTransaction", ["0x"]),
        ("eth_sendRawTransaction", ["0x02f8"]),
        ("eth_sendRawTransaction", ["0x7f" + "00" * 50]),
        ("eth_sendRawTransaction", [5]),
        ("eth_getLogs", [[]]),
        ("eth_getLogs", [{"fromBlock": hex(2**70)}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"address": ["0x" + "11" * 20] * 1_001}]),
        ("eth_getLogs", [{"blockHash": "0x" + "11" * 32}]),
        ("eth_newFilter", ["latest"]),
        ("eth_getFilterChanges", [["a"]]),
        ("eth_getFilterChanges", ["0x1"]),
        ("eth_feeHistory", ["0x1", hex(-9)]),
        ("evm_setNextBlockTimestamp", ["soon"]),
    ],
)
def test_params_that_make_no_sense(
    embedded_url: str, method: str, params: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    head = ask(embedded_url, "eth_blockNumber")
    assert ask(embedded_url, method, *params) in (-32602, -32000, -32005)
    assert ask(embedded_url, "eth_blockNumber") == head
    assert capfd.readouterr().err == ""


def test_notifications_get_no_answer(embedded_url: str) -> None:
    call = {"jsonrpc": "2.0", "method": "eth_chainId"}
    assert post(embedded_url, json.dumps(call)).content == b""
    assert post(embedded_url, json.dumps([call, call])).content == b""
    assert [
        a["id"]
        for a in post(embedded_url, json.dumps([call, {**call, "id": None}, {**call, "id": 4}])).json()
    ] == [
        None,
        4,
    ]


def test_answers_are_bounded(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["earliest", False]}
    monkeypatch.setattr(jsonrpc, "MAX_ANSWER", 2_000)
    answers = post(embedded_url, json.dumps([block] * 5)).json()
    assert ["result" in answer for answer in answers] == [True, True, False, False, False]
    monkeypatch.setattr(jsonrpc, "BATCH_SECONDS", -1)
    assert [a["error"]["code"] for a in post(embedded_url, json.dumps([block])).json()] == [-32005]


def test_more_logs_than_are_given_at_once(
    embedded_url: str, device: Account, probe: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = RpcChain(embedded_url, poll=0.01)
    contract, receipt = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    for slot in range(7):
        contract.send(device, "store", slot, 1)
    monkeypatch.setattr(methods, "MAX_LOGS", 2)
    query = {"address": contract.address, "fromBlock": hex(receipt.block)}
    assert ask(embedded_url, "eth_getLogs", query) == -32005
    assert [event.args["slot"] for event in contract.events(receipt.block)] == list(range(7))
    chain.close()


def test_oversized_requests_are_not_read(embedded_url: str) -> None:
    length = LIMITS.body_bytes + 1
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
    assert raw(embedded_url, head + bytes(100_000)).startswith(b"HTTP/1.1 413 ")
    assert post(embedded_url, bytes(length)).status_code == 413
    assert post(embedded_url, bytes(LIMITS.body_bytes)).json()["error"]["code"] == -32700
    for absurd in ("9" * 5_000, "-1", "1e3", "٣", ""):
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {absurd}\r\n\r\n".encode()
        assert raw(embedded_url, head)[:12] in (b"HTTP/1.1 411", b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\nContent-Length: 2\r\n\r\n{}", 403),
        (
            b"POST / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            411,
        ),
        (b"POST / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(200)) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", 431),
        (b"POST /" + b"b" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"POST / HTTP/9.9\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    ],
)
def test_what_is_no_post_is_refused(embedded_url: str, data: bytes, status: int) -> None:
    answer = raw(embedded_url, data)
    assert f" {status} ".encode() in answer[:14]
    assert b"access-control" not in answer.lower()
    assert len(answer) < 500


def test_slow_clients_are_cut_off(device: Account) -> None:
    limits = replace(LIMITS, idle_seconds=0.3, reading_seconds=0.3)
    with serve(None, [device.address], port=0, limits=limits) as server:
        for start in (b"POST / HT", b"POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"):
            assert drip(server.url, start) < 2
        assert ask(server.url, "eth_chainId") == "0x7a69"


def drip(url: str, start: bytes) -> float:
    """How long a client lasts that sends a byte now and then."""
    host, port = url.removeprefix("http://").split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=5) as connection, suppress(ConnectionError):
        connection.sendall(start)
        connection.settimeout(0.05)
        while time.monotonic() < began + 5:
            connection.sendall(b" ")
            with suppress(TimeoutError):
                if connection.recv(1) == b"":
                    break
    return time.monotonic() - began


def test_client_that_leaves_in_the_middle(embedded_url: str) -> None:
    host, port = embedded_url.removeprefix("http://").split(":")
    for data in (b"PO", b"POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\n{"):
        socket.create_connection((host, int(port))).close()
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(data)
    assert ask(embedded_url, "eth_chainId") == "0x7a69"


def test_more_connections_than_places(device: Account) -> None:
    with serve(None, [device.address], port=0, limits=replace(LIMITS, connections=3)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        connections = [socket.create_connection((host, int(port))) for _ in range(3)]
        assert eventually(lambda: raw(server.url, b"").startswith(b"HTTP/1.1 503 "))
        for connection in connections:
            connection.close()
        assert eventually(lambda: post(server.url, b"7").status_code == 200)


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + STALL_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_defect_is_an_answer_and_a_line(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(node_module, "block_json", broken)
    assert ask(embedded_url, "eth_getBlockByNumber", "latest", False) == -32603
    assert "eth_getBlockByNumber failed: RuntimeError" in capfd.readouterr().err


def test_a_transaction_is_taken_once(
    node: RpcChain, embedded_url: str, device: Account, outsider: Account
) -> None:
    raw_ = transfer(node, device, outsider)
    balance = int(node.request("eth_getBalance", outsider.address, "latest"), 16)
    assert isinstance(ask(embedded_url, "eth_sendRawTransaction", raw_), str)
    head = node.request("eth_blockNumber")
    for _ in range(3):
        assert ask(embedded_url, "eth_sendRawTransaction", raw_) == -32000
    assert node.request("eth_blockNumber") == head
    assert int(node.request("eth_getBalance", outsider.address, "latest"), 16) == balance + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"chainId": 1},  # signed for another chain
        {"gas": 2**24 + 1},
        {"gas": 20_000},
        {"nonce": 10**6},
        {"maxFeePerGas": 0},
        {"value": 2**255},
        {"data": "0x" + "11" * 2**17, "gas": 2**24},
    ],
    ids=["chain", "too much gas", "too little gas", "nonce", "fee", "value", "size"],
)
def test_a_transaction_that_cannot_be(
    node: RpcChain, embedded_url: str, device: Account, outsider: Account, changes: dict[str, Any]
) -> None:
    head = node.request("eth_blockNumber")
    assert ask(embedded_url, "eth_sendRawTransaction", transfer(node, device, outsider, **changes)) == -32000
    assert node.request("eth_blockNumber") == head


def test_a_contract_that_is_too_large_to_create_is_refused_in_words(
    node: RpcChain, embedded_url: str, device: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    code, head = "0x" + "00" * 49_153, node.request("eth_blockNumber")
    fields = {"gas": 2**24, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0, "chainId": 31337}
    nonce = int(node.request("eth_getTransactionCount", device.address, "latest"), 16)
    creation = {**fields, "data": code, "value": 0, "nonce": nonce}
    raw_ = Signer.sign_transaction(creation, device.key).raw_transaction.to_0x_hex()
    for method, parameter in (
        ("eth_sendRawTransaction", raw_),
        ("eth_estimateGas", {"data": code}),
        ("eth_call", {"data": code}),
    ):
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [parameter]}
        error = post(embedded_url, json.dumps(call)).json()["error"]
        assert error["code"] == -32000
        assert "created by at most 49152 bytes, not by 49153" in error["message"]
    assert node.request("eth_blockNumber") == head
    assert not capfd.readouterr().err


def test_a_legacy_transaction_of_another_chain(node: RpcChain, embedded_url: str, device: Account) -> None:
    nonce = int(node.request("eth_getTransactionCount", device.address, "latest"), 16)
    fields = {"to": device.address, "value": 1, "gas": 21_000, "gasPrice": 10**10, "nonce": nonce}
    for chain, is_accepted in ((1, False), (31337, True)):
        raw_ = Signer.sign_transaction({**fields, "chainId": chain}, device.key).raw_transaction.to_0x_hex()
        assert isinstance(ask(embedded_url, "eth_sendRawTransaction", raw_), str) is is_accepted


def test_a_forged_signature_spends_nobodys_ether(
    node: RpcChain, embedded_url: str, device: Account, outsider: Account
) -> None:
    """A changed signature is none, or another account's, which has nothing."""
    good = bytes.fromhex(transfer(node, device, outsider)[2:])
    head = node.request("eth_blockNumber")
    for place in (1, 20, 40, 64):
        forgery = bytearray(good)
        forgery[-place] ^= 1
        assert ask(embedded_url, "eth_sendRawTransaction", "0x" + forgery.hex()) == -32000
    assert node.request("eth_blockNumber") == head


def test_memory_stays_under_a_flood(embedded_url: str) -> None:
    """Largest requests, refused ones, filters, batches: what they took is given back."""
    big = b"[" + b"1," * (LIMITS.body_bytes // 2 - 2) + b"1]"
    host, port = embedded_url.removeprefix("http://").split(":")
    batch = json.dumps([{"id": i, "method": "eth_chainId"} for i in range(100)])

    def flood() -> None:
        for _ in range(6):
            post(embedded_url, big)
            post(embedded_url, b'"' + bytes(LIMITS.body_bytes - 2) + b'"')
            with socket.create_connection((host, int(port))) as connection:  # it never sends the rest
                connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n" + bytes(10_000))
            post(embedded_url, batch)
        for _ in range(300):
            ask(embedded_url, "eth_newBlockFilter")

    flood()
    growths: list[int] = []
    while len(growths) < 5 and not any(size < 32 * 2**20 for size in growths):  # a leak grows every time
        gc.collect()
        start = resident()
        for _ in range(2):
            flood()
        gc.collect()
        growths.append(resident() - start)
    assert min(growths) < 32 * 2**20


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
