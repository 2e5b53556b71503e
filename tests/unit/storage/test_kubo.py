"""The daemon's side of the store, against daemons that do what no real one would."""

from __future__ import annotations

import gzip
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from bcfl.errors import CidError, ConfigError, Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.storage import KuboStore
from bcfl.transport.client import PIECE_BYTES
from tests.ipfs.fake import Request, Server, chunked, reply
from tests.unit.storage.fake_daemon import CID, DATA, ONCE, VERSION, daemon, error_reply, one_line, store


def test_default_behavior() -> None:
    with daemon("", lambda _: []) as server:
        assert store(server).put(DATA) == CID
        assert store(server).get(CID, len(DATA)) == DATA
        assert store(server).has(CID)
        assert store(server).check() == "Kubo 0.29.0"
        assert {request.method for request in server.requests} == {"POST"}


def test_every_setting_that_makes_the_cid_is_sent() -> None:
    with daemon("", lambda _: []) as server:
        store(server).put(DATA)
        query = server.requests[-1].query
    options = {"cid-version": "1", "cid-base": "base32", "raw-leaves": "true", "chunker": "size-262144"}
    options |= {
        "max-file-links": "174",
        "hash": "sha2-256",
        "trickle": "false",
        "inline": "false",
        "pin": "true",
    }
    assert options.items() <= query.items()


@pytest.mark.parametrize("hash_", [cids.compute(b"other"), "", "Qm", "x" * 10_000])
def test_a_daemon_that_adds_in_another_way(hash_: str) -> None:
    with (
        daemon("add", lambda _: reply({"Hash": hash_})) as server,
        pytest.raises(StoreError, match=f"stored {CID} as") as error,
    ):
        store(server).put(DATA)
    assert one_line(error)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ({"Version": "0.5.0"}, "Kubo 0.5.0"),
        ({"Version": "0.40.0-rc1"}, "Kubo 0.40.0-rc1"),
        ({"Version": "1.2.3"}, "Kubo 1.2.3"),
        ({"Version": "0.2.1", "ipfs-core": "0.2.1"}, "js-ipfs 0.2.1"),
    ],
)
def test_versions_that_will_do(version: dict[str, str], name: str) -> None:
    with daemon("version", lambda _: reply(version)) as server:
        assert store(server).check() == name


def test_an_old_version() -> None:
    with (
        daemon("version", lambda _: reply({"Version": "0.4.23"})) as server,
        pytest.raises(StoreError, match=r"is version 0\.4\.23; bcfl needs 0\.5 or newer: update it") as error,
    ):
        store(server).get(CID, 100)
    assert one_line(error)


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"<html>hello</html>"),
        reply(b"<html>no</html>", 404),
        reply(b"", 405),
        reply({}),
        reply([]),
        reply({"Version": None}),
        reply({"Version": "new\nest"}),
        reply(b""),
        reply(b'{"Version": "0.29.0"}{"Version": "0.29.0"}'),
        reply(b"[" * 60_000),
        reply(b'{"Version": "' + b"0" * 70_000),
        reply(b"\xff\xfe"),
        reply(b"", 302, Location="http://127.0.0.1:1/"),
        reply({"Message": 7}, 500),
        reply(b"[" * 60_000, 500),
    ],
)
def test_what_answers_is_no_daemon(answer: list[bytes]) -> None:
    with (
        daemon("version", lambda _: answer) as server,
        pytest.raises(StoreError, match=r"what answers is not an IPFS daemon; check the port") as error,
    ):
        store(server).get(CID, 100)
    assert one_line(error)


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9\r\n", b"\0" * 100, b""])
def test_what_answers_does_not_speak_http(noise: bytes) -> None:
    with Server(lambda _: [noise]) as server, pytest.raises(StoreError, match="does not answer") as error:
        store(server).get(CID, 100)
    assert one_line(error)


def test_nothing_listens() -> None:
    with pytest.raises(StoreError, match=r"does not answer: connection refused; is `ipfs daemon`") as error:
        KuboStore("/ip4/127.0.0.1/tcp/1", retries=ONCE).put(DATA)
    assert error.value.cid == CID
    assert one_line(error)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:5001",
        "http://127.0.0.1:5001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/5001",
        "/ip4/127.0.0.1/tcp/99999",
        "/ip4/300.0.0.1/tcp/5001",
        "/ip4/127.0.0.1/tcp/5001/p2p/x",
        "/ip4/127.0.0.1/tcp/5001\n",
        "/dns/a b/tcp/5001",
        "/dns/evil@host/tcp/5001",
        "/dns/a..b/tcp/5001",
        "/unix/var/run/ipfs",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError):
        KuboStore(address)


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(StoreError, match="does not answer") as error:
        KuboStore("/dns4/no-such-host.invalid/tcp/5001", retries=ONCE).get(CID, 100)
    assert one_line(error)


@pytest.mark.parametrize(
    "text", ["", "../x", CID + "&arg=x", CID.upper(), CID + "\n", "/ipfs/" + CID, "Qm" * 23]
)
def test_cid_pasted_into_a_request(text: str) -> None:
    with daemon("", lambda _: []) as server:
        kubo = store(server)
        for use in (lambda: kubo.get(text, 9), lambda: kubo.has(text), lambda: kubo.pin(text)):
            with pytest.raises(CidError):
                use()
        with pytest.raises(CidError):
            kubo.unpin(text)
        assert server.requests == []


@pytest.mark.parametrize("bad", [b"", DATA[:-1], b"weights of a modem", gzip.compress(DATA, mtime=0)])
def test_other_bytes_name_their_cid(bad: bytes) -> None:
    def script(_: Request) -> list[bytes]:
        return reply(bad, Content_Encoding="gzip") if bad[:1] == b"\x1f" else reply(bad)

    with daemon("cat", script) as server, pytest.raises(Corrupt, match=CID) as error:
        store(server).get(CID, 100)
    assert error.value.cid == CID


def test_nothing_is_inflated() -> None:
    bomb = gzip.compress(bytes(50_000_000))

    with (
        daemon("cat", lambda _: reply(bomb, Content_Encoding="gzip")) as server,
        pytest.raises(Corrupt, match=CID),
    ):
        store(server).get(CID, 60_000)


@pytest.mark.parametrize("form", ["endless chunks", "one endless chunk", "endless length", "no length"])
def test_more_than_expected_is_not_read(form: str) -> None:
    def script(_: Request) -> Iterator[bytes]:
        piece = bytes(PIECE_BYTES)
        heads = {
            "endless chunks": b"Transfer-Encoding: chunked\r\n\r\n",
            "one endless chunk": b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
            "endless length": b"Content-Length: 999999999999\r\n\r\n",
            "no length": b"\r\n",
        }
        yield b"HTTP/1.1 200 OK\r\n" + heads[form]
        while True:
            yield b"%x\r\n%s\r\n" % (len(piece), piece) if form == "endless chunks" else piece

    with daemon("cat", script) as server:
        kubo = store(server)
        kubo.check()
        tracemalloc.start()
        with pytest.raises(Oversized, match=f"{CID} has more than the 100000 bytes expected"):
            kubo.get(CID, 100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000
    assert server.sent < 50_000_000  # what the sockets held, not more


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_byte_now_and_then(part: str) -> None:
    heads = {
        "head": b"",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    }
    drops = {
        "head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999,
        "body": DATA * 99,
        "chunks": b"1\r\nx\r\n" * 99,
    }

    def script(_: Request) -> Iterator[bytes]:
        yield heads[part]
        yield from slow.drip(drops[part], 0.02)

    with daemon("cat", script) as slow:
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"did not answer within 0\.3 s") as error:
            store(slow, timeout=0.3).get(CID, 100_000)
        assert time.monotonic() - start < 2
    assert not isinstance(error.value, Unavailable)  # the daemon fails, which says nothing of the content


def test_silence() -> None:
    with Server(lambda _: []) as server:
        server.script = lambda _: server.silence()
        with pytest.raises(StoreError, match=r"did not answer within 0\.2 s"):
            store(server, timeout=0.2).get(CID, 100)


@pytest.mark.parametrize(
    "message",
    [
        "Failed to cat file: request timed out",
        "context deadline exceeded",
        "block was not found locally (offline): ipld: could not find bafk",
    ],
)
def test_what_nobody_has(message: str) -> None:
    with daemon("cat", lambda _: error_reply(message)) as server:
        with pytest.raises(Unavailable, match=CID) as error:
            store(server).get(CID, 100)
        assert one_line(error)
        assert server.requests[-1].query["timeout"].endswith("ms")  # the daemon gives up before we do
    with daemon("pin/add", lambda _: error_reply(message)) as server, pytest.raises(Unavailable, match=CID):
        store(server).pin(CID)


def test_a_stream_that_ends_in_an_error() -> None:
    trailer = "X-Stream-Error: context deadline exceeded"
    with (
        daemon("cat", lambda _: chunked([DATA[:5]], trailer)) as server,
        pytest.raises(Unavailable, match=CID),
    ):
        store(server).get(CID, 100)


def test_trailers_without_end() -> None:
    with (
        daemon("cat", lambda _: chunked([DATA], "X: y\r\n" * 100)) as server,
        pytest.raises(StoreError, match="a broken answer"),
    ):
        store(server).get(CID, 100)


def test_other_errors_are_passed_on_in_one_line() -> None:
    with (
        daemon("pin/rm", lambda _: error_reply("disk\nfull " + "x" * 9999)) as server,
        pytest.raises(StoreError, match="refused: disk full") as error,
    ):
        store(server).unpin(CID)
    assert one_line(error)


def test_a_folder_is_not_a_payload() -> None:
    with (
        daemon("cat", lambda _: error_reply("this dag node is a directory")) as server,
        pytest.raises(Corrupt, match=f"{CID} is not a file"),
    ):
        store(server).get(CID, 100)


def test_unpinning_what_is_not_pinned() -> None:
    with daemon("pin/rm", lambda _: error_reply("not pinned or pinned indirectly")) as server:
        store(server).unpin(CID)


@pytest.mark.parametrize(("is_held", "message"), [(False, "could not find"), (True, "")])
def test_what_is_not_pinned_is_looked_for_at_home(is_held: bool, message: str) -> None:
    def script(request: Request) -> list[bytes]:
        if request.path.endswith("pin/ls"):
            return error_reply("is not pinned")
        if request.path.endswith("version"):
            return reply(VERSION)
        assert request.query["offline"] == "true"
        return reply({"Key": CID, "Size": 18}) if is_held else error_reply(message)

    with Server(script) as server:
        assert store(server).has(CID) is is_held


@pytest.mark.parametrize("command", ["pin/ls", "block/stat"])
def test_an_error_is_not_an_absence(command: str) -> None:
    def script(request: Request) -> list[bytes]:
        if request.path.endswith("version"):
            return reply(VERSION)
        return error_reply("the disk burns" if request.path.endswith(command) else "is not pinned")

    with Server(script) as server, pytest.raises(StoreError, match="refused: the disk burns"):
        store(server).has(CID)


def test_no_redirect_is_followed_and_no_proxy_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda _: reply(DATA)) as other:
        monkeypatch.setenv("http_proxy", other.url)
        monkeypatch.setenv("HTTP_PROXY", other.url)
        redirect = reply(b"", 307, Location=other.url)
        with (
            daemon("cat", lambda _: redirect) as server,
            pytest.raises(StoreError, match="not an IPFS daemon"),
        ):
            store(server).get(CID, 100)
        assert other.requests == []


def test_large_contents_are_sent_in_pieces() -> None:
    data = os.urandom(3_000_000)
    cid = cids.compute(data)
    with daemon("add", lambda _: reply({"Hash": cid})) as server:
        assert store(server).put(data) == cid
        assert server.requests[-1].headers["transfer-encoding"] == "chunked"


def test_looking_for_bytes_takes_no_longer_than_it_may() -> None:
    """Whoever withholds an update's bytes must not use up the phase in which it is judged."""
    uses: dict[str, Callable[[KuboStore], object]] = {
        "cat": lambda kubo: kubo.get(CID, 99),
        "pin/add": lambda kubo: kubo.pin(CID),
    }
    for command, use in uses.items():
        with daemon(command, lambda _: slow.silence()) as slow:
            kubo = store(slow, timeout=60, search=0.3)
            with pytest.raises(StoreError, match=r"did not answer within 0\.3 s"):
                use(kubo)
