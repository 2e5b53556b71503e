"""A run's folder is torn, changed or hostile: its reader says so in a line, or what an EVM says too.

`DAMAGED_CHAINS=3000` plays a campaign.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from bcfl.errors import BcflError, RunError
from bcfl.federation.query import Query, open_run
from bcfl.federation.runs import list_runs
from bcfl.ledger.devnet import embedded
from bcfl.ledger.devnet.chainfile import HEAD, connect
from bcfl.ledger.devnet.database import Database
from tests.played_run import play_run

DAMAGED: Final = int(os.environ.get("DAMAGED_CHAINS", "40"))
PAGE: Final = 4096
VALUES: Final = (
    None, 0, -1, 1, 5, 1000, 2**62, 1.5, "text", "", b"", b"\xc0", b"\x80", bytes(32), bytes(40),
    b"\xff" * 33, b"\xf9\xff\xff", b"\xbf" + b"\xff" * 8,
)  # fmt: skip
COLUMNS: Final = (
    "block", "position", "transaction_index", "transaction_hash", "address", "topic0", "topic1", "topic2",
    "topic3", "data",
)  # fmt: skip
QUESTIONS: Final[tuple[Callable[[Query], Any], ...]] = (
    lambda query: query.round_view(3),
    lambda query: query.votes_view(3),
    lambda query: query.leader_view(5),
    lambda query: query.model_view(2),
    lambda query: query.round_view(4),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its chain in one file."""
    path = play_run(tmp_path_factory.mktemp("damaged") / "runs").path
    with closing(sqlite3.connect(path / "chain.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def folder(played: Path, tmp_path: Path) -> Path:
    """The same run, with a chain of its own."""
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("run.json", "store", "journal"):
        (copy / name).symlink_to(played / name)
    (copy / "chain.sqlite").write_bytes((played / "chain.sqlite").read_bytes())
    return copy


def put(folder: Path, content: bytes) -> None:
    """Let a run have another file for its chain."""
    for path in folder.glob("chain.sqlite*"):
        path.unlink()
    (folder / "chain.sqlite").write_bytes(content)


def outcomes(folder: Path) -> list[str]:
    """Return every answer, or the error in its place."""
    try:
        with open_run(folder) as query:
            return [_outcome(question, query) for question in QUESTIONS]
    except BcflError as error:
        return [f"error: {error}"]


def _outcome(question: Callable[[Query], Any], query: Query) -> str:
    try:
        return repr(question(query))
    except BcflError as error:
        return f"error: {error}"


def torn(chance: random.Random, content: bytes) -> bytes:
    """Return a file that is cut off, or of which bytes or pages are others."""
    data, way = bytearray(content), chance.random()
    if way < 0.3:
        return content[: chance.randrange(len(content))]
    if way < 0.7:
        for _ in range(chance.choice((1, 2, 8, 64))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)
    start, other = (PAGE * chance.randrange(len(data) // PAGE) for _ in range(2))
    data[start : start + PAGE] = data[other : other + PAGE] if way < 0.9 else bytes(PAGE)
    return bytes(data)


def change(chance: random.Random, path: Path) -> None:
    """Put something else into one field of a chain."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection, suppress(sqlite3.Error):
        if chance.random() < 0.5:
            keys = [key for (key,) in connection.execute("SELECT key FROM entry")]
            key = chance.choice([key for key in keys if len(key) != 32 or chance.random() < 0.2])
            (value,) = connection.execute("SELECT value FROM entry WHERE key = ?", (key,)).fetchone()
            words, place = "UPDATE entry SET value = ? WHERE key = ?", (key,)
        else:
            place = chance.choice(connection.execute("SELECT block, position FROM log").fetchall())
            column, where = chance.choice(COLUMNS), "WHERE block = ? AND position = ?"
            (value,) = connection.execute(f"SELECT {column} FROM log {where}", place).fetchone()
            words = f"UPDATE log SET {column} = ? {where}"
        if isinstance(value, bytes) and value and chance.random() < 0.5:
            at = chance.randrange(len(value))
            value = value[:at] + bytes([chance.randrange(256)]) + value[at + 1 :]
        else:
            value = chance.choice(VALUES)
        connection.execute(words, (value, *place))


@pytest.mark.parametrize("kind", ["torn", "changed"])
def test_a_damaged_chain_is_told_or_read_as_an_evm_reads_it(
    kind: str, played: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, chance = (played / "chain.sqlite").read_bytes(), random.Random(kind)
    truth, told = outcomes(folder), 0
    for _ in range(DAMAGED):
        put(folder, torn(chance, content) if kind == "torn" else content)
        if kind == "changed":
            change(chance, folder / "chain.sqlite")
        answers = outcomes(folder)
        told += any(answer.startswith("error") for answer in answers)
        if answers != truth and not all(answer.startswith("error") for answer in answers):
            with monkeypatch.context() as patch:
                patch.setattr(embedded, "ChainReader", lambda _: None)
                others = outcomes(folder)
            pairs = zip(answers, others, strict=False)
            assert all(one == other or "error" in (one[:5], other[:5]) for one, other in pairs)
    assert told > DAMAGED // 5


def test_what_is_under_a_digest_is_what_it_is_of(folder: Path) -> None:
    """A header or a node of a trie in which one byte is another one is told: by the reader, by the EVM."""
    path = folder / "chain.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        (head,) = connection.execute("SELECT value FROM entry WHERE key = ?", (HEAD,)).fetchone()
        (header,) = connection.execute("SELECT value FROM entry WHERE key = ?", (head,)).fetchone()
        changed = header[:-40] + bytes([header[-40] ^ 1]) + header[-39:]
        connection.execute("UPDATE entry SET value = ? WHERE key = ?", (changed, head))
    with closing(Database(path, read_only=True)) as database, pytest.raises(RunError, match="is damaged"):
        _ = database[head]
    with pytest.raises(RunError, match="is damaged"):
        open_run(folder).__enter__()


def test_tables_that_are_none_are_refused(folder: Path) -> None:
    """A view in the place of the logs has as many rows as it likes."""
    path = folder / "chain.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE log RENAME TO other")
        rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS block FROM n"
        connection.execute(f"CREATE VIEW log AS {rows}")
    with pytest.raises(RunError, match="its tables are others"):
        connect(path, read_only=True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["run.json", "run.lock", "chain.sqlite", "result.json"])
def test_a_pipe_holds_nobody_up(played: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    for path in played.iterdir():
        if path.name != name and not path.name.startswith("chain.sqlite-"):
            (folder / path.name).symlink_to(path)
    os.mkfifo(folder / name)
    listed = list_runs(folder.parent)
    assert (listed[0].error is not None) == (name == "run.json")
    answers = outcomes(folder)
    assert all(answer.startswith("error") for answer in answers) == (name in ("run.json", "chain.sqlite"))


def test_a_huge_file_is_not_read(folder: Path) -> None:
    (folder / "run.json").unlink()
    with (folder / "run.json").open("wb") as file:
        file.truncate(2**40)
    assert "has more than" in str(list_runs(folder.parent)[0].error)
