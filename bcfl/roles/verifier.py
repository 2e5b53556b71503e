"""Step 4 at the miner: the checks of section 5 in their order; the first that fails is the reason."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.errors import Oversized, PayloadError, StoreError
from bcfl.ports import Learner, Ledger
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Verdict
from bcfl.roles.archive import Archive, as_matrix
from bcfl.roles.checks import duplicate, quality, time


@dataclass(frozen=True)
class Checks:
    """Which checks a miner makes; the first two it always makes."""

    time: bool = True
    duplicate: bool = True
    quality: bool = True
    quality_tolerance: float = 3.0


class Verifier:
    """Gives every update of a round its verdict."""

    def __init__(self, learner: Learner, ledger: Ledger, archive: Archive, checks: Checks) -> None:
        self.learner, self.ledger, self.archive, self.checks = learner, ledger, archive, checks

    def verdicts(self, history: History, current: Round) -> tuple[Verdict, ...]:
        """One verdict for each submission, in their order."""
        said: dict[int, Verdict] = {}
        vectors: dict[int, Lanes] = {}
        for item in current.submissions:
            found = self._fetch(item)
            if isinstance(found, Verdict):
                said[item.position] = found
            else:
                vectors[item.position] = found
        if self.checks.time:
            self._mark(said, time.check(history, current, self.ledger.terms), Verdict.TIME)
        if self.checks.duplicate:
            self._mark(said, duplicate.check(history, current), Verdict.DUPLICATE)
        candidates = [item for item in current.submissions if item.position not in said]
        if self.checks.quality and candidates:
            passed = self._quality(history, current, candidates, vectors)
            failed = [item for item, good in zip(candidates, passed, strict=True) if not good]
            said |= {item.position: Verdict.QUALITY for item in failed}
        return tuple(said.get(item.position, Verdict.ACCEPTED) for item in current.submissions)

    def _fetch(self, item: Submission) -> Lanes | Verdict:
        """An update's lanes, or why there are none."""
        try:
            return self.archive.update(item)
        except (PayloadError, Oversized):
            return Verdict.MALFORMED
        except StoreError:
            return Verdict.UNAVAILABLE

    def _quality(
        self, history: History, current: Round, candidates: list[Submission], vectors: dict[int, Lanes]
    ) -> list[bool]:
        """Whether each candidate leaves the held-out data unharmed."""
        model = self.archive.values(history.model_before(current.number), history)
        matrix = as_matrix([vectors[item.position] for item in candidates], self.ledger.terms)
        samples = [item.update.samples for item in candidates]
        merits = quality.check(model, matrix, samples, self.learner.gradient, self.checks.quality_tolerance)
        return merits.passed

    @staticmethod
    def _mark(said: dict[int, Verdict], passed: list[bool], reason: Verdict) -> None:
        """Give the reason to everything that fails a check and has no reason yet."""
        for position, good in enumerate(passed):
            if not good:
                said.setdefault(position, reason)
