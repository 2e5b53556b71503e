"""The chain's file: what it keeps, what it drops, and what it says when it cannot serve."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcfl.errors import RunError
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.logs import LogRow
from bcfl.protocol.hashing import keccak

DIGEST = b"\x01" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a #run?" / "chain.sqlite"  # characters that mean something in a URI


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    path.parent.mkdir()
    database = Database(path)
    yield database
    database.close()


def row(block: int, position: int = 0, topic: bytes = DIGEST, address: bytes = b"\xaa" * 20) -> LogRow:
    return LogRow(block, position, 0, DIGEST, address, topic, None, None, None, b"data")


def raw(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_default_behavior(database: Database, path: Path) -> None:
    database[b"head"] = b"one"
    database[keccak(b"node")] = b"node"
    database.commit()
    database[b"head"] = b"two"
    database.commit()
    database.close()
    reader = Database(path)
    assert (reader[b"head"], reader[keccak(b"node")]) == (b"two", b"node")
    assert b"tail" not in reader
    reader.close()


def test_nothing_shows_before_commit_and_rollback_drops_it(database: Database, path: Path) -> None:
    database.commit()
    database[b"key"] = b"value"
    database.add_logs([row(1)])
    assert database[b"key"] == b"value"
    reader = Database(path, read_only=True)
    assert b"key" not in reader
    database.rollback()
    database.commit()
    assert b"key" not in database
    assert list(reader.find_logs(0, 9)) == []
    reader.close()


@pytest.mark.parametrize("key", [b"short", keccak(b"value")])
def test_delete(database: Database, key: bytes) -> None:
    database[key] = b"value"
    database.commit()
    assert key in database
    del database[key]
    assert key not in database
    database.rollback()
    assert database[key] == b"value"
    del database[key]
    database.commit()
    assert key not in database
    with pytest.raises(KeyError):
        del database[key]


def test_batch_that_fails_leaves_no_trace(database: Database) -> None:
    def write(key: bytes, error: type[BaseException] | None = None) -> None:
        with database.atomic_batch() as batch:
            batch[key] = b"1"
            if error is not None:
                raise error

    write(b"kept")
    with pytest.raises(KeyboardInterrupt):
        write(b"dropped", KeyboardInterrupt)
    assert b"kept" in database
    assert b"dropped" not in database


def test_logs_are_found_by_block_address_and_topic(database: Database) -> None:
    other = b"\x02" * 32
    rows = [row(1), row(2, topic=other), row(2, 1, address=b"\xbb" * 20), row(3)]
    database.add_logs(reversed(rows))
    database.commit()
    assert list(database.find_logs(0, 9)) == rows
    assert list(database.find_logs(2, 2)) == rows[1:3]
    assert list(database.find_logs(0, 9, [b"\xaa" * 20])) == [rows[0], rows[1], rows[3]]
    assert list(database.find_logs(0, 9, [], [[other]])) == [rows[1]]
    assert list(database.find_logs(0, 9, [], [[DIGEST, other]])) == rows
    assert list(database.find_logs(0, 9, [], [[], [DIGEST]])) == []


def test_search_for_logs_reads_no_more_than_it_finds(database: Database) -> None:
    """Counts sqlite's own steps: rows that it looks at and drops cost as much as those it returns."""
    rare = b"\x02" * 32
    questions = [(5, 9, [b"\xaa" * 20], []), (0, 10**6, [b"\xaa" * 20], [[rare]]), (5, 9, [], [[rare]])]
    steps, costs = [0], []

    def step() -> None:
        steps[0] += 1

    database._connection.set_progress_handler(step, 1)
    for first, last in ((0, 50), (50, 2_000)):
        database.add_logs(row(block, topic=rare if block == 7 else DIGEST) for block in range(first, last))
        database.commit()
        for question in questions:
            steps[0] = 0
            assert list(database.find_logs(*question))
            costs.append(steps[0])
    assert costs[:3] == costs[3:]


def test_failed_write_changes_nothing_and_says_so(database: Database) -> None:
    database[b"head"] = b"one"
    database.add_logs([row(1)])
    database.commit()
    database[b"head"] = b"two"
    database.add_logs([row(2), row(2)])  # the same place twice: sqlite refuses the whole transaction
    with pytest.raises(RunError, match="cannot write the chain"):
        database.commit()
    assert database[b"head"] == b"one"
    assert len(list(database.find_logs(0, 9))) == 1
    database[b"head"] = b"three"
    database.commit()
    assert database[b"head"] == b"three"


def test_full_disk(database: Database) -> None:
    database[b"head"] = b"one"
    database.commit()
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    database[b"head"] = b"two"
    database[b"big"] = bytes(1_000_000)
    with pytest.raises(RunError, match="full") as excinfo:
        database.commit()
    assert "\n" not in str(excinfo.value)
    assert database[b"head"] == b"one"


def test_one_writer_at_a_time(database: Database, path: Path) -> None:
    with pytest.raises(RunError, match="another process is writing"):
        Database(path)
    database.close()
    Database(path).close()


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no chain there"):
        Database(tmp_path / "nowhere.sqlite", read_only=True)
    with pytest.raises(RunError, match="cannot open"):
        Database(tmp_path / "nowhere" / "chain.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read_only", [True, False])
def test_not_a_database(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "chain.sqlite"
    path.write_bytes(b"not a database at all " * 1000)
    with pytest.raises(RunError, match="not a database"):
        Database(path, read_only=read_only)
    assert path.read_bytes() == b"not a database at all " * 1000


@pytest.mark.parametrize("read_only", [True, False])
def test_somebody_elses_database(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "chain.sqlite"
    raw(path, "CREATE TABLE entry (key BLOB)")
    content = path.read_bytes()
    with pytest.raises(RunError, match="not a chain of bcfl"):
        Database(path, read_only=read_only)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [True, False])
def test_older_format(database: Database, path: Path, read_only: bool) -> None:
    database.close()
    raw(path, "PRAGMA user_version = 0")
    with pytest.raises(RunError, match="format 0, this bcfl reads 1"):
        Database(path, read_only=read_only)


def test_damaged_in_the_middle(database: Database, path: Path) -> None:
    for number in range(2_000):
        database[f"key {number}".encode()] = bytes(200)
    database.commit()
    database.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xff" * (len(content) - 4096 * 3)
    path.write_bytes(content)
    reader = Database(path, read_only=True)
    with pytest.raises(RunError, match="cannot be read") as excinfo:
        [reader.get(f"key {number}".encode()) for number in range(2_000)]
    assert "\n" not in str(excinfo.value)
    reader.close()


def test_read_only_where_nothing_may_be_written(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database[b"head"] = b"one"
    database.commit()
    database.close()
    monkeypatch.setattr("os.access", lambda *_: False)
    reader = Database(path, read_only=True)
    assert reader[b"head"] == b"one"
    assert [entry.name for entry in path.parent.iterdir() if "-" in entry.name] == []  # no -wal, no -shm
    reader.close()
