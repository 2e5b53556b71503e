"""Keep the embedded chain in a file: py-evm's key-value store and an index of the logs, on sqlite.

A block becomes visible to other processes in one sqlite transaction, so that a process that is killed or
reads meanwhile finds a whole block or none.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from eth.abc import AtomicWriteBatchAPI
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB

from bcfl.errors import RunError
from bcfl.folders import private_file

APPLICATION = 0x6266636C  # sqlite's application_id: "bfcl" in ASCII
FORMAT = 1
CACHED = 50_000  # trie nodes and headers kept in memory; about 25 MB
SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE entry (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE log (
    block INTEGER, position INTEGER, transaction_index INTEGER, transaction_hash BLOB, address BLOB,
    topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB, data BLOB,
    PRIMARY KEY (block, position)
) WITHOUT ROWID;
CREATE INDEX log_topic ON log (address, topic0, block);
"""


@dataclass(frozen=True)
class LogRow:
    """One log of a block, as the index has it; absent topics are None."""

    block: int
    position: int  # in the block
    transaction_index: int
    transaction_hash: bytes
    address: bytes
    topic0: bytes | None
    topic1: bytes | None
    topic2: bytes | None
    topic3: bytes | None
    data: bytes


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
        self._lock = None if path is None or read_only else _lock(path)
        try:
            self._connection = self._open(read_only)
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
    ) -> Iterator[LogRow]:
        """Yield committed logs of the blocks `first` to `last` in order; an empty list allows all values."""
        conditions = ["block BETWEEN ? AND ?"]
        values: list[int | bytes] = [first, last]
        # `+` keeps sqlite from the index of topics where no topic narrows it: it would read all blocks.
        address = "address" if topics and topics[0] else "+address"
        columns = [(address, addresses), *((f"topic{i}", choices) for i, choices in enumerate(topics))]
        for column, choices in columns:
            if choices:
                conditions.append(f"{column} IN ({', '.join('?' * len(choices))})")
                values.extend(choices)
        query = f"SELECT * FROM log WHERE {' AND '.join(conditions)} ORDER BY block, position"
        for row in self._execute(query, values):
            self.reads += 1
            yield LogRow(*row)

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
                if len(key) == 32:
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

    def _open(self, read_only: bool) -> sqlite3.Connection:
        if read_only and self.path is not None and not self.path.is_file():
            raise RunError(f"{self.path}: no chain there; name the directory of a run")
        try:
            if self.path is not None and not read_only:
                _restrict(self.path)
            connection = sqlite3.connect(
                _uri(self.path, read_only), uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(connection, self.path, read_only)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise RunError(f"{self.path}: cannot open the chain: {error}") from error
        return connection

    def _fetch(self, key: bytes) -> bytes | None:
        """Return a value of the file, and remember it if its key is a digest: these never change."""
        value = self._read(key)
        if value is not None and len(key) == 32:
            self._remember(key, value)
        return value

    def _read(self, key: bytes) -> bytes | None:
        self.reads += 1
        rows = self._execute("SELECT value FROM entry WHERE key = ?", (key,))
        return next((value for (value,) in rows), None)

    def _execute(self, query: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            yield from self._connection.execute(query, values)
        except sqlite3.Error as error:
            raise RunError(f"{self.path}: the chain cannot be read: {error}") from error

    def _remember(self, key: bytes, value: bytes) -> None:
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[key] = value

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _uri(path: Path | None, read_only: bool) -> str:
    if path is None:
        return "file::memory:"
    if not read_only:
        return path.absolute().as_uri()
    # A reader of a WAL file writes beside it; where nothing may be written, nobody else writes either.
    immutable = not os.access(path.parent, os.W_OK)
    return path.absolute().as_uri() + ("?immutable=1" if immutable else "?mode=ro")


def _prepare(connection: sqlite3.Connection, path: Path | None, read_only: bool) -> None:
    connection.execute("PRAGMA busy_timeout = 10000")
    empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    if empty and not read_only:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise RunError(f"{path}: not a chain of bcfl; name the directory of a run")
    if version != FORMAT:
        raise RunError(
            f"{path}: a chain of format {version}, this bcfl reads {FORMAT}; use the version that wrote it"
        )
    if not read_only:
        # NORMAL: a killed process loses nothing, a power cut at most the last blocks, never the order.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def _restrict(path: Path) -> None:
    """Let nobody else read or write a chain: what sqlite makes beside a file is as open as that is."""
    private_file(path)
    for suffix in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            private_file(beside)


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
