"""A miner's inbox that means harm takes nobody's time or memory, and hides nobody's statement."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bcfl.errors import RelayError
from bcfl.federation import inbox_statements, statements
from bcfl.federation.inbox_statements import of_inboxes
from bcfl.federation.statements import Collection
from bcfl.protocol import cid as cids
from bcfl.relay import book as books
from tests.integration.relay.test_listed_statements import Listing, listing

__all__ = ["listing"]


@contextmanager
def inbox(answer: Callable[[str], bytes | None]) -> Iterator[str]:
    """Serve whatever `answer` says of a path, 404 where it is None."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def loads_with(limit: int, usual: int, data: bytes) -> object:
    """Parse as in a process that nobody has told to recurse deeper than is usual."""
    sys.setrecursionlimit(limit)
    try:
        return json.JSONDecoder().decode(data.decode())
    finally:
        sys.setrecursionlimit(usual)


def test_a_nested_list_is_no_list(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = sys.getrecursionlimit()  # which the virtual machine of a simulated chain has raised
    monkeypatch.setattr(json, "loads", lambda data: loads_with(1000, limit, data))
    account = listing.miner.account.address
    with inbox(lambda _: b'{"":' * 3000 + b"1" + b"}" * 3000) as url:
        listing.local.history.endpoints[account] = url
        unreachable = {item["miner"]: item["reason"] for item in listing.collect().unreachable}
    assert unreachable[account] == "it lists no statements"


def test_a_party_of_many_words_hides_nobodys(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs more statements of one round than are ever collected; what it said is kept from then on."""
    for module in (statements, inbox_statements):
        monkeypatch.setattr(module, "MOST", 8)
    other = listing.miner.account
    liar = next(item.account for item in listing.local.miner_parties if item is not listing.miner)
    said = [listing.sealed(listing.statement(liar, "miner", place / 8), liar) for place in range(24)]
    contents = {cids.compute(data): data for data in said}
    entries = {"statements": [[1, cid] for cid in contents], "next": None}

    def answer(path: str) -> bytes | None:
        cid = path.rpartition("/")[2]
        return json.dumps(entries).encode() if cid.isdecimal() else contents.get(cid)

    listing.book.take(listing.sealed(listing.statement(other, "miner"), other), listing.local.history)
    with inbox(answer) as url:
        history = listing.local.history
        history.endpoints[liar.address] = url
        history.miners = {liar.address: history.miners[liar.address], **history.miners}  # it comes first
        for _ in range(3):
            views = listing.collect().view(0, 9)["statements"]
    assert {item["party"] for item in views} == {liar.address, other.address}


def test_what_is_kept_never_keeps_anything_new_out(
    listing: Listing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A federation states more than one collection may have; the file of what is kept stays small."""
    for module in (statements, inbox_statements):
        monkeypatch.setattr(module, "MOST", 2)
    devices = listing.local.device_accounts
    for count, account in enumerate(devices, 1):
        data = listing.sealed(listing.statement(account), account)
        listing.book.take(data, listing.local.history)
        assert account.address in {party for _, party, _ in listing.collect().by_key}, count
    for module in (statements, inbox_statements):
        monkeypatch.setattr(module, "MAX_BYTES", 500)
    for _ in range(5):
        listing.collect()
    (kept,) = (tmp_path / "cache" / "bcfl").iterdir()
    assert len(kept.read_bytes().splitlines()) <= 4


class SlowStore:
    """A store that takes a while to say that it has nothing, as one across a network does."""

    asked = 0

    def has(self, cid: str) -> bool:
        self.asked += len(cid) > 0
        time.sleep(0.1)
        return False


def test_a_list_of_what_nobody_has_ends_in_time(listing: Listing) -> None:
    names = [cids.compute(bytes([place])) for place in range(120)]
    entries = json.dumps({"statements": [[1, name] for name in names], "next": None}).encode()
    store, history = SlowStore(), listing.local.history
    with inbox(lambda path: entries if path.endswith("/1/0") else None) as url:
        history.endpoints[listing.miner.account.address] = url
        collection = Collection(listing.local.ledger.domain, history)
        of_inboxes(collection, store, only_public=False, seconds=1.0)  # type: ignore[arg-type]
    assert 0 < store.asked < 40


def test_silent_inboxes_take_a_moment_together_and_hide_nobodys(listing: Listing) -> None:
    """63 miners whose ports accept and never answer come before the one that lists a statement."""
    history, account = listing.local.history, listing.miner.account
    listing.book.take(listing.sealed(listing.statement(account, "miner"), account), history)
    member = history.miners[account.address]
    silent_miners = [f"0x{place:040x}" for place in range(1, 64)]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        host, port = server.getsockname()
        history.miners = dict.fromkeys([*silent_miners, account.address], member)
        history.endpoints.update(dict.fromkeys(silent_miners, f"http://{host}:{port}"))
        begin = time.monotonic()
        collection = listing.collect(seconds=3.0)
        seconds = time.monotonic() - begin
    assert seconds < 3.0
    assert [item["miner"] for item in collection.unreachable] == silent_miners
    assert [item["party"] for item in collection.view(0, 9)["statements"]] == [account.address]


def test_who_has_left_says_nothing_of_later_rounds(listing: Listing) -> None:
    history, device, miner = listing.local.history, listing.device, listing.miner.account
    number = listing.statement(device).round
    history.leave_rounds[device.address] = number
    history.miners[miner.address].exit_round = number
    for account, role in ((device, "device"), (miner, "miner")):
        with pytest.raises(RelayError, match=f"no {role} of this federation"):
            listing.book.take(listing.sealed(listing.statement(account, role), account), history)
    history.leave_rounds[device.address] = number + 1
    listing.book.take(listing.sealed(listing.statement(device), device), history)


def test_a_statement_sent_again_and_again_is_written_once(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = list[str](), listing.journal.write

    def note(name: str, data: bytes) -> None:
        written.append(name)
        write(name, data)

    monkeypatch.setattr(listing.journal, "write", note)
    data = listing.sealed(listing.statement(listing.device), listing.device)
    for _ in range(5):
        listing.book.take(data, listing.local.history)
    assert written == [books.RECORD]
    listing.local.play()
    monkeypatch.setattr(books, "MAX_ROUNDS", 1)
    later = listing.sealed(listing.statement(listing.device), listing.device)
    listing.book.take(later, listing.local.history)
    assert written == [books.RECORD] * 2
    for _ in range(5):
        with pytest.raises(RelayError, match="too long ago"):
            listing.book.take(data, listing.local.history)
    assert written == [books.RECORD] * 2
    assert [number for number, _ in listing.book.page(0, 0)[0]] == [listing.local.history.head.round]


def test_the_word_of_many_devices_stands_behind_the_miners(listing: Listing) -> None:
    """Pages show the first of a list, and would show devices alone."""
    account = listing.miner.account
    listing.book.take(
        listing.sealed(listing.statement(listing.device), listing.device), listing.local.history
    )
    listing.book.take(listing.sealed(listing.statement(account, "miner"), account), listing.local.history)
    assert [item["role"] for item in listing.collect().view(0, 9)["statements"]] == ["miner", "device"]
