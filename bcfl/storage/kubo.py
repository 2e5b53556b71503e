"""The data plane on an IPFS daemon (steps 3, 6 and 8): Kubo, js-ipfs, or what speaks their RPC.

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
from bcfl.storage.retries import Away, Retries, reason
from bcfl.transport.client import Interrupted
from bcfl.transport.deadline import Deadline

T = TypeVar("T")
HOST = r"[\w:-]{1,63}(\.[\w-]{1,63}){0,9}"
MULTIADDR = re.compile(rf"/(ip4|ip6|dns|dns4|dns6)/{HOST}/tcp/\d{{1,5}}(/https?)?", re.ASCII)
OLDEST = (0, 5)  # of Kubo: the first whose RPC takes POST alone
# Said in full, since a daemon's own defaults differ by its version and settings.
ADD = {
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
LOCAL = 1.0  # seconds that a daemon may look into its own repository
SHARE = 0.9  # of the time left is the daemon's, so that it, not the silence, says that nobody answered
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
        """What answers at the address, as 'Kubo 0.29.0'; raises StoreError when it cannot be used."""
        return self._retried(lambda deadline: self._known(deadline), "")

    def put(self, data: bytes) -> str:
        """Add and pin `data` and return its CID; raises StoreError."""
        cid = cids.compute(data)

        def add(deadline: Deadline) -> str:
            return str(self._client.add_bytes(data, opts=dict(ADD), timeout=deadline.remaining()))

        stored = self._retried(add, cid)
        if stored != cid:
            raise StoreError(f"{self._name} stored {cid} as {stored[:80]!r}; check its Import settings", cid)
        return cid

    def get(self, cid: str, max_bytes: int) -> bytes:
        """The bytes of `cid`, verified, from the daemon or from whom it finds.

        Raises CidError for no CID, Unavailable when nobody had it in time, Corrupt when the bytes are others,
        Oversized as soon as there are more than `max_bytes`, StoreError when the daemon itself fails.
        """
        cids.parse(cid)
        data = self._retried(lambda deadline: self._read(cid, max_bytes, deadline), cid, self._search)
        if cids.compute(data) != cid:
            raise Corrupt(f"{self._name}: the bytes it gave for {cid} are not its own; put them again", cid)
        return data

    def has(self, cid: str) -> bool:
        """Whether the daemon pins `cid` or holds its first block; only `get` says whether all is right."""
        cids.parse(cid)
        return self._retried(lambda deadline: self._holds(cid, deadline), cid)

    def pin(self, cid: str) -> None:
        """Fetch what is missing of `cid` and keep it; raises Unavailable when nobody had it in time."""
        cids.parse(cid)
        self._retried(lambda deadline: self._client.pin.add(cid, **_limits(deadline)), cid, self._search)

    def unpin(self, cid: str) -> None:
        """Let the daemon drop `cid` when it next needs room; nothing happens if it is not pinned."""
        cids.parse(cid)
        self._retried(lambda deadline: self._unpin(cid, deadline), cid)

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

    def _retried(self, action: Callable[[Deadline], T], cid: str, seconds: float | None = None) -> T:
        """What `action` returns, once the daemon is known to be usable; raises StoreError."""
        limit = self._timeout if seconds is None else seconds
        deadline = Deadline(limit)

        def once() -> T:
            with self._errors(cid, limit):
                self._known(deadline)
                return action(deadline)

        try:
            return self._retries.run(once, deadline)
        except Away as error:
            advice = "is `ipfs daemon` running and the address right?"
            raise StoreError(f"{self._name} does not answer: {error}; {advice}", cid) from error

    def _known(self, deadline: Deadline) -> str:
        """Name and version of the daemon, asked once."""
        if self._version is None:
            self._version = self._usable(self._client.version(timeout=deadline.remaining()).as_json())
        return self._version

    def _usable(self, said: dict[str, object]) -> str:
        version = str(said["Version"])[:40]
        numbers = re.match(r"(\d{1,4})\.(\d{1,4})", version, re.ASCII)
        if numbers is None:
            raise ValueError(f"version {version!r}")
        kind = "js-ipfs" if "ipfs-core" in said else "Kubo"
        if kind == "Kubo" and (int(numbers[1]), int(numbers[2])) < OLDEST:
            raise StoreError(f"{self._name} is version {version}; bcfl needs 0.5 or newer: update it")
        return f"{kind} {version}"

    def _read(self, cid: str, max_bytes: int, deadline: Deadline) -> bytes:
        taken = io.BytesIO()  # hands its bytes over without a copy
        with self._client.cat(cid, stream=True, **_limits(deadline)) as pieces:
            for piece in pieces:
                if taken.tell() + len(piece) > max_bytes:
                    raise Oversized(f"{self._name}: {cid} has more than the {max_bytes} bytes expected", cid)
                taken.write(piece)
        return taken.getvalue()

    def _holds(self, cid: str, deadline: Deadline) -> bool:
        from ipfshttpclient.exceptions import ErrorResponse

        try:
            self._client.pin.ls(cid, type="recursive", timeout=deadline.remaining())
            return True
        except ErrorResponse as error:
            if not NOT_PINNED.search(str(error)):
                raise
        look = {"offline": "true", "timeout": _milliseconds(min(LOCAL, deadline.remaining() * SHARE))}
        try:
            self._client.block.stat(cid, opts=look, timeout=deadline.remaining())
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
        """Everything that a daemon can do wrong, as Away or a StoreError of one line."""
        from ipfshttpclient.exceptions import Error, ErrorResponse

        try:
            yield
        except (ErrorResponse, Interrupted) as error:
            self._refused(str(error), cid, seconds)
        except TimeoutError as error:
            raise StoreError(f"{self._name} did not answer within {seconds:g} s", cid) from error
        except (OSError, HTTPException) as error:
            raise Away(reason(error)) from error
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

    def _refused(self, message: str, cid: str, seconds: float) -> NoReturn:
        said = " ".join(message.split())[:200]
        if NOT_A_FILE.search(said):
            raise Corrupt(f"{self._name}: {cid} is not a file: {said}", cid)
        if ABSENT.search(said):
            raise Unavailable(f"{self._name}: nobody gave {cid} within {seconds:g} s: {said}", cid)
        raise StoreError(f"{self._name} refused: {said}", cid)


def _limits(deadline: Deadline) -> dict[str, Any]:
    """Both what we wait and what the daemon may take."""
    left = deadline.remaining()
    return {"timeout": left, "opts": {"timeout": _milliseconds(left * SHARE)}}


def _milliseconds(seconds: float) -> str:
    return f"{max(1, int(seconds * 1000))}ms"
