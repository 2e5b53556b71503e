"""Keep the collector of garbage away from what a command loads and needs to its end.

torch and py-evm are half a million objects. Each full collection goes through all of them, while they load
and again when the interpreter ends: that took 0.8 s of a command.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_stays = False  # whether what is loaded is needed to the end of the process


def keep_loaded() -> None:
    """Let what `loading` loads stay out of collections: in a process that ends with its command."""
    global _stays
    _stays = True
    atexit.register(gc.freeze)


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage in a block of imports, nor ever in what they load; nothing in another's process."""
    if not _stays or not gc.isenabled():
        yield
        return
    gc.collect()  # garbage must not stay with what is loaded
    gc.disable()
    count = len(sys.modules)
    try:
        yield
    finally:
        if len(sys.modules) > count:
            gc.freeze()
        gc.enable()
