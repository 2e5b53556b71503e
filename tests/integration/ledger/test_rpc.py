"""A node behind a URL: its own time, its own make, and what is said when it does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Contract
from bcfl.ledger.rpc import RpcChain

from .conftest import Account, Artifact


@contextmanager
def server(answers: dict[str, Any], status: int = 200) -> Iterator[str]:
    """A node that gives fixed answers, or one fixed body to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answers.get("body")
            if body is None:
                result = {"jsonrpc": "2.0", "id": request["id"], "result": answers[request["method"]]}
                body = json.dumps(result)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://alice:secret@127.0.0.1:{http.server_port}/v3/key?token=secret"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def refusal(url: str) -> str:
    with pytest.raises(Unreachable) as excinfo:
        RpcChain(url, timeout=1)
    message = str(excinfo.value)
    assert "\n" not in message
    assert not any(secret in message for secret in ("alice", "secret", "key", "token"))
    return message


def test_nobody_there() -> None:
    message = refusal("http://alice:secret@127.0.0.1:9/v3/key")
    assert message.startswith("http://127.0.0.1:9: ")
    assert "is the node running" in message


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "ftp://alice:secret@host", "http://[bad"])
def test_not_a_url(url: str) -> None:
    refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://host:key",
        "https://alice:secret/x@host",
        "https://host/#sha256=key",
        "http://host#token",
        "https://[key]/",
        "ftp://host/key",
        "http://",
    ],
)
def test_what_is_wrong_with_a_url_does_not_show_it(url: str) -> None:
    message = refusal(url)
    assert "not the URL of a node: write http://" in message


@pytest.mark.parametrize("body", ["<html>hello</html>", "[]", "{}", '"text"', ""])
def test_not_a_node(body: str) -> None:
    with server({"body": body}) as url:
        refusal(url)


def test_status_of_the_server() -> None:
    with server({"body": "no"}, status=403) as url:
        assert "HTTP status 403" in refusal(url)


def test_transaction_that_is_never_mined() -> None:
    transaction = SignedTransaction(b"signed", "0x" + "11" * 20, 0)
    answers: dict[str, Any] = {
        "eth_chainId": "0x5",
        "eth_getTransactionReceipt": None,
        "eth_sendRawTransaction": transaction.hash,
        "eth_getTransactionByHash": {},
    }
    with server(answers) as url:
        chain = RpcChain(url, mining_timeout=0.05, poll=0.01)
        with pytest.raises(Unreachable, match=rf"{transaction.hash} was not mined in 0\.05 s"):
            chain.deliver(transaction)
        chain.close()


def test_live_network_keeps_its_own_time() -> None:
    block = {"number": "0x3", "hash": "0x" + "ab" * 32, "timestamp": "0x64", "baseFeePerGas": "0x7"}
    answers = {
        "eth_chainId": "0x5",
        "web3_clientVersion": "Geth/v1.15.0",
        "eth_getBlockByNumber": block,
        "eth_maxPriorityFeePerGas": "0x2",
        "eth_estimateGas": hex(100_000),
    }
    with server(answers) as url:
        chain = RpcChain(url)
        assert (chain.chain_id, chain.view, chain.now()) == (5, "latest", 100)
        assert chain.fees() == (16, 2)
        assert chain.gas({}) == 120_000
        with pytest.raises(LedgerError, match="keeps its own time"):
            chain.warp(200)
        chain.close()


def test_development_node_can_be_warped(anvil: str, device: Account, probe: Artifact) -> None:
    chain = RpcChain(anvil, poll=0.01)
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    target = chain.now() + 1_000
    chain.warp(target)
    chain.warp(target - 500)
    assert chain.now() == contract.call("clock") == target
    assert contract.send(device, "after_deadline", target).timestamp >= target
    chain.close()
