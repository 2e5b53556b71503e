"""Keep the embedded chain in a file: py-evm's key-value store and an index of the logs, on sqlite.

A block becomes visible to other processes in one sqlite transaction, so that a process that is killed or
reads meanwhile finds a whole block or none.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from eth.abc import AtomicWriteBatchAPI
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from bcfl.errors import RunError
from bcfl.folders import private_file
from bcfl.ledger.devnet.accounts import States
from bcfl.ledger.devnet.chainfile import connect
from bcfl.ledger.devnet.chainreader import DIGEST_BYTES
from bcfl.ledger.devnet.logs import LogRow, damage, log_query, log_row
from bcfl.protocol.hashing import keccak

CACHED, CACHED_BYTES = 50_000, 2**26  # trie nodes, headers and code kept in memory: so many, of so much


class Database(BaseAtomicDB):
    """py-evm's database in the sqlite file `path` (None: in memory), written block by block.

    Writes are visible to this object at once and to others after `commit`. One process writes, any
    number may read. Raises RunError for a file that is absent, damaged, of another format or in use.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self.reads = 0  # entries and logs fetched from sqlite, for measurements
        self._writes: dict[bytes, bytes | None] = {}
        self._logs: list[LogRow] = []
        self._cache: dict[bytes, bytes] = {}
        self._cached_bytes = 0
        self.states = States()
        self._lock = None if path is None or read_only else _lock(path)
        try:
            self._connection = connect(path, read_only)
        except BaseException:
            self._unlock()
            raise
        weakref.finalize(self, self._connection.close)  # also where nobody closes a chain in memory

    def __getitem__(self, key: bytes) -> bytes:
        try:
            value = self._writes[key]  # one look: another thread may commit meanwhile
        except KeyError:
            value = self._cache.get(key) or self._fetch(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._writes[key] = value

    def __delitem__(self, key: bytes) -> None:
        if key not in self:
            raise KeyError(key)
        self._writes[key] = None
        self._cache.pop(key, None)

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        """Open a batch that joins the pending writes at its end, or leaves no trace when it fails."""
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:
            yield batch

    def add_logs(self, rows: Iterable[LogRow]) -> None:
        """Put logs into the index, with the pending writes."""
        self._logs.extend(rows)

    def find_logs(
        self,
        first: int,
        last: int,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
    ) -> Generator[LogRow, None, None]:
        """Yield committed logs of the blocks `first` to `last` in order; an empty list allows all values."""
        query, values = log_query(first, last, addresses, topics)
        for row in self._execute(query, values):
            self.reads += 1
            yield log_row(self.path, row)

    def commit(self) -> None:
        """Make all pending writes lasting in one transaction; on failure none is, and all are dropped."""
        updates = [(key, value) for key, value in self._writes.items() if value is not None]
        deletions = [(key,) for key, value in self._writes.items() if value is None]
        try:
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", updates)
                connection.executemany("DELETE FROM entry WHERE key = ?", deletions)
                rows = map(astuple, self._logs)
                connection.executemany(f"INSERT INTO log VALUES ({', '.join('?' * 10)})", rows)
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: cannot write the chain: {error}") from error
        else:
            for key, value in updates:
                if len(key) == DIGEST_BYTES:
                    self._remember(key, value)
        finally:
            self.rollback()

    def rollback(self) -> None:
        """Drop what was written since the last commit."""
        self._writes.clear()
        self._logs.clear()

    def close(self) -> None:
        """Release the file; uncommitted writes are dropped."""
        self._connection.close()
        self._unlock()

    def _fetch(self, key: bytes) -> bytes | None:
        """Return a value of the file, and remember it if its key is a digest: these never change."""
        value = self._read(key)
        if value is not None and len(key) == DIGEST_BYTES:
            self._remember(key, value)
        return value

    def _read(self, key: bytes) -> bytes | None:
        self.reads += 1
        rows = list(self._execute("SELECT value FROM entry WHERE key = ?", (key,)))
        value = rows[0][0] if rows else None
        if value is not None and not (isinstance(value, bytes) and is_of(key, value)):
            raise damage(self.path, f"the entry {key[:40].hex()}")
        return value

    def _execute(self, query: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: the chain cannot be read: {error}") from error

    def _remember(self, key: bytes, value: bytes) -> None:
        if len(self._cache) >= CACHED or self._cached_bytes + len(value) > CACHED_BYTES:
            self._cache.clear()
            self._cached_bytes = 0
        self._cached_bytes += len(value)
        self._cache[key] = value

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def is_of(key: bytes, value: bytes) -> bool:
    """Return whether a value can stand under a key, which may be its digest."""
    return len(key) != DIGEST_BYTES or keccak(value) == key


def _lock(path: Path) -> int:
    """Lock `path` for writing until the returned file is closed or the process ends, however it ends."""
    try:
        lock = os.open(private_file(path.with_name(path.name + ".lock")), os.O_RDWR)
    except OSError as error:
        raise RunError(f"{path}: cannot open the chain: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RunError(f"{path}: another process is writing to this run; wait for it to end") from None
    return lock
