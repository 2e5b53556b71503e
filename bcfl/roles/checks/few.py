"""Judge rounds of few updates, where no crowd says what is usual: by what each does to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bcfl.ports import MarkSearch, Vector
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import against, harm, length, mark
from bcfl.roles.checks.medians import median_of
from bcfl.roles.checks.needs import Updates
from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Values

FEW: Final = 20  # updates that can be read, up to which a round is judged so
Losses = Callable[
    [Vector, int], tuple[harm.Losses, int]
]  # after a delta, of so many samples: see `harm.check`
Marks = Callable[[Vector, Sequence[Vector], MarkSearch], Vector]  # after deltas, as `ports.Learner.marks`


@dataclass(frozen=True)
class FewUpdates:
    """What the rules look at; a rule is left out where what it needs is None."""

    updates: Updates
    samples: Values
    norms: Values | None
    short: Mask  # at the end of training, see `norm.short`
    trust: Values | None  # cosines with the miner's own training
    contributions: Sequence[Vector | None]  # of each device in earlier rounds, (parameters,)
    is_first: bool  # no round was before
    losses: Losses | None
    marks: Marks | None
    blamed: Mask  # whose device is remembered, see `memory.blamed`
    has_noise: bool = False  # whether the terms ask for it


def check(few: FewUpdates, remaining: Mask) -> Iterator[tuple[Verdict, Scores]]:
    """Yield the scores of rules, each over what those before leave of `remaining`, (updates,)."""
    among = np.array(remaining)
    parameters = few.updates.parameters
    useful, needed = np.zeros(len(among), dtype=bool), np.zeros(len(among), dtype=bool)
    if few.losses is not None:
        scores, useful = _harm(few, few.losses, among)
        among, needed = among & scores.passed, useful & (scores.values < -mark.WIDE_NEED)
        yield Verdict.QUALITY, scores
    if few.norms is not None:
        scores = length.check(few.norms, useful, among).exempt(few.short)
        among &= scores.passed
        yield Verdict.OUTLIER, scores
    if few.trust is not None:
        cosines = few.updates.view(against.NEEDS).cosines
        scores = against.check(few.trust, useful, parameters, among, cosines)
        among &= scores.passed
        yield Verdict.OUTLIER, scores
    if few.marks is not None:
        for scores in _marks(few, few.marks, among, needed):
            yield Verdict.QUALITY, scores


def _harm(few: FewUpdates, losses: Losses, among: Mask) -> tuple[Scores, Mask]:
    count, updates = harm.sample_count(harm.SAMPLES, int(among.sum())), few.updates.view(harm.NEEDS)
    return harm.check(
        lambda weights: losses(weights.astype(np.float32) @ updates, count),
        few.samples,
        among,
        None if few.trust is None else against.is_alike(few.trust, few.updates.parameters, among),
    )


def _marks(few: FewUpdates, marks: Marks, among: Mask, needed: Mask) -> tuple[Scores, ...]:
    """Return the scores of marks; none where the learner has no marks, or where any mark works."""
    places = np.flatnonzero(among)
    if len(places) < 2:
        return ()
    updates = few.updates.view(mark.NEEDS).matrix
    count = harm.sample_count(mark.SAMPLES, len(places))
    median = median_of(updates, among)
    shares, wide = np.zeros((len(updates), 2)), np.zeros(len(updates))
    moved = marks(median, [median], MarkSearch(count, random=True))
    if not len(moved) or moved[0] > mark.FRAGILE:
        return ()
    search = MarkSearch(count, mark.class_count(len(places)))
    wide_search = replace(search, known=False, wide=True, needs_wide=True)
    for place in places.tolist():
        without, suspects = mark.vectors(updates[place], few.contributions[place], median)
        share = marks(without, suspects, search)
        if not len(share):
            return ()
        shares[place, : len(share)] = share  # who gave nothing before has no past mark
        if len(places) < MIN_CROWD:
            large = marks(without, suspects[:1], wide_search)
            wide[place] = large.max(initial=0.0)
    scores = mark.check(shares, among, few.is_first, few.has_noise)
    if len(places) >= MIN_CROWD:
        return scores
    return *scores, mark.check_wide(wide, among, few.blamed, few.is_first, few.has_noise, needed)
