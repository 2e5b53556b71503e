"""Run the checks on the numbers of a round's updates: duplicates, quality and outliers; find levels.

Pure: matrices in, scores out. Each check states what it needs of the updates, and gets a view that gives no
more: most need the inner products, which are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bcfl.ports import Evaluation, MarkSearch, Matrix, Slopes, Vector
from bcfl.protocol.limits import USUAL_LEVEL
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import (
    against,
    clusters,
    direction,
    duplicate,
    few,
    hidden_task,
    krum,
    length,
    levels,
    mark_slope,
    min_norm,
    norm,
    novelty,
    taught,
)
from bcfl.roles.checks.levels import Weights
from bcfl.roles.checks.medians import median_of
from bcfl.roles.checks.needs import SMALLEST, Needs, Updates, View
from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Values

CLIP = 2.0  # median norms: what counts of a longer update
HEAVY = 0.5  # weight from which on an update says what direction is usual
MIN_TAUGHT = 3  # updates of which the one in the middle says what is usual
HARMLESS = 0.01  # of the loss: what dropping a cluster may cost


@dataclass(frozen=True)
class Checks:
    """Which checks a miner makes, and how strictly; availability and form it always checks."""

    time: bool = True
    duplicate: bool = True
    quality: bool = True
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
    slopes: Callable[[Vector, int], Slopes]  # after a delta, on so many parts of the held-out data
    evaluate: Callable[[Vector], Evaluation] | None = None  # after a delta, on all of the held-out data
    losses: few.Losses | None = None
    marks: few.Marks | None = None
    mark_slopes: Callable[[Vector, Vector, int], Matrix] | None = (
        None  # after deltas, as `ports.Learner` has it
    )
    class_slopes: Callable[[int], Matrix] | None = None  # at the round's model, of so many held-out samples


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
    sketches: Matrix | None = None  # of the updates, and of all of earlier rounds, of unit length
    earlier_sketches: Matrix | None = None
    sketch: Callable[[Matrix], Matrix] | None = None  # makes those of others
    recent: int | None = None  # so many of the earlier ones are of the last rounds; None: all
    ends: tuple[int, ...] = ()  # where the pieces of sketches end; () of one piece
    contributions: Sequence[Vector | None] = ()  # what each device gave in earlier rounds; () of many
    has_noise: bool = False  # whether the terms ask devices for it
    blamed: Mask | None = None  # whose device is remembered as `quality`, see `memory.blamed`
    outlying: Mask | None = None  # the same as `outlier`


@dataclass(frozen=True)
class PipelineResult:
    """A verdict on each update, the scores behind the verdicts in the order of the checks, and levels.

    Levels are 0 where an update is rejected. `weights` are what they are made of; None where all are usual.
    """

    verdicts: tuple[Verdict, ...]
    scores: tuple[tuple[Verdict, Scores], ...]
    levels: tuple[int, ...]
    weights: Weights | None = None


def judge(inputs: CheckInputs, reference: Reference, checks: Checks) -> PipelineResult:
    """Return the verdicts on a round's updates, their scores, and levels.

    A check relies on the results of earlier ones: no statistic is made from updates that they dropped.
    """
    with np.errstate(all="ignore"):
        return _Pipeline(inputs, reference, checks).run()


class _Pipeline:
    """One round's judgement; each method adds the scores of its check and narrows what remains."""

    def __init__(self, inputs: CheckInputs, reference: Reference, checks: Checks) -> None:
        self.inputs, self.reference, self.checks = inputs, reference, checks
        self.updates = Updates(inputs.updates)
        self.short: Mask = norm.short(self.updates.view(norm.NEEDS).norms, inputs.reference_norm)
        self.remaining: Mask = np.array(inputs.eligible)
        self.is_few = len(inputs.ranks) <= few.FEW
        nobody = np.zeros_like(self.remaining)
        self.blamed: Mask = nobody if inputs.blamed is None else inputs.blamed
        self.outlying: Mask = nobody if inputs.outlying is None else inputs.outlying
        self.scores: list[tuple[Verdict, Scores]] = []
        self.weights: Weights | None = None
        self.trust: Values | None = None
        self.factors: Values | None = None
        self.median: tuple[bytes, Vector] | None = None

    def run(self) -> PipelineResult:
        norms = self.updates.view(norm.NEEDS).norms
        scores = norm.check(norms, self.inputs.reference_norm, self.inputs.rounding_norm)
        if self.checks.norm:
            self._narrow(scores)
        if self.checks.duplicate:
            self._judge_copies()
        if self.remaining.any():
            self._judge_directions()
        if self.checks.norm:
            self.scores.append((Verdict.OUTLIER, scores))
        verdicts = self._verdicts()
        full = np.full(len(verdicts), USUAL_LEVEL) if self.weights is None else self.weights.levels
        levels = tuple(int(level) * (not verdict) for level, verdict in zip(full, verdicts, strict=True))
        return PipelineResult(verdicts, tuple(self.scores), levels, self.weights)

    def _judge_copies(self) -> None:
        originals = self.inputs.eligible
        if self.inputs.earlier_copies is not None:
            earlier_copies = self.inputs.earlier_copies.exempt(self.short)
            self._add(Verdict.DUPLICATE, earlier_copies)
            originals = originals & earlier_copies.passed
        cosines = self.updates.view(duplicate.NEEDS).cosines
        copies = duplicate.within_round(cosines, self.inputs.ranks, originals)
        self._add(Verdict.DUPLICATE, copies.exempt(self.short))
        known, count = self.inputs.earlier_sketches, self.inputs.recent
        if self.inputs.sketches is not None and known is not None:
            among = self.remaining & ~self.short
            recent = known if count == len(known) else known[:count]  # the very matrix may be shared
            sketches, earlier = (
                Updates(matrix).view(novelty.NEEDS) for matrix in (self.inputs.sketches, recent)
            )
            for scores in novelty.check(sketches, earlier, among):
                self._add(Verdict.DUPLICATE, scores.exempt(self.short))
            if self.is_few:
                self._judge_taught(self.inputs.sketches, known)

    def _cut(self, sketches: Matrix) -> list[Matrix]:
        """Return the pieces of sketches, (sketches, numbers) each."""
        ends = self.inputs.ends if len(self.inputs.ends) > 1 else ()
        pieces = [sketches[:, start:end] for start, end in zip((0, *ends), ends, strict=False)]
        return pieces or [sketches]

    def _judge_taught(self, sketches: Matrix, earlier: Matrix) -> None:
        """Look whether what is new in few updates was learned from data of any classes."""
        sketch, find, among = self.inputs.sketch, self.reference.class_slopes, self.remaining & ~self.short
        if sketch is None or find is None or among.sum() < MIN_TAUGHT:
            return
        slopes = find(hidden_task.SAMPLES)
        updates = self.updates.view(taught.STATISTICS_NEEDS)
        if len(slopes) >= 2 and not taught.moves_statistics(updates, slopes, among):
            rows, known = (
                [Updates(piece).view(taught.NEEDS) for piece in self._cut(matrix)]
                for matrix in (sketches, earlier)
            )
            for scores in taught.check(rows, self._cut(sketch(slopes)), known, among):
                self._add(Verdict.DUPLICATE, scores.exempt(self.short))

    def _judge_directions(self) -> None:
        """Run the checks on where updates lead: clusters, held-out data, direction, least norm, Krum."""
        checks = self.checks
        outliers: list[Scores] = []
        if checks.clusters:
            view = self.updates.view(clusters.NEEDS)
            clusters_apart = clusters.check(
                view.cosines, partial(self._trust, view), partial(self._is_harmless, view), self.remaining
            )
            outliers.append(self._narrow(clusters_apart))
        if self.is_few:
            self._judge_few()
        if checks.quality and not (self.is_few and self.inputs.has_noise):
            self._judge_marks()
        if checks.clusters and (scores := self._hidden_task()) is not None:
            outliers.append(self._narrow(scores))
        if checks.quality:
            self._weigh()
        if checks.direction:
            if not self.is_few and self._is_amiss():
                self._judge_against()
            outliers.append(self._narrow(self._direction()))
        if checks.min_norm:
            norms = self.updates.view(min_norm.NEEDS).norms
            scores = min_norm.check(norms, self.inputs.samples, self.remaining)
            outliers.append(self._narrow(scores.exempt(self.short)))
        if checks.krum is not None:
            outliers.append(self._krum(checks.krum))
        self.scores += [(Verdict.OUTLIER, scores) for scores in outliers]

    def _hidden_task(self) -> Scores | None:
        """Score who shares what no classes explain; None of few updates, or without classes."""
        view, among = self.updates.view(hidden_task.NEEDS), np.array(self.remaining)
        find = self.reference.class_slopes
        if find is None or among.sum() < hidden_task.MIN_UPDATES:
            return None
        slopes = find(hidden_task.SAMPLES)
        if len(slopes) < 2:
            return None
        harmless = partial(self._is_harmless, view)
        return hidden_task.check(view, slopes, self._median(view), among, self.outlying, harmless)

    def _judge_few(self) -> None:
        checks, inputs, reference = self.checks, self.inputs, self.reference
        updates = few.FewUpdates(
            self.updates,
            inputs.samples,
            self.updates.view(length.NEEDS).norms if checks.norm else None,
            self.short,
            self._trust(self.updates.view(against.NEEDS)) if checks.direction else None,
            inputs.contributions or [None] * len(inputs.ranks),
            inputs.reference_norm is None,
            reference.losses if checks.quality else None,
            reference.marks if checks.quality else None,
            self.blamed,
            inputs.has_noise,
        )
        for verdict, scores in few.check(updates, self.remaining):
            self._add(verdict, scores)

    def _judge_marks(self) -> None:
        """Look in the mean of a crowd for a mark, and for who brings it."""
        find, marks, among = self.reference.mark_slopes, self.reference.marks, np.array(self.remaining)
        view, count = self.updates.view(mark_slope.NEEDS), mark_slope.SAMPLES
        if find is None or marks is None or among.sum() < MIN_CROWD:
            return

        def works(accused: Mask, turned: int) -> float:
            without, suspect = median_of(view.matrix, among & ~accused), self._mean(view, accused)
            return float(
                marks(without, [suspect], MarkSearch(count, turned=turned, wide=True)).max(initial=0.0)
            )

        def brings(accused: Mask) -> float:
            without = median_of(view.matrix, among & ~accused)
            suspect = without + self._mean(view, accused)
            search = MarkSearch(count, known=False, wide=True)
            return float(marks(without, [suspect], search).max(initial=0.0))

        slopes = find(self._median(view), self._mean(view, among), count)
        if len(slopes):
            first = self.inputs.reference_norm is None
            scores = mark_slope.check(view, view.norms, slopes, among, works, brings, self.blamed, first)
            self._add(Verdict.QUALITY, scores)

    def _median(self, updates: View) -> Vector:
        """Return the median of each parameter over what remains, (parameters,), kept until something goes."""
        key = self.remaining.tobytes()
        if self.median is None or self.median[0] != key:
            self.median = key, median_of(updates.matrix, self.remaining)
        return self.median[1]

    def _trust(self, updates: View) -> Values:
        """Return the cosine of each update with the miner's own training, (updates,).

        FLTrust, Cao et al. 2021, arXiv:2012.13995, section IV; the miner trains once, where it has to.
        """
        updates.require(Needs.GRAM | Needs.SUMS)
        if self.trust is None:
            delta = self.reference.delta()
            cosines = (updates @ delta) / np.maximum(updates.norms * np.linalg.norm(delta), SMALLEST)
            self.trust = np.nan_to_num(cosines.astype(np.float64))
        return self.trust

    def _factors_of(self, updates: View) -> Values:
        """Return what each update is shortened by where long ones must not decide, (updates,).

        Those that remain when it is first asked for say what is long.
        """
        updates.require(Needs.GRAM)
        if self.factors is None:
            norms = updates.norms
            limit = CLIP * np.median(norms[self.remaining]) if self.remaining.any() else 0.0
            self.factors = np.minimum(1.0, limit / np.maximum(norms, SMALLEST))
        return self.factors

    def _weigh(self) -> None:
        """Find what each update is to weigh."""
        inputs, reference, updates = self.inputs, self.reference, self.updates.view(levels.NEEDS)
        held_out = levels.HeldOut(
            updates,
            self._factors_of(updates),
            self.remaining,
            reference.slopes,
            reference.losses,
            reference.evaluate,
        )
        self.weights = levels.find(held_out, inputs.samples)

    def _is_harmless(self, updates: View, dropped: Mask, remaining: Mask) -> bool:
        """Return whether the held-out loss is no higher without the members of a cluster.

        The mean without them may be as long as that with them.
        """
        if self.reference.losses is None:
            return True
        whole, rest = self._mean(updates, remaining), self._mean(updates, remaining & ~dropped)
        ratio = float(np.linalg.norm(whole) / max(float(np.linalg.norm(rest)), 1e-30))
        means = whole, rest, (ratio * rest).astype(np.float32)
        losses = [float(self.reference.losses(mean, levels.SAMPLES)[0].mean()) for mean in means]
        return not min(losses[1:]) > losses[0] + HARMLESS * abs(losses[0])

    def _mean(self, updates: View, mask: Mask) -> Vector:
        """Return the mean of updates by their claims, (parameters,)."""
        shares = np.where(mask, self.inputs.samples, 0.0) / max(float(self.inputs.samples[mask].sum()), 1.0)
        mean: Vector = shares.astype(np.float32) @ updates
        return mean

    def _is_amiss(self) -> bool:
        """Return whether held-out data finds some updates better than others, or does not look.

        Else the miner does without its own training, which costs as much as half of all other checks.
        """
        return self.weights is None or bool((self.weights.values != 1).any())

    def _judge_against(self) -> None:
        trust = self._trust(self.updates.view(against.NEEDS))
        self._add(Verdict.OUTLIER, against.check_many(trust, self.updates.parameters, self.remaining))

    def _direction(self) -> Scores:
        """Score directions against the mean of what weighs much and goes the way of the miner's training.

        Where nothing is amiss, against that of all.
        """
        weights, heavy, updates = self.inputs.samples, self.remaining, self.updates.view(direction.NEEDS)
        if self.weights is not None:
            weights, heavy = weights * self.weights.values, self.weights.values > HEAVY
        if self._is_amiss():
            heavy = heavy & (self._trust(updates) > 0)
        good = self.remaining & heavy if (self.remaining & heavy).any() else self.remaining
        factors = self._factors_of(updates)
        clipped = updates.gram * np.outer(factors, factors)
        return direction.check(clipped, weights, good, updates.shape[1], self.checks.direction_tolerance)

    def _krum(self, attackers: int) -> Scores:
        places = np.flatnonzero(self.remaining)
        scores = krum.check(self.updates.view(krum.NEEDS).gram[np.ix_(places, places)], attackers)
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
