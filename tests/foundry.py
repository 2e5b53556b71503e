"""Where anvil and cast are: on the PATH, or where `npm ci --prefix tests/nodes` puts them."""

from __future__ import annotations

import shutil
from pathlib import Path

FOLDER = Path(__file__).parent / "nodes" / "node_modules" / ".bin"


def find(name: str) -> str | None:
    """The program of that name; None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=str(FOLDER))


def absent(name: str) -> str:
    """Why a test is skipped."""
    return f"no {name}: npm ci --omit=optional --prefix {FOLDER.parents[1]}, or put one on the PATH"
