"""Where anvil and cast are: on the PATH, or where `npm ci --prefix tests/nodes` puts them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import STALL_SECONDS

START_SECONDS = STALL_SECONDS
FOLDER = Path(__file__).parent / "nodes" / "node_modules" / ".bin"


def find(name: str) -> str | None:
    """The program of that name; None where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=str(FOLDER))


def absence(name: str) -> str:
    """Why a test is skipped."""
    return f"no {name}: npm ci --omit=optional --prefix {FOLDER.parents[1]}, or put one on the PATH"


@contextmanager
def anvil(*options: str) -> Iterator[str]:
    """The URL of a node of its own with such options; skips the test where anvil is not installed."""
    binary = find("anvil")
    if binary is None:
        pytest.skip(absence("anvil"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([binary, "--port", str(port), "--silent", *options])
    try:
        end = time.monotonic() + START_SECONDS
        while not listening(port):
            assert time.monotonic() < end, "anvil does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def listening(port: int) -> bool:
    """Whether something takes connections at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
