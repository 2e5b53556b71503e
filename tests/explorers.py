"""Serve explorers in this process, for tests that ask them over HTTP or in a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from bcfl.explorer.app import Explorer
from bcfl.explorer.server import ExplorerServer, address_of, listen
from bcfl.explorer.target import Target
from bcfl.federation.query import Query, open_run
from bcfl.ledger.contract import Event

READY_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """An explorer that answers at `address`, which ends with a slash."""

    explorer: Explorer
    address: str

    def url(self, path: str) -> str:
        """Return the address of a page."""
        return self.address + path.removeprefix("/")

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        """Return the answer to a request as it was sent, and its body."""
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


def run_target(path: Path) -> Target:
    """Return a run's folder as what is explored."""
    return Target(partial(open_run, path), 0.2)


@contextmanager
def serving(target: Target, *, measures: bool = True) -> Iterator[Served]:
    """Serve an explorer until the block ends."""
    explorer, ready = Explorer(target, measures=measures), threading.Event()
    sock = listen("127.0.0.1", 0)
    server = ExplorerServer(explorer, sock, ready.set)
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    try:
        assert ready.wait(READY_SECONDS)
        yield Served(explorer, address_of(sock))
    finally:
        server.should_exit = True
        thread.join()


class Gate:
    """Holds up whoever reads events until it is opened, so that tests see what is said meanwhile."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.failure: Exception | None = None

    def target(self, path: Path) -> Target:
        """Return a run whose events come in pieces of ten blocks; the first one comes at once."""

        @contextmanager
        def opener() -> Iterator[Query]:
            with open_run(path) as query:
                pieces = query.contract.pieces

                def slowly(
                    first: int, last: int, name: str | None = None
                ) -> Iterator[tuple[int, list[Event]]]:
                    if first:
                        yield from pieces(first, last, name)
                        return
                    yield from pieces(0, min(9, last), name)
                    self.opened.wait(30)
                    if self.failure is not None:
                        raise self.failure
                    yield from pieces(10, last, name)

                query.contract.pieces = slowly  # type: ignore[method-assign]
                yield query

        return Target(opener, 0.2)
