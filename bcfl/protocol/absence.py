"""Price what silence costs: fees of missed rounds, and the suspensions that follow. Twin of `absence.vy`.

A miner that could vote and whose vote is not open when the votes are counted has missed the round. The first
three misses of a spell cost a share of its stake, a vote that was committed and never opened more than that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import Terms

SPELL: Final = 3  # misses that cost a fee, and after which time alone suspends
MOST_MISSED: Final = 15
MAX_STRIKES: Final = 10
FORGIVEN: Final = 64  # times `absence_seconds` after which strikes are forgotten
ROUNDS: Final = 8  # that the second suspension lasts at least


@dataclass(frozen=True)
class Elector:
    """A miner that may vote: its seat, the weight that its stake gives it, and its stake in wei."""

    miner: str
    seat: int
    weight: int
    stake: int


@dataclass
class Rest:
    """What a miner's absence has come to; times in seconds."""

    since: int = 0  # of the first miss of a spell
    strikes: int = 0  # suspensions of late
    last: int = 0  # suspension


@dataclass(frozen=True)
class Consequence:
    """What a count of votes brings about for one miner: `Penalized` wei, or `Suspended` until a round."""

    event: str
    miner: str
    value: int


@dataclass
class Absences:
    """The misses of every seat and the rest of every miner, from count to count."""

    terms: Terms
    missed: dict[int, int] = field(default_factory=dict)  # by seat
    rests: dict[str, Rest] = field(default_factory=dict)

    def forget(self, seat: int) -> None:
        """Let a seat that is taken anew have missed nothing."""
        self.missed[seat] = 0

    def settle(
        self,
        round_: int,
        electors: Iterable[Elector],
        voters: Collection[str],
        committed: Collection[str],
        time: int,
    ) -> Iterator[Consequence]:
        """Count who has missed a round in which somebody voted; yield what follows, in order.

        `voters` have unveiled a vote, `committed` have committed one; `time` is the count's, in seconds.
        """
        for elector in sorted(electors, key=lambda elector: elector.seat):
            if elector.miner not in voters:
                yield from self._miss(round_, elector, elector.miner in committed, time)
            elif self.missed.get(elector.seat, 0):
                self.missed[elector.seat] -= 1

    def _miss(self, round_: int, elector: Elector, is_unopened: bool, time: int) -> Iterator[Consequence]:
        miner, rest = elector.miner, self.rests.setdefault(elector.miner, Rest())
        before = self.missed.get(elector.seat, 0)
        if before == 0:
            rest.since = time
        is_forgiven = time >= rest.last + FORGIVEN * self.terms.absence_seconds
        strikes = 0 if is_forgiven else rest.strikes
        self.missed[elector.seat] = count = min(before + 1, MOST_MISSED)
        price = 0
        if is_unopened:
            price = self.terms.vote_penalty * elector.weight
        elif count <= SPELL:
            price = (elector.stake * self.terms.absence_penalty << strikes) // BASIS_POINTS
        if price:
            yield Consequence("Penalized", miner, min(price, elector.stake))
        if count >= SPELL and time >= rest.since + self.terms.absence_seconds:
            until_round = round_ + 1 + ROUNDS * ((1 << strikes) - 1)
            self.rests[miner] = Rest(0, min(strikes + 1, MAX_STRIKES), time)
            self.missed[elector.seat] = 0
            yield Consequence("Suspended", miner, until_round)
