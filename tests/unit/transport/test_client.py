"""The one HTTP client against servers that no party may be held up by, and its certificates."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from http.client import HTTPException, IncompleteRead
from typing import Any

import pytest

from bcfl.transport.client import HEAD_BYTES, PrivateAddress, TooLong, exchange, is_private_host, is_public
from bcfl.transport.deadline import Deadline
from tests.ipfs.fake import Request, Server, chunked, reply
from tests.processes import until

SECONDS = 5.0


def get(server: Server, seconds: float = SECONDS, max_bytes: int = 100) -> bytes:
    with exchange("GET", server.url, Deadline(seconds)) as answer:
        return answer.body(max_bytes)


@pytest.mark.parametrize(
    ("body", "header"),
    [(b"abc", ("content-length", "3")), (iter([b"a", b"bc"]), ("transfer-encoding", "chunked"))],
)
def test_bytes_are_sent_with_their_length_and_streams_in_chunks(
    body: bytes | Iterable[bytes], header: tuple[str, str]
) -> None:
    with Server(lambda _: reply(b"well")) as server:
        with exchange("POST", server.url + "/path?query=1", Deadline(SECONDS), {"X-Y": "z"}, body) as answer:
            assert (answer.status, answer.body(4)) == (200, b"well")
        request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/path?query=1")
    assert {("x-y", "z"), ("user-agent", "bcfl"), header} <= set(request.headers.items())
    assert len({"content-length", "transfer-encoding"} & set(request.headers)) == 1


@pytest.mark.parametrize("size", [4, 5])
def test_a_body_has_as_many_bytes_as_it_may(size: int) -> None:
    for answer in (reply(bytes(size)), list(chunked([bytes(size)]))):
        with Server(lambda _, answer=answer: answer) as server:  # type: ignore[misc]
            if size == 4:
                assert get(server, max_bytes=4) == bytes(4)
            else:
                with pytest.raises(TooLong):
                    get(server, max_bytes=4)


def test_the_start_of_a_body_is_had_alone() -> None:
    with Server(lambda _: reply(b"12345678")) as server, exchange("GET", server.url, Deadline(5)) as answer:
        assert answer.prefix(3) == b"123"


def test_a_body_that_breaks_off_is_no_body() -> None:
    with (
        Server(lambda _: [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"]) as server,
        pytest.raises(IncompleteRead),
    ):
        get(server)


HEADS: dict[str, tuple[bytes, bytes]] = {
    "status": (b"HTTP/1.1 200 ", b"x" * 1000),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 1000 + b"\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("form", HEADS)
def test_a_head_without_end_is_cut_off(form: str) -> None:
    def script(_: Request) -> Iterator[bytes]:
        start, piece = HEADS[form]
        yield start
        while not server.over.is_set():
            yield piece

    with Server(script) as server:
        tracemalloc.start()
        with pytest.raises(TooLong, match=f"more than {HEAD_BYTES} bytes"):
            get(server)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_long_body_may_come_with_its_head() -> None:
    with Server(lambda _: [b"".join(reply(bytes(1_000_000)))]) as server:
        assert get(server, max_bytes=1_000_000) == bytes(1_000_000)


def test_one_deadline_bounds_all_attempts_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile name may have any number of addresses at which nobody answers."""

    class Silent:
        def __init__(self, *_: object) -> None:
            self.timeout = 0.0

        def settimeout(self, seconds: float) -> None:
            self.timeout = seconds

        def connect(self, _: object) -> None:
            time.sleep(self.timeout)
            raise TimeoutError("timed out")

        def close(self) -> None: ...

    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 100)
    monkeypatch.setattr(socket, "socket", Silent)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        exchange("GET", "http://many.invalid", Deadline(0.2))
    assert time.monotonic() - start < 2


def test_an_address_at_which_nobody_listens_does_not_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Server(lambda _: reply(b"here")) as server:
        places = [("127.0.0.1", port), ("127.0.0.1", server.port)]
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        assert get(server) == b"here"


def test_a_lookup_that_takes_long_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever announces a name may have its lookup answered slowly, or never."""
    released, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *args: Any, **options: Any) -> Any:
        if options.get("flags"):
            return real(host, *args, **options)
        released.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        exchange("GET", "http://slow.example", Deadline(0.2))
    assert not released.is_set()
    released.set()
    assert until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".invalid"])
def test_a_host_that_cannot_be_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match="no host can be called"):
        exchange("GET", f"http://{host}", Deadline(SECONDS))


def test_a_handshake_does_not_outlast_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises((TimeoutError, HTTPException)):
            exchange("GET", f"https://127.0.0.1:{silent.getsockname()[1]}", Deadline(0.3))
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.64.0.1", False),
        ("0.0.0.0", False), ("224.0.0.1", False), ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False),
        ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True), ("::127.0.0.1", False), ("::", False),
        ("fec0::1", False), ("2002:7f00:1::", False), ("2002:5db8:d822::1", True), ("2001:0:7f00:1::", False),
        ("64:ff9b::a00:1", False), ("64:ff9b::5db8:d822", True), ("64:ff9b:1::1", False),
        ("::ffff:0:127.0.0.1", False), ("::ffff:0:5db8:d822", True), ("2600::5efe:c0a8:1", False),
        ("2600::200:5efe:5db8:d822", True),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected


def test_a_private_address_is_left_alone_where_only_public_ones_may_be_asked() -> None:
    """By whatever name: a name that anybody announces may stand for a machine in the reader's network."""
    with Server(lambda _: reply(b"well")) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(PrivateAddress):
                exchange("GET", url, Deadline(SECONDS), only_public=True)
        assert server.requests == []
    assert is_private_host("localhost")
    assert not is_private_host("93.184.216.34")
    assert not is_private_host("absent.invalid")
