"""What the protocol needs of an event in the contract's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class LogEvent(Protocol):
    """An event as a history, a dispute or an audit reads it, whichever client brought it."""

    @property
    def name(self) -> str:
        """Return the name that the contract gives the event."""
        ...

    @property
    def args(self) -> Mapping[str, Any]:
        """Return its arguments by name: addresses checksummed, lists as tuples."""
        ...

    @property
    def timestamp(self) -> int:
        """Return the time of its block, in seconds."""
        ...

    @property
    def transaction(self) -> bytes:
        """Return the hash of the transaction that it was logged in."""
        ...
