"""Draw rows at and around every boundary of the challenge's arithmetic, and what the twin makes of them.

A case is one lane: the values of the accepted updates there, their weights, the old model's value, the terms,
and what is claimed: the right new value, a wrong one, or wrong bounds. No two cases share a lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.protocol import aggregation
from bcfl.protocol.fixedpoint import Lanes, Model, lane_dtype, saturate
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.types import Rule, Terms
from testkit.harness import TERMS

WIDTHS: Final = (8, 16, 32)
TRIMS: Final = (0, 1, 1_000, 2_500, 4_999)
FEW, MANY = 128, 1024  # the most updates, each with as many samples as terms allow
SMALL_LEAF: Final = 32  # bytes, which is what terms of many updates leave room for
LEAF_BYTES: Final = 512  # of the terms of few updates
MANY_SHARE: Final = 40  # one case of so many has the terms of many updates,
MANY_CASES: Final = 1_000  # in a campaign of so many cases of a rule and width
LEAST, MOST = -(2**31), 2**31 - 1
REFUSED: Final = 2**64 - 1  # the mock's answer to wrong bounds

Ints = npt.NDArray[np.int64]
Rng = np.random.Generator


def settings(rule: Rule, lane_bits: int, updates: int, leaf_bytes: int) -> list[Terms]:
    """Return the terms of every shift, and of every trim where it counts."""
    trims = TRIMS if rule is Rule.TRIMMED_MEAN else (0,)
    return [
        replace(
            TERMS, rule=rule, lane_bits=lane_bits, shift=shift, trim=trim, max_updates=updates,
            max_samples=min(2**24 - 1, (2**28 - 1) // updates), leaf_lanes=8 * leaf_bytes // lane_bits,
        )
        for shift, trim in product(range(32 - lane_bits + 1), trims)
    ]  # fmt: skip


def plan(
    rng: Rng, rule: Rule, lane_bits: int, cases: int, leaf_bytes: int = LEAF_BYTES
) -> Iterator[tuple[Terms, int]]:
    """Yield terms, in any order, and how many of a rule's cases to draw under each."""
    many = cases // MANY_SHARE if cases >= MANY_CASES else 0
    for updates, share, size in ((FEW, cases - many, leaf_bytes), (MANY, many, SMALL_LEAF)):
        terms = settings(rule, lane_bits, updates, size)
        rng.shuffle(terms)
        unit = share / sum(map(_weight, terms))
        for item in terms:
            wish = max(item.leaf_lanes, round(unit * _weight(item)))
            part = share if item is terms[-1] else min(share, wish)
            if part > 0:
                yield item, part
            share -= part


def _weight(terms: Terms) -> int:
    """Return how many cases terms get, beside others: many where the shift leaves halves to round."""
    top = 32 - terms.lane_bits
    return {0: 12, 1: 6, 2: 3, 3: 2, top: 3}.get(terms.shift, 1)


@dataclass(frozen=True)
class Probes:
    """Rulings to ask for, one array each, (cases,); `answer` is the twin's, as the mock encodes it."""

    lane: Ints
    low: Ints
    high: Ints
    before: Ints
    after: Ints
    answer: npt.NDArray[np.uint64]

    def part(self, start: int, stop: int) -> Probes:
        """Return those from `start` to `stop`."""
        return Probes(**{name: value[start:stop] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Row:
    """The leaf of a rows tree: one case a lane."""

    terms: Terms
    table: Lanes  # (updates, lanes)
    samples: list[int]

    @cached_property
    def delta(self) -> Model:
        """What the roles make of it: (lanes,)."""
        terms = self.terms
        return aggregation.aggregate(terms.rule, list(self.table), self.samples, terms.shift, terms.trim)

    @cached_property
    def lane_deltas(self) -> Ints:
        """The same in Python's integers, lane by lane."""
        terms, columns = self.terms, self.table.T.tolist()
        lanes = [
            aggregation.aggregate_lane(terms.rule, column, self.samples, terms.shift, terms.trim)
            for column in columns
        ]
        return np.array(lanes, np.int64)

    @cached_property
    def bounds(self) -> tuple[Ints, Ints]:
        """Lowest and highest value that counts, by lane: zeros for the mean."""
        columns = self.table.T.tolist()
        pairs = [aggregation.bounds(self.terms.rule, column, self.terms.trim) or (0, 0) for column in columns]
        low, high = np.array(pairs, np.int64).T
        return low, high

    @cached_property
    def order(self) -> Ints:
        """The values of each lane in ascending order: (updates, lanes)."""
        return np.sort(self.table, axis=0).astype(np.int64)

    @cached_property
    def places(self) -> tuple[int, int]:
        """The first and the last place that counts, in ascending order."""
        if self.terms.rule == Rule.MEAN:
            return 0, len(self.samples) - 1
        return aggregation.kept_places(self.terms.rule, len(self.samples), self.terms.trim)

    @cached_property
    def fraction(self) -> tuple[Ints, int]:
        """The exact quotient of each lane, numerator and denominator, before it is rounded."""
        first, last = self.places
        if self.terms.rule == Rule.MEAN:
            weights = np.array(self.samples, np.int64)
            return (weights @ self.table.astype(np.int64)) << self.terms.shift, sum(self.samples)
        if self.terms.rule == Rule.MEDIAN:
            return (self.order[first] + self.order[last]) << self.terms.shift, 2
        return self.order[first : last + 1].sum(axis=0) << self.terms.shift, last + 1 - first

    @property
    def halves(self) -> npt.NDArray[np.bool_]:
        """Whether the quotient of each lane lies exactly between two integers."""
        numerator, denominator = self.fraction
        return np.asarray(2 * (numerator % denominator) == denominator)


def draw_row(rng: Rng, terms: Terms) -> Row:
    """Draw the values and samples of a few updates, rarely of many."""
    count = _count(rng, terms.max_updates)
    if terms.rule == Rule.MEAN and rng.random() < 0.3 and (row := _halves(rng, terms, count)) is not None:
        return row
    return Row(terms, _table(rng, terms, count), _samples(rng, terms, count))


def _count(rng: Rng, most: int) -> int:
    if most == MANY:
        near = int(2 ** rng.uniform(0, 10))  # as often between 2 and 4 as between 512 and 1,024
        return (
            int(rng.choice([near, near | 1, min(MANY, near + 1)], p=[0.6, 0.2, 0.2]))
            if (rng.random() < 0.97)
            else int(rng.choice([MANY - 1, MANY]))
        )
    low, high = ((1, 1), (2, 2), (3, 3), (4, 9), (10, 32), (33, FEW))[
        rng.choice(6, p=[0.08, 0.14, 0.14, 0.45, 0.17, 0.02])
    ]
    return int(rng.integers(low, high, endpoint=True))


def _samples(rng: Rng, terms: Terms, count: int) -> list[int]:
    most = terms.max_samples * TOP_LEVEL**2
    kind = rng.integers(5)
    if kind < 2:
        return [(1, most)[kind]] * count
    if kind == 2:
        return [int(item) for item in rng.choice([1, 2, most - 1, most], count)]
    return [int(item) for item in rng.integers(1, (4, most)[kind - 3], count, endpoint=True)]


def _table(rng: Rng, terms: Terms, count: int) -> Lanes:
    """Draw values, each lane in another way: (updates, lanes)."""
    dtype = lane_dtype(terms.lane_bits)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    shape = count, terms.leaf_lanes
    base = rng.integers(least, most, shape[1], endpoint=True)
    other = rng.integers(least, most, shape[1], endpoint=True)
    end = rng.choice([least, most], shape[1])
    noise, coin = rng.integers(-1, 1, shape, endpoint=True), rng.integers(0, 2, shape)
    ways = np.stack(
        [
            rng.integers(least, most, shape, endpoint=True),  # the whole range
            rng.integers(-3, 3, shape, endpoint=True),  # few values, which tie
            rng.choice([least, least + 1, -1, 0, 1, most - 1, most], shape),
            np.broadcast_to(base, shape),  # equal values
            base + noise,
            np.where(coin, base, other),  # two values
            end + noise * (rng.random(shape) < 0.3),
            np.where(coin, base, base ^ 1),
        ]
    )
    way = rng.integers(0, len(ways), shape[1])
    chosen: Ints = ways[way, :, np.arange(shape[1])].T
    return np.clip(chosen, least, most).astype(dtype)


def _halves(rng: Rng, terms: Terms, count: int) -> Row | None:
    """Draw a mean whose quotients lie between two integers or as near as can be; None where none can.

    The sum of the samples is a multiple of `2**(shift + 1)`, and the last update, which stands for one
    sample, has the value that puts the remainder at the half or right beside it.
    """
    table = _table(rng, terms, count).astype(np.int64)
    least, most = -(1 << terms.lane_bits - 1), (1 << terms.lane_bits - 1) - 1
    total = int(rng.integers(1, min(64, most), endpoint=True)) << terms.shift + 1
    if count < 2 or not count <= total <= (count - 1) * (terms.max_samples // 2):
        return None
    others = rng.multinomial(total - count, [1 / (count - 1)] * (count - 1)) + 1
    if others.max() > terms.max_samples:
        return None
    period = total >> terms.shift
    beside = rng.choice([0, 0, 0, 1, -1], terms.leaf_lanes)
    value = (period // 2 - others @ table[:-1] + beside - least) % period + least
    room = (most - value) // period
    table[-1] = value + period * rng.integers(0, room, endpoint=True)
    return Row(terms, table.astype(lane_dtype(terms.lane_bits)), [*map(int, others), 1])


def draw_old(rng: Rng, row: Row) -> Ints:
    """Draw the old model's lanes: of any size, at the ends, or such that the sum ends at the ends."""
    count = row.terms.leaf_lanes
    steps = rng.integers(-2, 2, count, endpoint=True)
    ends = rng.choice([LEAST, MOST], count)
    ways = np.stack(
        [
            rng.integers(LEAST, MOST, count, endpoint=True),
            rng.integers(-3, 3, count, endpoint=True),
            ends + steps,
            ends - row.delta + steps,  # the sum: at an end, right before it or right beyond
            np.where(row.delta < 0, LEAST, MOST) - row.delta + steps,
        ]
    )
    way = rng.integers(0, len(ways), count)
    return np.clip(ways[way, np.arange(count)], LEAST, MOST)


def draw_probes(rng: Rng, row: Row, old: Ints) -> Probes:
    """Draw what is claimed of each lane: a third right, a third wrong, a third with wrong bounds."""
    low, high = row.bounds
    new = aggregation.apply(old.astype(np.int32), row.delta).astype(np.int64)
    way = rng.integers(0, 3, len(new))
    is_wrong = (way == 1) | ((way == 2) & (rng.random(len(new)) < 0.5))
    other_low, other_high = _wrong_bounds(rng, row)
    answer = (new - LEAST).astype(np.uint64) << np.uint64(1) | is_wrong.astype(np.uint64)
    if row.terms.rule != Rule.MEAN:  # which has no bounds, and looks at none
        answer[way == 2] = REFUSED
    return Probes(
        np.arange(len(new)),
        np.where(way == 2, other_low, low),
        np.where(way == 2, other_high, high),
        old,
        np.where(is_wrong, _wrong_values(rng, row, old, new), new),
        answer,
    )


def _wrong_values(rng: Rng, row: Row, old: Ints, new: Ints) -> Ints:
    """Draw what a leader might propose instead of the right lanes."""
    numerator, denominator = row.fraction
    down = numerator // denominator
    ways = np.stack(
        [
            new - 1,
            new + 1,
            (old + row.delta).astype(np.int32),  # wrapped instead of saturated
            saturate(old + down),
            saturate(old - (-numerator // denominator)),  # rounded up
            saturate(old + down + (2 * (numerator - down * denominator) >= denominator)),  # half up
            old,
            new ^ -(2**31),  # the other sign
            np.where(new == MOST, MOST - 1, np.where(new == LEAST, LEAST + 1, -new)),
            rng.integers(LEAST, MOST, len(new), endpoint=True),
        ]
    )
    way = rng.integers(0, len(ways), len(new))
    chosen = ways[way, np.arange(len(new))].astype(np.int32).astype(np.int64)
    return np.where(chosen == new, np.where(new == MOST, MOST - 1, new + 1), chosen)


def _wrong_bounds(rng: Rng, row: Row) -> tuple[Ints, Ints]:
    """Draw bounds that are not those of each lane; any for the mean."""
    (low, high), order, (first, last) = row.bounds, row.order, row.places
    least, end = -(1 << row.terms.lane_bits - 1), len(order) - 1
    alias, zero = 1 << row.terms.lane_bits, np.zeros_like(low)
    pairs = [
        (low - 1, high),
        (low + 1, high),
        (low, high - 1),
        (low, high + 1),
        (low - 1, high - 1),
        (low + 1, high + 1),
        (high, low),
        (low, low),
        (high, high),
        (order[max(first - 1, 0)], high),  # one cut too few, one too many, at each end
        (order[min(first + 1, end)], high),
        (low, order[max(last - 1, 0)]),
        (low, order[min(last + 1, end)]),
        (order[max(first - 1, 0)], order[min(last + 1, end)]),
        (order[0], order[end]),
        (zero + least, zero - least - 1),
        (zero, zero),
        (low + alias, high),  # the same lowest bits
        (low, high - alias),
        (zero + np.iinfo(np.int64).min, high),
        (low, zero + np.iinfo(np.int64).max),
    ]
    lows, highs = (np.stack(side) for side in zip(*pairs, strict=True))
    way, lanes = rng.integers(0, len(pairs), len(low)), np.arange(len(low))
    other_low, other_high = lows[way, lanes], highs[way, lanes]
    same = (other_low == low) & (other_high == high)
    return other_low - same, other_high


@dataclass
class Count:
    """What was tried with one rule and width."""

    cases: int = 0
    right: int = 0  # new values that are right, found right
    wrong: int = 0  # and wrong, found wrong
    refused: int = 0  # wrong bounds, refused
    halves: int = 0  # cases whose quotient lies between two integers
    saturated: int = 0  # cases whose sum leaves 32 bits
    ends: int = 0  # cases whose sum is the least or the most of 32 bits
    updates: int = 0  # the most of a case

    def add(self, row: Row, old: Ints, probes: Probes) -> None:
        """Count the cases of a row whose rulings were the twin's."""
        total = old + row.lane_deltas
        refused = int((probes.answer == REFUSED).sum())
        wrong = int((probes.answer & np.uint64(1)).sum()) - refused
        self.cases += len(old)
        self.right += len(probes.answer) - wrong - refused
        self.wrong += wrong
        self.refused += refused
        self.halves += int(row.halves.sum())
        self.saturated += int(((total < LEAST) | (total > MOST)).sum())
        self.ends += int(((total == LEAST) | (total == MOST)).sum())
        self.updates = max(self.updates, len(row.samples))

    def merge(self, other: Count) -> None:
        """Count what another one has counted too."""
        for name, value in vars(other).items():
            own = getattr(self, name)
            setattr(self, name, max(own, value) if name == "updates" else own + value)
