"""Reading through a gateway: what is proven comes through, whatever else is sent does not."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import CidError, ConfigError, Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.protocol.cid import CHUNK_BYTES
from bcfl.storage import GatewayStore, Retries
from bcfl.storage.ipld.car import Reader, max_car_bytes
from bcfl.storage.ipld.dag import Assembly, parse_node
from bcfl.storage.ipld.encoding import Malformed
from tests.ipfs.fake import Request, Script, Server, chunked, reply
from tests.unit.storage.archives import (
    CAR,
    EMPTY,
    FULL,
    GOOD,
    HEAD,
    LARGE,
    LARGE_CID,
    ROOT,
    SMALL,
    SMALL_CID,
    STRANGER,
    UNASKED,
    archive,
    binary,
    car,
    changed,
    header,
    hostile,
    leaf,
    node,
    section,
    tree,
    with_tsizes,
)

ONCE = Retries(times=0)


def fetch(script: Script, cid: str = LARGE_CID, max_bytes: int = len(LARGE), **options: Any) -> bytes:
    with Server(script) as server:
        return GatewayStore(server.url, **{"timeout": 5.0, "retries": ONCE, **options}).get(cid, max_bytes)


def test_default_behavior() -> None:
    with Server(lambda _: reply(SMALL)) as server:
        gateway = GatewayStore(server.url + "/")
        assert gateway.get(SMALL_CID, 100) == SMALL
        assert gateway.has(SMALL_CID)
        request, has_request = server.requests
    assert (request.method, request.target) == ("GET", f"/ipfs/{SMALL_CID}?format=raw")
    assert request.headers["accept"] == "application/vnd.ipld.raw"
    assert (has_request.method, has_request.headers["cache-control"]) == ("HEAD", "only-if-cached")


def test_the_tree_of_this_test_is_that_of_the_protocol() -> None:
    assert str(tree(LARGE)[0][0]) == LARGE_CID


@pytest.mark.parametrize("form", ["length", "chunks", "no root", "repeated", "rubbish after the end"])
def test_an_archive(form: str) -> None:
    bodies = {
        "no root": section(b"\xa2\x65roots\x80\x67version\x01") + GOOD[len(header(ROOT)) :],
        "repeated": archive(ROOT, [block for block in tree(LARGE) for _ in range(2)]),
        "rubbish after the end": GOOD + b"\0" * 99,
    }
    body = bodies.get(form, GOOD)
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    head = f"Transfer-Encoding: chunked\r\nContent-Type: {CAR}".encode()
    whole = [part.replace(b"Transfer-Encoding: chunked", head) for part in chunked(pieces)]
    assert fetch(lambda _: whole if form == "chunks" else reply(body, Content_Type=CAR)) == LARGE


def test_two_levels_of_equal_chunks() -> None:
    """175 leaves: two nodes below the root, the second of one leaf; of the equal leaves one is sent."""
    data = bytes(174 * CHUNK_BYTES) + b"end"
    zero, end = leaf(bytes(CHUNK_BYTES)), leaf(b"end")
    first, second = node([(zero[0], CHUNK_BYTES)] * 174), node([(end[0], 3)])
    sizes = [174 * (CHUNK_BYTES), 3]
    links = [(first[0], sizes[0]), (second[0], sizes[1])]
    root = cids.parse(cids.compute(data))
    tsizes = [len(first[1]) + sizes[0], len(second[1]) + 3]
    block = with_tsizes(node(links)[1], sizes, tsizes)
    assert hashlib.sha256(block).digest() == root.digest
    blocks = [(root, block), first, zero, second, end]
    assert fetch(car(archive(root, blocks)), str(root), len(data)) == data


@pytest.mark.parametrize("refusal", [400, 406, 415, 501])
def test_a_gateway_that_gives_single_blocks_alone(refusal: int) -> None:
    blocks = {str(cid): block for cid, block in tree(LARGE)}

    def script(request: Request) -> list[bytes]:
        if request.query["format"] == "car":
            return reply(b"", refusal)
        return reply(blocks[request.path.removeprefix("/ipfs/")])

    assert fetch(script) == LARGE
    blocks[list(blocks)[1]] = bytes(CHUNK_BYTES)
    with pytest.raises(Corrupt, match="are not its own"):
        fetch(script)


def test_a_gateway_that_gives_the_file_itself() -> None:
    assert fetch(lambda _: reply(LARGE, Content_Type="application/octet-stream")) == LARGE
    with pytest.raises(Corrupt, match=f"the bytes it gave for {LARGE_CID} are not its own"):
        fetch(lambda _: reply(LARGE[:-1] + b"!"))
    with pytest.raises(Corrupt, match=f"sends more than the {len(LARGE)} bytes"):
        fetch(lambda _: reply(LARGE + b"!"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        changed(3),
        changed(HEAD - 1),
        changed(HEAD + 10),
        changed(HEAD + 100),
        changed(len(GOOD) - 1),
        archive(ROOT, [STRANGER, *tree(LARGE)]),
        archive(STRANGER[0], tree(LARGE)),
        archive(ROOT, tree(LARGE)[1:]),
        header(ROOT) + b"\x00" + GOOD[HEAD:],
        header(ROOT) + b"\xff" * 20,
        header(ROOT) + b"\x81\x80\x80\x00",
        header(ROOT) + b"\xff\xff\xff\x7f",
        header(ROOT) + section(b"\x12\x20" + bytes(32) + b"x"),
        header(ROOT) + section(bytes((1, 0x55, 0x00, 0x20)) + bytes(32)),
        header(ROOT) + section(bytes((1, 0x71, 0x12, 0x20)) + bytes(32)),
        b"\xff\xff\xff\x7f",
        section(b"\xa2" * 300),
    ],
)
def test_archives_that_are_none(body: bytes) -> None:
    with pytest.raises(Corrupt) as error:
        fetch(car(body))
    assert error.value.cid == LARGE_CID
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("size", [HEAD, HEAD + 300, HEAD + 300_000])
def test_half_an_archive(size: int) -> None:
    is_empty = size == HEAD
    with pytest.raises(Unavailable if is_empty else Corrupt, match="only a part" if is_empty else "cut off"):
        fetch(car(GOOD[:size]))


@pytest.mark.parametrize(
    ("root_and_archive", "words"),
    [
        (hostile([(UNASKED, 7)] * 174), "not of its level"),
        (hostile([(UNASKED, 7), (FULL, CHUNK_BYTES)]), "not of the sizes"),
        (hostile([(EMPTY, 0)] * 174), "not of its level"),
        (hostile([(FULL, CHUNK_BYTES)] * 175), "not at most 174 links"),
        (hostile([(FULL, CHUNK_BYTES), (UNASKED, 9)]), "7 bytes and not 9"),
        (hostile([(FULL, CHUNK_BYTES), (UNASKED, 7)], total=9), "not a file, or its size"),
        (hostile([(FULL, CHUNK_BYTES), (UNASKED, 7)], kind=1), "not a file, or its size"),
        (hostile([(ROOT, CHUNK_BYTES), (UNASKED, 7)]), "no block of"),
        (hostile([]), "not of its level"),
    ],
)
def test_trees_that_no_file_has(root_and_archive: tuple[str, bytes], words: str) -> None:
    """Their hashes are right: whoever names the CID on chain may have made them."""
    with pytest.raises(Corrupt, match=words):
        fetch(car(root_and_archive[1]), root_and_archive[0])


def test_a_proven_size_is_oversized_and_a_claimed_one_is_not() -> None:
    with pytest.raises(Oversized, match=f"has {len(LARGE)} bytes, more than the {len(LARGE) - 1} expected"):
        fetch(car(GOOD), max_bytes=len(LARGE) - 1)
    with pytest.raises(Oversized, match="has 18 bytes, more than the 17 expected"):
        fetch(lambda _: reply(SMALL), SMALL_CID, 17)
    with pytest.raises(Corrupt):
        fetch(lambda _: reply(SMALL * 9), SMALL_CID, 17)


@pytest.mark.parametrize("cid", [SMALL_CID, LARGE_CID])
@pytest.mark.parametrize("kind", [CAR, "application/octet-stream"])
def test_endless_answers(cid: str, kind: str) -> None:
    start = archive(ROOT, tree(LARGE)[:2]) if kind == CAR else b""
    sections = section(binary(ROOT) + tree(LARGE)[0][1]) * 100

    def script(_: Request) -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + start
        while True:
            yield sections

    tracemalloc.start()
    with pytest.raises(Corrupt):
        fetch(script, cid)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(LARGE) + 2_000_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda _: reply(SMALL)) as other:
        monkeypatch.setenv("http_proxy", other.url)
        location = other.url + "\x1b[31m" + "x" * 500
        with pytest.raises(StoreError, match="sends us to") as error:
            fetch(lambda _: reply(b"", status, Location=location), SMALL_CID)
        assert other.requests == []
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("status", [404, 410, 504])
def test_what_it_cannot_find(status: int) -> None:
    for cid in (SMALL_CID, LARGE_CID):
        with pytest.raises(Unavailable, match=f"cannot find {cid}"):
            fetch(lambda _: reply(b"", status), cid)


@pytest.mark.parametrize("status", [204, 206, 401, 403, 418, 500, 999])
def test_other_refusals(status: int) -> None:
    with pytest.raises(StoreError, match=f"HTTP status {status}"):
        fetch(lambda _: reply(b"", status), SMALL_CID)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 429 Slow\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nwei"]
)
def test_trying_again(answer: bytes) -> None:
    answers = [answer, answer]
    pauses: list[float] = []
    retries = Retries(times=2, first_seconds=0.1, jitter=lambda: 1.0, sleep=pauses.append)
    script: Callable[[Request], Iterable[bytes]] = lambda _: [answers.pop()] if answers else reply(SMALL)  # noqa: E731
    assert fetch(script, SMALL_CID, retries=retries) == SMALL
    assert pauses == [0.1, 0.2]
    with pytest.raises(StoreError, match="does not answer"):
        fetch(lambda _: [answer], SMALL_CID)


@pytest.mark.parametrize("cid", [SMALL_CID, LARGE_CID])
def test_a_byte_now_and_then(cid: str) -> None:
    def script(_: Request) -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\nContent-Type: {CAR}\r\n\r\n".encode()
        yield from server.drip(GOOD[:500], 0.02)

    start = time.monotonic()
    with Server(script) as server, pytest.raises(Unavailable, match=rf"did not give {cid} within 0\.3 s"):
        GatewayStore(server.url, timeout=0.3).get(cid, len(LARGE))
    assert time.monotonic() - start < 2


def test_nothing_listens() -> None:
    with pytest.raises(StoreError, match="does not answer: connection refused"):
        GatewayStore("http://127.0.0.1:1", retries=ONCE).get(SMALL_CID, 99)


@pytest.mark.parametrize(("status", "expected"), [(200, True), (404, False), (412, False), (504, False)])
def test_whether_it_holds_something(status: int, expected: bool) -> None:
    with Server(lambda _: reply(b"", status)) as server:
        assert GatewayStore(server.url).has(SMALL_CID) is expected


def test_silence_is_a_no_and_a_refusal_an_error() -> None:
    with Server(lambda _: server.silence()) as server:
        assert not GatewayStore(server.url, timeout=0.2).has(SMALL_CID)
        server.script = lambda _: reply(b"", 500)
        with pytest.raises(StoreError, match="HTTP status 500"):
            GatewayStore(server.url).has(SMALL_CID)


def test_it_is_for_reading_only() -> None:
    with pytest.raises(StoreError, match="for reading only"):
        GatewayStore("https://gateway.invalid").put(SMALL)


@pytest.mark.parametrize(
    "text", ["", "../x", f"{SMALL_CID}/..", SMALL_CID + "?x", SMALL_CID.upper(), SMALL_CID + "\r\n"]
)
def test_cid_pasted_into_a_url(text: str) -> None:
    with Server(lambda _: reply(SMALL)) as server:
        for use in (
            lambda: GatewayStore(server.url).get(text, 9),
            lambda: GatewayStore(server.url).has(text),
        ):
            with pytest.raises(CidError):
                use()
        assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway",
        "ftp://gateway",
        "file:///etc/passwd",
        "http://",
        "http://host:99999",
        "http://host:0",
        "http://host/?x=1",
        "http://host/#x",
        "http://user:secret@host",
        "http://a b",
        "http://a..b",
        "http://[::1",
        "http://host\r\nX: y",
        "http://hóst",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        GatewayStore(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("suffix", ["", "/", "/ipfs", "/ipfs/"])
def test_ways_to_write_its_url(suffix: str) -> None:
    assert GatewayStore(f"https://host:8080{suffix}").url == "https://host:8080"


@given(st.data())
def test_no_change_of_an_archive_comes_through(data: st.DataObject) -> None:
    """Whatever bytes come, in whatever pieces: the file or a refusal."""
    whole = bytearray(GOOD)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, min(len(whole) - 1, 400)))
        whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    size = data.draw(st.integers(1, 40)) * 1000
    pieces = (bytes(whole[at : at + size]) for at in range(0, len(whole), size))
    assembly = Assembly(ROOT, len(LARGE))
    with suppress(Malformed, Corrupt, Oversized):
        blocks = Reader(pieces, ROOT, max_car_bytes(len(LARGE))).blocks()
        while assembly.wanted:
            assembly.take(*next(blocks, (UNASKED, b"")))
        assert assembly.data() == LARGE


@given(st.binary(max_size=200))
def test_no_block_breaks_the_parser(block: bytes) -> None:
    with suppress(Malformed):
        node_ = parse_node(block)
        assert len(node_.links) == len(node_.sizes) <= 174
