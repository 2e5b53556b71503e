"""Read through somebody's IPFS gateway of the trustless kind, which proves what it gives.

https://specs.ipfs.tech/http-gateways/trustless-gateway
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from bcfl.errors import ConfigError, Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.protocol.cid import CHUNK_BYTES, RAW, Cid
from bcfl.storage.ipld import car
from bcfl.storage.ipld.dag import Assembly, matches
from bcfl.storage.ipld.encoding import Malformed
from bcfl.storage.retries import Retries, TemporaryFailure, reason
from bcfl.transport.client import Answer, TooLong, exchange
from bcfl.transport.deadline import Deadline

T = TypeVar("T")
BLOCK_TYPE = "application/vnd.ipld.raw"
CAR_TYPE = "application/vnd.ipld.car"
CAR_ACCEPT = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
OK = 200
REDIRECTS = range(300, 400)
ABSENT = frozenset({404, 410, 412, 504})
BUSY = frozenset({429, 502, 503})
NO_CAR = frozenset({400, 406, 415, 501})  # a gateway that gives single blocks alone
HAS_SECONDS = 5.0  # for a gateway to say whether it holds something


class GatewayStore:
    """The gateway at a URL; implements `bcfl.ports.Store` for reading: `put` raises StoreError.

    Each call ends within `timeout` seconds, tries again included. No redirect is followed. At most twice the
    bytes asked for are in memory. Raises ConfigError for a URL that cannot be one.
    """

    def __init__(self, url: str, *, timeout: float = 60, retries: Retries | None = None) -> None:
        self.url = _parse(url)
        self._timeout, self._retries = timeout, retries or Retries()

    def put(self, data: bytes) -> str:
        """Raise StoreError, always."""
        cid = cids.compute(data)
        raise StoreError(f"gateway {self.url} is for reading only: {cid} cannot be put there", cid)

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Fetch the bytes of `cid` and verify every block as it comes.

        Raises CidError for no CID, Unavailable when the gateway cannot find it in time, Corrupt when it gives
        something else, Oversized when the content is proven to have more than `max_bytes`, StoreError else.
        """
        root = cids.parse(cid)
        fetch = self._block_file if root.codec == RAW else self._tree_file
        return self._retry(lambda deadline: fetch(root, max_bytes, deadline), cid)

    def has(self, cid: str) -> bool:
        """Return whether the gateway says that it holds `cid` itself; silence is a no."""
        cids.parse(cid)
        return self._retry(lambda deadline: self._holds(cid, deadline), cid)

    def _holds(self, cid: str, deadline: Deadline) -> bool:
        headers = {"Accept": BLOCK_TYPE, "Cache-Control": "only-if-cached"}
        limit = Deadline(min(HAS_SECONDS, deadline.remaining()))
        try:
            with exchange("HEAD", f"{self.url}/ipfs/{cid}?format=raw", limit, headers) as answer:
                if answer.status != OK and answer.status not in ABSENT:
                    self._refuse(answer, cid)
                return answer.status == OK
        except TimeoutError:
            return False

    def _block_file(self, cid: Cid, max_bytes: int, deadline: Deadline) -> bytes:
        data = self._block(cid, str(cid), deadline)
        if len(data) > max_bytes:
            excess = f"{len(data)} bytes, more than the {max_bytes} expected"
            raise Oversized(f"gateway {self.url}: {cid} has {excess}", str(cid))
        return data

    def _block(self, block_cid: Cid, cid: str, deadline: Deadline) -> bytes:
        """Fetch one block of a file and verify it; none is longer than a chunk, whatever the gateway says."""
        with self._ask(f"{block_cid}?format=raw", BLOCK_TYPE, deadline) as answer:
            if answer.status != OK:
                self._refuse(answer, cid)
            data = self._body(answer, CHUNK_BYTES, cid)
        if not matches(block_cid, data):
            raise Corrupt(f"gateway {self.url}: the bytes it gave for {block_cid} are not its own", cid)
        return data

    def _tree_file(self, cid: Cid, max_bytes: int, deadline: Deadline) -> bytes:
        """Fetch a file of several blocks: in one answer, or block by block if the gateway does only that."""
        with self._ask(f"{cid}?format=car&dag-scope=all", CAR_ACCEPT, deadline) as answer:
            if answer.status in NO_CAR:
                answer.close()
                return self._one_by_one(cid, max_bytes, deadline)
            if answer.status != OK:
                self._refuse(answer, str(cid))
            if answer.headers.get_content_type() == CAR_TYPE:
                return self._from_car(answer, cid, max_bytes)
            data = self._body(answer, max_bytes, str(cid))  # a gateway of the older kind: the file itself
        if cids.compute(data) != str(cid):
            raise Corrupt(f"gateway {self.url}: the bytes it gave for {cid} are not its own", str(cid))
        return data

    def _from_car(self, answer: Answer, cid: Cid, max_bytes: int) -> bytes:
        assembly = Assembly(cid, max_bytes)
        blocks = car.Reader(answer.pieces(), cid, car.max_car_bytes(max_bytes)).blocks()
        while assembly.next_wanted is not None:  # not `wanted`: a list of all, for each of many blocks
            block = next(blocks, None)
            if block is None:
                raise Unavailable(f"gateway {self.url} gave only a part of {cid}", str(cid))
            assembly.take(*block)
        return assembly.data()

    def _one_by_one(self, cid: Cid, max_bytes: int, deadline: Deadline) -> bytes:
        assembly = Assembly(cid, max_bytes)
        while (block_cid := assembly.next_wanted) is not None:
            assembly.take(block_cid, self._block(block_cid, str(cid), deadline))
        return assembly.data()

    def _ask(self, target: str, accept: str, deadline: Deadline) -> Answer:
        return exchange("GET", f"{self.url}/ipfs/{target}", deadline, {"Accept": accept})

    def _body(self, answer: Answer, max_bytes: int, cid: str) -> bytes:
        """Return a body; a longer one than `max_bytes` proves only that it is not what was asked for."""
        try:
            return answer.body(max_bytes)
        except TooLong as error:
            text = f"gateway {self.url} sends more than the {max_bytes} bytes that {cid} can have"
            raise Corrupt(text, cid) from error

    def _refuse(self, answer: Answer, cid: str) -> NoReturn:
        if answer.status in REDIRECTS:
            location = answer.headers.get("Location", "nowhere")[:120]
            raise StoreError(
                f"gateway {self.url} sends us to {location!r}, where we do not go; name another", cid
            )
        if answer.status in ABSENT:
            raise Unavailable(f"gateway {self.url} cannot find {cid} (HTTP status {answer.status})", cid)
        if answer.status in BUSY:
            raise TemporaryFailure(f"HTTP status {answer.status}")
        raise StoreError(f"gateway {self.url} refused {cid}: HTTP status {answer.status}", cid)

    def _retry(self, action: Callable[[Deadline], T], cid: str) -> T:
        deadline = Deadline(self._timeout)

        def attempt() -> T:
            with self._errors(cid):
                return action(deadline)

        try:
            return self._retries.run(attempt, deadline)
        except TemporaryFailure as error:
            raise StoreError(
                f"gateway {self.url} does not answer: {error}; is the URL right?", cid
            ) from error

    @contextmanager
    def _errors(self, cid: str) -> Iterator[None]:
        """Raise whatever a gateway can do wrong as TemporaryFailure or a StoreError of one line."""
        try:
            yield
        except TimeoutError as error:
            raise Unavailable(
                f"gateway {self.url} did not give {cid} within {self._timeout:g} s", cid
            ) from error
        except Malformed as error:
            raise Corrupt(f"gateway {self.url} gave no CAR of {cid}: {error}", cid) from error
        except (OSError, HTTPException) as error:
            raise TemporaryFailure(reason(error)) from error


def _parse(url: str) -> str:
    """Return the URL without its last slashes; raises ConfigError for none of a gateway."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")  # which the look-up of a host would raise later
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{url[:80]!r} is no URL of a gateway, as https://trustless-gateway.link")
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ConfigError("the URL of a gateway has no user, no password, no query and no fragment")
    return url.rstrip("/").removesuffix("/ipfs")
