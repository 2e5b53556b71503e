"""Reject as `duplicate` an update that public history explains: mixed of earlier updates, or those and noise.

An update is taken across the span of all updates of the last two rounds. What is left of a mixture of them is
rounding; of honest training of the present model it is a good part. Mixtures with noise have something left,
too: but honest remainders have something in common, since all train one model, and noise shares nothing. How
much of a remainder the others explain is found by regression without it, for which inner products are enough.
Among few nothing can be said of what remainders share: there `taught` asks more of them.

Free riders mix and disguise: Fraboni, Vidal, Lorenzi 2021, arXiv:2006.11901.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs, Products, once_of
from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded

NEEDS = Needs.GRAM  # of sketches, with those of earlier rounds
NEW = 0.02  # least part of an update's length that history does not explain; mixtures: 0.006, by rounding
SHARED = 0.01  # least part of that remainder, squared, that others explain; honest ones: 0.02 and more
NEW_YIELDS, SHARED_YIELDS = 4.0, 8.0  # bounds are at most this part of the median
CHANCE = 3.0  # standard deviations of what chance explains
MIN_UPDATES = 16  # fewer remainders explain nothing by what they share
ROOM = 8  # numbers of an update for each earlier one: fewer are explained by chance
RIDGE, SHARED_RIDGE = 1e-6, 1e-3  # added to the cosines: rounding, and what is no sign of likeness


def check(updates: Products, earlier: Products, among: Mask) -> tuple[Scores, Scores]:
    """Score how new each update is, and how far others share what is new.

    `updates`: (updates, numbers), of unit length or zero; `earlier`: (earlier ones, numbers), too, of which
    as many are taken as there is room for. Both bounds give way to the crowd: where training comes to rest,
    honest updates repeat themselves.
    """
    return once_of("novelty", among.tobytes(), [updates, earlier], lambda: _check(updates, earlier, among))


def _check(updates: Products, earlier: Products, among: Mask) -> tuple[Scores, Scores]:
    count, size = updates.shape
    new, shared = np.ones(count), np.ones(count)
    room = size // ROOM
    if not len(earlier) or room < count:
        return bounded("new", new), bounded("shared", shared)
    earlier = earlier[:room]
    rest = remainders(updates, earlier)
    new = np.sqrt(np.maximum(np.diag(rest), 0.0))
    least_new = min(NEW, _median(new[among]) / NEW_YIELDS)
    left = np.flatnonzero(among & (new >= max(least_new, 1e-9)))
    least_shared = -np.inf
    if len(left) >= MIN_UPDATES:
        cosines = rest[np.ix_(left, left)] / np.outer(new[left], new[left])
        shared[left] = explained(cosines, size - len(earlier))
        chance = CHANCE * np.sqrt(2 * len(left)) / (size - len(earlier))
        least_shared = min(SHARED, _median(shared[left]) / SHARED_YIELDS - chance)
    return bounded("new", new, minimum=least_new), bounded("shared", shared, minimum=least_shared)


def remainders(updates: Products, earlier: Products) -> Square:
    """Return the inner products of what is left of updates across the span of earlier ones."""
    among_earlier = (earlier @ earlier.T).astype(np.float64) + RIDGE * np.eye(len(earlier))
    across = (updates @ earlier.T).astype(np.float64)
    rest: Square = (updates @ updates.T).astype(np.float64) - across @ np.linalg.solve(
        among_earlier, across.T
    )
    return (rest + rest.T) / 2


def explained(cosines: Square, size: int) -> Values:
    """Return which share of each vector the others explain, beyond chance; of vectors of so many numbers."""
    count = len(cosines)
    inverse = np.linalg.inv(cosines + SHARED_RIDGE * np.eye(count))
    unexplained = 1 / np.maximum(np.diag(inverse), 1e-9)
    shares: Values = 1 - unexplained * size / max(size - count + 1, 1)
    return shares


def _median(values: Values) -> float:
    return float(np.median(values)) if len(values) else 0.0
