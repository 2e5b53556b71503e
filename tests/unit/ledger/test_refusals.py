"""What a node's words mean: fewer requests, or fewer blocks at once."""

from __future__ import annotations

import pytest

from bcfl.errors import Unreachable
from bcfl.ledger.chain import Busy, Unclear, refusal


@pytest.mark.parametrize(
    "words",
    [
        "You've exceeded the RPS limit available on the current plan",
        "Your app has exceeded its compute units per second capacity",
        "project ID request rate exceeded",
        "limit exceeded",
        "Rate limited",
        "exceeded quota",
        "request limit reached",
        "cu limit exceeded; The current RPC traffic is too high",
        "Too Many Requests",
        "4 calls are computed already: try again in a moment",
    ],
)
def test_asked_too_often(words: str) -> None:
    assert isinstance(refusal({"code": -32005, "message": words}), Busy)


@pytest.mark.parametrize(
    "words", ["limit exceeded", "exceeded quota", "exceeds capacity", "request limit reached"]
)
def test_what_may_mean_too_many_logs_is_no_wish_for_fewer_requests(words: str) -> None:
    failure = refusal({"code": -32005, "message": words}, "eth_getLogs")
    assert isinstance(failure, Unclear)
    assert not isinstance(failure, Unreachable)


@pytest.mark.parametrize(
    "words",
    [
        "You've exceeded the RPS limit available on the current plan",
        "Your app has exceeded its compute units per second capacity",
        "rate limit exceeded",
        "Too Many Requests",
        "4 calls are computed already: try again in a moment",
    ],
)
def test_asked_for_logs_too_often(words: str) -> None:
    assert isinstance(refusal({"code": -32005, "message": words}, "eth_getLogs"), Busy)


@pytest.mark.parametrize(
    "words",
    [
        "query exceeds capacity: more than 10000 results",
        "query returned more than 10000 results",
        "query timeout exceeded",
        "query result limit exceeded",
        "block range limit exceeded",
        "requested too many blocks from 1 to 3000, maximum is set to 2048",
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no "
        "limit on the response size, or you can request any block range with a cap of 10K logs.",
        "more than 10000 logs: ask for fewer blocks at once",
        "history has been pruned for this block",
        "block gas limit exceeded",
    ],
)
def test_asked_for_too_much(words: str) -> None:
    assert not isinstance(refusal({"code": -32005, "message": words}), Busy)
