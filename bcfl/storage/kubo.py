"""Store payloads on an IPFS daemon: Kubo, js-ipfs, or what speaks their RPC.

The daemon is trusted no more than any other store: what is read is hashed again, and what is added must get
the CID that the protocol gives it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPException
from typing import Any, NoReturn, TypeVar

from bcfl.errors import ConfigError, Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.storage.retries import Retries, TemporaryFailure, reason
from bcfl.transport.client import Interrupted
from bcfl.transport.deadline import Deadline

T = TypeVar("T")
HOST = r"[\w:-]{1,63}(\.[\w-]{1,63}){0,9}"
MULTIADDR = re.compile(rf"/(ip4|ip6|dns|dns4|dns6)/{HOST}/tcp/\d{{1,5}}(/https?)?", re.ASCII)
MIN_VERSION = (0, 5)  # of Kubo: the first whose RPC takes POST alone
# In full, since a daemon's own defaults differ by its version and settings.
ADD_OPTIONS = {
    "cid-version": 1,
    "cid-base": "base32",
    "raw-leaves": True,
    "chunker": f"size-{cids.CHUNK_BYTES}",
    "max-file-links": 174,
    "hash": "sha2-256",
    "trickle": False,
    "inline": False,
    "pin": True,
    "progress": False,
}
OFFLINE_SECONDS = 1.0  # for a daemon to look into its own repository
DAEMON_SHARE = 0.9  # of the remaining time, so that the daemon, not the silence, says that nobody answered
ABSENT = re.compile(r"timed out|deadline exceeded|not found|could not find", re.IGNORECASE)
NOT_PINNED = re.compile(r"not pinned", re.IGNORECASE)
NOT_A_FILE = re.compile(r"is a directory|not a file|unrecognized object type|failed to decode", re.IGNORECASE)


class KuboStore:
    """The daemon whose RPC is at a multiaddr, as /ip4/127.0.0.1/tcp/5001; implements `bcfl.ports.Store`.

    Nothing is sent before the first call. Each call ends within `timeout` seconds, tries again included, and
    one that may have to look for bytes elsewhere within `search`; a daemon that is away for less than that is
    waited for as `retries` says. Raises ConfigError for an address of another form.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 60,
        search: float | None = None,
        retries: Retries | None = None,
    ) -> None:
        if not MULTIADDR.fullmatch(address):
            raise ConfigError(f"{address[:80]!r} is no address of an IPFS daemon, as /ip4/127.0.0.1/tcp/5001")
        self.address = address
        self._timeout, self._retries = timeout, retries or Retries()
        self._search = timeout if search is None else min(timeout, search)
        self._version: str | None = None
        _ = self._client  # refuses numbers out of range

    def check(self) -> str:
        """Return name and version of the daemon, as 'Kubo 0.29.0'; raises StoreError if it is of no use."""
        return self._retry(self._check_version, "")

    def put(self, data: bytes) -> str:
        """Add and pin `data` and return its CID; raises StoreError."""
        cid = cids.compute(data)

        def add(deadline: Deadline) -> str:
            return str(self._client.add_bytes(data, opts=dict(ADD_OPTIONS), timeout=deadline.remaining()))

        daemon_cid = self._retry(add, cid)
        if daemon_cid != cid:
            text = f"{self._name} stored {cid} as {daemon_cid[:80]!r}; check its Import settings"
            raise StoreError(text, cid)
        return cid

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Fetch the bytes of `cid`, from the daemon or from whom it finds, and verify them.

        Raises CidError for no CID, Unavailable when nobody had it in time, Corrupt when the bytes are others,
        Oversized as soon as there are more than `max_bytes`, StoreError when the daemon itself fails.
        """
        cids.parse(cid)
        data = self._retry(lambda deadline: self._read(cid, max_bytes, deadline), cid, self._search)
        if cids.compute(data) != cid:
            raise Corrupt(f"{self._name}: the bytes it gave for {cid} are not its own; put them again", cid)
        return data

    def has(self, cid: str) -> bool:
        """Return whether the daemon pins `cid` or holds its first block; only `get` verifies all."""
        cids.parse(cid)
        return self._retry(lambda deadline: self._holds(cid, deadline), cid)

    def pin(self, cid: str) -> None:
        """Fetch what is missing of `cid` and keep it; raises Unavailable when nobody had it in time."""
        cids.parse(cid)
        self._retry(lambda deadline: self._client.pin.add(cid, **_limits(deadline)), cid, self._search)

    def unpin(self, cid: str) -> None:
        """Let the daemon drop `cid` when it next needs room; nothing happens if it is not pinned."""
        cids.parse(cid)
        self._retry(lambda deadline: self._unpin(cid, deadline), cid)

    @property
    def _name(self) -> str:
        return f"IPFS daemon {self.address}"

    @cached_property
    def _client(self) -> Any:
        from ipfshttpclient.exceptions import AddressError  # type: ignore[import-untyped]

        from bcfl.storage import rpc  # slow to import, and only needed here

        try:
            return rpc.connect(self.address, self._timeout)
        except AddressError as error:
            raise ConfigError(f"{self.address}: no such host or port number") from error

    def _retry(self, action: Callable[[Deadline], T], cid: str, seconds: float | None = None) -> T:
        """Return what `action` returns, once the daemon is known to be usable; raises StoreError."""
        limit = self._timeout if seconds is None else seconds
        deadline = Deadline(limit)

        def attempt() -> T:
            with self._errors(cid, limit):
                self._check_version(deadline)
                return action(deadline)

        try:
            return self._retries.run(attempt, deadline)
        except TemporaryFailure as error:
            advice = "is `ipfs daemon` running and the address right?"
            raise StoreError(f"{self._name} does not answer: {error}; {advice}", cid) from error

    def _check_version(self, deadline: Deadline) -> str:
        """Return name and version of the daemon, asked once; raises StoreError for one that is too old."""
        if self._version is None:
            self._version = self._display_name(self._client.version(timeout=deadline.remaining()).as_json())
        return self._version

    def _display_name(self, reply: dict[str, object]) -> str:
        version = str(reply["Version"])[:40]
        match = re.match(r"(\d{1,4})\.(\d{1,4})", version, re.ASCII)
        if match is None:
            raise ValueError(f"version {version!r}")
        kind = "js-ipfs" if "ipfs-core" in reply else "Kubo"
        if kind == "Kubo" and (int(match[1]), int(match[2])) < MIN_VERSION:
            raise StoreError(f"{self._name} is version {version}; bcfl needs 0.5 or newer: update it")
        return f"{kind} {version}"

    def _read(self, cid: str, max_bytes: int, deadline: Deadline) -> bytes:
        content = io.BytesIO()  # hands its bytes over without a copy
        with self._client.cat(cid, stream=True, **_limits(deadline)) as pieces:
            for piece in pieces:
                if content.tell() + len(piece) > max_bytes:
                    raise Oversized(f"{self._name}: {cid} has more than the {max_bytes} bytes expected", cid)
                content.write(piece)
        return content.getvalue()

    def _holds(self, cid: str, deadline: Deadline) -> bool:
        from ipfshttpclient.exceptions import ErrorResponse

        try:
            self._client.pin.ls(cid, type="recursive", timeout=deadline.remaining())
            return True
        except ErrorResponse as error:
            if not NOT_PINNED.search(str(error)):
                raise
        options = {
            "offline": "true",
            "timeout": _milliseconds(min(OFFLINE_SECONDS, deadline.remaining() * DAEMON_SHARE)),
        }
        try:
            self._client.block.stat(cid, opts=options, timeout=deadline.remaining())
            return True
        except ErrorResponse as error:
            if ABSENT.search(str(error)):
                return False
            raise

    def _unpin(self, cid: str, deadline: Deadline) -> None:
        from ipfshttpclient.exceptions import ErrorResponse

        try:
            self._client.pin.rm(cid, timeout=deadline.remaining())
        except ErrorResponse as error:
            if not NOT_PINNED.search(str(error)):
                raise

    @contextmanager
    def _errors(self, cid: str, seconds: float) -> Iterator[None]:
        """Raise whatever a daemon can do wrong as TemporaryFailure or a StoreError of one line."""
        from ipfshttpclient.exceptions import Error, ErrorResponse

        try:
            yield
        except (ErrorResponse, Interrupted) as error:
            self._refuse(str(error), cid, seconds)
        except TimeoutError as error:
            raise StoreError(f"{self._name} did not answer within {seconds:g} s", cid) from error
        except (OSError, HTTPException) as error:
            raise TemporaryFailure(reason(error)) from error
        except (
            Error,
            AssertionError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as error:
            advice = "check the port (5001 is the RPC's, 8080 the gateway's)"
            raise StoreError(f"{self.address}: what answers is not an IPFS daemon; {advice}", cid) from error

    def _refuse(self, message: str, cid: str, seconds: float) -> NoReturn:
        text = " ".join(message.split())[:200]
        if NOT_A_FILE.search(text):
            raise Corrupt(f"{self._name}: {cid} is not a file: {text}", cid)
        if ABSENT.search(text):
            raise Unavailable(f"{self._name}: nobody gave {cid} within {seconds:g} s: {text}", cid)
        raise StoreError(f"{self._name} refused: {text}", cid)


def _limits(deadline: Deadline) -> dict[str, Any]:
    """Return the time that we wait, and the shorter one that the daemon may take."""
    seconds = deadline.remaining()
    return {"timeout": seconds, "opts": {"timeout": _milliseconds(seconds * DAEMON_SHARE)}}


def _milliseconds(seconds: float) -> str:
    return f"{max(1, int(seconds * 1000))}ms"
