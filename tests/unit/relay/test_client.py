"""Endpoints that are none, and servers that a device must survive: absent, endless, slow, nonsense."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bcfl.errors import RelayError
from bcfl.federation.client import FederationClient
from bcfl.ledger.deployment.networks import Network
from bcfl.protocol import requests
from bcfl.protocol.accounts import Account
from bcfl.protocol.requests import Question
from bcfl.protocol.submissions import Domain
from bcfl.relay import client
from bcfl.relay.client import Endpoint, HttpRelay

PIN = "0123456789abcdef" * 4
DEVICE, MINER = Account.derive(0, "device"), Account.derive(0, "miner").address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9001", Endpoint(False, "127.0.0.1", 9001, "")),
        ("https://miner.example", Endpoint(True, "miner.example", 443, "")),
        ("http://[::1]:8/", Endpoint(False, "::1", 8, "")),
        ("https://miner.example/miners/3/", Endpoint(True, "miner.example", 443, "/miners/3")),
        (f"https://[::1]:8/a#sha256={PIN}", Endpoint(True, "::1", 8, "/a", PIN)),
    ],
)
def test_endpoints(url: str, expected: Endpoint) -> None:
    assert Endpoint.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:80", "ftp://host", "file:///etc/passwd", "unix:///run/docker.sock", "http://", "http://:80",
        "http://user:secret@host", "http://host:0", "http://host:99999", "http://host:x", "http://host?a=b",
        "http://host#a", f"http://host#sha256={PIN}", f"https://host#sha256={PIN[1:]}", "https://host#sha256=",
        f"https://host#sha256={'G' * 64}", f"https://host#md5={PIN}", f"https://host#sha256={PIN}#",
        "http://host/a b", "http://host/\r\nX: y", "http://host/%0d%0a", "http://h\x00st",
        "http://hôst", "http://[::1", "http://" + "a" * 200,
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(RelayError, match=r"not an endpoint|has not announced"):
        relay(url).inbox(MINER)


def relay(url: str, seconds: float = 2.0) -> HttpRelay:
    history = SimpleNamespace(endpoints={MINER: url} if url else {})
    ledger = SimpleNamespace(domain=Domain(1, MINER), history=lambda: history)
    return HttpRelay(DEVICE, ledger, seconds)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that hears whoever comes and does `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with suppress(OSError), listener.accept()[0] as connection:
                    connection.settimeout(2)
                    connection.recv(65_536)
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        thread.join()


def say(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno json", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b'HTTP/1.1 200 OK\r\n\r\n{"round": 1, "commitments": ["zz"]}',
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 100_000,
        b"HTTP/1.1 500 Oops\r\n\r\n\x1b[31mred\x00", b"HTTP/1.1 503 Busy\r\n\r\n",
    ],
)  # fmt: skip
def test_nonsense_is_a_relay_error(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.001)
    with answering(say(answer)) as url, pytest.raises(RelayError) as error:
        relay(url).inbox(MINER).batch(1)
    assert str(error.value).isprintable()


def test_an_answer_for_another_round_is_none() -> None:
    body = b'{"round": 2, "commitments": []}'
    with answering(say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))) as url:
        assert relay(url).inbox(MINER).batch(2) == ()
        assert relay(url).inbox(MINER).batch(1) is None


def test_drops_do_not_prolong_the_wait() -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(40):
            connection.sendall(b"H")
            time.sleep(0.05)

    start = time.monotonic()
    with answering(drip) as url:
        with pytest.raises(RelayError, match="does not answer"):
            relay(url, seconds=0.3).inbox(MINER).batch(1)
        assert time.monotonic() - start < 1


def test_who_answers_a_request_for_keys_with_nonsense_or_never_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.001)
    question = Question.ask(DEVICE, Domain(1, MINER), 1, [0, 1], bytes(32))
    size, head = requests.answer_size(question.request), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    bodies = [b"", bytes(size - 1), bytes(size + 1), bytes(1 << 20)]

    def sleep(connection: socket.socket) -> None:
        with suppress(OSError):
            for _ in range(20):
                connection.sendall(b"H")
                time.sleep(0.05)

    start = time.monotonic()
    for answer in (*(say(head % len(body) + body) for body in bodies), say(b"\x00" * 99), sleep):
        with answering(answer) as url:
            assert list(relay(url, seconds=0.3).ask([MINER, "0x" + "12" * 20], question.request)) == []
    with answering(say(head % size + bytes(size))) as url:  # as long as an answer is, and signed by nobody
        ((miner, data),) = relay(url).ask([MINER], question.request)
    assert question.read(miner, data) is None
    assert time.monotonic() - start < 20


def test_a_miner_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.001)
    answers = iter([b"", b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 404 None\r\n\r\n"])
    with answering(lambda connection: connection.sendall(next(answers))) as url:
        assert relay(url).inbox(MINER).batch(1) is None


def test_nobody_there_is_a_relay_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RelayError, match="does not answer: Connection refused"):
        relay(f"http://127.0.0.1:{port}").inbox(MINER).batch(1)


def test_no_try_follows_one_that_has_used_up_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup that fails after the deadline was made a second time."""
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append(time.monotonic())
        time.sleep(0.3)
        raise OSError("no such name")

    monkeypatch.setattr(client, "exchange", fail)
    with pytest.raises(RelayError, match="does not answer"):
        relay("http://slow.example", seconds=0.25).inbox(MINER).batch(1)
    assert len(tries) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://169.254.169.254/latest", "http://[::1]:9"])
def test_an_endpoint_in_a_private_network_is_told_where_the_chain_is_public(url: str) -> None:
    endpoints = SimpleNamespace(endpoints={MINER: url})
    ledger = SimpleNamespace(history=lambda: endpoints, domain=Domain(1, MINER))
    public = HttpRelay(DEVICE, ledger, 2.0, only_public=True)
    setting = r"in a private network.* set private_endpoints = true .* or BCFL_PRIVATE_ENDPOINTS=1"
    with pytest.raises(RelayError, match=setting):
        public.inbox(MINER).batch(1)


@pytest.mark.parametrize(
    ("rpc", "chain_id", "expected"),
    [
        ("https://93.184.216.34/v3/key", 31337, True),
        ("http://127.0.0.1:8545", 31337, False),
        ("http://127.0.0.1:8545", 1337, False),
        ("https://93.184.216.34, http://10.0.0.7:8545", 31337, False),
        ("/run/geth.ipc", 1337, False),
        ("http://127.0.0.1:8545", 1, True),
        ("https://93.184.216.34, http://10.0.0.7:8545", 11155111, True),
        ("/run/geth.ipc", 560048, True),
    ],
)
def test_a_node_of_ones_own_makes_no_chain_a_private_one(
    rpc: str, chain_id: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who runs one would send requests into its own network wherever a stranger has announced it."""
    network, chain = Network("main", rpc), SimpleNamespace(chain_id=chain_id)
    monkeypatch.delenv("BCFL_PRIVATE_ENDPOINTS", raising=False)
    assert FederationClient("demo", network, chain, None, {}, 0).is_public is expected  # type: ignore[arg-type]
    allowed = replace(network, private_endpoints=True)
    assert not FederationClient("demo", allowed, chain, None, {}, 0).is_public  # type: ignore[arg-type]
    monkeypatch.setenv("BCFL_PRIVATE_ENDPOINTS", "1")
    assert not FederationClient("demo", network, chain, None, {}, 0).is_public  # type: ignore[arg-type]
