"""How many requests and connections an address may make, and what is one request."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bcfl.transport.connections import Connections, client_of
from bcfl.transport.server import Handler, Limits, Rates, Server


def test_a_bucket_fills_up_again() -> None:
    now = [0.0]
    rates = Rates(Limits(body_bytes=1, rate=2, burst=3), clock=lambda: now[0])
    assert [rates.allow("a") for _ in range(4)] == [True, True, True, False]
    assert rates.allow("b")
    now[0] = 0.5
    assert [rates.allow("a") for _ in range(2)] == [True, False]


def test_rates_remember_so_many_addresses_only() -> None:
    rates = Rates(Limits(body_bytes=1, rate=1, burst=1))
    for number in range(5_000):
        rates.allow(str(number))
    assert len(rates._buckets) <= 1_024


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_of_ipv6_is_one_client(address: str, client: str) -> None:
    assert client_of(address) == client


def test_a_machine_with_many_addresses_keeps_nobody_out() -> None:
    """One machine has 2^64 addresses of IPv6, and could take each place from another one."""
    connections = Connections(total=8, per_address=6)
    with socket.socket() as idle:
        taken = [connections.admit(client_of(f"2001:db8::{number:x}"), idle) for number in range(1, 99)]
        assert sum(one is not None for one in taken) == 6
        for address in ("2001:db8:0:1::1", "2001:db8:0:2::1", "198.51.100.1", "2001:db8:0:3::1"):
            assert connections.admit(client_of(address), idle) is not None


class Echo(Handler):
    """Answers with the path of a request."""

    def get(self) -> None:
        self.answer(200, self.path.encode())

    def post(self, body: bytes) -> None:
        self.answer(200, self.path.encode() + body)


@pytest.fixture
def port() -> Iterator[int]:
    server = Server("127.0.0.1", 0, Echo, Limits(body_bytes=100))
    server.start()
    yield server.port
    server.stop()


def answers(port: int, data: bytes) -> bytes:
    """Return all that a server sends in answer to some bytes, until it ends the connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 0\r\nContent-Length: 38",
        b"Content-Length: 38\r\ncontent-length: 0",
        b"Content-Length: 0\r\nContent-Length: 0",
        b"Content-Length : 38",
        b"Content-Length\t: 38",
        b"Content-Length: 0\r\n Content-Length: 38",
        b" Content-Length: 38",
        b"Content-Length: 0\r\nX: y\rContent-Length: 38",
        b"no header\r\nContent-Length: 38",
        b"X: a\rContent-Length: 38",
        b"X: a\rY: b\r\nContent-Length: 0",
        b"X: a\0b\r\nContent-Length: 0",
        b"Content-Length\x0c: 38\r\nContent-Length: 0",
        b"Content-Length: 0\r\nTransfer-Encoding:",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Content-Length: 0\r\nHost: other",
    ],
)
def test_what_follows_an_ambiguous_head_is_no_second_request(port: int, method: bytes, lines: bytes) -> None:
    head = method + b" /first HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n\r\n"
    answer = answers(port, head + b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 411"))
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in answer
    assert b"/second" not in answer


def test_a_first_line_that_is_no_header_is_not_skipped(port: int) -> None:
    answer = answers(port, b"GET /first HTTP/1.1\r\nFrom Content-Length: 5\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_plain_head_is_read_as_ever(port: int) -> None:
    post = b"POST /a HTTP/1.1\r\nHost: localhost\r\nX-Any_1.b: x\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nhi"
    answer = answers(port, post + b"GET /b HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"/ahi" in answer
    assert answer.endswith(b"/b")
