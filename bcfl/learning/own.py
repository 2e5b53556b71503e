"""Keep what training changes at a party and nobody shares: the statistics of FedBN, a head of its own.

Round by round, so that a training that is repeated starts from what it started from before.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bcfl.errors import RunError
from bcfl.ports import Vector

FIRST_ROUND = 1
RECORD = "own.bin"
KEPT = 2  # rounds: that of the last training, and the one that it started from
NUMBER_BYTES = 8


class Records(Protocol):
    """Where named records survive a process; a journal is one."""

    def read(self, name: str) -> bytes | None:
        """Return a record, None if there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace a record."""
        ...


class OwnTensors:
    """One vector, (entries,), a round in which the party has trained; `first` before any."""

    def __init__(self, first: Vector) -> None:
        self._first, self._by_round = first, dict[int, Vector]()
        self._records: Records | None = None

    @property
    def is_new(self) -> bool:
        """Whether there is something, and no training has changed it yet."""
        return bool(len(self._first)) and not self._by_round

    @property
    def latest(self) -> Vector:
        """Return what the last training left."""
        return self._by_round[max(self._by_round)] if self._by_round else self._first

    def before(self, round_: int) -> Vector:
        """Return what the trainings before a round left."""
        earlier = [number for number in self._by_round if number < round_]
        return self._by_round[max(earlier)] if earlier else self._first

    def put(self, round_: int, values: Vector) -> None:
        """Take what the training of a round left; it survives the process where records are kept."""
        if not len(self._first):
            return
        self._by_round[round_] = values
        for number in sorted(self._by_round)[:-KEPT]:
            del self._by_round[number]
        if self._records is not None:
            parts = [n.to_bytes(NUMBER_BYTES, "big") + v.tobytes() for n, v in self._by_round.items()]
            self._records.write(RECORD, b"".join(parts))

    def keep(self, records: Records) -> None:
        """Read what an earlier process has kept, and keep from now on; raises RunError if it is another's."""
        self._records, self._by_round = records, {}
        data = records.read(RECORD) if len(self._first) else None
        if data is None:
            return
        size = NUMBER_BYTES + self._first.nbytes
        if len(data) % size:
            raise RunError(f"the journal record {RECORD} is of another model: remove it to start anew")
        for start in range(0, len(data), size):
            number = int.from_bytes(data[start : start + NUMBER_BYTES], "big")
            values = np.frombuffer(data[start + NUMBER_BYTES : start + size], np.float32)
            self._by_round[number] = values.copy()
