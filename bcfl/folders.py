"""Find the folders that users name."""

from __future__ import annotations

from pathlib import Path

from bcfl.errors import ConfigError


def expanded(folder: Path) -> Path:
    """Return a folder with the home directory for `~`; raises ConfigError where there is none."""
    try:
        return folder.expanduser()
    except RuntimeError:
        raise ConfigError(f"{folder}: there is no home directory; set HOME, or name another folder") from None
