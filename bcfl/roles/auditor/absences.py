"""What silence costs: the fees of missed rounds, and the suspensions that follow from them.

A miner that could vote and whose vote is not open when the votes are counted has missed the round. The first
three misses of a spell cost a share of its stake, a vote that was committed and never opened more than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bcfl.protocol.event import LogEvent
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import Terms
from bcfl.roles.auditor.replay import Case

SPELL: Final = 3  # misses that cost a fee, and after which time alone suspends
MOST_MISSED: Final = 15
MAX_STRIKES: Final = 10
FORGIVEN: Final = 64  # times `absence_seconds` after which strikes are forgotten
ROUNDS: Final = 8  # that the second suspension lasts at least


@dataclass
class Rest:
    """What a miner's absence has come to; times in seconds."""

    since: int = 0  # of the first miss of a spell
    strikes: int = 0  # suspensions of late
    last: int = 0  # suspension


@dataclass(frozen=True)
class Consequence:
    """What a count of votes brings about for one miner: `Penalized` wei, or `Suspended` until a round."""

    name: str
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

    def settle(self, case: Case, stakes: Mapping[str, int], time: int) -> Iterator[Consequence]:
        """Count who has missed a round in which somebody voted; yields what follows, in order.

        `stakes` are those before the count, in wei; `time` is when the votes are counted, in seconds.
        """
        assert case.round is not None
        voters = {vote.voter.account for vote in case.round.votes}
        for miner, seat in sorted(case.electors.items(), key=lambda item: item[1].index):
            if miner not in voters:
                yield from self._miss(case, miner, stakes[miner], time)
            elif self.missed.get(seat.index, 0):
                self.missed[seat.index] -= 1

    def _miss(self, case: Case, miner: str, stake: int, time: int) -> Iterator[Consequence]:
        assert case.round is not None
        seat, rest = case.seats[miner], self.rests.setdefault(miner, Rest())
        before = self.missed.get(seat.index, 0)
        if before == 0:
            rest.since = time
        is_forgiven = time >= rest.last + FORGIVEN * self.terms.absence_seconds
        strikes = 0 if is_forgiven else rest.strikes
        self.missed[seat.index] = count = min(before + 1, MOST_MISSED)
        price = 0
        if miner in case.round.vote_commits:
            price = self.terms.vote_penalty * seat.weight
        elif count <= SPELL:
            price = (stake * self.terms.absence_penalty << strikes) // BASIS_POINTS
        if price:
            yield Consequence("Penalized", miner, min(price, stake))
        if count >= SPELL and time >= rest.since + self.terms.absence_seconds:
            until_round = case.number + 1 + ROUNDS * ((1 << strikes) - 1)
            self.rests[miner] = Rest(0, min(strikes + 1, MAX_STRIKES), time)
            self.missed[seat.index] = 0
            yield Consequence("Suspended", miner, until_round)


def consequence_of(event: LogEvent) -> Consequence:
    """Return what an event says that a count of votes brought about."""
    argument = "amount" if event.name == "Penalized" else "until_round"
    return Consequence(event.name, event.args["miner"], event.args[argument])
