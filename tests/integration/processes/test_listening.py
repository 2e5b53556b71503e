"""Where a miner listens: where it did before, and anywhere else when that port has become somebody else's."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import ConfigError
from bcfl.parties import Site, miner
from bcfl.relay.http import Endpoint
from tests.village import LAYOUT, Village

from .test_daemon import site_of


def served(site: Site, village: Village, **options: Any) -> str:
    """Start a miner and end it again; returns where it said that it is reached."""
    account = village.miner_accounts[0]
    with miner(site, account, village.learners[0], LAYOUT, village.store, None, **options):
        return site.ledger.history().endpoints[account.address]


def test_who_starts_again_is_reached_where_it_was(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    first = served(site, village)
    block = site.chain.request("eth_blockNumber")
    assert [served(site, village) for _ in range(2)] == [first] * 2
    assert site.chain.request("eth_blockNumber") == block  # nothing had to be announced


def test_a_port_that_is_taken_by_now_is_left_for_another(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    before = Endpoint.parse(served(site, village)).port
    with socket.create_server(("127.0.0.1", before)):
        after = Endpoint.parse(served(site, village)).port
        with pytest.raises(ConfigError, match=f"port {before} of 127.0.0.1 is taken"):
            served(site, village, port=before)  # asked for by number
    assert after != before


@pytest.mark.parametrize(
    "endpoint", ["https://miner.example", "http://127.0.0.1:1/below", "http://miner.example"]
)
def test_an_address_of_another_kind_says_nothing_about_the_port(tmp_path: Path, endpoint: str) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    assert served(site, village, endpoint=endpoint) == endpoint
    assert served(site, village).startswith("http://127.0.0.1:")
