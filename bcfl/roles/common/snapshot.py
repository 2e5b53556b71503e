"""Hold where a round stands when a role is asked to act, and how long a role waits for another."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.ports import Ledger
from bcfl.protocol import docket
from bcfl.protocol.docket import WINDOW_PARTS
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Clock, Phase, Terms

# Shares of a phase.
SHORT_SHARE = 0.25  # a batcher waits for the others' openings
MIDDLE_SHARE = 0.5  # a miner waits for its devices, and for the batcher
LONG_SHARE = 0.75  # a device waits for its miner
TURN_SECONDS = 5  # between one miner and the next, where anybody may act


@dataclass(frozen=True)
class RoundSnapshot:
    """The running round as it stands at one block of the chain."""

    clock: Clock
    history: History
    current: Round
    terms: Terms
    now: int  # of the chain, seconds

    @property
    def round(self) -> int:
        """Return the number of the running round."""
        return self.clock.round

    @property
    def elapsed(self) -> int:
        """Return the microseconds since the round opened."""
        return (self.now - self.clock.opened) * 1_000_000

    @property
    def share(self) -> float:
        """Return how much of the phase is over, 0 to 1; a phase that closes early counts as over."""
        return 1.0 - max(0, self.clock.deadline - self.now) / phase_seconds(self.clock.phase, self.terms)

    def has_acted(self, miner: str) -> bool:
        """Return whether a miner has done its part in this phase."""
        member = self.history.miners.get(miner)
        return member is not None and self.clock.acted >> member.index & 1 == 1

    @property
    def due(self) -> bool:
        """Return whether the deadline of the phase has passed."""
        return self.now >= self.clock.deadline


def take_snapshot(ledger: Ledger) -> RoundSnapshot | None:
    """Read the running round; None before the first one, and while the chain moves on under the reader.

    A node may give the clock of one block and the events of another, of before a proposal, say.
    """
    clock, history = ledger.clock(), ledger.history()
    current = history.current
    if current is None or current.number != clock.round:
        return None
    if clock.phase is Phase.ATTEST and not current.proposals:
        return None
    return RoundSnapshot(clock, history, current, ledger.terms, ledger.now())


def phase_seconds(phase: Phase, terms: Terms) -> int:
    """Return how many seconds a phase may last; 1 where it has no deadline."""
    return {
        Phase.COMMIT: terms.commit_seconds,
        Phase.REVEAL: terms.reveal_seconds,
        Phase.VOTE: terms.vote_seconds,
        Phase.UNVEIL: terms.unveil_seconds,
        Phase.TALLY: terms.tally_seconds,
        Phase.ELECT: terms.elect_seconds,
        Phase.PROPOSE: terms.propose_seconds,
        Phase.ATTEST: terms.attest_seconds,
    }.get(phase, 1)


def next_change(snapshot: RoundSnapshot) -> int:
    """Return the next time, in seconds of the chain, at which a role that is idle now may have to act."""
    clock, terms = snapshot.clock, snapshot.terms
    if clock.phase is Phase.ATTEST:
        return _next_in_attest(snapshot)
    if clock.phase in (Phase.ELECT, Phase.TALLY, Phase.VOID) or snapshot.due:
        return snapshot.now + 1
    seconds = phase_seconds(clock.phase, terms)
    start = clock.deadline - seconds
    times = [*_share_times(start, seconds), clock.deadline]
    return min((time for time in times if time > snapshot.now), default=clock.deadline)


def _next_in_attest(snapshot: RoundSnapshot) -> int:
    """Return the next time at which a proposal may be attested, challenged, answered for, or made final."""
    terms, now, proposal = snapshot.terms, snapshot.now, snapshot.current.proposals[-1]
    start, part = snapshot.clock.deadline - terms.attest_seconds, terms.challenge_seconds // WINDOW_PARTS
    times = [*_share_times(start, terms.attest_seconds), start + terms.challenge_seconds]
    times += [event.timestamp + part for event in proposal.announcements]
    times += [event.timestamp + 3 * part for event in proposal.announcements]
    change = min((time for time in times if time > now), default=now + 1)
    return min(change, now + TURN_SECONDS) if proposal.in_dispute else change


def window_end(snapshot: RoundSnapshot) -> int:
    """Return the time from which the proposal that stands can become final, or silence refutes it."""
    start = snapshot.clock.deadline - snapshot.terms.attest_seconds
    announced = [event.timestamp for event in snapshot.current.proposals[-1].announcements]
    return docket.window_end(snapshot.terms, start, announced)


def _share_times(start: int, seconds: int) -> list[int]:
    return [start + -int(-seconds * share // 1) for share in (SHORT_SHARE, MIDDLE_SHARE, LONG_SHARE)]
