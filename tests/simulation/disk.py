"""A disk in memory that tells what was synced from what was only written.

It stands below the real `Journal`, which sees a path and the calls of `os`. A process that is killed leaves
all that it wrote. When the power fails, of a file that was not synced nothing, a part or all may be left,
and of the changes of names since the folder was last synced only the first few.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

FULL = OSError(errno.ENOSPC, "No space left on device")
Draw = Callable[[int, str], int]  # a number from 0 to the first argument, by name


@dataclass
class Inode:
    """The bytes of one file, and those that have reached the disk."""

    content: bytes = b""
    synced: bytes = b""
    is_synced: bool = True


def _allow(operation: str, name: str) -> None:
    del operation, name


@dataclass
class Disk:
    """One folder of one process; `before` is asked before each operation, and may raise."""

    before: Callable[[str, str], None] = _allow
    names: dict[str, Inode] = field(default_factory=dict)
    durable: dict[str, Inode] = field(default_factory=dict)  # names as of the last sync of the folder
    changes: list[dict[str, Inode]] = field(default_factory=list)  # names after each change since then
    _open: dict[int, Inode | None] = field(default_factory=dict)  # by descriptor; None: the folder

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, in place of what had it."""
        self.names[target] = self.names.pop(source)
        self.changes.append(dict(self.names))

    def create(self, name: str) -> Inode:
        """Return a file, a new one if there is none of that name."""
        if name not in self.names:
            self.names[name] = Inode()
            self.changes.append(dict(self.names))
        return self.names[name]

    def remove(self, name: str) -> None:
        """Drop a name."""
        if self.names.pop(name, None) is not None:
            self.changes.append(dict(self.names))

    def descriptor(self, inode: Inode | None) -> int:
        """Return a new descriptor, of the folder where `inode` is None."""
        number = len(self._open) + 3
        self._open[number] = inode
        return number

    def sync(self, number: int) -> None:
        """Let what a descriptor stands for reach the disk."""
        self.before("fsync", "file" if self._open[number] else "folder")
        inode = self._open[number]
        if inode is None:
            self.durable, self.changes = dict(self.names), []
        else:
            inode.synced, inode.is_synced = inode.content, True

    def cut_power(self, draw: Draw) -> None:
        """Leave what a disk may have after a power cut."""
        if self.changes:
            states = [self.durable, *self.changes]
            self.names = dict(states[draw(len(states) - 1, "names")])
        self.durable, self.changes, self._open = dict(self.names), [], {}
        for name, inode in sorted(self.names.items()):
            if not inode.is_synced:
                written = inode.content
                torn = written[: draw(max(0, len(written) - 1), f"torn {name}")]
                choices = [inode.synced, torn, torn + bytes(len(written) - len(torn)), written]
                inode.content = choices[draw(len(choices) - 1, f"bytes {name}")]
            inode.synced, inode.is_synced = inode.content, True

    def rot(self, draw: Draw) -> str | None:
        """Change one bit of one record; returns its name, None where there is none."""
        names = [name for name in sorted(self.names) if self.names[name].content]
        if not names:
            return None
        name = names[draw(len(names) - 1, "file")]
        inode = self.names[name]
        place = draw(8 * len(inode.content) - 1, "bit")
        content = bytearray(inode.content)
        content[place // 8] ^= 1 << place % 8
        inode.content = inode.synced = bytes(content)
        return name


class DiskFile:
    """An open file."""

    def __init__(self, disk: Disk, name: str, inode: Inode) -> None:
        self._disk, self._name, self._inode = disk, name, inode

    def write(self, data: bytes) -> int:
        """Append bytes; a full disk takes the first half."""
        try:
            self._disk.before("write", self._name)
        except OSError:
            self._append(data[: len(data) // 2])
            raise
        self._append(data)
        return len(data)

    def _append(self, data: bytes) -> None:
        self._inode.content += data
        self._inode.is_synced = False

    def flush(self) -> None:
        """Do nothing: what is written is in the cache of the machine, which outlives the process."""

    def fileno(self) -> int:
        """Return a descriptor."""
        return self._disk.descriptor(self._inode)

    def __enter__(self) -> DiskFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class DiskPath:
    """A path on the disk, as far as a journal uses one; without a name it is the folder."""

    disk: Disk
    name: str = ""

    def __truediv__(self, name: str) -> DiskPath:
        return DiskPath(self.disk, name)

    def __str__(self) -> str:
        return f"disk/{self.name}"

    def is_dir(self) -> bool:
        """Return whether it is the folder."""
        return not self.name

    def iterdir(self) -> Iterator[DiskPath]:
        """Yield the files of the folder."""
        return (DiskPath(self.disk, name) for name in sorted(self.disk.names))

    def is_file(self) -> bool:
        """Return whether a file has the name."""
        return self.name in self.disk.names

    def is_symlink(self) -> bool:
        """Return False: the disk has no links."""
        return False

    def stat(self) -> SimpleNamespace:
        """Return what nobody else may read: whoever could is no part of the simulation."""
        return SimpleNamespace(st_mode=0o600)

    def touch(self, mode: int, exist_ok: bool) -> None:
        """Do nothing: `open` makes the file."""

    def chmod(self, mode: int) -> None:
        """Do nothing."""

    def with_name(self, name: str) -> DiskPath:
        """Return the path of another file of the folder."""
        return DiskPath(self.disk, name)

    def read_bytes(self) -> bytes:
        """Return the content; raises FileNotFoundError."""
        if self.name not in self.disk.names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self.disk.names[self.name].content

    def open(self, mode: str) -> DiskFile:
        """Open for writing (`wb`, which empties it) or appending (`ab`)."""
        self.disk.before("open", self.name)
        inode = self.disk.create(self.name)
        if mode == "wb":
            inode.content, inode.is_synced = b"", False
        return DiskFile(self.disk, self.name, inode)

    def replace(self, target: DiskPath) -> None:
        """Rename."""
        self.disk.before("rename", target.name)
        self.disk.rename(self.name, target.name)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the name."""
        del missing_ok
        self.disk.remove(self.name)


class DiskCalls:
    """Stands for the module `os` in the journal: the calls that it makes of it, on the disk of the hour."""

    O_RDONLY = 0

    def __init__(self) -> None:
        self.disk: Disk | None = None  # of the process whose turn it is

    @contextmanager
    def on(self, disk: Disk | None) -> Iterator[None]:
        """Take a disk for that of the calls within."""
        before, self.disk = self.disk, disk
        try:
            yield
        finally:
            self.disk = before

    @contextmanager
    def beneath_journals(self) -> Iterator[None]:
        """Let journals read from and write to the disk of the hour."""
        journal = "bcfl.roles.common.journal"
        with patch(f"{journal}.os", self), patch(f"{journal}.read_file", DiskPath.read_bytes):
            yield

    def open(self, path: DiskPath, _: int) -> int:
        """Open the folder."""
        return path.disk.descriptor(None)

    def fsync(self, number: int) -> None:
        """Sync a file or the folder."""
        assert self.disk is not None
        self.disk.sync(number)

    def close(self, number: int) -> None:
        """Do nothing: descriptors go with their process."""
        del number

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the disk of the simulation has no os.{name}")
