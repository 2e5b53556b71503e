"""Keep the statements that a miner's inbox serves: its own, and those that devices have handed to it.

A record of the miner's journal names them. The bytes are in its store; the latest are held here too.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Protocol

from bcfl.errors import RelayError
from bcfl.protocol import cid as cids
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.relay.statements import Statement, check, open_statement

RECORD: Final = "statements.json"
MAX_ROUNDS: Final = 512  # that are listed, the latest
MAX_A_ROUND: Final = 1_100  # statements: of 1,024 updates' devices and 64 miners
MAX_LISTED: Final = 20_000  # statements in all; the oldest rounds go first
PAGE: Final = 128  # entries of an answer
HELD: Final = 2_048  # statements whose bytes are held
CID: Final = re.compile(r"b[a-z2-7]{58}")


class Records(Protocol):
    """What a journal does."""

    def read(self, name: str) -> bytes | None:
        """Return a record; None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a record."""


class StatementBook:
    """The statements by round, party and role; read from any thread, written by the miner's own."""

    def __init__(self, domain: Domain, records: Records) -> None:
        self._domain, self._records, self._lock = domain, records, threading.Lock()
        self._cids: dict[int, dict[str, str]] = {}  # by round and `role party`
        self._bytes: OrderedDict[str, bytes] = OrderedDict()
        self._load()

    def take(self, data: bytes, history: History) -> Statement:
        """Keep a statement of a member about an ended round; a party's first about a round stays.

        Raises RelayError for anything else.
        """
        statement = open_statement(data, self._domain)
        check(statement, history)
        key, cid = f"{statement.role} {statement.party}", cids.compute(data)
        with self._lock:
            group = self._cids.setdefault(statement.round, {})
            if key in group and group[key] != cid:
                raise RelayError(f"{statement.party} has stated something else about round {statement.round}")
            if len(group) >= MAX_A_ROUND:
                raise RelayError(f"there are {MAX_A_ROUND:,} statements about round {statement.round}")
            is_known, group[key] = key in group, cid
            self._forget()
            if statement.round not in self._cids:
                raise RelayError(f"round {statement.round} was too long ago")
            self._bytes[cid] = data
            while len(self._bytes) > HELD:
                self._bytes.popitem(last=False)
            if is_known:  # else whoever sends it again and again would have the record written each time
                return statement
            text = json.dumps(self._cids, separators=(",", ":"))
        self._records.write(RECORD, text.encode())
        return statement

    def page(self, first: int, skip: int) -> tuple[list[tuple[int, str]], tuple[int, int] | None]:
        """Return round and CID of statements from a round on, `skip` of that left out, and where to go on."""
        entries: list[tuple[int, str]] = []
        with self._lock:
            for number in sorted(number for number in self._cids if number >= first):
                group = list(self._cids[number].values())
                start = skip if number == first else 0
                for place, cid in enumerate(group[start:], start):
                    if len(entries) == PAGE:
                        return entries, (number, place)
                    entries.append((number, cid))
        return entries, None

    def data(self, cid: str) -> bytes | None:
        """Return the bytes of a statement; None where they are not held."""
        with self._lock:
            return self._bytes.get(cid)

    def _forget(self) -> None:
        """Let the oldest rounds go where there are too many."""
        while len(self._cids) > MAX_ROUNDS or sum(map(len, self._cids.values())) > MAX_LISTED:
            del self._cids[min(self._cids)]

    def _load(self) -> None:
        """Read the record; what cannot be read is begun anew, as nothing depends on it."""
        for number, key, cid in _entries(self._records.read(RECORD)):
            self._cids.setdefault(number, {})[key] = cid


def _entries(data: bytes | None) -> Iterator[tuple[int, str, str]]:
    """Yield the entries of a record that are what they should be."""
    try:
        content = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return
    for number, group in content.items() if isinstance(content, dict) else ():
        if number.isdecimal() and len(number) < 11 and isinstance(group, dict):
            for key, cid in group.items():
                if isinstance(cid, str) and CID.fullmatch(cid):
                    yield int(number), key, cid
