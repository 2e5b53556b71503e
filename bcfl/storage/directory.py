"""Store payloads in a folder: one file per payload, named after its CID.

The folder is trusted no more than any other store: what is read is hashed again. What is written appears
whole or not at all.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from bcfl.errors import Corrupt, Oversized, StoreError, Unavailable
from bcfl.folders import sync_folder
from bcfl.protocol import cid as cids

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore:
    """Files under `path`, which is created if absent; implements `bcfl.ports.Store`.

    Any number of processes may share it. With `sync` every write reaches the disk before `put` returns;
    without, a power failure may damage the last files, which readers notice and `put` repairs.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._sync = sync
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"store {path} cannot be made: {_reason(error)}") from error

    def put(self, data: bytes) -> str:
        """Write `data` and return its CID; raises StoreError, with nothing left behind, when it cannot."""
        cid = cids.compute(data)
        target = self._path(cid)
        if _holds(target, data):
            return cid
        temporary = target.with_name(f".{cid}.{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(exist_ok=True)
            self._write(temporary, data)
            temporary.replace(target)
            if self._sync:
                sync_folder(target.parent)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if not isinstance(error, OSError):
                raise
            raise StoreError(f"store {self.path} cannot keep {cid}: {_reason(error)}", cid) from error
        return cid

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Read the bytes of `cid` and verify them.

        Raises CidError for no CID, Unavailable without such a file, Corrupt when its bytes are others,
        Oversized when there are more than `max_bytes`, none of which is then read, StoreError on failure.
        """
        cids.parse(cid)
        data = self._read(cid, max_bytes)
        if cids.compute(data) != cid:
            raise Corrupt(f"store {self.path}: the bytes held for {cid} are not its own; put them again", cid)
        return data

    def has(self, cid: str) -> bool:
        """Return whether there is a file for `cid`; only `get` says whether its bytes are right."""
        cids.parse(cid)
        return os.path.isfile(self._path(cid))

    def _path(self, cid: str) -> Path:
        """Return the path of `cid`, in a folder named for the two characters before its last, as in Kubo."""
        return self.path / cid[-3:-1] / cid

    def _write(self, temporary: Path, data: bytes) -> None:
        with temporary.open("xb") as stream:
            stream.write(data)
            if self._sync:
                stream.flush()
                os.fsync(stream.fileno())

    def _read(self, cid: str, max_bytes: int) -> bytes:
        try:
            # O_NONBLOCK: a pipe planted under the name of a CID must not hold up the reader
            descriptor = os.open(self._path(cid), os.O_RDONLY | os.O_NONBLOCK)
            try:
                self._check_size(os.fstat(descriptor), cid, max_bytes)
                with open(descriptor, "rb", closefd=False) as stream:
                    return stream.read(max_bytes)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise Unavailable(f"store {self.path} does not hold {cid}", cid) from error
        except OSError as error:
            raise StoreError(f"store {self.path} cannot read {cid}: {_reason(error)}", cid) from error

    def _check_size(self, status: os.stat_result, cid: str, max_bytes: int) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Corrupt(f"store {self.path}: what stands for {cid} is not a file; remove it", cid)
        if status.st_size > max_bytes:
            excess = f"{status.st_size} bytes, more than the {max_bytes} expected"
            raise Oversized(f"store {self.path}: {cid} has {excess}", cid)


def _holds(target: Path, data: bytes) -> bool:
    with suppress(OSError):
        return target.stat().st_size == len(data) and target.read_bytes() == data
    return False


def _reason(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{reason}; free some space and try again" if error.errno in NO_SPACE else reason
