"""Reach a daemon with ipfshttpclient over a transport that is bounded.

The transports that it ships follow redirects, ask proxies, inflate, read chunks whole however long, and wait
for ever on a peer that sends a byte now and then.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlencode

from ipfshttpclient import Client, exceptions  # type: ignore[import-untyped]
from ipfshttpclient.http_common import ClientSyncBase, multiaddr_to_url_data  # type: ignore[import-untyped]

from bcfl.storage.retries import TemporaryFailure
from bcfl.transport.client import Answer, exchange
from bcfl.transport.deadline import Deadline

PIECE_BYTES = 1 << 20  # of what is added
MAX_REPLY_BYTES = 65_536  # of a reply that is no content
CONTENT = frozenset({"cat"})  # commands whose replies are contents
OK = 200
DENIED = frozenset({401, 403})
AUTHORIZATION = "IPFS_AUTHORIZATION"  # in the environment: never on a command line
BUSY = frozenset({429, 502, 503, 504})  # statuses of a proxy in front of a daemon


def connect(address: str, timeout: float) -> Client:
    """Return a client of the daemon at a multiaddr, not connected yet; raises exceptions.AddressError."""
    client = Client(address, chunk_size=PIECE_BYTES, timeout=timeout)
    client._client = Transport(address, "api/v0", timeout=timeout)
    return client


class Transport(ClientSyncBase):  # type: ignore[misc]
    """A backend of ipfshttpclient.

    Requests raise OSError, HTTPException, TemporaryFailure, exceptions.ErrorResponse with the message of the
    daemon, or exceptions.StatusError when it is no daemon that answers.
    """

    __slots__ = ("_base", "_headers", "_params", "_timeout")

    def _init(
        self, addr: str, base: str, *, auth: Any, cookies: Any, headers: Any, params: Any, timeout: float
    ) -> None:
        del cookies
        self._base = multiaddr_to_url_data(addr, base)[0]
        self._params, self._timeout = list(params or ()), timeout
        token = os.environ.get(AUTHORIZATION, "").strip()
        access = {"Authorization": token} if token else {}
        self._headers = access | dict(headers or {}) | _authorization(auth)

    def _make_session(self) -> ExitStack:
        """Return nothing to keep open: every request has a connection of its own."""
        return ExitStack()

    def _request(
        self,
        method: str,
        path: str,
        params: Sequence[tuple[str, object]],
        *,
        auth: Any,
        data: Iterator[bytes] | None,
        headers: Mapping[str, str] | None,
        timeout: float | None,
        chunk_size: int | None,
    ) -> tuple[list[Answer], Generator[bytes, None, None]]:
        del chunk_size
        command = path.strip("/")
        url = f"{self._base}{command}?{urlencode([(k, _text(v)) for k, v in [*self._params, *params]])}"
        all_headers = self._headers | dict(headers or {}) | _authorization(auth)
        answer = exchange(method, url, Deadline(timeout or self._timeout), all_headers, data)
        try:
            if answer.status != OK:
                _refuse(answer)
        except BaseException:
            answer.close()
            raise
        return [answer], _body(answer, None if command in CONTENT else MAX_REPLY_BYTES)


def _body(answer: Answer, max_bytes: int | None) -> Generator[bytes, None, None]:
    size = 0
    for piece in answer.pieces():
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise exceptions.ProtocolError(None, f"a reply of more than {max_bytes} bytes")
        yield piece


def _refuse(answer: Answer) -> None:
    """Raise the error that an answer other than OK stands for."""
    if answer.status in DENIED:
        advice = f"set {AUTHORIZATION} to the Authorization header that it wants, such as 'Bearer TOKEN'"
        raise exceptions.ErrorResponse(f"HTTP status {answer.status}: it asks who is there; {advice}", None)
    if answer.status in BUSY:
        raise TemporaryFailure(f"HTTP status {answer.status}")
    with suppress(ValueError, RecursionError):
        reply = json.loads(answer.prefix(MAX_REPLY_BYTES))
        if isinstance(reply, dict) and isinstance(reply.get("Message"), str):
            raise exceptions.ErrorResponse(reply["Message"], None)
    raise exceptions.StatusError(None, f"HTTP status {answer.status}")


def _authorization(auth: tuple[str, str] | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"Authorization": "Basic " + b64encode(":".join(auth).encode()).decode("ascii")}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
