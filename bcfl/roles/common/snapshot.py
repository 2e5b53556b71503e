"""Where the chain stands when a role is asked to act, and how long a role waits for another (all steps)."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.ports import Ledger
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Clock, Phase, Terms

# Shares of a phase.
SHORT = 0.25  # a clerk waits for the others' openings
MIDDLE = 0.5  # a miner waits for its devices, and for the clerk
LONG = 0.75  # a device waits for its miner
TURN_SECONDS = 5  # between one miner and the next, where anybody may act


@dataclass(frozen=True)
class RoundSnapshot:
    """The running round as it stands now; two looks at the same block are the same moment."""

    clock: Clock
    history: History
    current: Round
    terms: Terms
    now: int  # of the chain, seconds

    @property
    def round(self) -> int:
        """The number of the running round."""
        return self.clock.round

    @property
    def elapsed(self) -> int:
        """Microseconds since the round opened."""
        return (self.now - self.clock.opened) * 1_000_000

    @property
    def share(self) -> float:
        """How much of the phase is over, 0 to 1; a phase that closes early is as good as over."""
        return 1.0 - max(0, self.clock.deadline - self.now) / phase_seconds(self.clock.phase, self.terms)

    def acted(self, miner: str) -> bool:
        """Whether a miner has done its part in this phase."""
        member = self.history.miners.get(miner)
        return member is not None and self.clock.acted >> member.index & 1 == 1

    @property
    def due(self) -> bool:
        """Whether the deadline of the phase has passed."""
        return self.now >= self.clock.deadline


def take_snapshot(ledger: Ledger) -> RoundSnapshot | None:
    """The present moment; None before the first round, and while the chain moves on under the reader."""
    clock, history = ledger.clock(), ledger.history()
    current = history.current
    if current is None or current.number != clock.round:
        return None
    return RoundSnapshot(clock, history, current, ledger.terms, ledger.now())


def phase_seconds(phase: Phase, terms: Terms) -> int:
    """How long a phase may last."""
    return {
        Phase.COMMIT: terms.commit_seconds,
        Phase.REVEAL: terms.reveal_seconds,
        Phase.VOTE: terms.vote_seconds,
        Phase.UNVEIL: terms.unveil_seconds,
        Phase.ELECT: terms.elect_seconds,
        Phase.PROPOSE: terms.propose_seconds,
        Phase.ATTEST: terms.attest_seconds,
    }.get(phase, 1)


def next_change(snapshot: RoundSnapshot) -> int:
    """The next time at which somebody who has nothing to do now may have something to do."""
    clock, terms = snapshot.clock, snapshot.terms
    if clock.phase is Phase.ATTEST and snapshot.current.proposals[-1].held:
        due = snapshot.current.latest + terms.answer_seconds
        return snapshot.now + 1 if snapshot.now >= due else min(snapshot.now + TURN_SECONDS, due)
    if clock.phase in (Phase.ELECT, Phase.TALLY, Phase.VOID) or snapshot.due:
        return snapshot.now + 1
    seconds = phase_seconds(clock.phase, terms)
    begun = clock.deadline - seconds
    times = [begun + -int(-seconds * share // 1) for share in (SHORT, MIDDLE, LONG)]
    times.append(begun + terms.challenge_seconds if clock.phase is Phase.ATTEST else clock.deadline)
    return min((time for time in times if time > snapshot.now), default=clock.deadline)
