"""Find the folders and files that users name."""

from __future__ import annotations

from pathlib import Path

from bcfl.errors import ConfigError


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
