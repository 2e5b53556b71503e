"""When processes are woken: each by the clock of its own node."""

from __future__ import annotations

import pytest

from tests.simulation.dice import Dice
from tests.simulation.faults import Weather
from tests.simulation.setup import build_world, draw_plan
from tests.simulation.specification import SpecificationChain


@pytest.mark.parametrize("skew", [-2, 0, 1, 3])
def test_who_waits_for_half_of_a_phase_looks_when_its_own_clock_says_that_it_is_over(skew: int) -> None:
    dice = Dice(3)
    world = build_world(draw_plan(dice), dice, Weather(), SpecificationChain)
    clock, middle = world.observer.clock(), world.plan.terms.commit_seconds / 2
    start = clock.deadline - world.plan.terms.commit_seconds
    world.time = start + 20.0
    assert world._next_change(skew) == start + middle - skew
    world.time = start + middle - skew
    assert world._next_change(skew) > start + middle
