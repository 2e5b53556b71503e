"""Find the median of each parameter over a round's updates.

Of few updates by a sorting network, of which only those comparators are left that the middle depends on: each
is two operations on whole pieces of rows. Knuth, "The Art of Computer Programming", volume 3, section 5.2.2,
algorithm M (merge exchange, Batcher 1968). Of more, sorting the numbers of each parameter is as quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.ports import Matrix, Vector
from bcfl.roles.checks.shared import once

NETWORK: Final = 32  # updates up to which a network is quicker
WIDE, NARROW = 8_192, 250  # parameters in a piece that fits the processor's cache: of a network, of sorting
Rows = list[npt.NDArray[np.float32]]
Comparator = tuple[int, int, bool, bool]  # two rows, and whether the lower and the higher are needed


def median_of(updates: Matrix, among: npt.NDArray[np.bool_]) -> Vector:
    """Return the median of each parameter, (parameters,), over some of the updates, (updates, parameters).

    `among`, (updates,), says which. The updates hold no NaN.
    """
    if among.sum() <= NETWORK:  # of few they are quick, and those of large models are not kept
        return _median_of(updates, among)
    return once("median", among.tobytes(), [updates], lambda: _median_of(updates, among))


def _median_of(updates: Matrix, among: npt.NDArray[np.bool_]) -> Vector:
    places = np.flatnonzero(among)
    low, high = (len(places) - 1) // 2, len(places) // 2
    median, has_network = np.empty(updates.shape[1], np.float32), len(places) <= NETWORK
    size = WIDE if has_network else NARROW
    for start in range(0, len(median), size):
        piece = slice(start, start + size)
        if has_network:
            rows = _ranked([updates[place, piece].copy() for place in places])
            lower, higher = rows[low], rows[high]
        else:
            ranks = np.sort(np.ascontiguousarray(updates[places, piece].T), axis=1)  # (parameters, updates)
            lower, higher = ranks[:, low], ranks[:, high]
        median[piece] = (lower + higher) / 2
    return median


def _ranked(rows: Rows) -> Rows:
    """Return rows, overwritten, of which those in the middle have the ranks of the middle."""
    spare = np.empty_like(rows[0])
    for first, second, needs_lower, needs_higher in _network(len(rows)):
        one, other = rows[first], rows[second]
        if not needs_higher:
            np.minimum(one, other, out=one)
        elif not needs_lower:
            np.maximum(one, other, out=other)
        else:
            np.minimum(one, other, out=spare)
            np.maximum(one, other, out=other)
            rows[first], spare = spare, one
    return rows


@lru_cache(maxsize=NETWORK)
def _network(count: int) -> tuple[Comparator, ...]:
    """Return what of a sorting network for so many rows the middle depends on."""
    needed, kept = {(count - 1) // 2, count // 2}, list[Comparator]()
    for first, second in reversed([*_merge_exchange(count)]):
        if {first, second} & needed:
            kept.append((first, second, first in needed, second in needed))
            needed |= {first, second}
    return tuple(reversed(kept))


def _merge_exchange(count: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of places to compare, one after the other, that sort so many."""
    top = 1 << max((count - 1).bit_length() - 1, 0)
    span = top
    while span and count > 1:
        limit, rest, distance = top, 0, span
        while True:
            yield from (
                (place, place + distance) for place in range(count - distance) if place & span == rest
            )
            if limit == span:
                break
            distance, limit, rest = limit - span, limit >> 1, span
        span >>= 1
