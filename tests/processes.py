"""Processes that tests start: how patient to be with them, and what they said when a test fails.

A machine may be ten times slower than its neighbour, or stand still for minutes while its host is busy. So no
test fails because something took long: it waits for a condition, and gives up where nothing will come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 900.0  # seconds until what should be there by now will not come
ANSWER = 120.0  # seconds in which a process that is up answers
TAIL = 3_000  # letters of what one process said
SAID = ("*.log", "log", "out", "err")  # the files in which it is

# Phases long enough for a machine that stands still for two minutes; they close as soon as all have acted.
UNHURRIED = {f"{name}_seconds": 180 for name in ("commit", "reveal", "vote", "unveil", "propose", "attest")}
UNHURRIED_OPTIONS = [
    word for name, value in UNHURRIED.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


def until(holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether something holds at last."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def said(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file below a folder in which a process spoke, and its end."""
    for path in sorted({path for pattern in SAID for path in folder.rglob(pattern)}):
        if path.is_file() and (text := path.read_text(errors="replace").strip()):
            yield str(path.relative_to(folder)), text[-TAIL:]
