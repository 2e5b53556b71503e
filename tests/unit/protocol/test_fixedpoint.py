"""Rounding, saturation and error feedback against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import PayloadError
from bcfl.protocol import fixedpoint

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
DELTA = st.floats(-1000, 1000, width=32)
LANE_BITS = st.sampled_from([8, 16, 32])


def exact_lane(value: Fraction, bits: int, lane_bits: int) -> int:
    """The definition: Python's round() of a fraction is half to even and exact."""
    bound = 2 ** (lane_bits - 1)
    return int(max(-bound, min(bound - 1, round(value * Fraction(2) ** bits))))


@given(st.lists(FLOAT32, max_size=20), st.integers(0, 30))
def test_encode_is_the_definition(values: list[float], scale_bits: int) -> None:
    lanes = fixedpoint.encode(np.array(values, np.float32), scale_bits)
    assert lanes.dtype == np.int32
    assert lanes.tolist() == [exact_lane(Fraction(value), scale_bits, 32) for value in values]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20), st.integers(0, 30))
def test_decode_rounds_once(lanes: list[int], scale_bits: int) -> None:
    values = fixedpoint.decode(np.array(lanes, np.int32), scale_bits)
    assert values.dtype == np.float32
    assert values.tolist() == [float(np.float32(lane * 2.0**-scale_bits)) for lane in lanes]


def test_a_half_goes_to_the_even_lane() -> None:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert fixedpoint.encode(halves, 0).tolist() == [-2, -2, 0, 0, 2, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e308])
def test_what_is_not_finite_is_refused(value: float) -> None:
    vector = np.array([0.0, value, 1.0])
    with pytest.raises(PayloadError, match="not finite"):
        fixedpoint.encode(vector, 24)
    with pytest.raises(PayloadError, match="not finite"):
        fixedpoint.encode_update(vector, None, 8, 24, 12)
    with pytest.raises(PayloadError, match="not finite"):
        fixedpoint.encode_update(np.zeros(3), vector, 8, 24, 12)


@given(st.lists(st.tuples(DELTA, DELTA), min_size=1, max_size=12), LANE_BITS, st.integers(0, 16))
def test_the_residual_is_exactly_what_the_lanes_do_not_say(
    pairs: list[tuple[float, float]], lane_bits: int, shift: int
) -> None:
    delta = np.array([pair[0] for pair in pairs], np.float32)
    residual = np.array([pair[1] for pair in pairs], np.float64)
    lanes, new_residual = fixedpoint.encode_update(delta, residual, lane_bits, 24, shift)
    assert lanes.dtype == fixedpoint.lane_dtype(lane_bits)
    for value, lane, remainder in zip(
        (delta + residual).tolist(), lanes.tolist(), new_residual.tolist(), strict=True
    ):
        assert lane == exact_lane(Fraction(value), 24 - shift, lane_bits)
        assert Fraction(lane, 2 ** (24 - shift)) + Fraction(remainder) == Fraction(value)


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_narrow_lanes_lose_nothing_in_the_long_run(lane_bits: int) -> None:
    shift = {8: 14, 16: 8, 32: 0}[lane_bits]
    rng = np.random.default_rng(0)
    deltas = rng.normal(0, 0.02, (300, 50)).astype(np.float32)  # (rounds, parameters), some beyond 8 bits
    residual = None
    total = np.zeros(50)
    for delta in deltas:
        lanes, residual = fixedpoint.encode_update(delta, residual, lane_bits, 24, shift)
        total += fixedpoint.decode_update(lanes, 24, shift)
    unit = 2.0 ** -(24 - shift)
    assert np.abs(total - deltas.sum(axis=0, dtype=np.float64)).max() <= unit / 2 + 1e-9


def test_without_residual_is_with_a_residual_of_zero() -> None:
    delta = np.linspace(-1, 1, 101, dtype=np.float32)
    without = fixedpoint.encode_update(delta, None, 16, 24, 10)
    with_zero = fixedpoint.encode_update(delta, np.zeros(101), 16, 24, 10)
    assert np.array_equal(without[0], with_zero[0])
    assert np.array_equal(without[1], with_zero[1])


def test_inputs_are_left_alone() -> None:
    delta, residual = np.full(4, 0.3, np.float64), np.full(4, 0.1, np.float64)
    fixedpoint.encode_update(delta, residual, 8, 24, 20)
    fixedpoint.encode_update(delta, None, 8, 24, 20)
    assert delta.tolist() == [0.3] * 4
    assert residual.tolist() == [0.1] * 4


@given(st.lists(st.integers(-(2**62), 2**62), max_size=20), st.integers(1, 2**31))
def test_division_rounds_half_to_even(numerators: list[int], denominator: int) -> None:
    quotients = fixedpoint.divide_half_even(np.array(numerators, np.int64), denominator)
    assert quotients.tolist() == [round(Fraction(numerator, denominator)) for numerator in numerators]


@given(st.lists(st.integers(-50, 50), max_size=20), st.integers(1, 12))
def test_division_rounds_half_to_even_where_halves_are_common(
    numerators: list[int], denominator: int
) -> None:
    quotients = fixedpoint.divide_half_even(np.array(numerators, np.int64), denominator)
    assert quotients.tolist() == [round(Fraction(numerator, denominator)) for numerator in numerators]


@pytest.mark.parametrize("lane_bits", [8, 16, 32])
def test_saturation_holds_both_ends(lane_bits: int) -> None:
    low, high = -(2 ** (lane_bits - 1)), 2 ** (lane_bits - 1) - 1
    wide = np.array([-(2**62), low - 1, low, 0, high, high + 1, 2**62], np.int64)
    lanes = fixedpoint.saturate(wide, lane_bits)
    assert lanes.dtype == fixedpoint.lane_dtype(lane_bits)
    assert lanes.tolist() == [low, low, low, 0, high, high, high]


def test_other_lane_widths_are_refused() -> None:
    with pytest.raises(PayloadError, match="not 64"):
        fixedpoint.lane_dtype(64)
