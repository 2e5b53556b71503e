"""Time limits for processes that tests start, and their last output for the report of a failed test.

A machine may be ten times slower than its neighbour, or stand still for minutes while its host is busy. So no
test fails because something took long: it waits for a condition, and gives up where nothing will come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

STALL_SECONDS = 900.0  # until a test gives up waiting for a condition
ANSWER = 120.0  # seconds in which a process that is up answers
TAIL = 3_000  # characters of the output of one process
OUTPUT_FILES = ("*.log", "log", "out", "err")

# Phases long enough for a machine that stands still for two minutes; they close as soon as all have acted.
# No challenges: every block would wait for the end of a window that nothing shortens. Chaos runs have one.
LONG_PHASES = {f"{name}_seconds": 180 for name in ("commit", "reveal", "vote", "unveil", "attest", "propose")}
LONG_PHASES["challenge_seconds"] = 0
LONG_PHASE_OPTIONS = [
    word for name, value in LONG_PHASES.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


def until(condition: Callable[[], object], seconds: float = STALL_SECONDS) -> bool:
    """Wait for a condition; whether it holds in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def last_outputs(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file below a folder to which a process wrote, and its end."""
    for path in sorted({path for pattern in OUTPUT_FILES for path in folder.rglob(pattern)}):
        if path.is_file() and (text := path.read_text(errors="replace").strip()):
            yield str(path.relative_to(folder)), text[-TAIL:]
