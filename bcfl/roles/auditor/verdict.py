"""What an audit comes to: a verdict for every round and one for the whole."""

from __future__ import annotations

from dataclasses import dataclass, field

GENESIS = 0  # the round that deployment, genesis model and registrations count as


@dataclass(frozen=True)
class Finding:
    """One thing that is not what it has to be."""

    round: int
    field: str  # `updates[3].signature`
    message: str


@dataclass(frozen=True)
class RoundVerdict:
    """What was found in one round; `lazy`: who attested a proposal that is wrong."""

    round: int
    status: str  # genesis, finalized, void or running
    findings: tuple[Finding, ...] = ()
    lazy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be looked at, and is not wrong for that

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass
class Verdict:
    """All rounds that were looked at."""

    rounds: list[RoundVerdict] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong anywhere."""
        return all(found.passed for found in self.rounds)

    @property
    def first(self) -> Finding | None:
        """What is wrong first: the earliest round, and in it the earliest step."""
        return next((finding for found in self.rounds for finding in found.findings), None)
