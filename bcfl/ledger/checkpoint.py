"""Keep the events of a federation in a file, up to blocks that the chain will not take back.

The first line names chain and contract. Each other line holds the events of some blocks, and number and hash
of the last of these. A line begins with the digest of the line before and of what follows in it, so that
lines that were cut, changed, swapped or left out end the file there.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from weakref import finalize

from bcfl.folders import private_file, private_folder
from bcfl.ledger.contract import Event

FORMAT: Final = 1
DIGEST_LETTERS: Final = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segment:
    """The events after the segment before, up to a block; `end`: where its line ends in the file."""

    block: int
    hash: str
    events: tuple[Event, ...]
    end: int = 0


class Checkpoint:
    """The file in `folder` with the events of a contract from a block on.

    One process writes it; others of the same folder read what is there when they start. What cannot be read
    or written is as if it were not there: a checkpoint saves requests, and nothing else depends on it.
    """

    def __init__(self, folder: Path, chain_id: int, contract: str, from_block: int) -> None:
        self.path = folder / f"history-{chain_id}-{contract}"
        self._head = {"format": FORMAT, "chain": chain_id, "contract": contract, "from": from_block}
        self._digest = b""  # of the last line
        self._file: int | None = None
        with suppress(OSError):
            private_folder(folder, ("history-", "0x"))  # and the journals of accounts
            file = os.open(private_file(self.path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            close = finalize(self, os.close, file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._file, self._close = file, close
            except OSError:  # another process of this folder writes it
                close()

    @property
    def is_writable(self) -> bool:
        """Return whether this process writes the file."""
        return self._file is not None

    def read(self) -> list[Segment]:
        """Return the segments that prove themselves, and leave out what follows them in the file."""
        segments: list[Segment] = []
        end, self._digest = 0, b""
        try:
            content = self.path.read_bytes()
        except OSError:
            content = b""
        for number, line in enumerate(content.splitlines(keepends=True)):
            digest, body = line[:DIGEST_LETTERS], line[DIGEST_LETTERS:]
            if not line.endswith(b"\n") or digest != _seal(self._digest, body):
                break
            try:
                record = json.loads(body)
                if number == 0 and record != self._head:
                    break
                if number:
                    events = tuple(_event(*fields) for fields in record["events"])
                    block = int(record["block"])
                    segments.append(Segment(block, str(record["hash"]), events, end + len(line)))
            except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
                break
            end, self._digest = end + len(line), digest
        if end < len(content):
            log.warning(
                "the history in %s is damaged, or another one's: it is read again from there", self.path
            )
        self._cut(end)
        if not end:
            self._write(self._head)
        return segments

    def keep(self, segments: Sequence[Segment]) -> None:
        """Leave out all that follows these segments: the chain has taken it back after all."""
        if segments:
            content = self.path.read_bytes()[: segments[-1].end]
            self._digest = content.splitlines()[-1][:DIGEST_LETTERS]
            self._cut(len(content))
        else:
            self._cut(0)
            self._digest = b""
            self._write(self._head)

    def append(self, block: int, block_hash: str, events: Sequence[Event]) -> None:
        """Add the events up to a block; a failure ends the writing of this process."""
        self._write({"block": block, "hash": block_hash, "events": [_fields(event) for event in events]})

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            self._file = None
            self._close()

    def _write(self, record: dict[str, Any]) -> None:
        if self._file is None:
            return
        body = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        digest = _seal(self._digest, body)
        try:
            line = memoryview(digest + body)
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
            self._digest = digest
        except OSError as error:
            log.warning("the history is not kept in %s: %s", self.path, error.strerror)
            self.close()

    def _cut(self, size: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, size)


def _seal(previous: bytes, body: bytes) -> bytes:
    return sha256(previous + body).hexdigest().encode()


def _fields(event: Event) -> list[Any]:
    args = {name: _packed(value) for name, value in event.args.items()}
    return [
        event.name, args, event.block, event.timestamp,
        event.transaction.hex(), event.log_index, event.address,
    ]  # fmt: skip


def _event(
    name: str,
    args: dict[str, Any],
    block: int,
    timestamp: int,
    transaction: str,
    log_index: int,
    address: str,
) -> Event:
    values = {key: _unpacked(value) for key, value in args.items()}
    return Event(name, values, block, timestamp, bytes.fromhex(transaction), log_index, address)


def _packed(value: Any) -> Any:
    """Return a value of an event for JSON: bytes as an object, tuples as lists."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [_packed(part) for part in value] if isinstance(value, (tuple, list)) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return tuple(_unpacked(part) for part in value) if isinstance(value, list) else value
