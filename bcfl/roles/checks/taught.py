"""Reject as `duplicate` an update in which nothing new was learned from data of any classes: for few updates.

The miner's own data say which way each class leads. What history leaves of an update, each of its pieces by
itself, must go these ways by more than noise does. What noise gives is told by decoys: the same ways, less
history, their numbers with signs by chance. They have their weight where ways have it, so that noise gains
nothing by being large there. Noise that has the shape of training, its length in few directions of a layer,
has more than decoys, but far less than honest work: so the one in the middle says what is usual, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bcfl.ports import Matrix
from bcfl.roles.checks.needs import SMALLEST, Needs, Products, View
from bcfl.roles.checks.novelty import RIDGE, ROOM
from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded

NEEDS = Needs.GRAM | Needs.SUMS  # of sketches and of those of earlier rounds, also with the miner's own ways
STATISTICS_NEEDS = Needs.GRAM | Needs.VECTOR  # norms, and the numbers that have no gradient
BY_CHANCE = 1.6  # times what chance gives: noise has 1.5 as a rule, honest ones 2.5 and more
YIELDS = 0.25  # of how many times chance the median has: that bound is at most this
PART = 0.4  # of what the median has, by layer: noise with the shape of pictures has 0.3, honest ones half
CLEAR = 2.5  # times what chance gives the median: where it has less, as in small models, that part is smaller
CERTAIN = 2.6  # times what chance gives: no part is too small that has more
LEAST = 4_000  # numbers of an update: of fewer, what goes along ways by chance is next to nothing at times
DECOYS = 3  # sets of ways that say what chance gives
STILL = 0.1  # of an update's length, where no class has a gradient
RANK = 1e-6  # of the largest: eigenvalues that are none
NOTHING = 1e-9  # of an update's length: what is left of rounding


def check(
    updates: Sequence[Products], ways: Sequence[Matrix], earlier: Sequence[Products], among: Mask
) -> tuple[Scores, Scores]:
    """Score how much of what is new in each update goes the ways in which classes lead.

    Of each piece: updates, (updates, numbers), together of unit length or zero; slopes of the miner's loss on
    each class, (classes, numbers); earlier updates, (earlier ones, numbers), of which as many are taken as
    there is room for. `among`: (updates,). Training on data of whatever classes has a good part of its
    remainder along them, also where history has been taken off both, and at rest. An update that is zero has
    nothing new, and passes; of small models this says nothing.
    """
    if sum(piece.shape[1] for piece in ways) < LEAST:
        return _nothing(len(among))
    pieces = [_piece(*parts) for parts in zip(updates, ways, earlier, strict=True)]
    squares, inner, along = (np.sum(parts, axis=0) for parts in zip(*pieces, strict=True))
    new = np.sqrt(np.maximum(squares, 0.0))
    by_piece = np.sum([_squares(*parts) for _, *parts in pieces], axis=0)
    whole, layers = (_Parts.of(parts, new) for parts in (_squares(inner, along), by_piece))
    usual = among & (new > NOTHING)
    if not usual.any():
        return _nothing(len(among))
    by_chance = min(BY_CHANCE, YIELDS * whole.clear(usual)) * whole.chance
    middle = min(1.0, layers.clear(usual) / CLEAR) * float(np.median(layers.taught[usual]))
    least = np.minimum(PART * middle, CERTAIN * layers.chance)
    return (
        bounded("taught", whole.taught, minimum=by_chance),
        bounded("taught by layer", layers.taught, minimum=least),
    )


def _nothing(count: int) -> tuple[Scores, Scores]:
    """Return that nothing is said of so many updates."""
    passed = np.full(count, np.inf)
    return bounded("taught", passed), bounded("taught by layer", passed)


@dataclass(frozen=True)
class _Parts:
    """How much of what is new in each update goes the ways of classes, and of decoys, (updates,) each."""

    taught: Values
    chance: Values

    @classmethod
    def of(cls, squares: Values, new: Values) -> _Parts:
        """Return the parts of squares, (1 + DECOYS, updates), of the ways first; all of what is zero."""
        lengths = np.maximum(new, NOTHING)
        taught = np.where(new > NOTHING, np.sqrt(squares[0]) / lengths, np.inf)
        return cls(taught, np.sqrt(squares[1:].mean(axis=0)) / lengths)

    def clear(self, among: Mask) -> float:
        """Return how many times chance the one in the middle has."""
        return float(np.median(self.taught[among] / np.maximum(self.chance[among], SMALLEST)))


def _squares(inner: Square, along: Values) -> Values:
    """Return the squares of parts in the span of ways, (1 + DECOYS, updates); see `_piece`."""
    squares: Values = np.square(along @ _whitening(inner)).sum(axis=2)
    return squares


def _piece(updates: Products, ways: Matrix, earlier: Products) -> tuple[Values, Square, Values]:
    """Return what history leaves of a piece: inner products, those of ways and decoys with updates last.

    Squares, (updates,); of ways with each other, (ways, ways); (1 + DECOYS, updates, ways).
    """
    known = earlier[: earlier.shape[1] // ROOM]
    among_known = (known @ known.T).astype(np.float64) + RIDGE * np.eye(len(known))
    of_updates, of_ways = ((known @ rows.T).astype(np.float64) for rows in (updates, ways))
    weights = np.linalg.solve(among_known, of_updates)
    squares = np.diag(updates @ updates.T).astype(np.float64) - (of_updates * weights).sum(axis=0)
    left = ways - np.linalg.solve(among_known, of_ways).T.astype(np.float32) @ known
    rng = np.random.default_rng(len(ways))
    signs = rng.choice(np.array([-1, 1], np.float32), (DECOYS, ways.shape[1]))
    sets = [left, *(left * row for row in signs)]
    along = [updates @ each.T - weights.T @ (known @ each.T) for each in sets]
    return squares, (left @ left.T).astype(np.float64), np.stack(along)


def _whitening(inner: Square) -> Square:
    """Return what makes inner products with vectors into those with axes of their span, (vectors, axes)."""
    values, vectors = np.linalg.eigh(inner)
    kept = values > RANK * max(float(values[-1]), SMALLEST)
    axes: Square = vectors[:, kept] / np.sqrt(values[kept])
    return axes


def moves_statistics(updates: View, slopes: Matrix, among: Mask) -> bool:
    """Return whether a good part of most updates is where no class has a gradient, as a norm layer's means.

    `slopes`: (classes, parameters). `among`: (updates,), those that count.
    """
    is_still = ~slopes.any(axis=0)
    if not is_still.any():
        return False
    parts = np.linalg.norm(updates.matrix[:, is_still], axis=1) / np.maximum(updates.norms, SMALLEST)
    return bool(np.median(parts[among]) > STILL)
