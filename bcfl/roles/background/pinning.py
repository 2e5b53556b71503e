"""Pin the vectors that a party's own store has to keep, and unpin those that it may drop.

Whatever a party has written, or read and found right, may be needed later: an update by those who recompute
the model, a model by those who train from it. So its bytes are kept for a number of rounds, whether it was
accepted or not, and the last model's for as long as it is the last.
"""

from __future__ import annotations

from collections.abc import Callable

from bcfl.protocol.rounds import History
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal

RECORD = "pins.json"
KEEP_ROUNDS = 8  # that the bytes of a round are kept after it by default
BATCH = 16  # CIDs in one turn: each takes a request


class Pinning:
    """Pins what `archive` touches, and unpins it `rounds` rounds after it was last touched (0: never).

    Pins are written to the journal first, so that a party whose process was killed unpins them all the same.
    `pin` and `unpin` are those of the store; both may be called twice.
    """

    def __init__(
        self,
        archive: Archive,
        journal: Journal,
        pin: Callable[[str], None],
        unpin: Callable[[str], None],
        rounds: int = KEEP_ROUNDS,
    ) -> None:
        self.archive, self.journal, self.rounds = archive, journal, rounds
        self._pin, self._unpin = pin, unpin
        self._pins = self._read()  # CID -> the round in which it was last touched
        self._waiting: set[str] = set()  # touched, and not yet pinned
        self._idle_at: tuple[int, int, list[bytes]] | None = None  # round and last model with nothing to do
        archive.on_touch = self._waiting.add

    def act(self, history: History) -> str | None:
        """Pin and unpin a few; None if nothing is left to do. Raises StoreError while the store is away."""
        if history.current is None:
            return None
        number = history.current.number
        block = history.head
        digests = history.model_cids(block)
        place = number, block.round, digests
        if not self._waiting and self._idle_at == place:
            return None
        head = {self.archive.sizes.model_cid(block.round, digest) for digest in digests}
        self._record(number, self._waiting | (head & self._pins.keys()))
        batch = sorted(self._waiting)[:BATCH]
        for cid in batch:
            self._pin(cid)
            self._waiting.discard(cid)
        count = self._unpin_old(number)
        if batch or count:
            return f"pinned {len(batch)} and unpinned {count} vectors"
        self._idle_at = place
        return None

    def end(self, history: History) -> None:
        """Pin what is left, so that it stays when the party has gone."""
        while self.act(history):
            pass

    def _record(self, number: int, cids: set[str]) -> None:
        """Write to the journal that vectors were touched in a round."""
        changes = {cid: number for cid in cids if self._pins.get(cid) != number}
        if changes:
            self._pins |= changes
            self.journal.write_json(RECORD, {"pins": self._pins})

    def _unpin_old(self, number: int) -> int:
        """Unpin a few vectors that were last touched too long before a round; return how many."""
        if not self.rounds:
            return 0
        old = sorted(cid for cid, last in self._pins.items() if last + self.rounds < number)[:BATCH]
        for cid in old:
            self._unpin(cid)
        if old:
            self._pins = {cid: last for cid, last in self._pins.items() if cid not in old}
            self.journal.write_json(RECORD, {"pins": self._pins})
        return len(old)

    def _read(self) -> dict[str, int]:
        record = self.journal.read_json(RECORD) or {"pins": {}}
        with self.journal.reading(RECORD):
            return {str(cid): int(last) for cid, last in dict(record["pins"]).items()}
        return {}
