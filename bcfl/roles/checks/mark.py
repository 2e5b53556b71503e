"""Reject as `quality` an update that makes a mark on the inputs work: for few updates, and classes.

A backdoor is made so that inputs that carry a mark are taken for one class. A miner looks for the mark that
works best on the model with all that a device gave, this round and before, but not on the model without it;
how often it works is the score. Nobody needs to know the attacker's mark: the search finds one on the inputs
that the attacker taught the model to listen to. "Neural Cleanse" (Wang et al. 2019, IEEE S&P, section IV)
searches the smallest mark for each class of one model; two models are compared here, because an honest model
has marks that work as well.

Fewer updates than make a crowd have larger marks tried on them, too: for a crowd `mark_slope.py` does that.

A norm layer on inputs that are mostly constant divides by next to nothing: then any mark changes whatever
the model says, on honest updates, too. A miner tries one by chance; where that changes much, this rule says
nothing.

Noise that the terms ask for makes marks work too, on every update alike. Then what a mark turns on the update
in the middle says nothing, and only more than that does: where it is much, this rule finds nothing.
"""

from __future__ import annotations

import numpy as np

from bcfl.ports import Vector
from bcfl.roles.checks.harm import ALL
from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import NORMAL, Mask, Scores, Values, bounded, median

NEEDS = Needs.VECTOR  # beside the median of each parameter
SAMPLES = 400  # held-out samples for `harm.USUAL` updates: half of them get the marks
CLASSES = 3  # for which marks are tried, of a round in which every majority is tried; of more: 1
OWN, TIMES = 0.4, 3.0  # the share that a mark may turn, and times the highest share of the others
MOST = 0.6  # that it may turn in any case: honest devices of skewed data have 0.45, a backdoor 0.9 and more
FIRST = 0.8  # of an untrained model: whatever is learned first makes marks work
MARGIN = 0.2  # with noise: above what a mark turns on the update in the middle; honest ones have 0.15
WIDE_LEAST, WIDE_MOST = 0.6, 0.93  # that a large mark may turn, held between: honest ones have up to 0.86
WIDE_BLAMED = 0.7  # at most, for who is remembered: on even data a patch of 8 by 8 has 0.75 and more
WIDE_NEED = 0.1  # of the loss before the round: who takes off that much may have `WIDE_MOST`
WIDE_FIRST = 0.95  # of an untrained model: honest devices have up to 0.92 there, a patch of 8 by 8 0.97
WIDE_SPREAD = 4.0  # robust deviations of the lower half above the median
FRAGILE = 0.4  # of answers that a mark by chance changes; up to 0.35 while a model learns, then 0.1
BEFORE = 0.35  # by what is in the model from earlier rounds alone; honest devices with two classes have 0.3
Marks = np.ndarray[tuple[int, int], np.dtype[np.float64]]  # (updates, 2)


def class_count(updates: int) -> int:
    """Return for how many classes marks are tried on one update."""
    return CLASSES if updates <= ALL else 1


def vectors(update: Vector, contribution: Vector | None, median: Vector) -> tuple[Vector, tuple[Vector, ...]]:
    """Return what makes the model one without a device, and one or two with it, (parameters,) each.

    Without: the median of the round in the place of its update, and less all that it gave before. With: its
    update; and, if it gave any, the median, which leaves what it gave before. `contribution`: of earlier
    rounds, `median`: of the round's updates, (parameters,) both.
    """
    return (median, (update,)) if contribution is None else (median - contribution, (update, median))


def check(shares: Marks, among: Mask, is_first: bool, has_noise: bool = False) -> tuple[Scores, Scores]:
    """Score how often marks work by all that each device gave, and by its earlier rounds alone.

    `shares`: both, of marked samples, (updates, 2). `is_first`: whether no round was before. `has_noise`:
    whether the terms ask for noise.
    """
    now, before = np.where(among[:, None], shares, 0.0).T
    maximum: Values | float = MOST
    if is_first:
        maximum = FIRST
    elif among.sum() <= ALL and not has_noise:
        others = np.array([np.delete(now, place).max(initial=0.0) for place in range(len(now))])
        maximum = np.minimum(OWN + TIMES * np.maximum(others, 0.0), MOST)
    least = np.median(shares[among], axis=0) + MARGIN if has_noise and among.any() else np.zeros(2)
    now_scores = bounded("mark", now, maximum=np.maximum(maximum, least[0]))
    return now_scores, bounded("past mark", before, maximum=max(BEFORE, float(least[1])))


def check_wide(
    shares: Values,
    among: Mask,
    blamed: Mask,
    is_first: bool,
    has_noise: bool = False,
    needed: Mask | None = None,
) -> Scores:
    """Score how often large marks work, of fewer updates than make a crowd; `shares`: (updates,), as `check`.

    They are of what is not taken for the mark's class unmarked. Large marks work on honest updates of skewed
    data too: the bound follows the lower half of those that keep to it, and half of all are never beyond it.
    Who alone has a class stands apart where the others' updates make no mark work, an empty one above all:
    for those `needed`, (updates,), without whom the round is much worse, it is no lower than `WIDE_MOST`. For
    those `blamed`, (updates,), as `memory.blamed` has them, it is no higher than `WIDE_BLAMED`.
    """
    usual, maximum, strict = np.array(among), np.ones(len(shares)), 1.0 if has_noise else WIDE_BLAMED
    while usual.any():
        bound = WIDE_FIRST if is_first else _wide_bound(shares[usual])
        if has_noise:
            bound = max(bound, median(shares[usual]) + MARGIN)
        bounds = (
            np.full(len(shares), bound) if needed is None else np.where(needed, max(bound, WIDE_MOST), bound)
        )
        bounds = np.where(blamed, np.minimum(bounds, strict), bounds)
        out = usual & (shares > bounds)
        if 2 * (usual & ~out).sum() <= among.sum():
            break
        maximum = bounds
        if not out.any():
            break
        usual &= ~out
    return bounded("wide mark", np.where(among, shares, 0.0), maximum=maximum)


def _wide_bound(shares: Values) -> float:
    middle = median(shares)
    spread = NORMAL * (middle - median(shares[shares <= middle]))
    return min(max(middle + WIDE_SPREAD * spread, WIDE_LEAST), WIDE_MOST)
