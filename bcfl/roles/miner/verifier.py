"""Step 4 at the miner: the checks of section 5 in their order; the first that fails is the reason."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from bcfl.errors import Corrupt, Oversized, PayloadError, Unavailable
from bcfl.ports import Learner, Ledger, Matrix, Vector
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import duplicate, pipeline, quality, time
from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive, as_matrix
from bcfl.roles.miner import findings
from bcfl.roles.miner.findings import Finding
from bcfl.roles.miner.sketches import Sketches

__all__ = ["Checks", "Verifier"]


class Verifier:
    """Gives every update of a round its verdict; `findings` are the numbers behind the last ones."""

    def __init__(self, learner: Learner, ledger: Ledger, archive: Archive, checks: Checks) -> None:
        self.learner, self.ledger, self.archive, self.checks = learner, ledger, archive, checks
        self.findings: tuple[Finding, ...] = ()
        self._memory = Sketches(self._present)

    def verdicts(self, history: History, current: Round) -> tuple[Verdict, ...]:
        """One verdict for each submission, in their order.

        Raises StoreError while the miner's own store is away: then it cannot judge anybody, and has to ask
        again.
        """
        items = current.submissions
        said, found = self._bytes(items)
        known = [item for item in items if item.position not in said]
        vectors = [found[item.position] for item in known]
        if self.checks.time:
            self._mark(said, self._late(history, current))
        if self.checks.duplicate:
            fresh = duplicate.check(history, current)
            copies = [
                findings.plain(item, Verdict.DUPLICATE, "exact copy")
                for item in items
                if not fresh[item.position]
            ]
            self._mark(said, copies)
        if self.checks.numbers and vectors:
            self._judge(said, history, current, known, as_matrix(vectors, self.ledger.terms))
        self.findings = tuple(finding for position in sorted(said) for finding in said[position])
        reasons = {position: Verdict[findings[0].reason.upper()] for position, findings in said.items()}
        return tuple(reasons.get(item.position, Verdict.ACCEPTED) for item in items)

    def _bytes(self, items: Sequence[Submission]) -> tuple[dict[int, list[Finding]], dict[int, Lanes]]:
        """The lanes of each update by position, or why there are none."""
        said: dict[int, list[Finding]] = {}
        found: dict[int, Lanes] = {}
        for item in items:
            try:
                found[item.position] = self.archive.update(item)
            except (PayloadError, Oversized) as error:
                said[item.position] = [findings.plain(item, Verdict.MALFORMED, str(error))]
            except (Unavailable, Corrupt) as error:
                said[item.position] = [findings.plain(item, Verdict.UNAVAILABLE, str(error))]
        return said, found

    def _judge(
        self,
        said: dict[int, list[Finding]],
        history: History,
        current: Round,
        items: list[Submission],
        updates: Matrix,
    ) -> None:
        """Checks 4 to 6 on the updates whose bytes are there."""
        terms, places = self.ledger.terms, duplicate.order(current)
        model = self.archive.values(history.model_before(current.number), history)
        earlier = None
        if self.checks.duplicate:
            step = self._last_step(history, current.number)
            earlier = self._memory.compare(history, current, items, updates, step)
        shown = CheckInputs(
            updates,
            np.array([item.update.samples for item in items], dtype=np.float64),
            [places.index(item.position) for item in items],
            np.array([item.position not in said for item in items]),
            norm_bound.reference_norm(self.archive, history, current.number),
            norm_bound.rounding_norm(terms.parameters, terms.scale_bits, terms.shift),
            earlier,
        )
        reference = Reference(
            lambda: self._own(model, current.number),
            lambda step: self.learner.gradients((model + step).astype(np.float32), quality.PARTS),
        )
        judged = pipeline.judge(shown, reference, self.checks)
        for reason, scores in sorted(judged.scores, key=lambda pair: pair[0]):
            self._mark(said, findings.failed(items, reason, scores))

    def _own(self, model: Vector, number: int) -> Vector:
        """Where the miner's own training leads; without data to train on, down its held-out slope."""
        if self.learner.samples:
            return (self.learner.train(model, number).vector - model).astype(np.float32)
        slope = self.learner.gradients(model, 1)
        return -slope[0] if len(slope) else np.zeros_like(model)

    def _last_step(self, history: History, number: int) -> Vector | None:
        """What the last round did to the model; None if it cannot be had."""
        block = history.model_before(number)
        if not block.round:
            return None
        with suppress(Unavailable, Corrupt, Oversized, PayloadError):
            before = self.archive.values(history.model_before(block.round), history)
            return (self.archive.values(block, history) - before).astype(np.float32)
        return None

    def _late(self, history: History, current: Round) -> list[Finding]:
        """What check 3 has against whom: the ratio to the reference rate."""
        terms = self.ledger.terms
        factor = terms.time_factor / time.BASIS
        passed, ratios = time.check(history, current, terms), time.ratios(history, current)
        return [
            Finding(
                item.position,
                item.update.device,
                "time",
                "pace",
                round(ratio, 4),
                round(1 / factor, 4),
                factor,
            )
            for item, good, ratio in zip(current.submissions, passed, ratios, strict=True)
            if not good
        ]

    def _present(self, items: list[Submission]) -> tuple[list[int], Matrix]:
        """Which of an earlier round's updates can still be had, and their values."""
        _, found = self._bytes(items)
        places = [place for place, item in enumerate(items) if item.position in found]
        if not places:
            return [], np.empty((0, self.ledger.terms.parameters), np.float32)
        return places, as_matrix([found[items[place].position] for place in places], self.ledger.terms)

    @staticmethod
    def _mark(said: dict[int, list[Finding]], found: list[Finding]) -> None:
        """Keep the findings of the first reason against each update."""
        for finding in found:
            first = said.setdefault(finding.position, [])
            if not first or first[0].reason == finding.reason:
                first.append(finding)
