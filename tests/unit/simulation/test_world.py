"""When processes are woken: each by the clock of its own node."""

from __future__ import annotations

import pytest

from tests.simulation.dice import Dice
from tests.simulation.faults import Weather
from tests.simulation.setup import build_world, draw_plan, populate
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


def test_a_wait_that_ends_late_since_another_stands_on_it_is_noted() -> None:
    dice = Dice(3)
    world = build_world(draw_plan(dice), dice, Weather(), SpecificationChain)
    with world.patched():
        populate(world)
    world._heap.clear()  # nobody acts but these two
    one, other = world.processes[:2]

    def wait_inside() -> None:
        with world.turn_of(other):
            world.sleep(25.0)

    with world.turn_of(one):
        world.later(1.0, wait_inside)
        world.sleep(2.0)
    number = world.place[0]
    assert one.held_seconds(number) == pytest.approx(24.0, abs=1.0)
    assert other.held_seconds(number) < 1.0
