"""A served chain over TLS: by pin, by a CA of one's own, and what is said where neither fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bcfl.errors import Unreachable
from bcfl.ledger.devnet.server import ChainServer, serve
from bcfl.ledger.rpc import RpcChain
from bcfl.transport import tls
from tests.certificates import Authority

from .conftest import Account


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(device: Account, authority: Authority) -> Iterator[ChainServer]:
    with serve(None, [device.address], port=0, tls=authority.issue("127.0.0.1")) as server:
        yield server


def connect(url: str) -> None:
    chain = RpcChain(url, timeout=5)
    try:
        assert chain.chain_id == 31337
        assert "#" not in chain.url
    finally:
        chain.close()


def test_a_pin(server: ChainServer) -> None:
    connect(server.pinned_url)


def test_a_ca(server: ChainServer, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tls.CA_VARIABLE, str(authority.file))
    connect(server.url)


def test_refusals_say_why(
    server: ChainServer, device: Account, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = authority.issue("127.0.0.1", name="other").load().fragment
    localhost = server.url.replace("127.0.0.1", "localhost")
    with serve(None, [device.address], port=0) as plain:
        cases = [
            (server.url, "no CA that is known here vouches"),
            (server.url + other, "another certificate than the pinned one"),
            (plain.url.replace("http:", "https:"), "does not speak TLS"),
            (server.url + "#sha256=12", "not the URL of a node"),
        ]
        for url, reason in cases:
            with pytest.raises(Unreachable, match=reason) as failure:
                connect(url)
            assert "\n" not in str(failure.value)
    monkeypatch.setenv(tls.CA_VARIABLE, str(authority.file))
    with pytest.raises(Unreachable, match="the certificate is not one for localhost"):
        connect(localhost)


def test_a_ca_that_is_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: ChainServer) -> None:
    monkeypatch.setenv(tls.CA_VARIABLE, str(tmp_path / "absent.pem"))
    with pytest.raises(Unreachable, match="is not the file of a CA"):
        connect(server.url)
