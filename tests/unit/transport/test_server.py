"""How many requests an address may make."""

from __future__ import annotations

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
