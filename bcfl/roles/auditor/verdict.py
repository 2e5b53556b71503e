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
class Unopened:
    """What is sealed, with no key for it here: the bytes were hashed, and not opened."""

    updates: int = 0
    models: int = 0
    sums: int = 0  # of accepted updates, that were not recomputed: one of these is among what they need

    def __bool__(self) -> bool:
        return self != Unopened()

    def __add__(self, other: Unopened) -> Unopened:
        return Unopened(self.updates + other.updates, self.models + other.models, self.sums + other.sums)

    @property
    def words(self) -> str:
        """Return what could not be checked of one round; "" where nothing is sealed."""
        parts = [f"{self.updates} update{'s' if self.updates > 1 else ''}"] if self.updates else []
        parts += ["the model"] if self.models else []
        several = self.updates + self.models > 1
        bytes_ = "their bytes were" if several else "its bytes were"
        clauses = [f"{' and '.join(parts)} {'are' if several else 'is'} sealed: {bytes_} hashed, not opened"]
        if not parts:
            clauses = ["the model that it starts from is sealed"] if self.sums else []
        return "; ".join([*clauses, *(["the sum was not recomputed"] if self.sums else [])])


@dataclass(frozen=True)
class RoundVerdict:
    """The findings of one round; `lazy` names those who attested a wrong proposal."""

    round: int
    status: str  # genesis, finalized, void or running
    findings: tuple[Finding, ...] = ()
    lazy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be checked, or is odd, and breaks no rule
    sealed: Unopened = Unopened()

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
    def sealed(self) -> Unopened:
        """What is sealed in all rounds together, with no key for it here."""
        return sum((verdict.sealed for verdict in self.rounds), Unopened())

    @property
    def first(self) -> Finding | None:
        """The first finding: of the earliest round, and in it of the earliest step."""
        return next((finding for verdict in self.rounds for finding in verdict.findings), None)
