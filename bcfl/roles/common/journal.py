"""Keep what a role must not forget when its process is killed: on disk before it is used.

A record ends with a digest of its place (account and name) and of what stands before it. One that is damaged,
or another place's, or that no role of this version can read is set aside, and its role makes it again as far
as that is possible.
"""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import AbstractContextManager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bcfl.errors import DiskError
from bcfl.folders import private_file, private_folder, read_file

SEAL: Final = b"\nsha256:"  # stands between a record and its digest
DAMAGED: Final = ".damaged"  # ends the name of a record that was set aside
UNREADABLE: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
ROUND_END: Final = re.compile(r'"round": (\d{1,18})\}$')  # of a line that `append` wrote
log = logging.getLogger(__name__)


class Journal:
    """Small named records of one account in the folder `path` (None: in memory), each replaced atomically.

    The folder is named for the account: so a record knows whose it is, and is none of another folder's.
    Only their owner may read them, also where the folder was open to others. Without `sync` a record survives
    its process, as ever, but not always a power cut: for parties that stake nothing. Raises DiskError.
    """

    def __init__(self, path: Path | None, *, sync: bool = True) -> None:
        self._path, self._sync = path, sync
        self._is_settled = not sync  # whether all that can be read survives a power cut
        self._memory: dict[str, bytes] = {}
        if path is not None:
            try:
                private_folder(path)
            except OSError as error:
                raise DiskError(f"the journal {path} cannot be kept: {error.strerror}") from error

    def read(self, name: str) -> bytes | None:
        """Return a record; None if there is none, or if it is damaged. Raises DiskError.

        One whose writer was killed, or met an error, before it was safe is made so first: a power cut must
        not take away what a party has signed by.
        """
        if self._path is None:
            return self._memory.get(name)
        file = self._path / name
        try:
            if not self._is_settled:
                self._settle(self._path)
            content = read_file(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"cannot read the journal {file}: {error.strerror}") from error
        data, seal, digest = content.rpartition(SEAL)
        # Records of earlier versions have a digest of their content alone.
        if not seal or digest not in (_digest(data, self._path.name, name), _digest(data)):
            self._set_aside(file)
            return None
        return data

    def _set_aside(self, file: Path, reason: str = "damaged") -> None:
        aside = file.with_name(file.name + DAMAGED)
        log.warning("the journal record %s is %s: it is kept as %s and made again", file, reason, aside.name)
        try:
            file.replace(aside)
        except OSError as error:
            raise DiskError(f"cannot rename the journal record {file}: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Replace a record, which then survives the process and, synced, a power cut; raises DiskError."""
        if self._path is None:
            self._memory[name] = data
            return
        temporary = self._path / f".{name}.new"
        try:
            with private_file(temporary).open("wb") as file:
                file.write(data)
                file.write(SEAL + _digest(data, self._path.name, name))
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            self._is_settled = not self._sync
            temporary.replace(self._path / name)
            self._is_settled = not self._sync  # another thread's read may have settled what was there before
            if self._sync:
                self._settle(self._path)
        except OSError as error:
            with suppress(OSError):  # on a full disk it is in the way of the next try
                temporary.unlink(missing_ok=True)
            raise DiskError(f"cannot write the journal {self._path / name}: {error.strerror}") from error

    def _settle(self, folder: Path) -> None:
        """Let the names of the records survive a power cut; raises OSError."""
        _sync(folder)
        self._is_settled = True

    def remove(self, name: str) -> None:
        """Remove a record, and what damage or a crash has left of it; raises DiskError.

        A power cut may bring it back.
        """
        if self._path is None:
            self._memory.pop(name, None)
            return
        file = self._path / name
        try:
            for path in (file, file.with_name(name + DAMAGED), self._path / f".{name}.new"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"cannot remove the journal record {file}: {error.strerror}") from error

    def append(self, name: str, content: dict[str, Any]) -> None:
        """Add a line to a record that only people read; a crash may cost its last line. Raises as `write`."""
        line = json.dumps(content, sort_keys=True).encode() + b"\n"
        if self._path is None:
            self._memory[name] = self._memory.get(name, b"") + line
            return
        try:
            with private_file(self._path / name).open("ab") as file:
                file.write(line)
        except OSError as error:
            raise DiskError(f"cannot write the journal {self._path / name}: {error.strerror}") from error

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a record as an object; None as `read`, and for one of another version, which goes aside."""
        data = self.read(name)
        if data is None:
            return None
        with self.reading(name):
            content = json.loads(data)
            if not isinstance(content, dict):
                raise TypeError(name)
            return content
        return None

    def reading(self, name: str) -> Reading:
        """Return a context in which a record is taken apart: what cannot be is set aside as if damaged.

        It is for what can be made again. What follows the block stands for there being no record.
        """
        return Reading(self, name)

    def drop_unreadable(self, name: str) -> None:
        """Set a record aside whose digest is right, and which nobody can take apart; raises DiskError."""
        if self._path is None:
            self._memory.pop(name, None)
        else:
            self._set_aside(self._path / name, "of another version")

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace a record by an object; raises as `write`."""
        self.write(name, json.dumps(content, sort_keys=True).encode())


class Reading(AbstractContextManager[None, bool]):
    """The taking apart of a record, as `Journal.reading` gives it."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal, self._name = journal, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, UNREADABLE):
            return False
        self._journal.drop_unreadable(self._name)
        return True


def _digest(data: bytes, *place: str) -> bytes:
    """Return the digest of a record; `place` is account and name, nothing for one of an earlier version."""
    digest = sha256("".join(f"{word}\n" for word in place).encode())
    digest.update(data)  # by itself: together they would be copied
    return digest.hexdigest().encode()


def _sync(folder: Path) -> None:
    """Let the names in a folder survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def appended(file: Path, number: int) -> dict[str, Any] | None:
    """Return the last object of a round that `append` wrote to a file; None without a readable one."""
    lines = (line for line in reversed(_lines(file)) if _may_be_of(line, number))
    records = map(_record, lines)
    return next((record for record in records if record is not None and record.get("round") == number), None)


def all_appended(file: Path) -> dict[int, dict[str, Any]]:
    """Return the last readable object of each round that `append` wrote to a file, by round."""
    return {record["round"]: record for line in _lines(file) if (record := _record(line)) is not None}


def _may_be_of(line: str, number: int) -> bool:
    """Whether a line can be of a round: `append` writes its number last, so most need not be parsed."""
    end = ROUND_END.search(line)
    return end is None or int(end[1]) == number


def _lines(file: Path) -> list[str]:
    try:
        return read_file(file).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _record(line: str) -> dict[str, Any] | None:
    """Return the object of a line; None for the end of one that a crash has cut off."""
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        if isinstance(record, dict) and isinstance(record.get("round"), int):
            return record
    return None
