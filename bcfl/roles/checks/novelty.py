"""Reject as `duplicate` an update that public history explains: mixed of earlier updates, or those and noise.

An update is taken across the span of all updates of the last two rounds. What is left of a mixture of them is
rounding; of honest training of the present model it is a good part. Mixtures with noise have something left,
too: but honest remainders have something in common, since all train one model, and noise shares nothing. How
much of a remainder the others explain is found by regression without it, for which inner products are enough.
Among few nothing can be said of what remainders share. There the miner's own data say which way each class
leads: what is new in an update must not be noise to those ways.

Free riders mix and disguise: Fraboni, Vidal, Lorenzi 2021, arXiv:2006.11901.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bcfl.ports import Matrix
from bcfl.roles.checks.needs import SMALLEST, Needs, Products, View, once_of
from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded

NEEDS = Needs.GRAM | Needs.SUMS  # of sketches and of those of earlier rounds, also with the miner's own ways
STATISTICS_NEEDS = Needs.GRAM | Needs.VECTOR  # norms, and the numbers that have no gradient
NEW = 0.02  # least part of an update's length that history does not explain; mixtures: 0.006, by rounding
SHARED = 0.01  # least part of that remainder, squared, that others explain; honest ones: 0.02 and more
NEW_YIELDS, SHARED_YIELDS = 4.0, 8.0  # bounds are at most this part of the median
BY_CHANCE = 1.6  # times what chance gives: noise has 1.5 at the most, honest ones 2.4 and more
TAUGHT = 0.25  # of how often chance the median has: the bound is at most this
LEAST = (
    1_000  # numbers of an update: of fewer, what goes along two ways by chance is next to nothing at times
)
DECOYS = 4  # sets of ways that say what chance gives
STILL = 0.1  # of an update's length, where no class has a gradient
RANK = 1e-6  # of the largest: eigenvalues that are none
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


def decoys(ways: Sequence[Matrix], earlier: Sequence[Products]) -> list[Matrix]:
    """Return ways that lead nowhere, of each piece (DECOYS * ways, numbers).

    They are what history leaves of ways, with signs by chance: where ways have their weight a decoy has it,
    too, and what goes along it goes so by chance.
    """
    rng, turned = np.random.default_rng(len(ways[0])), list[Matrix]()
    for piece, views in zip(ways, earlier, strict=True):
        known = views[: views.shape[1] // ROOM]
        across = (known @ piece.T).astype(np.float64)
        rest = piece - _weights(across, known).T.astype(np.float32) @ known
        signs = rng.choice(np.array([-1, 1], np.float32), (DECOYS, piece.shape[1]))
        turned.append(np.concatenate([rest * row for row in signs]))
    return turned


def check_taught(rows: Sequence[Products], earlier: Sequence[Products], among: Mask, ways: int) -> Scores:
    """Score how much of what is new in each update goes the ways in which classes lead.

    `rows`: of each piece updates, behind them the slopes of the miner's loss on each class, and the decoys of
    these `ways`, (updates + ways + decoys, numbers). `among`: (updates,). Training on data of whatever
    classes has a good part of its remainder along them, also where history has been taken off both, and at
    rest. What is made of history and noise has no more than along decoys, however large that noise is where;
    a small model has so much by chance that this says nothing. An update that is zero has nothing new, and
    passes.
    """
    pieces = [remainders(*piece) for piece in zip(rows, earlier, strict=True)]
    rest, count = np.sum(pieces, axis=0), len(among)
    new = np.sqrt(np.maximum(np.diag(rest)[:count], 0.0))
    parts = [
        _along(rest, count, start, ways) / np.maximum(new, 1e-9) for start in range(count, len(rest), ways)
    ]
    taught = np.where(new > 1e-9, parts[0], np.inf)
    chance = np.sqrt(np.mean(np.square(parts[1:]), axis=0))
    if sum(piece.shape[1] for piece in rows) < LEAST:
        return bounded("taught", taught)
    usual = _median(taught[among] / np.maximum(chance[among], SMALLEST))
    return bounded("taught", taught, minimum=min(BY_CHANCE, TAUGHT * usual) * chance)


def _along(rest: Square, count: int, start: int, ways: int) -> Values:
    """Return the length of each remainder along the span of some ways', (updates,)."""
    some = slice(start, start + ways)
    values, vectors = np.linalg.eigh(rest[some, some])
    kept = values > RANK * max(float(values[-1]), SMALLEST)
    lengths: Values = np.linalg.norm(rest[:count, some] @ (vectors[:, kept] / np.sqrt(values[kept])), axis=1)
    return lengths


def moves_statistics(updates: View, slopes: Matrix, among: Mask) -> bool:
    """Return whether a good part of most updates is where no class has a gradient, as a norm layer's means.

    `slopes`: (classes, parameters). `among`: (updates,), those that count.
    """
    is_still = ~slopes.any(axis=0)
    if not is_still.any():
        return False
    parts = np.linalg.norm(updates.matrix[:, is_still], axis=1) / np.maximum(updates.norms, SMALLEST)
    return bool(np.median(parts[among]) > STILL)


def remainders(updates: Products, earlier: Products) -> Square:
    """Return the inner products of what is left of updates across the span of earlier ones.

    Of these as many are taken as there is room for.
    """
    earlier = earlier[: earlier.shape[1] // ROOM]
    across = (earlier @ updates.T).astype(np.float64)
    rest: Square = (updates @ updates.T).astype(np.float64) - across.T @ _weights(across, earlier)
    return (rest + rest.T) / 2


def _weights(across: Values, earlier: Products) -> Values:
    """Return how much of each earlier one is in vectors, (earlier ones, vectors), by their inner products."""
    among_earlier = (earlier @ earlier.T).astype(np.float64) + RIDGE * np.eye(len(earlier))
    weights: Values = np.linalg.solve(among_earlier, across)
    return weights


def explained(cosines: Square, size: int) -> Values:
    """Return which share of each vector the others explain, beyond chance; of vectors of so many numbers."""
    count = len(cosines)
    inverse = np.linalg.inv(cosines + SHARED_RIDGE * np.eye(count))
    unexplained = 1 / np.maximum(np.diag(inverse), 1e-9)
    shares: Values = 1 - unexplained * size / max(size - count + 1, 1)
    return shares


def _median(values: Values) -> float:
    return float(np.median(values)) if len(values) else 0.0
