"""Encrypted connections: who is believed, who is not and why, and servers that nobody can hold up."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import ConfigError
from bcfl.transport import tls
from bcfl.transport.client import exchange
from bcfl.transport.deadline import Deadline
from bcfl.transport.server import Handler, Limits, Server
from bcfl.transport.tls import TlsFiles, Untrusted
from tests.certificates import Authority
from tests.processes import ANSWER

LIMITS = Limits(body_bytes=100, connections=8, handshake_seconds=1.0)


class Echo(Handler):
    """Answers each GET with its path, and a POST with its body, many times."""

    def get(self) -> None:
        self.answer(200, self.path.encode())

    def post(self, body: bytes) -> None:
        self.answer(200, body * 100_000)


@contextmanager
def served(files: TlsFiles | None, limits: Limits = LIMITS) -> Iterator[Server]:
    server = Server("127.0.0.1", 0, Echo, limits, tls=files)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def ask(url: str, path: str = "/x", body: bytes | None = None) -> bytes:
    base, sharp, pin = url.partition("#")
    url = base + path + sharp + pin
    with exchange("GET" if body is None else "POST", url, Deadline(ANSWER), body=body) as answer:
        return answer.body(10**8)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tls.CA_VARIABLE, str(authority.file))


def test_a_pin_needs_no_ca(authority: Authority) -> None:
    with served(authority.issue("elsewhere.example")) as server:
        assert server.pinned_url.startswith("https://127.0.0.1:")
        assert ask(server.pinned_url) == b"/x"
        assert ask(server.pinned_url, body=b"0123456789") == b"0123456789" * 100_000


@pytest.mark.usefixtures("trusted")
def test_another_certificate_than_the_pinned_one(authority: Authority) -> None:
    """Even one for which a trusted CA vouches: the pin says which it is."""
    pin = authority.issue("127.0.0.1", name="first").load().fragment
    with served(authority.issue("127.0.0.1", name="second")) as server:
        assert ask(server.url) == b"/x"
        with pytest.raises(Untrusted, match="another certificate than the pinned one"):
            ask(server.url + pin)


@pytest.mark.usefixtures("trusted")
def test_a_ca_vouches_for_a_name(authority: Authority) -> None:
    with served(authority.issue("localhost", "127.0.0.1")) as server:
        assert ask(server.url) == b"/x"
        assert ask(f"https://localhost:{server.port}") == b"/x"


def test_a_ca_that_is_not_known(authority: Authority) -> None:
    with (
        served(authority.issue("127.0.0.1")) as server,
        pytest.raises(Untrusted, match=r"no CA that is known here vouches.*BCFL_TLS_CA"),
    ):
        ask(server.url)


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name(authority: Authority) -> None:
    with served(authority.issue("miner.example")) as server:
        for url in (server.url, f"https://localhost:{server.port}"):
            with pytest.raises(Untrusted, match="not one for"):
                ask(url)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("begins", "ends", "text"), [(-9, -1, "has expired"), (1, 9, "not valid yet")])
def test_a_certificate_out_of_time(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    begins: int,
    ends: int,
    text: str,
) -> None:
    """A server does not start with it, and a client does not take it from one that has."""
    files = authority.issue("127.0.0.1", begins=begins, ends=ends, name="late")
    with pytest.raises(ConfigError, match=text):
        files.load()
    monkeypatch.setattr(TlsFiles, "_fingerprint", lambda *_: "0" * 64)
    with served(files) as server, pytest.raises(Untrusted, match=text):
        ask(server.url)


def test_servers_and_clients_that_do_not_encrypt(authority: Authority) -> None:
    pin = authority.issue("127.0.0.1").load().fragment
    with served(None) as server, pytest.raises(Untrusted, match="does not speak TLS"):
        ask(server.url.replace("http:", "https:") + pin)
    with served(authority.issue("127.0.0.1")) as server, pytest.raises(Exception, match=r".*") as failure:
        ask(server.url.replace("https:", "http:"))
    assert not isinstance(failure.value, AssertionError)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_are_refused(authority: Authority, version: str) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    with (
        served(authority.issue("127.0.0.1")) as server,
        socket.create_connection(("127.0.0.1", server.port), ANSWER) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        client.wrap_socket(connection)


def test_files_that_are_no_certificate(authority: Authority, tmp_path: Path) -> None:
    first = authority.issue("localhost", name="first")
    second = authority.issue("localhost", name="second")
    absent, text = tmp_path / "absent.pem", tmp_path / "text.pem"
    text.write_text("nothing of the kind\n")
    for files, reason in (
        (replace(first, key=second.key), "is not the key of"),
        (replace(first, key=absent), "absent.pem cannot be read: No such file"),
        (replace(first, certificate=text), "no certificate and its key in PEM"),
        (replace(first, key=text), "no certificate and its key in PEM"),
    ):
        with pytest.raises(ConfigError, match=reason) as failure:
            files.load()
        assert "\n" not in str(failure.value)
    with pytest.raises(ConfigError, match="go together"):
        TlsFiles.of(first.certificate, None)
    with pytest.raises(ConfigError, match="is not the file of a CA"):
        tls._ca_context(text)


def test_clients_that_say_nothing_hold_up_nobody(authority: Authority) -> None:
    """More than there are places for: they lose them after the time of a handshake."""
    with served(authority.issue("127.0.0.1")) as server, ExitStack() as stack:
        for _ in range(LIMITS.connections - 1):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert ask(server.pinned_url) == b"/x"
        stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        time.sleep(1.5 * LIMITS.handshake_seconds)
        assert ask(server.pinned_url) == b"/x"


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
def test_two_idle_addresses_do_not_fill_a_server(authority: Authority, is_secure: bool) -> None:
    limits = replace(LIMITS, per_address=4, idle_seconds=60.0, handshake_seconds=60.0)
    files = authority.issue("127.0.0.1") if is_secure else None
    with served(files, limits) as server, ExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3"):
            for _ in range(4):
                connection = socket.create_connection(
                    ("127.0.0.1", server.port), ANSWER, source_address=(address, 0)
                )
                stack.enter_context(connection)
        for _ in range(3):
            assert ask(server.pinned_url) == b"/x"
            while server._connections._counts["127.0.0.1"]:  # until the server has seen its end
                time.sleep(0.01)
