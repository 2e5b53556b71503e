"""The seats of the registry and the clock, as the model has them."""

from __future__ import annotations

from dataclasses import dataclass, field

from bcfl.protocol.types import Phase, Terms

NEVER = 2**32 - 1


@dataclass(frozen=True)
class ModelClock:
    """The clock, with sets of accounts in place of masks."""

    phase: Phase = Phase.IDLE
    deadline: int = NEVER
    acted: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()


@dataclass
class Absence:
    """What a miner's absence has come to."""

    missed: int = 0
    since: int = 0
    strikes: int = 0
    last: int = 0
    until: int = 0
    suspended: bool = False

    def miss(self, now: int, round_: int, terms: Terms) -> int:
        """Count a missed round; return the doublings of its fee, or -1 where it costs none."""
        strikes = 0 if now >= self.last + 64 * terms.absence_seconds else self.strikes
        if self.missed == 0:
            self.since = now
        self.missed = min(self.missed + 1, 15)
        fee = strikes if self.missed <= 3 else -1
        if self.missed >= 3 and now >= self.since + terms.absence_seconds:
            self.missed, self.suspended, self.last = 0, True, now
            self.until, self.strikes = round_ + 1 + 8 * (2**strikes - 1), min(strikes + 1, 10)
        return fee


@dataclass
class Seat:
    """A miner's seat in the registry."""

    stake: int
    weight: int = 0
    exit_round: int = 0
    exit_time: int = 0  # when the seat was freed
    gone: bool = False  # has no seat; the stake is still there
    also_device: bool = False
    consents: bool = False
    absence: Absence = field(default_factory=Absence)
