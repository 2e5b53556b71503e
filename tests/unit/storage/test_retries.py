"""How often a store that is away is asked again, and how long that may take."""

from __future__ import annotations

from typing import Any

import pytest

from bcfl.errors import ConfigError, StoreError
from bcfl.storage import KuboStore, Retries
from tests.ipfs.fake import reply
from tests.unit.storage.fake_daemon import CID, DATA, daemon, store


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nwei"]
)
def test_a_daemon_that_goes_away_and_comes_back(answer: bytes) -> None:
    answers = [answer, answer, answer]
    pauses: list[float] = []
    retries = Retries(
        times=4, first_seconds=0.1, longest_seconds=0.3, jitter=lambda: 1.0, sleep=pauses.append
    )
    with daemon("cat", lambda _: [answers.pop()] if answers else reply(DATA)) as server:
        assert store(server, retries=retries).get(CID, 100) == DATA
    assert pauses == [0.1, 0.2, 0.3]


def test_tries_are_bounded_and_jitter_shortens_pauses() -> None:
    pauses: list[float] = []
    retries = Retries(
        times=3, first_seconds=0.1, factor=3, longest_seconds=9, jitter=lambda: 0.0, sleep=pauses.append
    )
    with pytest.raises(StoreError, match="connection refused"):
        KuboStore("/ip4/127.0.0.1/tcp/1", retries=retries).put(DATA)
    assert pauses == pytest.approx([0.05, 0.15, 0.45])


def test_no_pause_outlasts_the_time_out() -> None:
    pauses: list[float] = []
    retries = Retries(times=9, first_seconds=1, factor=10, longest_seconds=100, sleep=pauses.append)
    with pytest.raises(StoreError, match="connection refused"):
        KuboStore("/ip4/127.0.0.1/tcp/1", timeout=3, retries=retries).put(DATA)
    assert len(pauses) == 1


@pytest.mark.parametrize("options", [{"times": -1}, {"times": 21}, {"first_seconds": -1.0}, {"factor": 0.5}])
def test_retries_without_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Retries(**options)
