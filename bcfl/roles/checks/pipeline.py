"""Run the checks on the numbers of a round's updates: duplicates, quality and outliers.

Pure: matrices in, scores out. Most checks need no more than the inner products of the updates, which are
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bcfl.ports import Evaluation, Matrix, Vector
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import clusters, direction, duplicate, few, krum, min_norm, norm, quality
from bcfl.roles.checks.scores import Mask, Scores, Square, Values

CLIP = 2.0  # median norms: what counts of a longer update


@dataclass(frozen=True)
class Checks:
    """Which checks a miner makes, and how strictly; availability and form it always checks."""

    time: bool = True
    duplicate: bool = True
    quality: bool = True
    quality_tolerance: float = 3.0  # robust standard deviations
    norm: bool = True
    clusters: bool = True
    direction: bool = True
    direction_tolerance: float = 3.0  # robust standard deviations
    min_norm: bool = True
    krum: int | None = None  # the number of attackers that Multi-Krum is to expect

    @property
    def numbers(self) -> bool:
        """Return whether any check looks at the numbers of an update."""
        outlier = self.norm or self.clusters or self.direction or self.min_norm or self.krum is not None
        return self.duplicate or self.quality or outlier


@dataclass(frozen=True)
class Reference:
    """What a miner finds out on its own data, to compare the updates with."""

    delta: Callable[[], Vector]  # of its own training from the round's model, (parameters,)
    gradients: Callable[[Vector], Matrix]  # after a delta, on parts of the held-out data, (parts, parameters)
    evaluate: Callable[[Vector], Evaluation] | None = None  # after a delta, on all of the held-out data
    losses: few.Losses | None = None
    marks: few.Marks | None = None


@dataclass(frozen=True)
class CheckInputs:
    """The updates of a round to be judged."""

    updates: Matrix  # (updates, parameters)
    samples: Values  # claims up to the round's cap
    ranks: Sequence[int]  # place of each in the order of commitment
    eligible: Mask  # no earlier check has a reason against it
    reference_norm: float | None = None  # of the last model's updates
    rounding_norm: float = 0.0  # what rounding to lanes may add to a norm
    earlier_copies: Scores | None = None  # how near each is to one of an earlier round
    contributions: Sequence[Vector | None] = ()  # what each device gave in earlier rounds; () of many


@dataclass(frozen=True)
class PipelineResult:
    """A verdict on each update, and the scores behind the verdicts in the order of the checks."""

    verdicts: tuple[Verdict, ...]
    scores: tuple[tuple[Verdict, Scores], ...]


def judge(inputs: CheckInputs, reference: Reference, checks: Checks) -> PipelineResult:
    """Return the verdicts on a round's updates, and their scores.

    A check relies on the results of earlier ones: no statistic is made from updates that they dropped.
    """
    with np.errstate(all="ignore"):
        return _Pipeline(inputs, reference, checks).run()


class _Pipeline:
    """One round's judgement; each method adds the scores of its check and narrows what remains."""

    def __init__(self, inputs: CheckInputs, reference: Reference, checks: Checks) -> None:
        self.inputs, self.reference, self.checks = inputs, reference, checks
        self.gram = gram(inputs.updates)
        self.norms: Values = np.sqrt(np.diag(self.gram))
        self.cosines: Square = self.gram / np.maximum(np.outer(self.norms, self.norms), 1e-30)
        self.short: Mask = norm.short(self.norms, inputs.reference_norm)
        self.remaining: Mask = np.array(inputs.eligible)
        self.is_few = len(inputs.updates) <= few.FEW
        self.scores: list[tuple[Verdict, Scores]] = []

    def run(self) -> PipelineResult:
        scores = norm.check(self.norms, self.inputs.reference_norm, self.inputs.rounding_norm)
        if self.checks.norm:
            self._narrow(scores)
        if self.checks.duplicate:
            self._judge_copies()
        if self.remaining.any():
            self._judge_directions()
        if self.checks.norm:
            self.scores.append((Verdict.OUTLIER, scores))
        return PipelineResult(self._verdicts(), tuple(self.scores))

    def _judge_copies(self) -> None:
        originals = self.inputs.eligible
        if self.inputs.earlier_copies is not None:
            earlier_copies = self.inputs.earlier_copies.exempt(self.short)
            self._add(Verdict.DUPLICATE, earlier_copies)
            originals = originals & earlier_copies.passed
        copies = duplicate.within_round(self.cosines, self.inputs.ranks, originals)
        self._add(Verdict.DUPLICATE, copies.exempt(self.short))

    def _judge_directions(self) -> None:
        """Run the checks that may need the miner's own training: clusters, quality, direction, least norm."""
        checks, samples = self.checks, self.inputs.samples
        limit = CLIP * np.median(self.norms[self.remaining])
        factors = np.minimum(1.0, limit / np.maximum(self.norms, 1e-30))  # (updates,): that clip each
        trusted, trust = self.remaining, None
        outliers: list[Scores] = []
        if checks.clusters or checks.quality or checks.direction:
            trust = self._trust()
            trusted = trust > 0
            if checks.clusters:
                outliers.append(self._narrow(clusters.check(self.cosines, trust, self.remaining)))
            if checks.quality and not self.is_few:
                self._add(Verdict.QUALITY, self._merits(factors, self.remaining & trusted))
        if self.is_few:
            self._judge_few(trust)
        if checks.direction:
            outliers.append(self._narrow(self._direction(factors, self.remaining & trusted)))
        if checks.min_norm:
            scores = min_norm.check(self.norms, samples, self.remaining)
            outliers.append(self._narrow(scores.exempt(self.short)))
        if checks.krum is not None:
            outliers.append(self._krum(checks.krum))
        self.scores += [(Verdict.OUTLIER, scores) for scores in outliers]

    def _judge_few(self, trust: Values | None) -> None:
        checks, inputs, reference = self.checks, self.inputs, self.reference
        updates = few.FewUpdates(
            inputs.updates,
            inputs.samples,
            self.norms if checks.norm else None,
            self.short,
            trust if checks.direction else None,
            inputs.contributions or [None] * len(inputs.updates),
            inputs.reference_norm is None,
            reference.losses if checks.quality else None,
            reference.marks if checks.quality else None,
        )
        for verdict, scores in few.check(updates, self.remaining):
            self._add(verdict, scores)

    def _trust(self) -> Values:
        """Return the cosine of each update with the miner's own training, (updates,).

        FLTrust, Cao et al. 2021, arXiv:2012.13995, section IV.
        """
        delta = self.reference.delta()
        cosines = (self.inputs.updates @ delta) / np.maximum(self.norms * np.linalg.norm(delta), 1e-30)
        return np.nan_to_num(cosines.astype(np.float64))

    def _merits(self, factors: Values, trusted: Mask) -> Scores:
        """Score merits where the model would be after the trusted updates, or after all if none is."""
        good = trusted if trusted.any() else self.remaining
        samples = self.inputs.samples
        weights = np.where(good, factors * samples, 0.0) / max(float(samples[good].sum()), 1.0)
        delta = weights.astype(np.float32) @ self.inputs.updates
        gradients = self.reference.gradients(delta)  # (parts, parameters)
        if not len(gradients) and self.reference.evaluate is not None:
            moves = self.inputs.updates * factors[:, None].astype(np.float32)
            slopes = quality.slopes(self.reference.evaluate, delta, moves, self.remaining)
            return quality.check_slopes(*slopes, good, self.checks.quality_tolerance)
        merits = -(self.inputs.updates @ gradients.T) * factors[:, None]  # (updates, parts)
        return quality.check(merits.astype(np.float64), good, self.checks.quality_tolerance)

    def _direction(self, factors: Values, trusted: Mask) -> Scores:
        """Score directions against the trusted updates, or against all if none is."""
        good = trusted if trusted.any() else self.remaining
        clipped = self.gram * np.outer(factors, factors)
        parameters = self.inputs.updates.shape[1]
        tolerance = self.checks.direction_tolerance
        return direction.check(clipped, self.inputs.samples, good, parameters, tolerance)

    def _krum(self, attackers: int) -> Scores:
        places = np.flatnonzero(self.remaining)
        scores = krum.check(self.gram[np.ix_(places, places)], attackers)
        values = np.zeros(len(self.remaining))
        values[places] = scores.values
        maximum = scores.maximum[0] if len(places) else np.inf
        self.remaining[places[~scores.passed]] = False
        return Scores(scores.rule, values, np.full(len(values), -np.inf), np.full(len(values), maximum))

    def _add(self, verdict: Verdict, scores: Scores) -> None:
        self.scores.append((verdict, self._narrow(scores)))

    def _narrow(self, scores: Scores) -> Scores:
        self.remaining &= scores.passed
        return scores

    def _verdicts(self) -> tuple[Verdict, ...]:
        """Return the first reason against each update, in the order of the verdicts' numbers."""
        codes = np.zeros(len(self.remaining), dtype=int)
        for verdict, scores in sorted(self.scores, key=lambda pair: pair[0]):
            codes[(codes == 0) & ~scores.passed] = verdict
        return tuple(Verdict(code) for code in codes)


def gram(updates: Matrix) -> Square:
    """Return the inner products of updates, (updates, parameters), as (updates, updates)."""
    products: Square = (updates @ updates.T).astype(np.float64)
    return products
