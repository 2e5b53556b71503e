"""Find the folders and files that users name, and keep those with secrets to their owner."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from bcfl.errors import ConfigError, DiskError, RunError

FOLDER_MODE: Final = 0o700  # of a folder with secrets: only its owner enters
FILE_MODE: Final = 0o600  # of a file with secrets
PASSING: Final = frozenset(  # errors of a disk or a machine that is full or ill, not of a wrong name
    {
        errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE,
        errno.ENOLCK, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
OTHERS: Final = 0o077  # what anybody but the owner may do
FOREIGN: Final = "it belongs to another user, who could read it: make it yours (chown), or name another"
log = logging.getLogger(__name__)
_warned: set[int] = set()  # file systems without permissions that a warning has named


def expanded(folder: Path) -> Path:
    """Return a folder with the home directory for `~`; raises ConfigError where there is none."""
    try:
        return folder.expanduser()
    except RuntimeError:
        raise ConfigError(f"{folder}: there is no home directory; set HOME, or name another folder") from None


def check_replaceable(path: Path) -> None:
    """Raise ConfigError where a file that is written in place of `path` would take more than a file away."""
    if path.is_symlink():
        kind = "a link"
    elif path.is_dir():
        kind = "a folder"
    elif path.exists() and not path.is_file():
        kind = "a device or a pipe"
    else:
        return
    raise ConfigError(f"{path} is {kind}: name a file with -o")


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and those above it that are missing; raises OSError.

    One that is there stays as it is: a user may have named any.
    """
    if path.is_dir():
        return
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(FOLDER_MODE, exist_ok=True)
    with suppress(OSError):
        path.chmod(FOLDER_MODE)  # a umask may have taken more away


def private_folder(path: Path, prefixes: tuple[str, ...] = ("",)) -> None:
    """Make a folder of secrets, or take what others may do from one that is there, and from its files.

    `prefixes`: how all names begin in a folder that is bcfl's alone. Any other was named by a user, who may
    share it: it stays as it is, and what it holds is as private as who made it saw to. Raises OSError, also
    where a folder belongs to another user.
    """
    make_folder(path)
    mode = path.stat().st_mode
    if mode & stat.S_ISVTX or not all(file.name.startswith(prefixes) for file in path.iterdir()):
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            log.warning("others may put files in the place of yours in %s: name a folder of your own", path)
        return
    _tighten(path)
    for file in path.iterdir():
        if file.is_file() and not file.is_symlink():
            _tighten(file)


def private_file(path: Path) -> Path:
    """Return a file of secrets, empty if it was not there, that others can neither read nor write.

    Call it before the file is opened: so it never holds a secret while it is open to others, whatever the
    umask. Raises OSError, also where it belongs to another user.
    """
    try:
        path.touch(FILE_MODE, exist_ok=False)
    except FileExistsError:
        _tighten(path)
    else:
        with suppress(OSError):
            path.chmod(FILE_MODE)
    return path


def read_file(path: Path, max_bytes: int | None = None) -> bytes:
    """Return what a file holds; raises OSError, also for a pipe or a device, and for more than `max_bytes`.

    A pipe would hold up its reader, and a device has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise OSError(errno.EINVAL, f"it has more than {max_bytes:,} bytes")
        return file.read() if max_bytes is None else file.read(max_bytes)


def disk_error(text: str, error: OSError) -> RunError:
    """Return the error of a disk that refuses: a DiskError where another try can be better."""
    kind = DiskError if error.errno in PASSING else RunError
    return kind(f"{text}: {error.strerror}")


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a power cut; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tighten(path: Path) -> None:
    """Take what others may do from a file or folder; warn once where a file system has no permissions."""
    status = path.stat()
    if not status.st_mode & OTHERS:
        return
    mode = FOLDER_MODE if stat.S_ISDIR(status.st_mode) else FILE_MODE
    with suppress(OSError):
        path.chmod(status.st_mode & mode)
    if not path.stat().st_mode & OTHERS:
        return
    if status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, FOREIGN)
    if status.st_dev not in _warned:
        _warned.add(status.st_dev)
        log.warning(
            "others may read %s: its file system keeps no permissions; name a folder on another one", path
        )


def write_private(path: Path, data: bytes, *, replaces: bool = False) -> None:
    """Write a file that only its owner may read, as a whole or not at all.

    Raises ConfigError where it cannot be written, or where something is there and nothing is to be replaced.
    """
    check_replaceable(path)
    if path.exists() and not replaces:
        raise ConfigError(f"{path} exists: name another file, so that nothing in it is lost")
    try:
        write_whole(path, data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name another file") from None


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file that only its owner may read, as a whole or not at all, whatever ends the process.

    A file that is made empty and written then is empty for ever where the disk is full. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
