"""Verify the updates of a round: run all checks; the first that an update fails is the reason against it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from bcfl.errors import Corrupt, Oversized, PayloadError, Unavailable
from bcfl.ports import Learner, Ledger, Matrix, Vector
from bcfl.protocol import fixedpoint
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.limits import BASIS_POINTS, USUAL_LEVEL
from bcfl.protocol.noise import Noise
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Terms, Verdict
from bcfl.roles.checks import duplicate, few, time
from bcfl.roles.checks.memory import TIMES, blamed
from bcfl.roles.checks.pipeline import CheckInputs, Checks
from bcfl.roles.checks.shared import once, share
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.miner import findings
from bcfl.roles.miner.contributions import Contributions
from bcfl.roles.miner.findings import Finding
from bcfl.roles.miner.judging import Case, Judgement, RemoteJudge, begin, single_thread
from bcfl.roles.miner.pieces import piece_ends
from bcfl.roles.miner.sketches import Signs, Sketches, Vectors

__all__ = ["Checks", "Verifier"]

Findings = dict[int, list[Finding]]  # by position: of the first reason against an update


@dataclass(frozen=True)
class _Begun:
    """A round's updates that are being judged."""

    case: object  # which round's, see `_key`
    reasons: Findings  # what is wrong with single ones
    readable: list[Submission]
    judgement: Judgement | None  # None where no check looks at numbers


class Verifier:
    """Verdicts on every update of a round.

    `levels` are those of the last verdicts, 0 where they reject, and `findings` the numbers behind them.
    Verifiers of one process with the same `signs` share what follows from updates alone.
    """

    def __init__(
        self, learner: Learner, ledger: Ledger, archive: Archive, checks: Checks, signs: Signs | None = None
    ) -> None:
        self.learner, self.ledger, self.archive, self.checks = learner, ledger, archive, checks
        self.findings: tuple[Finding, ...] = ()
        self.levels: tuple[int, ...] = ()
        self._begun: _Begun | None = None
        self._shares = signs is not None
        self._sketches = Sketches(self._load, signs, piece_ends(archive.layout), self._rows)
        self._contributions = Contributions(self._load_rows)

    @property
    def is_remote(self) -> bool:
        """Whether the learner judges elsewhere."""
        return isinstance(self.learner, RemoteJudge)

    def begin(self, history: History, current: Round) -> None:
        """Have the numbers of a round's updates judged elsewhere, until `verdicts` asks for it.

        Does nothing for a learner that is here. Raises as `verdicts`.
        """
        if self.is_remote and (self._begun is None or self._begun.case != _key(history, current)):
            self.drop()
            self._begun = self._opened(history, current)

    def drop(self) -> None:
        """Give up what `begin` began."""
        begun, self._begun = self._begun, None
        if begun is not None and begun.judgement is not None:
            begun.judgement.drop()

    def verdicts(self, history: History, current: Round) -> tuple[Verdict, ...]:
        """Return one verdict for each submission, in their order.

        Raises StoreError while the miner's own store is away: then it cannot judge anybody, and has to ask
        again. Raises ConfigError when its own learner fails.
        """
        if self._begun is None or self._begun.case != _key(history, current):
            self.drop()
            self._begun = self._opened(history, current)
        begun, self._begun = self._begun, None
        return self._closed(begun, current)

    def _opened(self, history: History, current: Round) -> _Begun:
        """Find what is wrong with single updates, and have the numbers of the others judged."""
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
        judgement = None
        if self.checks.numbers and readable:
            with single_thread():
                matrix = self._matrix([updates[item.position] for item in readable])
                inputs = self._inputs(reasons, history, current, readable, matrix)
            model = self.archive.values(history.model_before(current.number), history)
            judgement = begin(self.learner, Case(model, current.number, inputs, self.checks))
        return _Begun(_key(history, current), reasons, readable, judgement)

    def _closed(self, begun: _Begun, current: Round) -> tuple[Verdict, ...]:
        """Return the verdicts, once the numbers are judged."""
        reasons, readable = begun.reasons, begun.readable
        contributions: Findings = {}
        levels_by_position: dict[int, int] = {}
        if begun.judgement is not None:
            result = begun.judgement.result()
            for reason, scores in sorted(result.scores, key=lambda pair: pair[0]):
                _add(reasons, findings.failures(readable, reason, scores))
            contributions = {each.position: [each] for each in findings.contributions(readable, result)}
            levels_by_position = {p.position: at for p, at in zip(readable, result.levels, strict=True)}
        numbers = contributions | reasons
        self.findings = tuple(finding for position in sorted(numbers) for finding in numbers[position])
        verdicts = {position: Verdict[group[0].reason.upper()] for position, group in reasons.items()}
        judged = tuple(verdicts.get(item.position, Verdict.ACCEPTED) for item in current.submissions)
        self.levels = tuple(
            levels_by_position.get(item.position, USUAL_LEVEL) if verdict is Verdict.ACCEPTED else 0
            for item, verdict in zip(current.submissions, judged, strict=True)
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

    def _inputs(
        self,
        reasons: Findings,
        history: History,
        current: Round,
        submissions: list[Submission],
        updates: Matrix,
    ) -> CheckInputs:
        """Return what the checks on the numbers of updates, (updates, parameters), look at."""
        terms, cap = self.ledger.terms, current.cap
        ranks = {position: rank for rank, position in enumerate(duplicate.commit_order(current))}
        inputs = CheckInputs(
            updates,
            np.array([min(item.update.samples, cap) for item in submissions], dtype=np.float64),
            [ranks[item.position] for item in submissions],
            np.array([item.position not in reasons for item in submissions]),
            reference_norm=norm_bound.reference_norm(self.archive, history, current.number),
            rounding_norm=norm_bound.rounding_norm(terms.parameters, terms.scale_bits, terms.shift),
            contributions=self._contributed(history, current, submissions),
            has_noise=Noise.of(self.archive.layout) is not None,
            blamed=blamed(history, current, submissions, Verdict.QUALITY),
            outlying=blamed(history, current, submissions, Verdict.OUTLIER, TIMES),
        )
        if not self.checks.duplicate:
            return inputs
        delta = self._last_delta(history, current.number)
        beside = self._sketches.compare(history, current, submissions, updates, delta)
        return replace(
            inputs,
            earlier_copies=beside.copies,
            sketches=beside.sketches,
            earlier_sketches=beside.earlier,
            sketch=beside.sketch,
            recent=beside.recent,
            ends=beside.ends,
        )

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
        block, scale_bits = history.model_before(number), self.archive.terms.scale_bits
        if not block.round:
            return None
        with suppress(Unavailable, Corrupt, Oversized, PayloadError):
            blocks = history.model_before(block.round), block
            parent, model = self._shared([self.archive.model(each, history) for each in blocks])
            return once("delta", scale_bits, [parent, model], lambda: delta_of(parent, model, scale_bits))
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

    def _load(self, submissions: list[Submission]) -> tuple[list[int], list[Lanes]]:
        """Return the places of an earlier round's updates that can still be had, and their lanes.

        They are loaded to remember them: nobody has to keep them for it.
        """
        with self.archive.untouched():
            _, updates = self._read(submissions)
        places = [place for place, item in enumerate(submissions) if item.position in updates]
        return places, self._shared([updates[submissions[place].position] for place in places])

    def _load_rows(self, submissions: list[Submission]) -> tuple[list[int], Matrix]:
        """Return the places of an earlier round's updates that can still be had, and their values."""
        places, updates = self._load(submissions)
        return places, self._matrix(updates)

    def _rows(self, updates: Vectors) -> Matrix:
        """Return the lanes of updates as float rows, (updates, parameters)."""
        return as_matrix(updates, self.ledger.terms)

    def _matrix(self, updates: list[Lanes]) -> Matrix:
        """Return the same of a round's updates, once where they are shared."""
        terms = self.ledger.terms
        details = terms.parameters, terms.shift, terms.scale_bits
        return once("matrix", details, self._shared(updates), lambda: self._rows(updates), keep=1)

    def _shared(self, vectors: list[Lanes]) -> list[Lanes]:
        """Return lanes, shared with the other verifiers of this process if there are some."""
        return [share(lanes) for lanes in vectors] if self._shares else vectors


def _key(history: History, current: Round) -> object:
    """Return what tells one round's updates from those of another."""
    return current.number, history.model_before(current.number), tuple(current.submissions)


def as_matrix(updates: Vectors, terms: Terms) -> Matrix:
    """Return the lanes of updates as float rows, (updates, parameters)."""
    scale = np.float32(2.0 ** (terms.shift - terms.scale_bits))
    matrix = np.empty((len(updates), terms.parameters), np.float32)
    for row, lanes in zip(matrix, updates, strict=True):
        row[:] = lanes
        row *= scale
    return matrix


def delta_of(parent: Model, model: Model, scale_bits: int) -> Vector:
    """Return what a round added to a model, (parameters,)."""
    before, after = (fixedpoint.decode(lanes, scale_bits) for lanes in (parent, model))
    return (after - before).astype(np.float32)


def _is_zero(lanes: Lanes | None) -> bool:
    """Whether an update moves nothing: where training has come to its end all do so, and nobody copies."""
    return lanes is not None and not lanes.any()


def _add(reasons: Findings, group: list[Finding]) -> None:
    """Add findings to those of the first reason against each update; drop those of a later reason."""
    for finding in group:
        first = reasons.setdefault(finding.position, [])
        if not first or first[0].reason == finding.reason:
            first.append(finding)
