"""Leads shared out in turns: what credits add up to, how far they go, and who leads how often."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.turns import JOINING, LEAST, MOST, UNIT, Credits, charge, credit, first, share, take_turn

weights_by_seat = st.dictionaries(st.integers(0, MAX_MINERS - 1), st.integers(1, 65_535), min_size=1)
few_weights = st.dictionaries(st.integers(0, 7), st.integers(1, 65_535), min_size=1, max_size=8)
credits_by_seat = st.dictionaries(st.integers(0, MAX_MINERS - 1), st.integers(LEAST, MOST))
ROOM = MAX_MINERS * UNIT


def total(credits: Credits, seats: dict[int, int]) -> int:
    return sum(credit(credits, seat) for seat in seats)


@given(credits_by_seat, weights_by_seat)
def test_a_lead_is_shared_out_but_for_less_than_a_unit_a_seat(
    credits: Credits, weights: dict[int, int]
) -> None:
    before = {seat: min(credit(credits, seat), MOST - UNIT) for seat in weights}
    parts = total(share(before, weights), weights) - total(before, weights)
    assert UNIT - len(weights) < parts <= UNIT


@given(credits_by_seat, weights_by_seat)
def test_who_does_not_take_part_neither_earns_nor_pays(credits: Credits, weights: dict[int, int]) -> None:
    _, after = take_turn(credits, weights)
    away = set(range(MAX_MINERS)) - set(weights)
    assert all(credit(after, seat) == credit(credits, seat) for seat in away)


@given(credits_by_seat, weights_by_seat)
def test_a_credit_stays_within_its_field(credits: Credits, weights: dict[int, int]) -> None:
    leader, after = take_turn(credits, weights)
    for _ in range(3):
        after = charge(share(after, weights), leader)
    assert all(LEAST <= credit(after, seat) <= MOST for seat in range(MAX_MINERS))


def test_both_ends_of_the_field_hold() -> None:
    assert charge({3: LEAST + 1}, 3) == {3: LEAST}
    assert share({3: MOST - 1}, {3: 1}) == {3: MOST}


@given(st.sets(st.integers(0, MAX_MINERS - 1), min_size=1), st.integers(LEAST, MOST))
def test_of_equal_credits_the_lowest_seat_leads(seats: set[int], level: int) -> None:
    assert first(dict.fromkeys(seats, level), seats) == min(seats)


@given(credits_by_seat, weights_by_seat)
def test_nobody_among_them_has_more_credit_than_the_leader_had(
    credits: Credits, weights: dict[int, int]
) -> None:
    leader, _ = take_turn(credits, weights)
    shared = share(credits, weights)
    assert credit(shared, leader) == max(credit(shared, seat) for seat in weights)


def test_nobody_leads_where_nobody_is_left() -> None:
    with pytest.raises(ValueError, match="empty"):
        first({}, [])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_leads_follow_the_weights_exactly(weights: list[int]) -> None:
    """A leader has more than the mean of -1, so nobody is ever a whole lead behind, and all are even then."""
    seats = dict(enumerate(weights))
    leads = dict.fromkeys(seats, 0)
    credits: Credits = {}
    for _ in range(sum(weights)):
        leader, credits = take_turn(credits, seats)
        leads[leader] += 1
    assert leads == seats


@settings(max_examples=40)
@given(st.lists(few_weights, min_size=1, max_size=30), st.integers(0, 7))
def test_leads_and_what_is_left_are_what_was_shared_out(rounds: list[dict[int, int]], seat: int) -> None:
    credits: Credits = {}
    leads = shared = 0
    for weights in rounds:
        shared += UNIT * weights.get(seat, 0) // sum(weights.values())
        leader, credits = take_turn(credits, weights)
        leads += leader == seat
    assert UNIT * leads == JOINING + shared - credit(credits, seat)


@settings(max_examples=20)
@given(st.lists(st.tuples(few_weights, st.sets(st.integers(0, 7), max_size=2)), min_size=20, max_size=40))
def test_credits_stay_within_a_lead_a_seat_whoever_stays_away_leaves_and_returns(
    rounds: list[tuple[dict[int, int], set[int]]],
) -> None:
    credits: Credits = {}
    for weights, anew in rounds:
        _, credits = take_turn(credits, weights)
        credits = {**credits, **dict.fromkeys(anew, JOINING)}
        assert all(abs(value - JOINING) < 8 * UNIT for value in credits.values())


def spread(seats: int, steps: int) -> Credits:
    """Drive credits apart: two seats less than a lead apart vote, with weights that make them even."""
    credits: Credits = dict.fromkeys(range(seats), JOINING)
    for _ in range(steps):
        line = sorted(credits, key=lambda seat: credits[seat])
        gap, low, high = min((credits[high] - credits[low], low, high) for low, high in pairwise(line))
        if gap >= UNIT - 256:
            break
        _, credits = take_turn(credits, {low: (UNIT + gap) // 256, high: (UNIT - gap) // 256})
    return credits


def test_an_attendance_made_to_drive_credits_apart_does_so_by_a_lead_a_seat_at_most() -> None:
    few, many = (spread(seats, 1000).values() for seats in (4, 10))
    assert 2 * UNIT < max(few) - min(few) <= 3 * UNIT
    assert 6 * UNIT < max(many) - min(many) <= 9 * UNIT
    # So 64 seats do not get to the ends of the field.
    assert min(MOST - JOINING, JOINING - LEAST) + UNIT >= ROOM
