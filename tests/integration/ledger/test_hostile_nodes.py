"""A node whose answers are wrong: whatever it says, nothing but the project's own errors comes out."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import pytest
from requests import Session

from bcfl.bundle.blocks import fetch_records
from bcfl.errors import BcflError, LedgerError, Reverted, Unreachable
from bcfl.ledger import answers
from bcfl.ledger.answers import MalformedAnswer
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.chain import Unclear
from bcfl.ledger.contract import Contract
from bcfl.ledger.endpoint import Endpoint
from bcfl.ledger.http import TRIES, HttpProvider
from bcfl.ledger.live import LiveLedger
from bcfl.ledger.rpc import RpcChain
from bcfl.ledger.transcript import gather
from testkit.harness import Federation

MUTATIONS = int(os.environ.get("MUTATED_ANSWERS", "400"))
BLOCK = {"number": "0x5", "hash": "0x" + "1" * 64, "timestamp": "0x1"}
SENT = {"hash": "0x" + "11" * 32, "from": "0x" + "ab" * 20, "to": None, "input": "0x", "value": "0x0"}
MINED = {
    "transactionHash": "0x" + "11" * 32, "blockNumber": "0x5", "blockHash": "0x" + "1" * 64, "gasUsed": "0x1",
    "status": "0x1", "logs": [],
}  # fmt: skip
Reply = tuple[int, dict[str, str], bytes]
SCALARS: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1.5, "", "0x", "0x0", "0xzz", "0x" + "f" * 64, "0x" + "f" * 65,
    "0x" + "11" * 20, "\ud800", "\x1b[31m", [], {}, [[]], {"a": {}}, "9" * 5_000,
)  # fmt: skip


@contextmanager
def node(reply: Callable[[bytes], Reply]) -> Iterator[str]:
    """Serve `reply`, which gets the body of a request; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = reply(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def result(value: Any, request: bytes = b'{"id":0}') -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": json.loads(request)["id"], "result": value}).encode()


def asked(reply: Callable[[int], Reply]) -> tuple[Any, int, list[float]]:
    """Ask for the last block of a node that answers `reply(number of the request)`; returns pauses too."""
    requests: list[bytes] = []
    pauses: list[float] = []

    def numbered(body: bytes) -> Reply:
        requests.append(body)
        return reply(len(requests))

    with node(numbered) as url, Session() as session:
        provider = HttpProvider(url, 2, session, pauses.append)
        try:
            return provider.make_request("eth_blockNumber", [])["result"], len(requests), pauses
        except Exception as error:
            return error, len(requests), pauses


def test_a_busy_node_is_asked_again_after_the_time_that_it_names() -> None:
    busy: Reply = 429, {"Retry-After": "3"}, b"slow down"
    assert asked(lambda number: (200, {}, result("0x7")) if number == 3 else busy) == ("0x7", 3, [3.0, 3.0])
    _, count, pauses = asked(lambda _: (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""))
    assert (count, pauses) == (TRIES, [0.2, 0.4, 0.8])
    _, _, pauses = asked(lambda _: (429, {"Retry-After": "99999"}, b""))
    assert pauses == [10.0] * (TRIES - 1)


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500])
def test_a_refusal_is_read_whatever_the_status(status: int) -> None:
    error = {"code": -32005, "message": "query returned more than 10000 results"}
    refused: Reply = status, {}, json.dumps({"id": 0, "error": error}).encode()
    with node(lambda _: refused) as url, Session() as session:
        endpoint = Endpoint(url, 2)
        endpoint.provider = HttpProvider(url, 2, session, lambda _: None)
        with pytest.raises(LedgerError, match="more than 10000 results") as refusal:
            endpoint.ask("eth_getLogs", ({},))
        endpoint.close()
    assert not isinstance(refusal.value, Unreachable), "the range is too large: it is halved"


def test_a_refusal_with_status_429_is_an_answer() -> None:
    """Too many logs are asked for in smaller pieces at once; only who asks too often waits."""
    message = "query returned more than 10000 results"
    body = json.dumps({"id": 0, "error": {"code": -32005, "message": message}, "result": None}).encode()
    _, count, pauses = asked(lambda _: (429, {"Retry-After": "5"}, body))
    assert (count, pauses) == (1, [])
    slow = json.dumps({"id": 0, "error": {"code": -32005, "message": "limit exceeded"}}).encode()
    answer = asked(
        lambda number: (429, {"Retry-After": "5"}, slow) if number == 1 else (200, {}, result("0x7"))
    )
    assert answer == ("0x7", 2, [5.0])
    with node(lambda _: (429, {"Retry-After": "5"}, slow)) as url, Session() as session:
        pauses = list[float]()
        endpoint = Endpoint(url, 2)
        endpoint.provider = HttpProvider(url, 2, session, pauses.append)
        with pytest.raises(Unclear, match="limit exceeded"):
            endpoint.ask("eth_getLogs", ({},))
        endpoint.close()
    assert pauses == [], "it may mean too many logs"


def test_a_served_chain_that_computes_already_is_asked_again(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.ledger.failover.PAUSES", (0.0, 0.0))
    tries: list[bool] = []

    def acquire(*_: Any, **__: Any) -> bool:
        tries.append(len(tries) == 2)
        return tries[-1]

    monkeypatch.setattr("bcfl.ledger.devnet.methods.BoundedSemaphore.acquire", acquire)
    monkeypatch.setattr("bcfl.ledger.devnet.methods.BoundedSemaphore.release", lambda _: None)
    chain = RpcChain(embedded_url)
    assert chain.request("eth_call", {"to": "0x" + "00" * 20, "data": "0x"}, "latest") == "0x"
    assert tries == [False, False, True]
    chain.close()


def test_a_node_that_asks_for_fewer_requests_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcfl.ledger.failover.PAUSES", (0.0, 0.0))
    error = {"code": -32005, "message": "daily request count exceeded, request rate limited"}
    counts = [0]

    def reply(_request: bytes) -> Reply:
        counts[0] += 1
        body = {"id": 0, "error": error} if counts[0] in (2, 3) else {"id": 0, "result": "0x5"}
        return 200, {}, json.dumps(body).encode()

    with node(reply) as url:
        chain = RpcChain(url)
        assert chain.request("eth_blockNumber") == "0x5"
        chain.close()
    assert counts == [4]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"result":' + b'{"a":' * 50_000 + b"0" + b"}" * 50_001,
        b'{"result": NaN}', b'{"result": 1', b"<html>", b"", b"null", b"{}", b'{"error": null}',
        b'{"error": 3}', b'{"result": ' + b"9" * 10_000 + b"}", b'{"result": "\xff"}',
    ],
)  # fmt: skip
def test_what_is_no_response_is_told(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        answers.decode(body)
    with node(lambda _: (200, {}, body)) as url, pytest.raises(Unreachable):
        RpcChain(url, timeout=2)


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_BYTES", 100_000)
    long: Reply = 200, {}, result("0x" + "0" * 200_000)
    with node(lambda _: long) as url, pytest.raises(Unreachable, match="more than 100000 bytes"):
        RpcChain(url, timeout=2)


@pytest.mark.parametrize(
    ("method", "params", "wrong"),
    [
        ("eth_blockNumber", (), "7"),
        ("eth_getTransactionCount", (), "0x" + "f" * 20),
        ("eth_call", (), "0x123"),
        ("eth_getTransactionReceipt", ("0x" + "22" * 32,), MINED),
        ("eth_getBlockByNumber", ("0x5", False), BLOCK | {"number": "0x6"}),
        ("eth_getBlockByNumber", ("latest", False), BLOCK | {"number": None, "hash": None}),
        ("eth_getTransactionByHash", ("0x" + "11" * 32,), SENT | {"hash": "0x" + "22" * 32}),
    ],
)  # fmt: skip
def test_an_answer_to_something_else_is_refused(method: str, params: tuple[Any, ...], wrong: Any) -> None:
    with pytest.raises(MalformedAnswer, match=method):
        answers.check(method, params, wrong)


def test_what_was_asked_for_is_taken() -> None:
    answers.check("eth_getBlockByNumber", ("0x5", False), BLOCK)
    answers.check("eth_getTransactionByHash", ("0x" + "11" * 32,), SENT)
    answers.check("eth_getTransactionReceipt", ("0x" + "11" * 32,), MINED | {"blockTimestamp": 7})
    answers.check("eth_getTransactionReceipt", ("0x" + "11" * 32,), None)


def test_logs_of_other_blocks_and_contracts_are_refused() -> None:
    log = {
        "address": "0x" + "Ab" * 20, "topics": [], "data": "0x", "blockNumber": "0x5", "logIndex": "0x0",
        "blockHash": "0x" + "1" * 64, "transactionHash": "0x" + "2" * 64,
    }  # fmt: skip
    query = {"address": "0x" + "ab" * 20, "fromBlock": "0x4", "toBlock": "0x5"}
    answers.check("eth_getLogs", (query,), [log])
    for wrong in ({"address": "0x" + "ac" * 20}, {"blockNumber": "0x6"}, {"blockNumber": "0x3"}):
        with pytest.raises(MalformedAnswer, match="another question"):
            answers.check("eth_getLogs", (query,), [log | wrong])
    with pytest.raises(MalformedAnswer, match="another question"):
        answers.check("eth_getLogs", (query,), [log, log])


def serving(chain_id: str, head: str, faults: list[int]) -> Callable[[bytes], Reply]:
    """A node that fails as long as there are `faults`, a status each."""

    def reply(body: bytes) -> Reply:
        if faults:
            return faults.pop(), {}, b"no"
        method = json.loads(body)["method"]
        return 200, {}, result({"eth_chainId": chain_id, "eth_blockNumber": head}[method], body)

    return reply


def test_the_next_node_is_asked_where_one_fails() -> None:
    faults: list[int] = []
    with node(serving("0x5", "0x1", faults)) as one, node(serving("0x5", "0x2", [])) as two:
        chain = RpcChain(f"{one}, {two}")
        assert chain.request("eth_blockNumber") == "0x1"
        faults += [404]
        assert chain.request("eth_blockNumber") == "0x2"
        assert (chain.request("eth_blockNumber"), chain.url) == ("0x2", two), "the one that answers stays"
        chain.close()
        faults += [404] * 2
        with pytest.raises(Unreachable, match="HTTP status 404"):
            RpcChain(f"{one}")
        faults.clear()


def test_a_node_of_another_chain_is_not_believed() -> None:
    faults: list[int] = []
    with node(serving("0x5", "0x1", faults)) as one, node(serving("0x6", "0x2", [])) as two:
        chain = RpcChain(f"{one},{two}")
        faults += [404]
        with pytest.raises(Unreachable, match="404"):
            chain.request("eth_blockNumber")
        assert chain.request("eth_blockNumber") == "0x1"
        chain.close()


def test_a_frozen_node_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(4, 3).open()
    with node(Mutator(federation, 0)) as url:
        chain = RpcChain(url)
        ledger = LiveLedger(federation_at(chain, federation.contract.address))
        ledger.history()
        assert ledger.head_seconds() is None, "blocks of a development node come with calls only"
        chain.__dict__["view"] = "latest"
        start = time.monotonic()
        monkeypatch.setattr("bcfl.ledger.live.time.monotonic", lambda: start + 400)
        ledger.history()
        assert (ledger.head_seconds() or 0) >= 399
        federation.wait(1)
        federation.send(federation.owner, "register_devices", [federation.outsider.address])
        ledger.history()
        assert ledger.head_seconds() == 0
        chain.close()


class Mutator:
    """Gives a federation's true answers, some of them with one place changed."""

    def __init__(self, federation: Federation, seed: int) -> None:
        self.chain, self.random = federation.chain, Random(seed)
        self.share = 0.0

    def __call__(self, body: bytes) -> Reply:
        request = json.loads(body)
        method = request["method"]
        try:
            is_name = method == "web3_clientVersion"
            value = "anvil/v1" if is_name else self.chain.request(method, *request["params"])
            response: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"], "result": value}
        except Reverted as error:
            response = {"id": 1, "error": {"code": 3, "message": f"execution reverted: {error}"}}
        except LedgerError as error:
            response = {"id": 1, "error": {"code": -32000, "message": str(error)}}
        if self.random.random() >= self.share:
            return 200, {}, json.dumps(response).encode()
        if self.random.random() < 0.2:
            raw = bytearray(json.dumps(response).encode())
            raw[self.random.randrange(len(raw))] = self.random.randrange(256)
            end = self.random.randrange(len(raw)) if self.random.random() < 0.3 else len(raw)
            return 200, {}, bytes(raw[:end])
        return 200, {}, json.dumps(self._mutated(json.loads(json.dumps(response)))).encode()

    def _mutated(self, response: Any) -> Any:
        places = list(_places(response))
        holder, key = self.random.choice(places)
        kind = self.random.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder[key], str) and len(holder[key]) > 2:
            place, digit = self.random.randrange(2, len(holder[key])), self.random.choice("0123456789abcdef")
            holder[key] = holder[key][:place] + digit + holder[key][place + 1 :]
        elif kind == 2 and isinstance(holder[key], list) and holder[key]:
            self.random.shuffle(holder[key])
            holder[key] += holder[key][: self.random.randrange(2)]
        else:
            holder[key] = self.random.choice(SCALARS)
        return response


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        yield value, key
        yield from _places(part)


def test_mutated_answers_raise_nothing_foreign() -> None:
    """`MUTATED_ANSWERS=10000` plays a campaign; an event that was changed within its type may be believed."""
    federation = Federation(4, 3).open()
    for _ in range(2):
        federation.finish()
    mutator = Mutator(federation, 7)
    outcomes = {"errors": 0, "answers": 0}
    with node(mutator) as url:
        chain = RpcChain(url, timeout=5)
        contract = federation_at(chain, federation.contract.address)
        mutator.share = 0.3
        while sum(outcomes.values()) < MUTATIONS:
            ledger = LiveLedger(contract)
            for ask in _questions(ledger, contract, chain, federation):
                try:
                    ask()
                    outcomes["answers"] += 1
                except BcflError:
                    outcomes["errors"] += 1
        chain.close()
    assert outcomes["errors"] > MUTATIONS // 20, "the mutations reach the reader"
    assert outcomes["answers"] > MUTATIONS // 20


def _questions(
    ledger: LiveLedger, contract: Contract, chain: RpcChain, federation: Federation
) -> list[Callable[[], Any]]:
    return [
        ledger.history,
        ledger.clock,
        lambda: ledger.terms,
        chain.now,
        chain.fees,
        ledger.overdue,
        lambda: contract.call("device", 0),
        lambda: contract.call("active_miners"),
        lambda: list(contract.events(name="Tallied")),
        lambda: contract.gas_of(b"\x11" * 32),
        lambda: list(fetch_records(contract, list(federation.contract.events())[:1], 12)),
        lambda: gather(contract),
        lambda: contract.price(federation.outsider, "advance"),
        lambda: ledger.history().current,
    ]


def test_an_endpoint_among_several_is_tried_once() -> None:
    """However long it asks to wait: the other one is asked."""
    faults: list[int] = []
    with node(serving("0x5", "0x1", faults)) as one, node(serving("0x5", "0x2", [])) as two:
        chain = RpcChain(f"{one},{two}")
        faults += [429] * 4
        assert chain.request("eth_blockNumber") == "0x2"
        assert len(faults) == 3
        chain.close()
