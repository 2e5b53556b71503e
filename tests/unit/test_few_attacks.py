"""Attacks by one or two devices on rounds of few updates, on a bowl that has its lowest place elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.adversaries.learners import Floats
from testkit.few_attacks import LONGEST, UNDER, Valley, unit

HONEST = np.array([[1.0, 0.0], [-1.0, 0.0]])
START = np.array([1.0, 0.0])


def bowl(lowest: float) -> Valley:
    """Return a search where the loss is the squared distance from a place on the first axis."""

    def slope(at: Floats, samples: int) -> tuple[float, Floats]:
        assert samples > 0
        apart = at - np.array([lowest, 0.0])
        return float(apart @ apart), 2 * apart

    return Valley(slope, np.zeros(2, np.float32), HONEST, np.ones(2), 1.0)


def test_a_valley_is_lower_than_what_the_honest_reach_and_its_victim_leads_out_of_it() -> None:
    search = bowl(lowest=2.0)
    harm, sent = search.find(START, 1, LONGEST)
    low = search.slope((HONEST[0] + sent) / 2, 1)[0]
    high = search.slope((HONEST.sum(axis=0) + sent) / 3, 1)[0]
    assert low <= search.slope(HONEST[0], 1)[0] - UNDER
    assert harm == pytest.approx((high - low) / 4.0)
    assert harm > 0.3
    assert np.linalg.norm(sent) <= LONGEST + 1e-9


def test_nothing_is_found_where_the_honest_are_at_the_lowest_place() -> None:
    harm, sent = bowl(lowest=1.0).find(START, 1, LONGEST)
    assert harm == 0.0
    assert sent.tolist() == START.tolist()


def test_nothing_is_found_where_the_valley_is_farther_than_an_update_may_be_long() -> None:
    assert bowl(lowest=2.0).find(START, 1, 0.5)[0] == 0.0


def test_a_unit_has_length_one_and_zeros_have_none() -> None:
    assert unit(np.array([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert unit(np.zeros(2)).tolist() == [0.0, 0.0]
