"""What two thirds of the weight have said in the last rounds is remembered, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from bcfl.protocol.rounds import History
from bcfl.protocol.types import Verdict
from bcfl.roles.checks.memory import MEMORY, TIMES, blamed


def voted(number: int, *ballots: tuple[int, set[int]]) -> Any:
    """Return a round of the devices 0 to 3; a ballot is a weight, and whom it calls `quality`."""
    votes = [
        SimpleNamespace(
            voter=SimpleNamespace(weight=weight),
            opening=SimpleNamespace(
                verdicts=[Verdict.QUALITY if i in devices else Verdict.OUTLIER for i in range(4)]
            ),
        )
        for weight, devices in ballots
    ]
    items = [SimpleNamespace(position=i, update=SimpleNamespace(device=i)) for i in range(4)]
    return SimpleNamespace(number=number, submissions=items, levels=[0] * 4, votes=votes)


def test_what_two_thirds_have_found_in_the_last_rounds_is_remembered() -> None:
    memory = MEMORY
    rounds = [
        voted(1, (2, {0, 1}), (1, {0, 2, 3})),  # two of three; all; one
        voted(2, (1, {1}), (1, {1}), (1, set())),
        voted(3, (3, {2}), (2, {3})),  # three of five leave an update out, and are not enough
        *(voted(number) for number in range(4, memory + 3)),
    ]
    void = voted(4, (1, {3}))
    void.levels = None
    rounds[3] = void
    history: Any = History(1, rounds={each.number: each for each in rounds})
    expected = {2: [0, 1], memory + 1: [0, 1], memory + 2: [1], memory + 3: []}
    for number, devices in expected.items():
        current: Any = SimpleNamespace(number=number)
        mask = blamed(history, current, rounds[0].submissions, Verdict.QUALITY)
        assert np.flatnonzero(mask).tolist() == devices, number


def test_verdicts_are_remembered_each_by_itself() -> None:
    history: Any = History(1, rounds={1: voted(1, (2, {0, 1}), (1, {0}))})
    current: Any = SimpleNamespace(number=2)
    items = history.rounds[1].submissions
    assert blamed(history, current, items, Verdict.QUALITY).tolist() == [True, True, False, False]
    assert blamed(history, current, items, Verdict.OUTLIER).tolist() == [False, False, True, True]
    assert not blamed(history, current, items, Verdict.DUPLICATE).any()


def test_one_outlier_is_not_remembered() -> None:
    """A direction that is unusual once is no sign of a hidden task, and honest devices have it."""
    rounds = [voted(1, (1, {2, 3})), voted(2, (1, {1, 2, 3})), voted(3, (1, {0, 1, 2}))]
    history: Any = History(1, rounds={each.number: each for each in rounds})
    current: Any = SimpleNamespace(number=4)
    items = rounds[0].submissions
    assert blamed(history, current, items, Verdict.OUTLIER).tolist() == [True, True, False, True]
    assert blamed(history, current, items, Verdict.OUTLIER, TIMES).tolist() == [True, False, False, False]
