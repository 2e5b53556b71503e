"""Follow a federation on a chain that may take blocks back: what was read of them is read again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bcfl.errors import LedgerError, Unfinished, Unreachable
from bcfl.ledger.checkpoint import Checkpoint
from bcfl.ledger.contract import RANGE, Contract, Event
from bcfl.ledger.federation import SENSELESS, FederationLedger, View
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History

FRESH_SECONDS: Final = 0.5  # that a head may be old within a turn
SEGMENT_BLOCKS: Final = 256  # between two segments of the checkpoint, at least
PIECES: Final = 100  # of events, after which the head is looked for again
READ_SECONDS: Final = 30.0  # of reading events, after which a turn is left; outside of turns it goes on
FINAL_BLOCKS: Final = 96  # after which a block counts as final where the node says nothing: three epochs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The last block, and the time at which calls are made."""

    number: int
    hash: str
    time: int

    @property
    def place(self) -> tuple[int, str]:
        """Return number and hash."""
        return self.number, self.hash


class LiveLedger(FederationLedger):
    """The ledger port for a process that follows a chain for a long time; for one thread.

    `from_block` is that of the federation's deployment, so that no older block is ever asked for.
    """

    def __init__(self, contract: Contract, from_block: int = 0) -> None:
        super().__init__(contract, from_block)
        self._last_read: tuple[int, str] | None = None  # number and hash of a block
        self._head_block: tuple[int, str] | None = None  # the last one that the node has told of
        self._head_since = time.monotonic()
        self._in_turn = False
        self._kept: tuple[float, Head] | None = None  # when the head was read, within a turn
        self._pieces = 0  # of events that were read
        self._read_since = time.monotonic()
        self._switches = 0  # of the node that is asked, at the last look
        self.reorganisations = 0
        self._checkpoint: Checkpoint | None = None
        self._kept_block = from_block - 1  # up to which the checkpoint holds the events
        self._unkept: list[Event] = []  # the events after it
        self._is_doubtful = False  # whether the last events that were read were no history
        self._next_try = 0  # the block at which the checkpoint may grow again

    def keep_in(self, folder: Path) -> None:
        """Keep the history in a folder, so that no restart and no reorganisation reads all of it again."""
        if self._checkpoint is None:
            chain_id, address = self.contract.chain.chain_id, self.contract.address
            self._checkpoint = Checkpoint(folder, chain_id, address, self._first)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Read the head once for all that is asked within, until a transaction or `refresh`."""
        self._in_turn, self._kept = True, None
        try:
            yield
        finally:
            self._in_turn, self._kept = False, None

    def refresh(self) -> None:
        """Let the head be read again, for who knows that somebody may have acted just now."""
        self._kept = None

    def now(self) -> int:
        """Return the time of the chain, in seconds since 1970."""
        return self._read_head().time

    def history(self) -> History:
        """Return the history of the chain as it is now; raises Unreachable while it changes too fast."""
        latest = self._read_head().place
        if latest != self._head_block:
            self._head_block, self._head_since = latest, time.monotonic()
        if self._was_reorganised(latest):
            self.reorganisations += 1
            self._forget()
        # Before the events: what a failure leaves of them counts as long as this block is on the chain.
        self._last_read, self._read_since = latest, time.monotonic()
        history = self._read(latest[0])
        self._is_doubtful = False
        self._keep(latest[0])
        return history

    def send(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Make calls in as few transactions as their size allows; returns the gas."""
        try:
            return super().send(account, calls)
        finally:
            self.refresh()

    def head_seconds(self) -> float | None:
        """Return how long ago the node has told of a new block; None where blocks come with calls only."""
        return None if self.contract.chain.view == "pending" else time.monotonic() - self._head_since

    def _was_reorganised(self, latest: tuple[int, str]) -> bool:
        """Return whether the block read last is not on the chain any more."""
        block = self._last_read
        return block is not None and latest != block and self._place(hex(block[0])) != block

    def _reject(self) -> None:
        """Forget; the second time in a row also the checkpoint, which may hold what the node has not told."""
        self._forget()
        if self._is_doubtful and self._checkpoint is not None:
            self._checkpoint.keep([])
            self._checkpoint = self._checkpoint if self._checkpoint.is_writable else None
        self._is_doubtful = True

    def _forget(self) -> None:
        super()._forget()
        self._last_read, self._kept_block, self._unkept = None, self._first - 1, []

    def _begin(self) -> History:
        """Return the history that the checkpoint holds, as far as its blocks are on the chain."""
        history = super()._begin()
        if self._checkpoint is None:
            return history
        segments = self._checkpoint.read()
        count = len(segments)
        while segments and self._place(hex(segments[-1].block)) != (segments[-1].block, segments[-1].hash):
            segments.pop()
        if len(segments) < count:
            self._checkpoint.keep(segments)
        try:
            take_in(history, (event for segment in segments for event in segment.events))
        except SENSELESS:  # written by another version
            self._checkpoint.keep([])
            return super()._begin()
        if segments:
            self._kept_block = segments[-1].block
            self._next_block = self._kept_block + 1
        return history

    def _took(self, end: int, events: Sequence[Event]) -> None:
        """Remember events until they are in the checkpoint.

        Raises Unreachable where the head that is read up to is gone: a node may have named one that is
        billions of blocks away, and reading up to it would never end; or another node is asked since, which
        tells of no events in blocks that it does not know yet. Raises Unfinished where a turn has read
        for long: what was read stays, and the next turn goes on.
        """
        if self._checkpoint is not None and self._checkpoint.is_writable:
            self._unkept += events
        self._pieces += 1
        head = self._last_read
        is_due = self._has_switched() or self._pieces % PIECES == 0
        if head is not None and is_due and self._place(hex(head[0])) != head:
            self._forget()
            raise Unreachable("the node's head is gone: events are read again")
        if head is not None and end < head[0] and time.monotonic() - self._read_since >= READ_SECONDS:
            self._pause_reading(end, head[0])

    def _has_switched(self) -> bool:
        """Return whether another node is asked than at the last look."""
        before, self._switches = self._switches, getattr(self.contract.chain, "switches", 0)
        return self._switches != before

    def _pause_reading(self, end: int, last: int) -> None:
        """Keep and say how far a long read is; within a turn, leave the rest to the next one."""
        self._keep(end)
        self._read_since = time.monotonic()
        progress = f"events are read up to block {end} of {last}"
        if self._in_turn:
            raise Unfinished(f"{progress}; the next turn goes on")
        log.warning("%s", progress)

    def _keep(self, last: int) -> None:
        """Put events into the checkpoint, every so many blocks, as far as their blocks are final."""
        if self._checkpoint is None or not self._checkpoint.is_writable:
            return
        if last < self._kept_block + SEGMENT_BLOCKS + FINAL_BLOCKS or last < self._next_try:
            return
        self._next_try = last + FINAL_BLOCKS
        is_same = True
        with suppress(LedgerError):  # a node that knows no such block: it is asked again later
            final = self._place("finalized") or (0, "")
            if not self._kept_block < final[0] <= last:
                final = self._place(hex(last - FINAL_BLOCKS)) or (0, "")
            if self._kept_block < final[0] <= last:
                events = [event for event in self._unkept if event.block <= final[0]]
                if is_same := self._is_confirmed(events, final[0]):
                    self._checkpoint.append(*final, events)
                    self._unkept = [event for event in self._unkept if event.block > final[0]]
                    self._kept_block = final[0]
        if not is_same:
            self._forget()
            raise Unreachable("the node told of other events before: they are read again")

    def _is_confirmed(self, events: Sequence[Event], last: int) -> bool:
        """Return whether the node tells the latest of some events again, now that their blocks are final.

        It may have been behind when it was first asked for them, and have told of a part: no restart would
        mend a checkpoint without the rest. Blocks before these were old already when they were read.
        """
        first = max(self._kept_block + 1, last - RANGE + 1)
        return list(self.contract.events(first, last)) == [event for event in events if event.block >= first]

    def _head(self) -> int:
        return self._read_head().number

    def _view(self) -> View:
        head = self._read_head()
        return head.hash, head.time

    def _seen(self, name: str, read: Callable[[], Any]) -> Any:
        """Return what a call gives, and let no history that is read afterwards be older than that.

        A block may have come between the head and the call: the call's result counts for this once then.
        """
        view = self._view()
        results = self._views[1] if self._views is not None and self._views[0] == view else {}
        if name in results:
            return results[name]
        result = read()
        self.refresh()
        if self._view() == view:
            self._views = view, {**results, name: result}
        return result

    def _read_head(self) -> Head:
        """Return the head, by one request; within a turn the one read before, while it is fresh."""
        if self._kept is not None and time.monotonic() < self._kept[0] + FRESH_SECONDS:
            return self._kept[1]
        head = self._ask_head()
        if self._in_turn:
            self._kept = time.monotonic(), head
        return head

    def _ask_head(self) -> Head:
        """Ask for the block that calls are made at: one that is pending names the last one as its parent."""
        chain = self.contract.chain
        block = self._block(chain.view)
        if chain.view == "latest" and block is not None:
            return Head(int(block["number"], 16), str(block["hash"]), int(block["timestamp"], 16))
        if block is not None and None not in (block["number"], block.get("parentHash")):
            return Head(int(block["number"], 16) - 1, str(block["parentHash"]), int(block["timestamp"], 16))
        place = self._place("latest")  # a node that shows no such block
        if place is None:
            raise Unreachable("the node knows no block: is it still starting?")
        return Head(*place, chain.now())

    def _place(self, name: str) -> tuple[int, str] | None:
        block = self._block(name)
        return None if block is None else (int(block["number"], 16), str(block["hash"]))

    def _block(self, name: str) -> Any:
        return self.contract.chain.request("eth_getBlockByNumber", name, False)
