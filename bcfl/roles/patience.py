"""How long a role waits for another before it helps itself, as shares of the phase."""

from __future__ import annotations

from bcfl.ports import Ledger
from bcfl.protocol.types import Clock, Phase

SHORT = 0.25  # a clerk waits for the others' openings
MIDDLE = 0.5  # a miner waits for its devices, and for the clerk
LONG = 0.75  # a device waits for its miner
TURN_SECONDS = 5  # between one miner and the next, where anybody may act


def elapsed_share(clock: Clock, ledger: Ledger) -> float:
    """How much of the phase is over, from 0 to 1; a phase that closes early is as good as over."""
    terms = ledger.terms
    seconds = {
        Phase.COMMIT: terms.commit_seconds,
        Phase.REVEAL: terms.reveal_seconds,
        Phase.VOTE: terms.vote_seconds,
        Phase.UNVEIL: terms.unveil_seconds,
    }[clock.phase]
    return 1.0 - max(0, clock.deadline - ledger.now()) / seconds
