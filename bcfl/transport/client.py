"""One HTTP request to a store that nobody trusts (steps 3, 6 and 8): bounded in time and in memory.

No redirect is followed, no proxy asked, nothing decompressed, and no more than a piece of the answer is held.
The deadline is one for the whole exchange, so a peer that sends a byte now and then gains nothing.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

PIECE_BYTES = 65_536
TRAILER_LINES = 64
FAILURE_TRAILER = "x-stream-error"  # how an IPFS daemon says, after its first bytes, that it could not go on


class Deadline:
    """An instant `seconds` from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Seconds until then; raises TimeoutError when none are left."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def allows(self, seconds: float) -> bool:
        """Whether more than `seconds` are left."""
        return self._end - self._clock() > seconds


class Interrupted(http.client.HTTPException):
    """The answer ended with an error of the server's instead of its last bytes."""


class Answer:
    """Status, headers and body of an answer, and the connection it comes over; close it."""

    def __init__(self, response: http.client.HTTPResponse, connection: _Timed) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._connection = response, connection

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def pieces(self) -> Iterator[bytes]:
        """The body, at most PIECE_BYTES at a time; raises OSError or HTTPException when it breaks off."""
        while piece := self._response.read1(PIECE_BYTES):
            yield piece
        if self._response.length:  # read1 takes the end of the connection for the end of the body
            raise http.client.IncompleteRead(b"", self._response.length)

    def start(self, size: int) -> bytes:
        """The body, cut off after `size` bytes."""
        taken = b""
        for piece in self.pieces():
            taken += piece
            if len(taken) >= size:
                break
        return taken[:size]

    def close(self) -> None:
        """Drop the connection, whatever is still to come."""
        self._response.close()
        self._connection.shut()


def exchange(
    method: str,
    url: str,
    deadline: Deadline,
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] | None = None,
) -> Answer:
    """Send one request and return the answer; raises OSError (TimeoutError among them) or HTTPException."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=deadline.left())
    connection.response_class = _Response
    try:
        connection.connect()
    except UnicodeError as error:
        raise OSError(f"no host can be called {parts.hostname!r}") from error
    timed = _Timed(connection.sock, deadline)
    connection.sock = timed
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        fixed = {"User-Agent": "bcfl", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request(method, target, body, fixed | dict(headers or {}), encode_chunked=body is not None)
        return Answer(connection.getresponse(), timed)
    except BaseException:
        timed.shut()
        raise


class _Timed:
    """What http.client needs of a socket, with every wait cut to what is left of the deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline = connected, deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.left())
        self._socket.sendall(data)

    def receive(self, buffer: Any) -> int:
        self._socket.settimeout(self._deadline.left())
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_Received(self), PIECE_BYTES)

    def close(self) -> None:
        """http.client is done with sending; what there is to read is still wanted."""

    def shut(self) -> None:
        self._socket.close()


class _Received(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive(buffer)


class _Response(http.client.HTTPResponse):
    def _read_and_discard_trailer(self) -> None:
        """Instead of discarding it: the one place where a daemon says that its stream is not whole."""
        for _ in range(TRAILER_LINES):
            line = self.fp.readline(PIECE_BYTES)
            if line in (b"\r\n", b"\n", b""):
                return
            name, _, value = line.decode("latin-1").partition(":")
            if name.strip().lower() == FAILURE_TRAILER and value.strip():
                raise Interrupted(value.strip())
        raise http.client.HTTPException("the answer has too many trailers")
