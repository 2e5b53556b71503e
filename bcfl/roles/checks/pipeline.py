"""Step 4, what the numbers say: checks 4 to 6 over the updates of a round whose bytes are there.

Pure: matrices in, scores out. Most of it needs no more than the inner products of the updates, which are
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl.ports import Vector
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import clusters, direction, duplicate, krum, min_norm, norm, quality
from bcfl.roles.checks.scores import Mask, Scores, Square, Values

Matrix = npt.NDArray[np.float32]  # (updates, parameters)
SHORTENED = 2.0  # median lengths: what counts of a longer update


@dataclass(frozen=True)
class Checks:
    """Which checks a miner makes, and how strictly; availability and form it always checks."""

    time: bool = True
    duplicate: bool = True
    quality: bool = True
    quality_tolerance: float = 3.0  # robust standard deviations
    norm: bool = True
    split: bool = True
    direction: bool = True
    direction_tolerance: float = 3.0  # robust standard deviations
    effort: bool = True
    krum: int | None = None  # the number of attackers that Multi-Krum is to expect

    @property
    def numbers(self) -> bool:
        """Whether any check looks at the numbers of an update."""
        outlier = self.norm or self.split or self.direction or self.effort or self.krum is not None
        return self.duplicate or self.quality or outlier


@dataclass(frozen=True)
class Reference:
    """What a miner knows by itself: where its own training leads, and how its held-out loss slopes."""

    own: Callable[[], Vector]  # (parameters,): the step of its own training from the round's model
    slopes: Callable[
        [Vector], Matrix
    ]  # a step -> gradients of the parts of the held-out data, (parts, parameters)


@dataclass(frozen=True)
class CheckInputs:
    """The updates of a round that are to be judged."""

    updates: Matrix
    samples: Values
    ranks: Sequence[int]  # place of each in the order of commitment
    eligible: Mask  # no earlier check has a reason against it
    reference: float | None = None  # the length that the last model's updates had
    rounding: float = 0.0  # what rounding to lanes may add to a length
    earlier: Scores | None = None  # how near each is to one of an earlier round


@dataclass(frozen=True)
class PipelineResult:
    """What was found of each update: a verdict, and the scores behind it in the order of the checks."""

    verdicts: tuple[Verdict, ...]
    scores: tuple[tuple[Verdict, Scores], ...]


def judge(shown: CheckInputs, reference: Reference, checks: Checks) -> PipelineResult:
    """The verdicts on a round's updates by checks 4 to 6.

    A check takes what earlier ones found at its word: no statistic is made from what has been dropped.
    """
    with np.errstate(all="ignore"):
        return _Pipeline(shown, reference, checks).findings()


class _Pipeline:
    """One round's judgement; each method adds the scores of its check and narrows who is left."""

    def __init__(self, shown: CheckInputs, reference: Reference, checks: Checks) -> None:
        self.shown, self.reference, self.checks = shown, reference, checks
        self.gram = gram(shown.updates)
        self.lengths: Values = np.sqrt(np.diag(self.gram))
        self.cosines: Square = self.gram / np.maximum(np.outer(self.lengths, self.lengths), 1e-30)
        self.left: Mask = np.array(shown.eligible)
        self.scores: list[tuple[Verdict, Scores]] = []

    def findings(self) -> PipelineResult:
        length = norm.check(self.lengths, self.shown.reference, self.shown.rounding)
        if self.checks.norm:
            self._narrow(length)
        if self.checks.duplicate:
            self._copies()
        if self.left.any():
            self._judge_directions()
        if self.checks.norm:
            self.scores.append((Verdict.OUTLIER, length))
        return PipelineResult(self._verdicts(), tuple(self.scores))

    def _copies(self) -> None:
        originals = self.shown.eligible
        if self.shown.earlier is not None:
            self.scores.append((Verdict.DUPLICATE, self.shown.earlier))
            self._narrow(self.shown.earlier)
            originals = originals & self.shown.earlier.passed
        found = duplicate.within(self.cosines, self.shown.ranks, originals)
        self.scores.append((Verdict.DUPLICATE, found))
        self._narrow(found)

    def _judge_directions(self) -> None:
        """The checks that need the miner's own view: camps, quality, direction."""
        checks = self.checks
        shortened = np.minimum(
            1.0, SHORTENED * np.median(self.lengths[self.left]) / np.maximum(self.lengths, 1e-30)
        )
        parts = shortened * self.shown.samples
        found: list[tuple[Verdict, Scores]] = []
        trusted = self.left
        if checks.split or checks.quality or checks.direction:
            trust = self._trust()
            trusted = trust > 0
            if checks.split:
                camps = clusters.check(self.cosines, trust, self.left)
                self._narrow(camps)
                found.append((Verdict.OUTLIER, camps))
            if checks.quality:
                merits = self._merits(parts, shortened, self.left & trusted)
                self._narrow(merits)
                self.scores.append((Verdict.QUALITY, merits))
        if checks.direction:
            seen = self.gram * np.outer(shortened, shortened)
            size = self.shown.updates.shape[1]
            good = self.left & trusted if (self.left & trusted).any() else self.left
            way = direction.check(seen, self.shown.samples, good, size, checks.direction_tolerance)
            self._narrow(way)
            found.append((Verdict.OUTLIER, way))
        if checks.effort:
            ways = min_norm.check(self.lengths, self.shown.samples, self.left)
            self._narrow(ways)
            found.append((Verdict.OUTLIER, ways))
        if checks.krum is not None:
            found.append((Verdict.OUTLIER, self._krum(checks.krum)))
        self.scores += found

    def _trust(self) -> Values:
        """The cosine of each update with the miner's own training; FLTrust, arXiv:2012.13995, section IV."""
        own = self.reference.own()
        cosines = (self.shown.updates @ own) / np.maximum(self.lengths * np.linalg.norm(own), 1e-30)
        return np.nan_to_num(cosines.astype(np.float64))

    def _merits(self, parts: Values, shortened: Values, trusted: Mask) -> Scores:
        """Merits where the model would be after the trusted updates, or after all if none is."""
        chosen = trusted if trusted.any() else self.left
        weights = np.where(chosen, parts, 0.0) / max(float(self.shown.samples[chosen].sum()), 1.0)
        step = weights.astype(np.float32) @ self.shown.updates
        slopes = self.reference.slopes(step)  # (parts, parameters)
        merits = -(self.shown.updates @ slopes.T) * shortened[:, None]  # (updates, parts)
        return quality.check(merits.astype(np.float64), chosen, self.checks.quality_tolerance)

    def _krum(self, attackers: int) -> Scores:
        places = np.flatnonzero(self.left)
        found = krum.check(self.gram[np.ix_(places, places)], attackers)
        values = np.zeros(len(self.left))
        values[places] = found.values
        most = found.most[0] if len(places) else np.inf
        self.left[places[~found.passed]] = False
        return Scores(found.rule, values, np.full(len(values), -np.inf), np.full(len(values), most))

    def _narrow(self, found: Scores) -> None:
        self.left &= found.passed

    def _verdicts(self) -> tuple[Verdict, ...]:
        """The first reason against each update, in the order of section 5."""
        said = np.zeros(len(self.left), dtype=int)
        for verdict, found in sorted(self.scores, key=lambda pair: pair[0]):
            said[(said == 0) & ~found.passed] = verdict
        return tuple(Verdict(code) for code in said)


def gram(updates: Matrix) -> Square:
    """Inner products of the updates: (updates, updates)."""
    found: Square = (updates @ updates.T).astype(np.float64)
    return found
