"""The verdict of an audit: one for every round, and one for the whole training."""

from __future__ import annotations

from dataclasses import dataclass, field

GENESIS = 0  # the round that deployment, genesis model and registrations count as

Issue = tuple[str, str]  # field and message, as the checks of one round yield them


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with its round."""

    round: int
    field: str  # `updates[3].signature`
    message: str


@dataclass(frozen=True)
class RoundVerdict:
    """The findings of one round; `lazy` names those who attested a wrong proposal."""

    round: int
    status: str  # genesis, finalized, void or running
    findings: tuple[Finding, ...] = ()
    lazy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be checked, or is odd, and breaks no rule

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass
class Verdict:
    """The verdicts of all audited rounds."""

    rounds: list[RoundVerdict] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong anywhere."""
        return all(verdict.passed for verdict in self.rounds)

    @property
    def first(self) -> Finding | None:
        """The first finding: of the earliest round, and in it of the earliest step."""
        return next((finding for verdict in self.rounds for finding in verdict.findings), None)
