"""What one client makes a served chain compute or keep is bounded, in bytes as well as in number."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from eth.abc import SignedTransactionAPI
from eth_account import Account as Signer
from eth_utils.address import to_checksum_address

from bcfl.errors import RunError
from bcfl.ledger.devnet import database, methods, node
from bcfl.ledger.devnet.deadline import TOO_MUCH, ServedEvm
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.devnet.jsonrpc import respond
from bcfl.ledger.devnet.methods import ServedNode
from bcfl.ledger.devnet.server import CHAIN, FILE, _open_node
from bcfl.protocol.accounts import Account

FOREVER = bytes.fromhex("5b600056")  # jumps back to its start
FIRST, SECOND = (Account.derive(index, "owner") for index in range(2))


@pytest.fixture
def served() -> Iterator[ServedNode]:
    with _open_node(None, [FIRST.address, SECOND.address], True) as node:
        yield node


def send(served: ServedNode, account: Account, data: bytes, to: str | None = None, value: int = 0) -> str:
    """Send a transaction of all the gas that one may have; return its hash."""
    nonce = int(served.answer("eth_getTransactionCount", [account.address, "latest"]), 16)
    chain_id = int(served.answer("eth_chainId", []), 16)
    fields: dict[str, Any] = {"nonce": nonce, "chainId": chain_id, "gas": 2**24, "value": value, "data": data}
    fields |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0} | ({"to": to} if to else {})
    raw = Signer.sign_transaction(fields, account.key).raw_transaction.to_0x_hex()
    return str(served.answer("eth_sendRawTransaction", [raw]))


def logger(served: ServedNode, size: int) -> str:
    """Create a contract that logs so many zeros when it is called; return its address."""
    code = bytes([0x62]) + size.to_bytes(3, "big") + bytes.fromhex("5fa000")
    creation = bytes.fromhex(f"60{len(code):02x}600c60003960{len(code):02x}6000f3") + code
    receipt = served.answer("eth_getTransactionReceipt", [send(served, FIRST, creation)])
    return str(to_checksum_address(receipt["contractAddress"]))


def test_who_sent_what_takes_too_long_holds_up_the_others_once(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, it costs nothing, and with other data it is another one: the sender is remembered."""
    monkeypatch.setattr(methods, "TRANSACTION_SECONDS", 0.2)
    monkeypatch.setattr(methods, "MAX_SLOW", 1)
    computed, mine = list[object](), ServedEvm.mine

    def count(evm: ServedEvm, transactions: Sequence[SignedTransactionAPI]) -> Any:
        computed.append(transactions)
        return mine(evm, transactions)

    monkeypatch.setattr(ServedEvm, "mine", count)
    for value in (0, 1):
        with pytest.raises(node.NodeError, match="seconds") as refused:
            send(served, FIRST, FOREVER, value=value)
        assert refused.value.error["code"] == TOO_MUCH
    with pytest.raises(node.NodeError, match="can send another in 300 seconds"):
        send(served, FIRST, b"", SECOND.address)
    assert len(computed) == 1
    send(served, SECOND, b"", FIRST.address)
    with pytest.raises(node.NodeError, match="seconds"):
        send(served, SECOND, FOREVER)
    send(served, FIRST, b"", SECOND.address)  # no more than one sender is remembered here


def test_who_sent_what_takes_long_and_is_mined_waits_in_proportion(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all but as long as it may take, one account's would hold up all others for ever."""
    seconds, mine = [0.0], ServedEvm.mine

    def compute(evm: ServedEvm, transactions: Sequence[SignedTransactionAPI]) -> Any:
        seconds[0] += 0.9 * methods.TRANSACTION_SECONDS * bool(transactions[0].value)
        return mine(evm, transactions)

    monkeypatch.setattr(ServedEvm, "mine", compute)
    monkeypatch.setattr(time, "thread_time", lambda: seconds[0])
    for _ in range(2):
        send(served, FIRST, b"", SECOND.address)
    send(served, FIRST, b"", SECOND.address, value=1)
    with pytest.raises(node.NodeError, match="can send another in 270 seconds"):
        send(served, FIRST, b"", SECOND.address)
    send(served, SECOND, b"", FIRST.address)


def test_skips_do_not_add_up_beyond_the_clock(served: ServedNode) -> None:
    """The clock of the contract ends; with it would end every federation on the chain."""
    half = methods.MAX_SECONDS // 2
    with _open_node(None, [FIRST.address], False) as other:
        for chain in (served, other):
            chain.answer("evm_increaseTime", [half])
            with pytest.raises(node.NodeError, match="time goes forward"):
                chain.answer("evm_increaseTime", [half])
            chain.answer("evm_mine", [])
            with pytest.raises(node.NodeError, match="time goes forward"):
                chain.answer("evm_increaseTime", [half])
            with pytest.raises(node.NodeError, match=f"before {methods.MAX_SECONDS}"):
                chain.answer("evm_setNextBlockTimestamp", [methods.MAX_SECONDS])
            assert chain.head()[1] < methods.MAX_SECONDS


def test_logs_are_given_up_to_so_many_bytes(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    address = logger(served, 100_000)
    for _ in range(3):
        send(served, FIRST, b"", address)
    filter_ = served.answer("eth_newFilter", [{"fromBlock": "0x0"}], "client")
    query = {"fromBlock": "0x0"}
    assert len(served.answer("eth_getLogs", [query])) == 3
    send(served, FIRST, b"", address)
    monkeypatch.setattr(methods, "MAX_LOG_BYTES", 3 * 200_002)
    for method, params in (("eth_getLogs", [query]), ("eth_getFilterLogs", [filter_])):
        with pytest.raises(node.NodeError, match="ask for fewer blocks") as refused:
            served.answer(method, params)
        assert refused.value.error["code"] == TOO_MUCH
    assert len(served.answer("eth_getFilterChanges", [filter_])) == 1


def test_a_large_receipt_is_not_kept_and_is_the_same(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = logger(served, 100_000)
    kept = send(served, FIRST, b"", address)
    monkeypatch.setattr(node, "KEPT_BYTES", 100_000)
    large = send(served, FIRST, b"", address)
    assert [bytes.fromhex(digest[2:]) in served._receipts for digest in (kept, large)] == [True, False]
    first, second = (served.answer("eth_getTransactionReceipt", [digest])["logs"] for digest in (kept, large))
    assert [log["data"] for log in first] == [log["data"] for log in second]


def test_kept_receipts_are_bounded_all_together(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept; of logs without data each counts, too."""
    address, empty = logger(served, 100_000), logger(served, 0)
    monkeypatch.setattr(node, "KEPT_BYTES", 500_000)
    digests = [send(served, FIRST, b"", address) for _ in range(4)]
    kept = [bytes.fromhex(digest[2:]) in served._receipts for digest in digests]
    assert kept == [False, False, True, True]
    served._receipts.clear()
    monkeypatch.setattr(node, "KEPT_BYTES", 3 * node.LOG_BYTES)
    for _ in range(5):
        send(served, FIRST, b"", empty)
    assert len(served._receipts) == 3


def test_the_cache_of_the_file_is_bounded_in_bytes(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CACHED_BYTES", 300_000)
    for place in range(20):
        send(served, FIRST, bytes([place]) * 50_000, SECOND.address)
        cache = served._evm.database._cache
        assert sum(map(len, cache.values())) <= 300_000
    assert cache


def test_what_cannot_be_paid_or_taken_apart_is_refused_in_words(
    served: ServedNode, capfd: pytest.CaptureFixture[str]
) -> None:
    nested = b"\xc0"
    for _ in range(8_000):
        size = len(nested).to_bytes(3, "big").lstrip(b"\0")
        nested = (
            bytes([0xC0 + len(nested)]) if len(nested) < 56 else bytes([0xF7 + len(size)]) + size
        ) + nested
    call = {"from": "0x" + "77" * 20, "to": FIRST.address, "value": "0x1"}
    for method, params, word in (
        ("eth_call", [call], "insufficient funds"),
        ("eth_sendRawTransaction", ["0x02" + nested.hex()], "malformed"),
    ):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        answer = json.loads(respond(served, body) or b"")
        assert answer["error"]["code"] == node.REFUSED
        assert word in answer["error"]["message"]
    assert capfd.readouterr().err == ""
    assert int(served.answer("eth_feeHistory", ["-0x5", "latest"])["oldestBlock"], 16) <= 1


def changed(path: Path, words: str) -> None:
    """Change the file of a chain."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(words)


DAMAGES = {
    "missing header": "DELETE FROM entry WHERE key = CAST('block-number-to-hash:1' AS BLOB)",
    "header is none": "UPDATE entry SET value = CAST(x'a0' || (SELECT key FROM entry WHERE length(key) = 32 "
    "AND length(value) < 120 LIMIT 1) AS BLOB) WHERE key = CAST('block-number-to-hash:1' AS BLOB)",
    "no RLP": "UPDATE entry SET value = x'f9' WHERE key = CAST('block-number-to-hash:1' AS BLOB)",
    "missing node": "DELETE FROM entry WHERE length(key) = 32 AND length(value) BETWEEN 180 AND 450",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_that_shows_later_is_told_by_writers_and_the_server(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a block between the first and the last, of which nobody knows before it is asked for."""
    with _open_node(tmp_path, [FIRST.address], True) as served:
        address = logger(served, 0)
        began = int(served.answer("eth_getBlockByNumber", ["0x0"])["timestamp"], 16)
        digests = [send(served, FIRST, b"", address) for _ in range(2)]
    changed(tmp_path / CHAIN, DAMAGES[damage])
    questions: list[tuple[Any, ...]] = [
        ("eth_getLogs", {"fromBlock": "0x0"}),
        ("eth_getTransactionReceipt", digests[0]),
        ("eth_getTransactionByHash", digests[0]),
        ("eth_call", {"to": address}, "0x1"),
        ("eth_getBlockByNumber", "0x1"),
    ]
    with _open_node(tmp_path, [FIRST.address], True) as served:
        bodies = [json.dumps({"id": 1, "method": name, "params": params}) for name, *params in questions]
        answers = [json.loads(respond(served, body.encode()) or b"") for body in bodies]
    errors = [answer["error"]["message"] for answer in answers if "error" in answer]
    assert errors
    assert [error for error in errors if "the chain is damaged" not in error] == []
    assert capfd.readouterr().err == ""
    with closing(EmbeddedChain(tmp_path / CHAIN, accounts=[FIRST.address], genesis_time=began)) as chain:
        for answer, (name, *params) in zip(answers, questions, strict=True):
            with pytest.raises(RunError, match="is damaged") if "error" in answer else nullcontext():
                chain.request(name, *params)


def test_the_digest_of_something_else_is_of_no_block(
    served: ServedNode, capfd: pytest.CaptureFixture[str]
) -> None:
    root = served.answer("eth_getBlockByNumber", ["0x0"])["stateRoot"]
    body = {"id": 1, "method": "eth_getBlockByHash", "params": [root]}
    assert json.loads(respond(served, json.dumps(body).encode()) or b"").get("result", 0) is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["began", "words", "head", "header", "other head"])
def test_a_damaged_folder_is_named(tmp_path: Path, damage: str) -> None:
    with _open_node(tmp_path, [FIRST.address], True) as served:
        send(served, FIRST, b"", SECOND.address)
    if damage == "began":
        content = json.loads((tmp_path / FILE).read_text())
        (tmp_path / FILE).write_text(json.dumps(content | {"began": -1}))
    else:
        with sqlite3.connect(tmp_path / CHAIN, isolation_level=None) as connection:
            if damage == "words":
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("UPDATE sqlite_master SET sql = CAST(x'ff' || sql AS TEXT)")
            elif damage == "head":
                head = "UPDATE entry SET value = x'00' WHERE key = 'v1:canonical_head_hash'"
                connection.execute(head.replace("'v1", "CAST('v1").replace("hash'", "hash' AS BLOB)"))
            elif damage == "other head":
                leaf = "SELECT key FROM entry WHERE length(key) = 32 AND length(value) < 120 LIMIT 1"
                key = "CAST('v1:canonical_head_hash' AS BLOB)"
                connection.execute(f"UPDATE entry SET value = ({leaf}) WHERE key = {key}")
            else:
                connection.execute("DELETE FROM entry WHERE length(key) = 32")
        connection.close()
    with pytest.raises(RunError, match=r"damaged|cannot open"), _open_node(tmp_path, [FIRST.address], True):
        pass
