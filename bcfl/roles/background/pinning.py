"""Steps 3, 6 and 8: what a party's own store has to keep, and what it may let go of.

Whatever a party has written, or read and found right, is needed by whoever comes later: an update by those
who recompute the model, a model by those who train from it. So it is kept for a number of rounds, whatever
became of it, and the last model for as long as it is the last.
"""

from __future__ import annotations

from collections.abc import Callable

from bcfl.protocol.rounds import History
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal

RECORD = "pins.json"
ROUNDS = 8  # that the bytes of a round are kept after it, unless told otherwise
BATCH = 16  # CIDs in one turn: each takes a request


class Pinning:
    """Pins what `archive` touches and unpins it `rounds` rounds after it has been touched last.

    With 0 rounds it never does. What is pinned is written down before, so that a process which was killed
    lets go of it all the same. `pin` and `unpin` are those of the store; both may be called twice.
    """

    def __init__(
        self,
        archive: Archive,
        journal: Journal,
        pin: Callable[[str], None],
        unpin: Callable[[str], None],
        rounds: int = ROUNDS,
    ) -> None:
        self.archive, self.journal, self.rounds = archive, journal, rounds
        self._pin, self._unpin = pin, unpin
        self._pins = self._read()  # CID -> the round in which it was last touched
        self._waiting: set[str] = set()  # touched, and not yet pinned
        archive.on_touch = self._waiting.add

    def act(self, history: History) -> str | None:
        """Pin and unpin a few; None if nothing is left to do. Raises StoreError while the store is away."""
        if history.current is None:
            return None
        now = history.current.number
        head = self.archive.cid_of(history.head.cid)
        self._write_down(now, self._waiting | ({head} & self._pins.keys()))
        some = sorted(self._waiting)[:BATCH]
        for cid in some:
            self._pin(cid)
            self._waiting.discard(cid)
        gone = self._let_go(now)
        return f"pinned {len(some)} and unpinned {gone} vectors" if some or gone else None

    def end(self, history: History) -> None:
        """Pin what is left, so that it stays when the party has gone."""
        while self.act(history):
            pass

    def _write_down(self, now: int, touched: set[str]) -> None:
        changed = {cid: now for cid in touched if self._pins.get(cid) != now}
        if changed:
            self._pins |= changed
            self.journal.write_json(RECORD, {"pins": self._pins})

    def _let_go(self, now: int) -> int:
        """Unpin some of what was last touched too long ago; returns how many."""
        if not self.rounds:
            return 0
        old = sorted(cid for cid, last in self._pins.items() if last + self.rounds < now)[:BATCH]
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
