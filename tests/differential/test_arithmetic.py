"""The challenge's arithmetic at every boundary: aggregation.vy on its own beside its Python twin.

`python -m benchmarks.arithmetic` plays the same campaign on as many cases as one has time for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

from bcfl.errors import Reverted
from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol import aggregation
from bcfl.protocol.challenges import pack_samples
from bcfl.protocol.types import Rule, Terms
from testkit.arithmetic import LEAST, MOST, REFUSED, WIDTHS, Probes, Row, draw_old, draw_probes, draw_row
from testkit.arithmetic_mock import ask, check, compare, deploy
from testkit.harness import TERMS, account
from testkit.mocks import CONTRACTS

OWNER = account("owner")
LANE = 3  # of the row, where nothing else is said
NOISE = 0x5A  # what the other lanes' bytes are


@cache
def chain() -> EmbeddedChain:
    return EmbeddedChain(None, accounts=[OWNER.address])


def terms_of(rule: Rule, lane_bits: int = 16, shift: int = 0, trim: int = 0, words: int = 1) -> Terms:
    """Terms with leaves of some words."""
    lanes = 256 * words // lane_bits
    return replace(
        TERMS, rule=rule, lane_bits=lane_bits, shift=shift, trim=trim, leaf_lanes=lanes, max_updates=1024
    )


@cache
def contract_of(terms: Terms) -> Contract:
    return deploy(chain(), OWNER, terms)


def row_of(terms: Terms, values: Sequence[int], lane: int) -> bytes:
    """A leaf of the rows tree that has these values at one lane, and noise around it."""
    width, size = terms.lane_bits // 8, terms.leaf_lanes * terms.lane_bits // 8
    before, after = bytes([NOISE]) * (width * lane), bytes([NOISE]) * (size - width * (lane + 1))
    return b"\x00" + b"".join(before + value.to_bytes(width, "big", signed=True) + after for value in values)


def right_value(
    terms: Terms,
    values: Sequence[int],
    samples: Sequence[int] = (),
    bounds: tuple[int, int] | None = None,
    old: int = 0,
    lane: int = LANE,
) -> int:
    """The new value that the contract insists upon, with the right bounds where none are given."""
    low, high = bounds or aggregation.bounds(terms.rule, values, terms.trim) or (0, 0)
    weights = pack_samples(samples or [1] * len(values))
    args: tuple[Any, ...] = (lane, low, high, old % 2**256, 0, weights, row_of(terms, values, lane))
    right: int
    is_wrong, right = contract_of(terms).call("ruling", *args)
    assert is_wrong == (right != 0)
    return right


def twin(terms: Terms, values: Sequence[int], samples: Sequence[int] = ()) -> int:
    weights = samples or [1] * len(values)
    return aggregation.aggregate_lane(terms.rule, values, weights, terms.shift, terms.trim)


@pytest.mark.parametrize("trim", [None, 0, 2_500, 4_999])
def test_only_the_right_bounds_open_a_challenge(trim: int | None) -> None:
    """All pairs of bounds in and around the values, for lists in which they tie in every way."""
    terms = terms_of(Rule.MEDIAN if trim is None else Rule.TRIMMED_MEAN, trim=trim or 0)
    for values in ([1], [0, 1], [1, 1], [2, 0, 1], [1, 0, 1], [3, 1, 0, 2], [1, 0, 0, 1], [0, 1, 1, 2, 1]):
        table = np.zeros((len(values), terms.leaf_lanes), np.int16)
        table[:, LANE] = values
        pairs = list(product(range(-1, max(values) + 2), repeat=2))
        low, high = np.array(pairs, np.int64).T
        zeros = np.zeros_like(low)
        row = Row(terms, table, [1] * len(values))
        probes = Probes(zeros + LANE, low, high, zeros, zeros, zeros.astype(np.uint64))
        answers = ask(contract_of(terms), row, probes, np.random.default_rng(1))
        bounds = aggregation.bounds(terms.rule, values, terms.trim)
        value = twin(terms, values)
        expected = (value - LEAST) << 1 | (value != 0)
        assert [int(item) for item in answers] == [expected if pair == bounds else REFUSED for pair in pairs]


def test_bounds_beyond_every_lane_are_refused() -> None:
    terms = terms_of(Rule.MEDIAN)
    for bounds in ((-(2**255), 3), (3, 2**255 - 1), (-(2**255), 2**255 - 1), (2**255 - 1, -(2**255))):
        with pytest.raises(Reverted, match=r"^challenges: not the bounds$"):
            right_value(terms, [1, 3, 5], bounds=bounds)


def test_one_place_too_low_or_too_high_does_not_refute_a_median() -> None:
    """A value with as many below or up to it as are cut is not at the place after them."""
    terms = terms_of(Rule.MEDIAN)
    assert right_value(terms, [40, 10, 30, 20]) == 25
    for bounds in ((10, 30), (20, 40), (10, 40), (10, 20), (30, 40), (20, 20), (30, 30), (30, 20)):
        with pytest.raises(Reverted, match=r"^challenges: not the bounds$"):
            right_value(terms, [40, 10, 30, 20], bounds=bounds)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], 7),
        ([1, 2], 2),
        ([2, 3], 2),
        ([-1, -2], -2),
        ([-2, -3], -2),
        ([-1, 0], 0),
        ([9, 1, 5], 5),
        ([9, 1, 5, 6], 6),
        ([-(2**15), 2**15 - 1], 0),
        ([-(2**15)] * 2, -(2**15)),
        ([5, 5, 5, 1, 9], 5),
    ],
)
def test_median(values: list[int], expected: int) -> None:
    terms = terms_of(Rule.MEDIAN)
    assert right_value(terms, values) == twin(terms, values) == expected


@pytest.mark.parametrize(
    ("count", "trim", "cut"),
    [(1, 4_999, 0), (2, 4_999, 0), (3, 4_999, 1), (4, 4_999, 1), (5, 4_999, 2), (9, 1_111, 0), (10, 999, 0),
     (10, 1_000, 1), (10, 2_000, 2), (9, 1_112, 1), (7, 0, 0)],
)  # fmt: skip
def test_trimmed_mean_cuts_as_many_from_each_end(count: int, trim: int, cut: int) -> None:
    """The values are such that each place counted wrongly changes the sum."""
    terms = terms_of(Rule.TRIMMED_MEAN, trim=trim, shift=4)
    values = [(-1) ** place * 3**place for place in range(count)]
    kept = sorted(values)[cut : count - cut]
    expected = round(Fraction(sum(kept) << 4, len(kept)))
    assert right_value(terms, values) == twin(terms, values) == expected
    assert right_value(terms, [5] * count) == 5 << 4
    tied = sorted([1] * (count // 2) + [4] * (count - count // 2))
    assert right_value(terms, tied) == round(Fraction(sum(tied[cut : count - cut]) << 4, len(kept)))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17])
def test_mean_reads_every_weight(count: int) -> None:
    """Eight weights stand in a word; each is another one, up to the most that the terms allow."""
    terms = terms_of(Rule.MEAN, shift=8)
    values = [-(2**15) + 997 * place for place in range(count)]
    samples = [2**24 - 1 - 2 ** (place % 24) for place in range(count)]
    exact = Fraction(sum(map(int.__mul__, values, samples)) << 8, sum(samples))
    assert right_value(terms, values, samples) == twin(terms, values, samples) == round(exact)
    lone = [1] * (count - 1) + [2**24 - 1]
    assert right_value(terms, values, lone) == twin(terms, values, lone)


@pytest.mark.parametrize("rule", Rule)
def test_as_many_updates_as_there_can_be(rule: Rule) -> None:
    terms = terms_of(rule, lane_bits=32, trim=4_999)
    values = [2**31 - 1 - place * place for place in range(1024)]
    samples = [2**21 - 1 - place for place in range(1024)]
    assert right_value(terms, values, samples) == twin(terms, values, samples)


@pytest.mark.parametrize("shift", [0, 1, 16])
def test_quotients_are_rounded_half_to_even(shift: int) -> None:
    contract = contract_of(terms_of(Rule.MEAN, shift=shift))
    for numerator, denominator in product(range(-7, 8), (1, 2, 3, 4, 6)):
        exact = Fraction(numerator << shift, denominator)
        assert contract.call("rounded", numerator, denominator) == round(exact)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [
        (MOST - 1, 1, MOST - 1),
        (MOST, 1, MOST),
        (MOST + 1, 1, MOST),
        (2 * MOST - 1, 2, MOST - 1),  # at a half, down to the even number
        (2 * MOST + 1, 2, MOST),  # at a half, up to 2**31
        (LEAST + 1, 1, LEAST + 1),
        (LEAST, 1, LEAST),
        (LEAST - 1, 1, LEAST),
        (2 * LEAST + 1, 2, LEAST),
        (2 * LEAST - 3, 2, LEAST),
        (2**62, 1, MOST),
        (-(2**62), 1, LEAST),
        (2**62, 2**31 - 1, MOST),
        (2**62 - 1, 2**31, MOST),
        (2**55, 2**24 - 1, MOST),
    ],
)
def test_quotients_are_held_to_32_bits(numerator: int, denominator: int, expected: int) -> None:
    """No terms lead beyond: a mean of lanes, shifted, has 32 bits. It is held there all the same."""
    contract = contract_of(terms_of(Rule.MEAN))
    assert contract.call("rounded", numerator, denominator) == expected


@pytest.mark.parametrize("lane_bits", WIDTHS)
@pytest.mark.parametrize("rule", Rule)
def test_ends_of_lane_and_model(rule: Rule, lane_bits: int) -> None:
    """The least and the most of a lane, at the largest shift, added to both ends of the model."""
    terms = terms_of(rule, lane_bits, shift=32 - lane_bits, trim=2_500)
    least, most = -(2 ** (lane_bits - 1)), 2 ** (lane_bits - 1) - 1
    for values, old in product(([least] * 3, [most] * 3, [-1], [0, 0], [1]), (LEAST, -1, 0, 1, MOST)):
        expected = max(LEAST, min(MOST, old + (values[0] << terms.shift)))
        assert right_value(terms, values, old=old) == expected


@pytest.mark.parametrize("lane_bits", WIDTHS)
@pytest.mark.parametrize("rule", Rule)
def test_each_lane_of_a_leaf_is_read_where_it_stands(rule: Rule, lane_bits: int) -> None:
    terms = terms_of(rule, lane_bits, words=2)
    expected = 3 if rule is Rule.MEDIAN else 1
    for lane in (0, 1, terms.leaf_lanes // 2 - 1, terms.leaf_lanes // 2, terms.leaf_lanes - 1):
        assert right_value(terms, [-100, 3, 101], lane=lane) == expected


def test_the_mock_rules_as_a_challenge_does() -> None:
    """What stands around the rules in challenges.vy is written once more in the mock."""
    sources = [
        (CONTRACTS / name).read_text() for name in ("modules/challenges.vy", "mocks/AggregationMock.vy")
    ]
    for line in (
        "right += aggregation._step(parts, lane, count, leaves._tail(SAMPLES), low, high)",
        "right = min(max(right, aggregation.LEAST), aggregation.MOST)",
    ):
        assert all(line in source for source in sources)


@pytest.mark.parametrize("lane_bits", WIDTHS)
@pytest.mark.parametrize("rule", Rule)
def test_a_profile_of_the_campaign(rule: Rule, lane_bits: int) -> None:
    count = compare(chain(), OWNER, rule, lane_bits, cases=160, seed=2, leaf_bytes=32)
    assert count.cases >= 160
    assert min(count.right, count.wrong) > 20
    assert (count.refused > 20) == (rule is not Rule.MEAN)


def test_a_difference_ends_the_campaign() -> None:
    rng = np.random.default_rng(3)
    terms = terms_of(Rule.MEDIAN)
    row = draw_row(rng, replace(terms, max_updates=128))
    probes = draw_probes(rng, row, draw_old(rng, row))
    check(contract_of(terms), row, probes, rng)
    probes.answer[5] ^= np.uint64(1)
    with pytest.raises(SystemExit, match=r"^contract \d+, twin .*'lane': 5"):
        check(contract_of(terms), row, probes, rng)
