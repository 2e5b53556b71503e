"""Files that a query writes: whole or not at all."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from bcfl.errors import ConfigError
from bcfl.folders import check_replaceable


def write_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in place of the file that is there; raises ConfigError, with nothing lost."""
    check_replaceable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, data)
        with suppress(FileNotFoundError):
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name another file with -o") from error
