"""Read a chain's file without an EVM: its height, its logs, the gas of transactions, how a contract began.

What is not in the usual form is Unusual: whoever asks opens the chain with an EVM, which says what is wrong.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Final

from bcfl.errors import RunError
from bcfl.ledger.chain import Log
from bcfl.ledger.devnet.chainfile import HEAD, connect
from bcfl.ledger.devnet.logs import LogRow, height_of, log_json, log_query, log_row
from bcfl.ledger.devnet.values import Json, as_list, parse_address, parse_bytes
from bcfl.protocol.hashing import keccak

TRANSACTION_ROOT, NUMBER, GAS_USED, TIMESTAMP = 4, 8, 10, 11  # places in a header
LONE_LEAF: Final = b"\x20\x80"  # the path of a trie's node that is the only one: an item at index 0
DYNAMIC_FEE: Final = 2  # the type of transactions that bcfl signs
NONCE, TO, DATA = 1, 5, 7  # places in one of these
DIGEST_BYTES: Final = 32  # of a key that is the digest of what it stands for
STAMPS: Final = 4096  # blocks whose hash and time are kept
HEADER_BYTES: Final = 4096  # more than a header has: so many are in memory at once
SQLITE_BYTES: Final = 2**31  # more than sqlite holds under one key
AT_ONCE: Final = 500  # entries that are read with one statement, which may have 999


class Unusual(Exception):
    """An entry is not there, or not in the form in which the embedded chain writes it."""


@dataclass(frozen=True)
class Creation:
    """The transaction that a contract was created in: its block, its sender's nonce, and its data."""

    block: int
    nonce: int
    data: bytes


class ChainReader:
    """The file `path` of an embedded chain, which another process may be writing to.

    Answers the JSON-RPC calls of `methods` as a node does. Raises RunError as `chainfile.connect` does,
    and Unusual where an EVM has to look.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        self._stamps: dict[int, tuple[bytes, int]] = {}
        self._connection = connect(path, read_only=True)
        self.methods: dict[str, Callable[..., Any]] = {
            "eth_blockNumber": lambda: hex(self.height),
            "eth_getLogs": self._logs,
        }

    @property
    def height(self) -> int:
        """Return the number of the last block."""
        with self._lock:
            return _number(_items(self._entry(self._entry(HEAD)), NUMBER + 1)[NUMBER])

    def gas_used(self, transaction: bytes) -> int:
        """Return the gas that a mined transaction used, which was alone in its block."""
        with self._lock:
            number, index = self._place(transaction)
            header = self._header(number)
            self._lone_transaction(header)
            if index:
                raise Unusual
            return _number(header[GAS_USED])

    def creation(self, contract: str) -> Creation:
        """Return the transaction in which a contract logged first, if it creates a contract."""
        address = bytes.fromhex(contract.removeprefix("0x"))
        with self._lock:
            rows = self._rows("SELECT block FROM log WHERE address = ? ORDER BY block LIMIT 1", (address,))
            if not rows:
                raise Unusual
            return self.created_in(rows[0][0])

    def created_in(self, block: int) -> Creation:
        """Return the only transaction of a block, if it creates a contract."""
        with self._lock:
            data = self._lone_transaction(self._header(block))
        if not data or data[0] != DYNAMIC_FEE:
            raise Unusual
        fields = _items(data[1:], DATA + 1)
        if fields[TO]:
            raise Unusual
        return Creation(block, _number(fields[NONCE]), fields[DATA])

    def read_logs(self, address: str, first: int, last: int) -> list[Log]:
        """Return the logs of a contract in the blocks `first` to `last`, in their order."""
        with self._lock:
            rows = self._log_rows(*log_query(first, last, [parse_address(address)]))
            stamps = self._stamps_of({row.block for row in rows})
        return [
            Log(row.topics, row.data, row.block, stamps[row.block][1], row.transaction_hash, row.position)
            for row in rows
        ]

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _logs(self, query: Mapping[str, Any]) -> list[Json]:
        with self._lock:
            height = self.height
            words, values = log_query(
                height_of(query.get("fromBlock"), height + 1),
                height_of(query.get("toBlock"), height + 1),
                [parse_address(address) for address in as_list(query.get("address"))],
                [[parse_bytes(topic) for topic in as_list(topics)] for topics in query.get("topics") or ()],
            )
            rows = self._log_rows(words, values)
            stamps = self._stamps_of({row.block for row in rows})
            return [log_json(row, *stamps[row.block]) for row in rows]

    def _log_rows(self, words: str, values: Sequence[int | bytes]) -> list[LogRow]:
        return [log_row(self.path, row) for row in self._rows(words, values)]

    def _stamps_of(self, numbers: set[int]) -> dict[int, tuple[bytes, int]]:
        """Return hash and timestamp of blocks, by number."""
        stamps = {number: self._stamps[number] for number in numbers if number in self._stamps}
        missing = sorted(numbers - stamps.keys())
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            hashes = [_string(entry) for entry in self._entries(list(map(_hash_key, part)), HEADER_BYTES)]
            times = [_number(_item(header, TIMESTAMP)) for header in self._entries(hashes, HEADER_BYTES)]
            stamps.update(zip(part, zip(hashes, times, strict=True), strict=True))
        if len(self._stamps) + len(missing) > STAMPS:
            self._stamps.clear()
        self._stamps.update((number, stamps[number]) for number in missing[-STAMPS:])
        return stamps

    def _header(self, number: int) -> list[bytes]:
        return _items(self._entry(self._hash(number)), TIMESTAMP + 1)

    def _hash(self, number: int) -> bytes:
        return _string(self._entry(_hash_key(number)))

    def _place(self, transaction: bytes) -> tuple[int, int]:
        """Return the block of a transaction, and its index there."""
        place = _items(self._entry(f"transaction-hash-to-block:{transaction!r}".encode()), 2)
        return _number(place[0]), _number(place[1])

    def _lone_transaction(self, header: list[bytes]) -> bytes:
        """Return the only transaction of a block."""
        node = _items(self._entry(header[TRANSACTION_ROOT]), 2, all_of_them=True)
        if node[0] != LONE_LEAF:
            raise Unusual
        return node[1]

    def _entry(self, key: bytes) -> bytes:
        return self._entries([key])[0]

    def _entries(self, keys: Sequence[bytes], most: int = SQLITE_BYTES) -> list[bytes]:
        """Return what stands under keys, in their order, at most so many bytes each.

        What is under a digest is what it is of.
        """
        places = ", ".join("?" * len(keys))
        words = f"SELECT key, value FROM entry WHERE key IN ({places}) AND length(value) <= ?"
        values = dict(self._rows(words, (*keys, most)))
        entries = []
        for key in keys:
            value = values.get(key)
            if not isinstance(value, bytes) or (len(key) == DIGEST_BYTES and keccak(value) != key):
                raise Unusual
            entries.append(value)
        return entries

    def _rows(self, words: str, values: Any) -> list[Any]:
        with self._reading():
            return self._connection.execute(words, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: the chain cannot be read: {error}") from error


def _hash_key(number: int) -> bytes:
    """Return the key of the hash of a block."""
    return f"block-number-to-hash:{number}".encode()


def _item(data: bytes, index: int) -> bytes:
    """Return one string of an RLP list; raises Unusual where there are fewer, or a list before it."""
    place, end = _content(data)
    for _ in range(index):
        first = data[place] if place < len(data) else 0xFF
        if first < 0x80:
            place += 1
        elif first <= 0xB7:
            place += first - 0x7F
        else:
            _, place = _span(data, place)
    start, stop = _span(data, place)
    if stop > end:
        raise Unusual
    return data[start:stop]


def _items(data: bytes, count: int, *, all_of_them: bool = False) -> list[bytes]:
    """Return the first strings of an RLP list; raises Unusual where there are fewer, or a list among them."""
    place, end = _content(data)
    items = []
    for _ in range(count):
        start, stop = _span(data, place)
        if stop > end:
            raise Unusual
        items.append(data[start:stop])
        place = stop
    if all_of_them and place != end:
        raise Unusual
    return items


def _content(data: bytes) -> tuple[int, int]:
    """Return where the content of an RLP list begins and ends."""
    if not data or data[0] < 0xC0:
        raise Unusual
    place = 1 if data[0] <= 0xF7 else 1 + data[0] - 0xF7
    return place, len(data) if place > 1 else place + data[0] - 0xC0


def _span(data: bytes, place: int) -> tuple[int, int]:
    """Return where the string of RLP that begins at a place lies."""
    first = data[place] if place < len(data) else 0xFF
    if first < 0x80:
        return place, place + 1
    if first <= 0xB7:
        return place + 1, place + 1 + first - 0x80
    if first <= 0xBF:
        start = place + 1 + first - 0xB7
        return start, start + int.from_bytes(data[place + 1 : start], "big")
    raise Unusual


def _string(data: bytes) -> bytes:
    """Return the string that RLP is of."""
    start, stop = _span(data, 0)
    if stop != len(data):
        raise Unusual
    return data[start:stop]


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
