"""The relay inside one process: a miner's desk is the miner itself."""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Inbox


class MemoryRelay:
    """Desks by their miners' addresses."""

    def __init__(self) -> None:
        self._desks: dict[str, Inbox] = {}

    def open(self, miner: str, inbox: Inbox) -> None:
        """Let messages for `miner` reach `desk`."""
        self._desks[miner] = inbox

    def close(self, miner: str) -> None:
        """Let nothing reach `miner` any more."""
        self._desks.pop(miner, None)

    def inbox(self, miner: str) -> Inbox:
        """The desk of a miner; raises RelayError if there is none."""
        try:
            return self._desks[miner]
        except KeyError:
            raise RelayError(f"miner {miner} cannot be reached") from None
