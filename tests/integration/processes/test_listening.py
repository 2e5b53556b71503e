"""A miner listens where it did before, or at another port when that one is taken by now."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import ConfigError
from bcfl.federation.client import FederationClient
from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.relay.client import Endpoint
from tests.certificates import Authority
from tests.daemons import client_of
from tests.local_federation import LAYOUT, LocalFederation


def serve_once(client: FederationClient, local: LocalFederation, **options: Any) -> str:
    """Start a miner and end it again; returns the URL that it announced."""
    account = local.miner_accounts[0]
    node = Node(client, account, LAYOUT, local.store, NodeOptions(None))
    with node.miner(local.learners[0], MinerOptions(**options)):
        return client.ledger.history().endpoints[account.address]


def test_who_starts_again_is_reached_where_it_was(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    first = serve_once(client, local)
    block = client.chain.request("eth_blockNumber")
    assert [serve_once(client, local) for _ in range(2)] == [first] * 2
    assert client.chain.request("eth_blockNumber") == block  # nothing had to be announced


def test_a_port_that_is_taken_by_now_is_left_for_another(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    old_port = Endpoint.parse(serve_once(client, local)).port
    with socket.create_server(("127.0.0.1", old_port)):
        new_port = Endpoint.parse(serve_once(client, local)).port
        with pytest.raises(ConfigError, match=f"port {old_port} of 127.0.0.1 is taken"):
            serve_once(client, local, port=old_port)  # asked for by number
    assert new_port != old_port


def test_an_encrypted_inbox_is_announced_with_the_pin_of_its_certificate(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path / "local")
    client, _ = client_of(local)
    files = Authority.make(tmp_path / "ca").issue("127.0.0.1")
    pin = files.load().fragment
    plain, first = serve_once(client, local), serve_once(client, local, tls=files)
    assert plain.startswith("http://")
    assert first.startswith("https://127.0.0.1:")
    assert first.endswith(pin)
    assert serve_once(client, local, tls=files) == first  # at the same port
    url = "https://miner.example/3"
    assert serve_once(client, local, tls=files, endpoint=url) == url + pin
    other = url + "#sha256=" + "0" * 64  # of a proxy in front
    assert serve_once(client, local, tls=files, endpoint=other) == other
    with pytest.raises(ConfigError, match="say https://"):
        serve_once(client, local, tls=files, endpoint="http://miner.example")


@pytest.mark.parametrize(
    "endpoint", ["https://miner.example", "http://127.0.0.1:1/below", "http://miner.example"]
)
def test_an_address_of_another_kind_says_nothing_about_the_port(tmp_path: Path, endpoint: str) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    assert serve_once(client, local, endpoint=endpoint) == endpoint
    assert serve_once(client, local).startswith("http://127.0.0.1:")
