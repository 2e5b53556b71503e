"""Reject as `outlier` a group of updates that have in common what no data explain: a hidden task.

Where data are skewed, what sets honest updates apart is mostly the classes that each device has. A miner has
some of each class itself, and so knows which way each class leads. It takes off all updates what these ways
and the usual update make up, and between devices what follows from how far each goes along them, and how far
it goes at all. What is left of an honest update is its own noise, which it shares with nobody. Who teaches
the model something together, whatever it is, leaves it in all of theirs: nobody has to know what it is, nor
how inputs are marked for it.

The group is the one whose common remainder is found again, strongest, in each member's update, without that
update's own part in it, and hardly in anybody else's. The more the data of its members are alike, the less it
says: then a remainder may be what the ways of the classes leave out. Spectral signatures (Tran et al.
2018, arXiv:1811.00636) and FLAME (Nguyen et al. 2022, arXiv:2101.02281) look at updates as they are, where
on skewed data the classes hide a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from bcfl.ports import Matrix, Vector
from bcfl.roles.checks.needs import SMALLEST, Needs, View
from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded

NEEDS = Needs.GRAM | Needs.SUMS | Needs.VECTOR  # beside the median of each parameter
SAMPLES = 200  # held-out samples that say where classes lead
MIN_UPDATES = 40  # of fewer too little is left
FREE = 3  # so many updates for each direction that explains how they differ
DIRECTIONS, STEPS = 3, 12  # where the search begins, and its length
STRONG = 0.12  # of an update's length: the remainder of a group, less where its members' data are alike
CLEAR = 0.85  # of the variance of that: what two clouds have to explain (one that is uniform: 0.75)
SURE = 0.9  # of it: then a group of alike data is out though the model be worse without these
KNOWN, KNOWN_CLEAR = 2 / 3, 0.7  # of a group's members: if so many are blamed this is clear for those
AGAIN = 0.5  # of who is blamed: so many have to be in a group that is the same again
LEAST_SHARE, MIN_GROUP = 1 / 12, 5  # of the updates, in a group
MEMBER = 0.5  # of what members have on average: who has that much is one
RANK = 1e-6  # of the largest: eigenvalues that are none


@dataclass(frozen=True)
class Group:
    """Some of a round's updates, and how much of their remainder each update has, (updates,)."""

    members: Mask
    parts: Values
    strength: float  # the mean part of the members, times their spread
    clearness: float  # the share of the parts' variance that lies between members and others
    spread: float  # how far members differ in their classes, as a share of how far all do; 1 if known
    is_known: bool  # whether most members are blamed, and most of the blamed are members


def check(
    updates: View,
    slopes: Matrix,
    usual: Vector,
    among: Mask,
    blamed: Mask,
    is_harmless: Callable[[Mask, Mask], bool],
) -> Scores:
    """Score how far beyond its bounds a group's remainder is, for its members; the others are at 0.

    `slopes`: gradients of the miner's loss on each class, (classes, parameters). `usual`: the median of each
    parameter, (parameters,). `blamed`: who was left out as an outlier not long ago, (updates,): a group of
    those is known. `is_harmless`: whether a group can be done without, among those that remain.
    """
    updates.require(Needs.VECTOR)
    scores = np.zeros(len(updates))
    norms, gram, basis = updates.norms, updates.cosines, np.concatenate([slopes, usual[None]])
    products = (updates @ basis.T).astype(np.float64) / np.maximum(norms, SMALLEST)[:, None]
    inner = (basis @ basis.T).astype(np.float64)  # in single precision: of large models a copy is gigabytes
    remaining = among & (norms > SMALLEST) & np.isfinite(norms) & np.isfinite(products).all(axis=1)
    for _ in scores:
        places = np.flatnonzero(remaining)
        if len(places) < MIN_UPDATES or 2 * len(places) <= among.sum():
            break
        rows = products[places]
        beside = _beside(gram[np.ix_(places, places)], rows, inner)
        found = find(beside, rows[:, :-1], norms[places], blamed[places])
        if found is None:
            break
        clear = KNOWN_CLEAR if found.is_known else CLEAR
        excess = min(found.strength / STRONG, found.clearness / clear)
        out = np.zeros_like(among)
        out[places[found.parts > MEMBER * found.parts[found.members].mean()]] = True
        if found.clearness <= CLEAR:
            out &= blamed
        is_sure = found.clearness > SURE or found.strength * found.spread > STRONG
        if excess <= 1.0 or not out.any() or not (is_sure or is_harmless(out, remaining)):
            break
        scores[out] = excess
        remaining &= ~out
    return bounded("hidden task", scores, maximum=1.0)


def find(gram: Square, classes: Values, norms: Values, known: Mask) -> Group | None:
    """Return the group with the strongest common remainder; None where there is none to speak of.

    `gram`: inner products of updates of unit length, less what is explained in each, (updates, updates).
    `classes`: how far each goes the way of each class, (updates, classes). `norms`: (updates,). `known`: who
    is looked at beside what the inner products say, (updates,).
    """
    centred = classes - classes.mean(axis=0)
    explained = _explained(centred, norms)
    others = gram - np.diag(np.diag(gram))
    free = _free(_free(gram, explained).T, explained)
    best: Group | None = None
    for weights in (*_starts(free), known - known.mean()):
        for members, parts, clearness in _converge(weights, others, explained):
            again = int((known & members).sum())
            is_known = again >= KNOWN * members.sum() and again >= AGAIN * known.sum()
            part = min(float(parts[members].mean()), _mutual(members, others, explained))
            spread = 1.0 if is_known else _spread(members, centred)
            if best is None or part * spread > best.strength:
                best = Group(members, parts, part * spread, clearness, spread, is_known)
    return best


def _converge(weights: Values, others: Square, explained: Values) -> Iterator[tuple[Mask, Values, float]]:
    """Yield groups, each made of those who have much of the remainder of the one before: `Group` has what.

    `weights`: of the first, (updates,). `others`: inner products of different updates, (updates, updates).
    `explained`: axes of what is explained between updates, (updates, axes).
    """
    count, before = len(others), None
    for _ in range(STEPS):
        remainder = _free(weights, explained)
        length = float(np.linalg.norm(remainder))
        if length < RANK:
            return
        parts = others @ (remainder / length)
        clearness, members = two_clouds(parts)
        if abs(parts[members].mean()) < abs(parts[~members].mean()):
            parts, members = -parts, ~members  # what is at 0 has no part in it
        if max(MIN_GROUP, LEAST_SHARE * count) <= members.sum() <= count / 2:
            yield members, parts, clearness
        if before is not None and np.array_equal(members, before):
            return
        before, weights = members, members - members.mean()


def _mutual(members: Mask, others: Square, explained: Values) -> float:
    """Return how much more of their remainder members have from each other than others have from them.

    In the unit of the parts. What members have in common through others alone says nothing: those may have
    put it there.
    """
    count = int(members.sum())
    pairs = float(others[np.ix_(members, members)].sum()) / (count * (count - 1))
    across = float(others[np.ix_(members, ~members)].mean())
    return (pairs - across) * float(np.linalg.norm(_free(members - members.mean(), explained)))


def two_clouds(places: Values) -> tuple[float, Mask]:
    """Return the share of the variance that two clouds explain at best, and which places are in the upper.

    At least two are in each ("A threshold selection method from gray-level histograms", Otsu 1979).
    """
    ranks, count = np.sort(places)[::-1], len(places)
    sizes = np.arange(2, count - 1)
    sums = np.cumsum(ranks)[sizes - 1]
    distances = sums / sizes - (ranks.sum() - sums) / (count - sizes)
    between = sizes * (count - sizes) * np.square(distances) / count**2
    best = int(np.argmax(between))
    return float(between[best] / max(float(places.var()), SMALLEST)), places >= ranks[sizes[best] - 1]


def _beside(gram: Square, products: Values, inner: Square) -> Square:
    """Return inner products of updates less what lies along a basis, (updates, updates).

    `products`: with its vectors, (updates, vectors). `inner`: of these with each other, (vectors, vectors).
    """
    values, vectors = np.linalg.eigh(inner)
    kept = values > RANK * max(float(values[-1]), SMALLEST)
    along = products @ (vectors[:, kept] / np.sqrt(values[kept]))
    beside: Square = gram - along @ along.T
    return beside


def _explained(centred: Values, norms: Values) -> Values:
    """Return axes of what classes, lengths or the mean explain between updates, (updates, axes)."""
    count = len(centred)
    axes, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:, sizes > RANK * max(float(sizes[0]), SMALLEST)][:, : count // FREE]
    known: Values = np.linalg.qr(np.column_stack([np.ones(count), axes, np.log(norms)]))[0]
    return known


def _free(columns: Values, explained: Values) -> Values:
    """Return what axes, (updates, axes), leave of a column, (updates,), or of several, (updates, columns)."""
    left: Values = columns - explained @ (explained.T @ columns)
    return left


def _starts(matrix: Square) -> Iterator[Values]:
    """Yield weights, (updates,), along which remainders agree most."""
    from scipy.linalg import eigh  # that a small federation need not load

    deviations = np.sqrt(np.maximum(np.diag(matrix), SMALLEST))
    cosines = matrix / np.outer(deviations, deviations)
    np.fill_diagonal(cosines, 0.0)
    count = len(cosines)
    with threadpool_limits(1, user_api="blas"):  # scipy has a library of its own
        last = eigh(cosines, subset_by_index=(count - DIRECTIONS, count - 1), check_finite=False)[1]
    yield from last[:, ::-1].T


def _spread(members: Mask, centred: Values) -> float:
    """Return how far members differ in their classes, as a share of how far all do, at most 1."""
    whole = max(float(centred.var(axis=0).sum()), SMALLEST)
    return min(1.0, float(centred[members].var(axis=0, ddof=1).sum()) / whole)
