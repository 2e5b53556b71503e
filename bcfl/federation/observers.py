"""Count what a served chain and a watchtower do, for `/metrics` and `/healthz`, as parties do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import BcflError
from bcfl.relay.counters import Counters, label

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ledger.contract import Event
    from bcfl.ledger.devnet.methods import ServedNode

STALL_SECONDS: Final = 120.0  # without a read of the chain, after which a watch is not well
FROZEN_SECONDS: Final = 300.0  # without a new block, after which its node is not well
ENDS: Final = ("Finalized", "Voided")


class ChainObserver:
    """Counts what clients ask a served chain, by method and outcome, and shows where it stands.

    `file` is where the chain is kept; `is_simulated`: its time is not that of the world.
    """

    def __init__(self, node: ServedNode, file: Path, *, is_simulated: bool = False) -> None:
        self.counters, self._node, self._file, self._is_simulated = Counters(), node, file, is_simulated
        self.counters.refreshers.append(self._refresh)
        node.observe = self._note

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Return that the chain answers, and where it stands; from any thread."""
        block, seconds = self._head()
        return True, {"block": block, "seconds_since_block": None if seconds is None else round(seconds, 1)}

    def _note(self, method: str, is_well: bool) -> None:
        """Count a request; a method that the chain has not comes without its name, which is a stranger's."""
        outcome = label("result", "ok" if is_well else "error")
        self.counters.count("chain_requests_total", f"{label('method', method)},{outcome}")

    def _refresh(self) -> None:
        block, seconds = self._head()
        self.counters.set("chain_block", block)
        self.counters.set("head_age_seconds", math.nan if seconds is None else seconds)
        with suppress(OSError):
            self.counters.set("chain_file_bytes", self._file.stat().st_size)

    def _head(self) -> tuple[int, float | None]:
        """Return the number of the last block, and how many seconds ago it was; None in simulated time."""
        number, timestamp = self._node.head()
        return number, None if self._is_simulated else max(0.0, time.time() - timestamp)


class WatchObserver:
    """Counts the events that a watch sees, its reads, and what its watchtower does."""

    def __init__(self, client: FederationClient) -> None:
        self.counters, self._client = Counters(), client
        self._last_read = time.monotonic()
        self.counters.declare("acts_total", "failures_total", "reverted_total", "rounds_total")
        self.counters.refreshers.append(self._set_ages)

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Return whether the chain is followed, and since when not; from any thread."""
        age, head = time.monotonic() - self._last_read, self._client.ledger.head_seconds()
        return age < STALL_SECONDS and (head is None or head < FROZEN_SECONDS), {
            "seconds_since_read": round(age, 1),
            "seconds_since_block": None if head is None else round(head, 1),
        }

    def hear(self, event: Event) -> None:
        """Count an event."""
        self.counters.count("events_total", label("event", event.name))
        if event.name in ENDS:
            self.counters.count("rounds_total")

    def fail(self) -> None:
        """Count a read of the chain that failed."""
        self.counters.count("failures_total")

    def after(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return what does `act` between two reads of the chain, and shows where the round stands."""

        def both() -> None:
            act()
            self._last_read = time.monotonic()
            with suppress(BcflError):  # the node has gone away since: what was shown stays
                history, clock = self._client.ledger.history(), self._client.ledger.clock()
                self.counters.set("round", clock.round)
                self.counters.set("phase", clock.phase)
                self.counters.set("model_ledger_blocks", len(history.blocks))

        return both

    def _set_ages(self) -> None:
        head = self._client.ledger.head_seconds()
        self.counters.set("turn_age_seconds", time.monotonic() - self._last_read)
        self.counters.set("head_age_seconds", math.nan if head is None else head)
