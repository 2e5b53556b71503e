"""The relay between machines (steps 3 to 7): a desk is where its miner says on chain that it is reached.

An endpoint is foreign text, and whoever answers there is a stranger: http and https only, no redirect
followed, answers bounded in bytes and in time, all of it.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import time
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Final
from urllib.parse import urlsplit

from bcfl.errors import RelayError
from bcfl.ports import Batch, Ledger, SignedCommitment
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Opening, SignedUpdate
from bcfl.relay.envelope import HEADER, seal
from bcfl.relay.messages import (
    BatchMessage,
    CommitmentMessage,
    CommitmentsMessage,
    OpeningMessage,
    UpdateMessage,
)

SECONDS: Final = 20.0  # for a message and its answer, tries and pauses included
TRIES: Final = 3
PAUSE: Final = 0.2  # seconds before the second try; twice as long before the next
MAX_ANSWER: Final = 16_384  # bytes, head included
MAX_ENDPOINT: Final = 200
SHOWN: Final = 200  # letters of an answer in a message
AGAIN: Final = frozenset({429, 502, 503, 504})  # "not now"
PATH: Final = re.compile(r"[A-Za-z0-9._~/-]*")


@dataclass(frozen=True)
class Endpoint:
    """Where a desk is."""

    secure: bool
    host: str
    port: int
    path: str  # what stands before /v1; no slash at its end

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """The endpoint of a URL; raises RelayError for one that cannot be a desk's."""
        try:
            if len(url) > MAX_ENDPOINT or not url.isascii() or not url.isprintable() or " " in url:
                raise ValueError
            parts = urlsplit(url)
            default = {"http": 80, "https": 443}[parts.scheme]
            port = default if parts.port is None else parts.port
            if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc or not port:
                raise ValueError
            if not PATH.fullmatch(parts.path):
                raise ValueError
            return cls(parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/"))
        except (ValueError, KeyError):
            raise RelayError(
                f"{_line(url)!r} is not an endpoint: it is http://HOST:PORT or https://HOST"
            ) from None

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HttpRelay:
    """Desks by what the miners announced on chain; every message is signed by `account`."""

    def __init__(self, account: Account, ledger: Ledger, seconds: float = SECONDS) -> None:
        self._account, self._ledger, self._seconds = account, ledger, seconds

    def inbox(self, miner: str) -> HttpInbox:
        """The desk of a miner; raises RelayError if it has announced none that can be reached."""
        url = self._ledger.history().endpoints.get(miner)
        if not url:
            raise RelayError(f"miner {miner} has not announced where it is reached")
        return HttpInbox(miner, Endpoint.parse(url), self._account, self._ledger, self._seconds)


class HttpInbox:
    """One miner's desk behind a socket; every method raises RelayError when it refuses or does not answer."""

    def __init__(
        self, miner: str, endpoint: Endpoint, account: Account, ledger: Ledger, seconds: float
    ) -> None:
        self._miner, self._endpoint, self._seconds = miner, endpoint, seconds
        self._account, self._ledger = account, ledger

    def take_commitment(self, message: SignedCommitment) -> None:
        """Hand in a device's commitment."""
        self._post("/v1/commitments", CommitmentMessage.of(message).encoded())

    def take_update(self, message: SignedUpdate) -> None:
        """Hand in a device's opened commitment."""
        self._post("/v1/updates", UpdateMessage.of(message).encoded())

    def take_batch(self, message: Batch) -> None:
        """Hand in an opened batch."""
        self._post("/v1/batches", BatchMessage.of(message).encoded())

    def take_opening(self, message: Opening) -> None:
        """Hand in opened verdicts."""
        self._post("/v1/openings", OpeningMessage.of(message).encoded())

    def batch(self, round_: int) -> tuple[bytes, ...] | None:
        """The commitments of the miner's batch of a round; None if it has none."""
        status, body = self._ask("GET", f"/v1/batches/{round_}", b"")
        if status == 404:
            return None
        if status != 200:
            raise RelayError(f"miner {self._miner} refuses: {_line(body.decode('latin-1'))}")
        message = CommitmentsMessage.parsed(body)
        return tuple(message.commitments) if message.round == round_ else None

    def _post(self, path: str, body: bytes) -> None:
        status, answer = self._ask("POST", path, body)
        if status != 204:
            raise RelayError(f"miner {self._miner} refuses: {_line(answer.decode('latin-1')) or status}")

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer, tried again while the desk is away or busy and time is left."""
        until = time.monotonic() + self._seconds
        request = self._request(method, path, body)
        for attempt in range(TRIES):
            pause = PAUSE * 2**attempt
            last = attempt == TRIES - 1 or time.monotonic() + pause >= until
            try:
                status, answer = _exchange(self._endpoint, request, until)
                if status not in AGAIN or last:
                    return status, answer
            except (OSError, http.client.HTTPException, ValueError) as error:
                if last or isinstance(error, TimeoutError):
                    reason = getattr(error, "strerror", None) or type(error).__name__
                    raise RelayError(f"miner {self._miner} does not answer: {_line(str(reason))}") from None
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        """The bytes of a request."""
        lines = [
            f"{method} {self._endpoint.path}{path} HTTP/1.1",
            f"Host: {self._endpoint.authority}",
            "User-Agent: bcfl",
            "Accept-Encoding: identity",
            "Connection: close",
        ]
        if method == "POST":
            signature = seal(self._account, self._ledger.domain, self._miner, path, body)
            lines += [
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
                f"{HEADER}: {signature}",
            ]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class _Answer:
    """Bytes that were received, as http.client reads a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> IO[bytes]:
        return io.BytesIO(self._data)


class _Tls:
    """The context of all connections, made when first needed."""

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Certificates are checked."""
        return ssl.create_default_context()


_TLS = _Tls()


def _exchange(endpoint: Endpoint, request: bytes, until: float) -> tuple[int, bytes]:
    """Send a request and take the whole answer; raises OSError, HTTPException or ValueError."""
    with socket.create_connection((endpoint.host, endpoint.port), _left(until)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = plain
        if endpoint.secure:
            connection = _TLS.context.wrap_socket(plain, server_hostname=endpoint.host)
        with connection:
            connection.settimeout(_left(until))
            connection.sendall(request)
            data = _received(connection, until)
    response = http.client.HTTPResponse(_Answer(data))  # type: ignore[arg-type]
    response.begin()
    return response.status, response.read()


def _received(connection: socket.socket, until: float) -> bytes:
    """What comes until the other side ends; raises HTTPException for too much, TimeoutError for too slow."""
    data = bytearray()
    while True:
        connection.settimeout(_left(until))
        piece = connection.recv(MAX_ANSWER)
        data += piece
        if not piece:
            return bytes(data)
        if len(data) > MAX_ANSWER:
            raise http.client.HTTPException("too long an answer")


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _line(text: str) -> str:
    """One line that a terminal and a log can show, whatever a stranger put into it."""
    flat = " ".join(text.split())[:SHOWN]
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in flat)
