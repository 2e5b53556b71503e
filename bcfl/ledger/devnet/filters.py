"""The filters of a served chain: what has come since a client last asked.

Serves every step of the round, for clients that poll `eth_getFilterChanges`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bcfl.ledger.devnet.node import REFUSED, NodeError

MAX_FILTERS: Final = 1_000  # the oldest is dropped for one more
Query = Mapping[str, Any]


@dataclass
class Filter:
    """What a client follows: logs of a query, or blocks where there is none; `next` is the block to read."""

    query: Query | None
    next: int


class Filters:
    """The filters by their keys; `logs` and `hashes` read the chain."""

    def __init__(self, logs: Callable[[Query], list[Any]], hashes: Callable[[int, int], list[str]]) -> None:
        self._logs, self._hashes = logs, hashes
        self._filters: dict[str, Filter] = {}

    def add(self, query: Query | None, start: int) -> str:
        """A new filter for what comes from block `start` on; returns its key."""
        if len(self._filters) >= MAX_FILTERS:
            del self._filters[next(iter(self._filters))]
        key = hex(secrets.randbits(64) | 1 << 64)
        self._filters[key] = Filter(query, start)
        return key

    def changes(self, key: str, head: int) -> list[Any]:
        """What has come since the last time, up to block `head`."""
        found = self._found(key)
        if found.next > head:
            return []
        if found.query is None:
            new = self._hashes(found.next, head)
        else:
            new = self._logs({**found.query, "fromBlock": hex(found.next), "toBlock": hex(head)})
        found.next = head + 1
        return new

    def query(self, key: str) -> Query:
        """What a filter of logs asks for."""
        if (query := self._found(key).query) is None:
            raise NodeError(REFUSED, "that filter is for blocks, not for logs")
        return query

    def remove(self, key: str) -> bool:
        """Forget a filter; whether it was known."""
        return self._filters.pop(key, None) is not None

    def _found(self, key: str) -> Filter:
        try:
            return self._filters[key]
        except KeyError:
            raise NodeError(
                REFUSED, "filter not found: it was never made, or dropped for newer ones"
            ) from None
