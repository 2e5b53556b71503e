"""The three rules against exact fractions, the one-lane twin, and their bounds of memory."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from itertools import product
from statistics import median as float_median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.protocol import aggregation
from bcfl.protocol.types import Rule

DTYPES = {8: np.int8, 16: np.int16, 32: np.int32}
RULES = list(Rule)


def clip(value: int) -> int:
    return max(-(2**31), min(2**31 - 1, value))


def exact(rule: Rule, lanes: list[int], samples: list[int], shift: int, trim: int) -> int:
    """The definitions over the rationals; Python's round() of a fraction is half to even."""
    scale = 2**shift
    if rule == Rule.MEAN:
        value = Fraction(sum(s * v for s, v in zip(samples, lanes, strict=True)), sum(samples))
    elif rule == Rule.MEDIAN:
        value = Fraction(float_median([Fraction(lane) for lane in lanes]))
    else:
        values, cut = sorted(lanes), len(lanes) * trim // 10_000
        middle = values[cut : len(lanes) - cut]
        value = Fraction(sum(middle), len(middle))
    return clip(round(value * scale))


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int, int, int]:
    """Updates (n of the same length), samples, lane_bits, shift, trim: whatever terms may admit."""
    lane_bits = draw(st.sampled_from([8, 16, 32]))
    bound = 2 ** (lane_bits - 1)
    lane = st.one_of(st.integers(-bound, bound - 1), st.integers(-4, 4), st.sampled_from([-bound, bound - 1]))
    count, length = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    updates = draw(st.lists(st.lists(lane, min_size=length, max_size=length), min_size=count, max_size=count))
    largest = (2**31 - 1) // count
    samples = draw(st.lists(st.one_of(st.integers(1, 9), st.just(largest)), min_size=count, max_size=count))
    return updates, samples, lane_bits, draw(st.integers(0, 32 - lane_bits)), draw(st.integers(0, 4999))


@settings(max_examples=150, deadline=None)
@given(rounds(), st.sampled_from(RULES))
def test_vector_twin_and_definition_agree(
    round_: tuple[list[list[int]], list[int], int, int, int], rule: Rule
) -> None:
    updates, samples, lane_bits, shift, trim = round_
    arrays = [np.array(update, DTYPES[lane_bits]) for update in updates]
    delta = aggregation.aggregate(rule, arrays, samples, shift, trim)
    assert delta.dtype == np.int32
    for lane, column in zip(delta.tolist(), zip(*updates, strict=True), strict=True):
        assert lane == exact(rule, list(column), samples, shift, trim)
        assert lane == aggregation.aggregate_lane(rule, column, samples, shift, trim)


@pytest.mark.parametrize(
    ("rule", "lanes", "samples", "shift", "trim", "expected"),
    [
        (Rule.MEAN, [1, 2], [1, 1], 0, 0, 2),  # 1.5 to the even
        (Rule.MEAN, [0, 1], [1, 1], 0, 0, 0),  # 0.5 to the even
        (Rule.MEAN, [-1, 0], [1, 1], 0, 0, 0),
        (Rule.MEAN, [10, -2], [3, 1], 0, 0, 7),
        (Rule.MEAN, [1, 2], [2, 1], 3, 0, 11),  # 4/3 * 8 = 10.67: scaled before it is rounded
        (Rule.MEDIAN, [9, 1, 5], [1, 1, 1], 2, 0, 20),
        (Rule.MEDIAN, [9, 1, 5, 6], [1, 1, 1, 1], 0, 0, 6),  # 5.5 to the even
        (Rule.MEDIAN, [9, 1, 5, 6], [1, 1, 1, 1], 1, 0, 11),
        (Rule.MEDIAN, [7], [1], 0, 0, 7),
        (Rule.TRIMMED_MEAN, [100, 1, 2, 3, -100], [1] * 5, 0, 2000, 2),
        (Rule.TRIMMED_MEAN, [100, 1, 2, 3, -100], [1] * 5, 0, 1999, 1),  # nothing cut: 6/5
        (Rule.TRIMMED_MEAN, [1, 2], [9, 1], 0, 4999, 2),  # unweighted
    ],
)
def test_golden_lanes(
    rule: Rule, lanes: list[int], samples: list[int], shift: int, trim: int, expected: int
) -> None:
    arrays = [np.array([lane], np.int16) for lane in lanes]
    assert aggregation.aggregate(rule, arrays, samples, shift, trim).tolist() == [expected]
    assert aggregation.aggregate_lane(rule, lanes, samples, shift, trim) == expected


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_the_largest_round_that_terms_admit_is_exact(rule: Rule, lane_bits: int) -> None:
    """Every number at its bound: int64 holds all that comes between."""
    count, shift = 400, 32 - lane_bits
    low, high = -(2 ** (lane_bits - 1)), 2 ** (lane_bits - 1) - 1
    updates = [np.array([low, high], DTYPES[lane_bits])] * count
    samples = [(2**31 - 1) // count] * count
    delta = aggregation.aggregate(rule, updates, samples, shift, 1000)
    assert delta.tolist() == [low << shift, high << shift]


@pytest.mark.parametrize("rule", RULES)
def test_slices_meet_without_a_seam(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    updates = [rng.integers(-(2**15), 2**15, 1000).astype(np.int16) for _ in range(7)]
    whole = aggregation.aggregate(rule, updates, range(1, 8), 4, 1500)
    monkeypatch.setattr(aggregation, "_SLICE", 13)
    assert np.array_equal(aggregation.aggregate(rule, updates, range(1, 8), 4, 1500), whole)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20, 21, 64, 101])
def test_median_and_trimmed_mean_of_many_updates(count: int) -> None:
    rng = np.random.default_rng(count)
    stack = rng.integers(-100, 100, (count, 500)).astype(np.int8)  # (updates, parameters), many ties
    sorted_rows = np.sort(stack, axis=0).astype(np.int64)
    middle = sorted_rows[(count - 1) // 2] + sorted_rows[count // 2]
    assert np.array_equal(aggregation.median(list(stack), 1), middle)
    cut = count // 10
    inner = sorted_rows[cut : count - cut]
    means = [round(Fraction(int(total), len(inner))) for total in inner.sum(axis=0)]
    assert aggregation.trimmed_mean(list(stack), 1000, 0).tolist() == means


@pytest.mark.parametrize("count", range(1, 12))
def test_the_network_sorts_every_pattern_of_zeros_and_ones(count: int) -> None:
    """Which is enough for every input (Knuth's zero-one principle), for every row that is asked for."""
    patterns = np.array(list(product([0, 1], repeat=count)), np.int8).T  # (rows, patterns)
    sorted_rows = np.sort(patterns, axis=0)
    for first in range(count):
        for last in range(first + 1, count + 1):
            rows = aggregation._order(list(patterns.copy()), first, last)
            assert all(np.array_equal(rows[place], sorted_rows[place]) for place in range(first, last))


@pytest.mark.parametrize("rule", RULES)
def test_updates_are_left_alone_and_may_be_read_only_maps(rule: Rule, tmp_path: object) -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.integers(-99, 99, 3000).astype(np.int32) for _ in range(5)]
    maps = []
    for place, array in enumerate(arrays):
        array.tofile(f"{tmp_path}/{place}")
        maps.append(np.memmap(f"{tmp_path}/{place}", np.int32, "r"))
    delta = aggregation.aggregate(rule, maps, [1, 2, 3, 4, 5], 0, 2000)
    assert np.array_equal(delta, aggregation.aggregate(rule, arrays, [1, 2, 3, 4, 5], 0, 2000))


@pytest.mark.parametrize("rule", RULES)
def test_memory_is_the_result_and_a_few_slices(rule: Rule) -> None:
    updates = [np.full(500_000, place, np.int16) for place in range(20)]
    aggregation.aggregate(rule, [update[:1] for update in updates], [1] * 20, 0, 1000)  # builds the network
    tracemalloc.start()
    aggregation.aggregate(rule, updates, [1] * 20, 0, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 500_000 + 2_000_000


@pytest.mark.parametrize("rule", [Rule.MEDIAN, Rule.TRIMMED_MEAN])
def test_a_minority_cannot_pull_the_robust_rules(rule: Rule) -> None:
    honest = [np.full(10, value, np.int32) for value in range(90, 110)]
    hostile = [np.full(10, 2**31 - 1, np.int32)] * 5
    delta = aggregation.aggregate(rule, honest + hostile, [1] * 25, 0, 2000)
    assert delta.min() >= 90
    assert delta.max() <= 110


def test_apply_saturates() -> None:
    model = np.array([2**31 - 1, -(2**31), 5, -5], np.int32)
    delta = np.array([1, -1, -7, 2**31 - 1], np.int32)
    assert aggregation.apply(model, delta).tolist() == [2**31 - 1, -(2**31), -2, 2**31 - 6]
    assert model.tolist() == [2**31 - 1, -(2**31), 5, -5]


def test_samples_and_updates_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        aggregation.mean([np.zeros(3, np.int8)] * 2, [1, 1, 1], 0)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="no aggregation rule 9"):
        aggregation.aggregate(9, [np.zeros(1, np.int8)], [1], 0, 0)
    with pytest.raises(ValueError, match="no aggregation rule 9"):
        aggregation.aggregate_lane(9, [0], [1], 0, 0)
