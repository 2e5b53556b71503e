"""The norm to which devices shorten their updates, by how many updates the reference's round had."""

from __future__ import annotations

import pytest

from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Block, Update
from bcfl.roles.checks import length, norm
from bcfl.roles.checks.few import FEW
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.norm_bound import NEARLY_FEW
from testkit.chainless import NOBODY

REFERENCE = 3.0


class Norms(Archive):
    """An archive of updates that are all equally long."""

    def __init__(self) -> None:
        pass

    def asks_norms(self, number: int) -> bool:  # noqa: ARG002
        return False

    def norm(self, item: Submission) -> float:  # noqa: ARG002
        return REFERENCE


def history(updates: int) -> History:
    """Return a finished round of so many accepted updates and more others, and one that has just begun."""
    past, block = History(0), Block(bytes(32), 1, bytes(32), bytes(32), bytes(32), NOBODY, 0)
    submissions = [
        Submission(device, Update(1, device, bytes(32), bytes(32), 1, 1, 0), NOBODY)
        for device in range(2 * updates)
    ]
    levels = tuple(int(device < updates) for device in range(2 * updates))
    past.blocks += [Block(bytes(32), 0, bytes(32), bytes(32), bytes(32), NOBODY, 0), block]
    past.rounds = {1: Round(1, 0, submissions=submissions, levels=levels, block=block), 2: Round(2, 0)}
    return past


def test_an_honest_device_of_few_keeps_to_less() -> None:
    """As do those who are so few that some who withhold their updates make them few to the miners."""
    counts = (FEW, FEW + 1, NEARLY_FEW, NEARLY_FEW + 1)
    bounds = [norm_bound.device_bound(Norms(), history(count), 2) for count in counts]
    assert bounds == [length.CLIP * REFERENCE] * 3 + [norm.CLIP * REFERENCE]
    assert length.CLIP < length.LONGEST < norm.CLIP


@pytest.mark.parametrize("count", [FEW, NEARLY_FEW + 1])
def test_an_adversary_sends_as_much_as_ever(count: int) -> None:
    assert norm_bound.largest_bound(Norms(), history(count), 2) == norm.CLIP * REFERENCE


def test_nobody_shortens_in_the_first_round() -> None:
    first = history(FEW)
    del first.blocks[1]
    bounds = {
        bound(Norms(), first, number)
        for bound in (norm_bound.device_bound, norm_bound.largest_bound)
        for number in (1, 2)
    }
    assert bounds == {None}, "nor in a second one, after one without a model"


@pytest.mark.parametrize(("length_", "bound", "factor"), [(2.0, None, 1.0), (2.0, 2.0, 1.0), (4.0, 2.0, 0.5)])
def test_only_what_is_too_long_is_shortened(length_: float, bound: float | None, factor: float) -> None:
    assert norm_bound.clip_factor(length_, bound) == factor
