"""A miner listens where it did before, or at another port when that one is taken by now."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
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


@pytest.mark.parametrize(
    ("endpoint", "is_private", "words"),
    [
        (None, False, "nobody else asks 127.0.0.1, .* --endpoint .* all set private_endpoints = true"),
        ("http://10.0.0.7:9000", False, "nobody else asks 10.0.0.7"),
        ("http://localhost:9000", False, "nobody else asks localhost"),
        ("http://0.0.0.0:9000", False, "nobody else reaches 0.0.0.0: say with --endpoint"),
        ("http://[::]:9000", True, "nobody else reaches ::: say with --endpoint"),
        ("https://93.184.216.34", False, None),
        (None, True, None),
    ],
)
def test_a_miner_that_nobody_will_ask_on_a_public_chain_says_so(
    tmp_path: Path,
    endpoint: str | None,
    is_private: bool,
    words: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    network = replace(client.network, private_endpoints=is_private)  # the node is on this machine
    public = replace(client, network=network, chain=SimpleNamespace(chain_id=1))  # type: ignore[arg-type]
    serve_once(public, local, endpoint=endpoint)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == (words is not None)
    assert words is None or re.search(words, warnings[0])


def test_on_a_development_chain_of_ones_own_loopback_is_no_news(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    serve_once(client_of(local)[0], local)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
