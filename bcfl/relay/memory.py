"""Deliver messages inside one process: a miner's inbox is the miner itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from bcfl.errors import RelayError
from bcfl.ports import Inbox
from bcfl.protocol.requests import KeyRequest


class MemoryRelay:
    """The inboxes of miners by their addresses."""

    def __init__(self) -> None:
        self._inboxes: dict[str, Inbox] = {}

    def open(self, miner: str, inbox: Inbox) -> None:
        """Let messages for `miner` reach `inbox`."""
        self._inboxes[miner] = inbox

    def close(self, miner: str) -> None:
        """Let nothing reach `miner` any more."""
        self._inboxes.pop(miner, None)

    def inbox(self, miner: str) -> Inbox:
        """Return the inbox of a miner; raises RelayError if there is none."""
        try:
            return self._inboxes[miner]
        except KeyError:
            raise RelayError(f"miner {miner} cannot be reached") from None

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what miners answer, one after the other: who has heard enough asks nobody further."""
        for miner in miners:
            with suppress(RelayError):
                yield miner, self.inbox(miner).answer(request)
