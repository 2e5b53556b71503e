"""How many requests and connections an address may make."""

from __future__ import annotations

import socket

import pytest

from bcfl.transport.connections import Connections, client_of
from bcfl.transport.server import Limits, Rates


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
