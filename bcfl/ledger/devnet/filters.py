"""Keep the filters of a served chain: a client that polls gets what has come since it last asked."""

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
        """Add a filter for what comes from block `start` on; returns its key."""
        if len(self._filters) >= MAX_FILTERS:
            del self._filters[next(iter(self._filters))]
        key = hex(secrets.randbits(64) | 1 << 64)
        self._filters[key] = Filter(query, start)
        return key

    def changes(self, key: str, head: int) -> list[Any]:
        """Return what has come since the last time, up to block `head`."""
        filter_ = self._filter(key)
        if filter_.next > head:
            return []
        if filter_.query is None:
            changes = self._hashes(filter_.next, head)
        else:
            changes = self._logs({**filter_.query, "fromBlock": hex(filter_.next), "toBlock": hex(head)})
        filter_.next = head + 1
        return changes

    def query(self, key: str) -> Query:
        """Return the query of a filter of logs; raises NodeError for a filter of blocks."""
        if (query := self._filter(key).query) is None:
            raise NodeError(REFUSED, "that filter is for blocks, not for logs")
        return query

    def remove(self, key: str) -> bool:
        """Remove a filter; returns whether there was one."""
        return self._filters.pop(key, None) is not None

    def _filter(self, key: str) -> Filter:
        try:
            return self._filters[key]
        except KeyError:
            raise NodeError(
                REFUSED, "filter not found: it was never made, or dropped for newer ones"
            ) from None
