"""Votes of some miners only."""

from __future__ import annotations

from testkit.harness import Federation


def vote_some(federation: Federation, voters: int) -> None:
    """Let the first miners vote and unveil; the others miss the deadline."""
    openings = [federation.opening(index) for index in range(voters)]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
