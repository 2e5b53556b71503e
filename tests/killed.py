"""Run a local federation whose process ends as by `kill -9`, at its Nth write to chain, store or journal.

python -m tests.killed FOLDER ROUNDS N: N = 0 lets it end. It prints how many writes there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.roles.common.journal import Journal
from bcfl.storage import DirectoryStore
from tests.local_federation import LocalFederation

writes = 0
last = 0


def count(cls: Any, name: str, counts: Any) -> None:
    """Count the calls of a method, and end the process at the last: before it if odd, else after it."""
    method = getattr(cls, name)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        global writes
        writes += counts(*args)
        now = writes == last and counts(*args)
        if now and last % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(self, *args, **kwargs)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(cls, name, counted)


def main(folder: str, rounds: str, kill_at: str) -> None:
    global last
    last = int(kill_at)
    count(Journal, "write", lambda *_: True)
    count(DirectoryStore, "put", lambda *_: True)
    count(EmbeddedChain, "request", lambda method, *_: method == "eth_sendRawTransaction")
    local = LocalFederation(Path(folder), on_disk=True)
    while max(local.history.rounds) <= int(rounds):
        local.play()
    print(writes)


if __name__ == "__main__":
    main(*sys.argv[1:])
