"""Keep the filters of a served chain: a client that polls gets what has come since it last asked.

A client is an address. Each has a share, and no filter that is polled is ever dropped for another one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bcfl.ledger.devnet.node import REFUSED, NodeError

MAX_FILTERS: Final = 1_000
MAX_SHARE: Final = 100  # filters of one client
MAX_NAMES: Final = 200  # addresses and topics of one filter
IDLE_SECONDS: Final = 300.0  # after which a filter that nobody polls may be dropped, as other nodes do
FULL: Final = -32005
Query = Mapping[str, Any]


@dataclass
class Filter:
    """What a client follows: logs of a query, or blocks where there is none; `next` is the block to read."""

    client: str
    query: Query | None
    next: int
    polled: float  # when it was last asked for


class Filters:
    """The filters by their keys; `logs` and `hashes` read the chain."""

    def __init__(
        self,
        logs: Callable[[Query], list[Any]],
        hashes: Callable[[int, int], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs, self._hashes, self._clock = logs, hashes, clock
        self._filters: dict[str, Filter] = {}

    def add(self, client: str, query: Query | None, start: int) -> str:
        """Add a filter for what comes from block `start` on; returns its key.

        Raises NodeError where the client has its share, or all places are taken.
        """
        if query is not None and _names(query) > MAX_NAMES:
            raise NodeError(FULL, f"more than {MAX_NAMES} addresses and topics in one filter")
        self._drop_idle()
        own = sum(filter_.client == client for filter_ in self._filters.values())
        if own >= MAX_SHARE or len(self._filters) >= MAX_FILTERS:
            raise NodeError(
                FULL,
                f"{own} filters of yours and {len(self._filters)} of all are in use: uninstall some, "
                f"or leave them unpolled for {IDLE_SECONDS:g} seconds",
            )
        key = hex(secrets.randbits(64) | 1 << 64)
        self._filters[key] = Filter(client, query, start, self._clock())
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
            filter_ = self._filters[key]
        except KeyError:
            raise NodeError(
                REFUSED, "filter not found: it was never made, or dropped as nobody polled it"
            ) from None
        filter_.polled = self._clock()
        return filter_

    def _drop_idle(self) -> None:
        """Drop the filters that nobody has polled for long."""
        oldest = self._clock() - IDLE_SECONDS
        self._filters = {key: filter_ for key, filter_ in self._filters.items() if filter_.polled > oldest}


def _names(query: Query) -> int:
    """Return how many addresses and topics a query has."""
    lists = [query.get("address"), *(query.get("topics") or ())]
    return sum(len(names) if isinstance(names, list) else 1 for names in lists)
