"""Keep what a role must not forget when its process is killed: on disk before it is used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bcfl.errors import RunError


class Journal:
    """Small named records of one account in the folder `path` (None: in memory), each replaced atomically."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._memory: dict[str, bytes] = {}
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return a record, or None if there is none."""
        if self._path is None:
            return self._memory.get(name)
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Replace a record, which then survives the process; raises RunError where the disk refuses."""
        if self._path is None:
            self._memory[name] = data
            return
        temporary = self._path / f".{name}.new"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path / name)
        except OSError as error:
            raise RunError(f"cannot write the journal {self._path / name}: {error.strerror}") from error

    def append(self, name: str, content: dict[str, Any]) -> None:
        """Add a line to a record that only people read; a crash may cost its last line. Raises as `write`."""
        line = json.dumps(content, sort_keys=True).encode() + b"\n"
        if self._path is None:
            self._memory[name] = self._memory.get(name, b"") + line
            return
        try:
            with (self._path / name).open("ab") as file:
                file.write(line)
        except OSError as error:
            raise RunError(f"cannot write the journal {self._path / name}: {error.strerror}") from error

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a record as an object, or None if there is none; raises RunError if it is damaged."""
        data = self.read(name)
        if data is None:
            return None
        with self.reading(name):
            content = json.loads(data)
            if not isinstance(content, dict):
                raise TypeError(name)
            return content

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Turn errors in taking a damaged record apart into a RunError that says what to do."""
        try:
            yield
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"the journal record {name} in {self._path} is damaged; remove it to go on"
            ) from None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace a record by an object; raises as `write`."""
        self.write(name, json.dumps(content, sort_keys=True).encode())


def appended(file: Path, number: int) -> dict[str, Any] | None:
    """Return the last object of a round that `append` wrote to a file; None without a readable one."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in reversed(lines):
        with suppress(ValueError):  # the end of a line that a crash has cut off
            record = json.loads(line)
            if isinstance(record, dict) and record.get("round") == number:
                return record
    return None
