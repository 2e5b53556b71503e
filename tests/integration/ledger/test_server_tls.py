"""A served chain over TLS: by pin, by a CA of one's own, and what is said where neither fits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
    files, names = authority.issue("127.0.0.1"), ["node.example"]
    with serve(None, [device.address], port=0, tls=files, allowed_hosts=names) as server:
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
            (server.url.replace("https:", "HTTPS:") + other, "another certificate than the pinned one"),
            (plain.url + other, "not the URL of a node"),
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


@contextmanager
def proxy(port: int) -> Iterator[str]:
    """Serve a proxy that leads every connection to a port of this machine; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            with socket.create_connection(("127.0.0.1", port)) as onward:
                thread = threading.Thread(target=pump, args=(onward, self.connection))
                thread.start()
                pump(self.connection, onward)
                thread.join()

        def log_message(self, *_: Any) -> None:
            pass

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.mark.parametrize("has_bundle", [False, True])
def test_a_proxy_of_the_environment_gets_around_no_pin(
    server: ChainServer, authority: Authority, monkeypatch: pytest.MonkeyPatch, has_bundle: bool
) -> None:
    """A proxy that ends the connection itself, or leads it elsewhere, has another certificate to show."""
    pin = authority.issue("node.example", name="pinned").load().fragment
    url = server.pinned_url.replace("127.0.0.1", "node.example")
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    if has_bundle:  # of other CAs than a pin needs: none
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    with proxy(server.port) as proxy_url:
        monkeypatch.setenv("HTTPS_PROXY", proxy_url)
        connect(url)
        with pytest.raises(Unreachable, match="another certificate than the pinned one"):
            connect(url.partition("#")[0] + pin)
