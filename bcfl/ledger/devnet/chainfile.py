"""Open the file of an embedded chain, and read from it what needs no EVM."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from bcfl.errors import RunError
from bcfl.folders import private_file

APPLICATION: Final = 0x6266636C  # sqlite's application_id: "bcfl" in ASCII
FORMAT: Final = 1
CHAIN_ID: Final = 31337  # what development chains use
SCHEMA: Final = f"""
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
TABLES: Final = sorted(
    " ".join(text.split()) for text in SCHEMA.split(";") if text.lstrip().startswith("CREATE")
)
HEAD: Final = b"v1:canonical_head_hash"  # where py-evm keeps which block is the last


def connect(path: Path | None, read_only: bool) -> sqlite3.Connection:
    """Return a connection to a chain in the file `path` (None: in memory), with the tables of a new one.

    Raises RunError for a file that is absent, damaged or of another format.
    """
    if read_only and path is not None and not path.is_file():
        raise RunError(f"{path}: no chain there; name the directory of a run")
    try:
        if path is not None and not read_only:
            _restrict(path)
        connection = sqlite3.connect(
            _uri(path, read_only), uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path, read_only)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot open the chain: {error}") from error
    return connection


def last_number(path: Path, contract: str, topic: bytes) -> int | None:
    """Return the indexed number, below 2**64, of the last event that a contract logged with a topic.

    0 where there is none; None for a chain without a block, or that knows nothing of the contract: whoever
    opens it with an EVM learns why. Raises RunError as `connect` does.
    """
    address = bytes.fromhex(contract.removeprefix("0x"))
    last = "SELECT topic1 FROM log WHERE address = ? AND topic0 = ? ORDER BY block DESC LIMIT 1"
    try:
        with closing(connect(path, read_only=True)) as connection:
            head = connection.execute("SELECT 1 FROM entry WHERE key = ?", (HEAD,)).fetchone()
            known = connection.execute("SELECT 1 FROM log WHERE address = ? LIMIT 1", (address,)).fetchone()
            row = connection.execute(last, (address, topic)).fetchone()
    except sqlite3.Error as error:
        raise RunError(f"{path}: the chain cannot be read: {error}") from error
    if head is None or known is None:
        return None
    if row is None:
        return 0
    (number,) = row
    return int.from_bytes(number[-8:], "big") if isinstance(number, bytes) else None


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
    _check_schema(connection, path)
    if not read_only:
        # NORMAL: a killed process loses nothing, a power cut at most the last blocks, never the order.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def _check_schema(connection: sqlite3.Connection, path: Path | None) -> None:
    """Raise RunError for other tables than a chain has: a view may give rows without end."""
    words = [text for (text,) in connection.execute("SELECT sql FROM sqlite_master LIMIT 9")]
    if sorted(" ".join(str(text).split()) for text in words if text is not None) != TABLES:
        raise RunError(f"{path}: not a chain of bcfl, or damaged: its tables are others")


def _restrict(path: Path) -> None:
    """Let nobody else read or write a chain: what sqlite makes beside a file is as open as that is."""
    private_file(path)
    for suffix in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            private_file(beside)
