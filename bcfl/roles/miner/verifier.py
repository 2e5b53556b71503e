"""Verify the updates of a round: run all checks; the first that an update fails is the reason against it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from bcfl.errors import Corrupt, Oversized, PayloadError, Unavailable
from bcfl.ports import Learner, Ledger, Matrix, Vector
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.limits import BASIS_POINTS, USUAL_LEVEL
from bcfl.protocol.noise import Noise
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import duplicate, few, time
from bcfl.roles.checks.memory import TIMES, blamed
from bcfl.roles.checks.pipeline import CheckInputs, Checks, PipelineResult
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive, as_matrix
from bcfl.roles.miner import findings
from bcfl.roles.miner.contributions import Contributions
from bcfl.roles.miner.findings import Finding
from bcfl.roles.miner.judging import judge
from bcfl.roles.miner.sketches import Sketches

__all__ = ["Checks", "Verifier"]

Findings = dict[int, list[Finding]]  # by position: of the first reason against an update


class Verifier:
    """Verdicts on every update of a round.

    `levels` are those of the last verdicts, 0 where they reject, and `findings` the numbers behind them.
    """

    def __init__(self, learner: Learner, ledger: Ledger, archive: Archive, checks: Checks) -> None:
        self.learner, self.ledger, self.archive, self.checks = learner, ledger, archive, checks
        self.findings: tuple[Finding, ...] = ()
        self.levels: tuple[int, ...] = ()
        self._sketches = Sketches(self._load_untouched)
        self._contributions = Contributions(self._load_untouched)

    def verdicts(self, history: History, current: Round) -> tuple[Verdict, ...]:
        """Return one verdict for each submission, in their order.

        Raises StoreError while the miner's own store is away: then it cannot judge anybody, and has to ask
        again. Raises ConfigError when its own learner fails.
        """
        with _libraries().limit(limits=1, user_api="blas"):
            return self._verdicts(history, current)

    def _verdicts(self, history: History, current: Round) -> tuple[Verdict, ...]:
        submissions = current.submissions
        reasons, updates = self._read(submissions)
        readable = [item for item in submissions if item.position in updates]
        if self.checks.time:
            _add(reasons, self._time_findings(history, current))
        if self.checks.duplicate:
            fresh = duplicate.check(history, current)
            copies = [
                item
                for item in submissions
                if not fresh[item.position] and not _is_zero(updates.get(item.position))
            ]
            _add(reasons, [findings.plain(item, Verdict.DUPLICATE, "exact copy") for item in copies])
        contributions: Findings = {}
        levels_by_position: dict[int, int] = {}
        if self.checks.numbers and readable:
            matrix = as_matrix([updates[item.position] for item in readable], self.ledger.terms)
            result = self._judge(reasons, history, current, readable, matrix)
            contributions = {each.position: [each] for each in findings.contributions(readable, result)}
            levels_by_position = {p.position: at for p, at in zip(readable, result.levels, strict=True)}
        numbers = contributions | reasons
        self.findings = tuple(finding for position in sorted(numbers) for finding in numbers[position])
        verdicts = {position: Verdict[group[0].reason.upper()] for position, group in reasons.items()}
        judged = tuple(verdicts.get(item.position, Verdict.ACCEPTED) for item in submissions)
        self.levels = tuple(
            levels_by_position.get(item.position, USUAL_LEVEL) if verdict is Verdict.ACCEPTED else 0
            for item, verdict in zip(submissions, judged, strict=True)
        )
        return judged

    def _read(self, submissions: Sequence[Submission]) -> tuple[Findings, dict[int, Lanes]]:
        """Return why updates cannot be read, and the lanes of the others, (parameters,), by position."""
        reasons: Findings = {}
        updates: dict[int, Lanes] = {}
        for item in submissions:
            try:
                updates[item.position] = self.archive.update(item)
            except (PayloadError, Oversized) as error:
                reasons[item.position] = [findings.plain(item, Verdict.MALFORMED, str(error))]
            except (Unavailable, Corrupt) as error:
                reasons[item.position] = [findings.plain(item, Verdict.UNAVAILABLE, str(error))]
        return reasons, updates

    def _judge(
        self,
        reasons: Findings,
        history: History,
        current: Round,
        submissions: list[Submission],
        updates: Matrix,
    ) -> PipelineResult:
        """Run the checks on the numbers of updates, (updates, parameters), and add what they find."""
        terms, order = self.ledger.terms, duplicate.commit_order(current)
        model = self.archive.values(history.model_before(current.number), history)
        beside = None
        if self.checks.duplicate:
            delta = self._last_delta(history, current.number)
            beside = self._sketches.compare(history, current, submissions, updates, delta)
        inputs = CheckInputs(
            updates,
            np.array([min(item.update.samples, current.cap) for item in submissions], dtype=np.float64),
            [order.index(item.position) for item in submissions],
            np.array([item.position not in reasons for item in submissions]),
            norm_bound.reference_norm(self.archive, history, current.number),
            norm_bound.rounding_norm(terms.parameters, terms.scale_bits, terms.shift),
            None if beside is None else beside.copies,
            None if beside is None else beside.sketches,
            None if beside is None else beside.earlier,
            self._contributed(history, current, submissions),
            Noise.of(self.archive.layout) is not None,
            blamed(history, current, submissions, Verdict.QUALITY),
            blamed(history, current, submissions, Verdict.OUTLIER, TIMES),
        )
        result = judge(self.learner, model, current.number, inputs, self.checks)
        for reason, scores in sorted(result.scores, key=lambda pair: pair[0]):
            _add(reasons, findings.failures(submissions, reason, scores))
        return result

    def _contributed(
        self, history: History, current: Round, submissions: list[Submission]
    ) -> Sequence[Vector | None]:
        """Return what the devices of few updates gave in earlier rounds, (parameters,); () of many."""
        if len(submissions) > few.FEW or not self.checks.quality:
            return ()
        devices = [item.update.device for item in submissions]
        return self._contributions.of(history, current, devices)

    def _last_delta(self, history: History, number: int) -> Vector | None:
        """Return what the last round added to the model, (parameters,); None if it cannot be had."""
        block = history.model_before(number)
        if not block.round:
            return None
        with suppress(Unavailable, Corrupt, Oversized, PayloadError):
            parent = self.archive.values(history.model_before(block.round), history)
            return (self.archive.values(block, history) - parent).astype(np.float32)
        return None

    def _time_findings(self, history: History, current: Round) -> list[Finding]:
        """Return a finding, the ratio to the reference rate, for each time out of proportion."""
        terms = self.ledger.terms
        factor = terms.time_factor / BASIS_POINTS
        mask, ratios = time.check(history, current, terms), time.ratios(history, current)
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
            for item, good, ratio in zip(current.submissions, mask, ratios, strict=True)
            if not good
        ]

    def _load_untouched(self, submissions: list[Submission]) -> tuple[list[int], Matrix]:
        """Load updates of earlier rounds to remember them: nobody has to keep them for it."""
        with self.archive.untouched():
            return self._load(submissions)

    def _load(self, submissions: list[Submission]) -> tuple[list[int], Matrix]:
        """Return the places of an earlier round's updates that can still be had, and their values."""
        _, updates = self._read(submissions)
        places = [place for place, item in enumerate(submissions) if item.position in updates]
        if not places:
            return [], np.empty((0, self.ledger.terms.parameters), np.float32)
        rows = [updates[submissions[place].position] for place in places]
        return places, as_matrix(rows, self.ledger.terms)


@cache
def _libraries() -> ThreadpoolController:
    """Return the libraries that multiply matrices in this process.

    On several threads products of this size take up to hundreds of times as long where others use the cores.
    """
    return ThreadpoolController()


def _is_zero(lanes: Lanes | None) -> bool:
    """Whether an update moves nothing: where training has come to its end all do so, and nobody copies."""
    return lanes is not None and not lanes.any()


def _add(reasons: Findings, group: list[Finding]) -> None:
    """Add findings to those of the first reason against each update; drop those of a later reason."""
    for finding in group:
        first = reasons.setdefault(finding.position, [])
        if not first or first[0].reason == finding.reason:
            first.append(finding)
