"""Who may read what is on disk: run under a umask, walk folders, open them to everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Let all files that are made within lack the permissions of a mask only."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    """Return the permissions of a file or folder."""
    return path.stat().st_mode & 0o777


def wrong_modes(*paths: Path) -> dict[str, str]:
    """Return what is not 0700 for a folder and 0600 for a file, here and below, by path."""
    wrong = {}
    for path in paths:
        for entry in (path, *path.rglob("*")):
            if mode(entry) != (0o700 if entry.is_dir() else 0o600):
                wrong[str(entry)] = oct(mode(entry))
    return wrong


def open_to_all(*paths: Path) -> None:
    """Let everybody read and write files and folders, and all that is below them."""
    for path in paths:
        for entry in (path, *path.rglob("*")):
            entry.chmod(0o777 if entry.is_dir() else 0o666)
