"""Sketches of two rounds: bounded, the same after a restart, and of no round from the same model."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from bcfl.protocol.rounds import History
from bcfl.roles.checks import novelty
from bcfl.roles.miner.sketches import FEW_EARLIER, ROUNDS, SIZE, Comparison, Sketches

DEVICES, PARAMETERS, LAST = 24, 10_000, 4
FEWER = 16  # devices: few
ALL = np.ones(DEVICES, bool)


def updates_of(number: int) -> np.ndarray:
    """Updates of a round; in the last one device 0 mixes those of the round before."""
    rng = np.random.default_rng(number)
    rows = (rng.normal(size=PARAMETERS) + 1.5 * rng.normal(size=(DEVICES, PARAMETERS))).astype(np.float32)
    if number == LAST:
        rows[0] = np.random.default_rng(9).normal(size=DEVICES).astype(np.float32) @ updates_of(LAST - 1)
    return rows


def round_(number: int) -> Any:
    items = [SimpleNamespace(position=i, update=SimpleNamespace(device=i)) for i in range(DEVICES)]
    return SimpleNamespace(number=number, submissions=items, accepted=(True,) * DEVICES)


def compare(memory: Sketches, number: int, models: tuple[int, ...] = (0, 1, 2, 3)) -> Comparison:
    """Compare a round; `models` are those that rounds 1, 2, ... began with."""
    rounds = {n: round_(n) for n in range(1, number + 1)}
    history: Any = SimpleNamespace(rounds=rounds, model_before=lambda n: models[n - 1])
    history.numbers_before = partial(History.numbers_before, history)
    return memory.compare(history, rounds[number], rounds[number].submissions, updates_of(number), None)


def rejected(comparison: Comparison) -> list[int]:
    new, _ = novelty.check(comparison.sketches, comparison.earlier, ALL)
    return [int(place) for place in np.flatnonzero(~new.passed)]


def memory_of() -> tuple[Sketches, list[int]]:
    """Return a memory and the devices' rounds that it has read, in their order."""
    reads: list[int] = []

    def load(items: list[Any]) -> tuple[list[int], np.ndarray]:
        reads.append(len(items))
        return list(range(len(items))), updates_of(LAST - len(reads))

    return Sketches(load), reads


def test_a_mixture_is_found_and_after_a_restart_as_well() -> None:
    memory, reads = memory_of()
    for number in range(1, LAST):
        assert rejected(compare(memory, number)) == []
    assert rejected(compare(memory, LAST)) == [0]
    assert reads == [], "it had seen all of them"
    restarted, reads = memory_of()
    comparison = compare(restarted, LAST)
    assert (rejected(comparison), len(reads)) == ([0], ROUNDS)
    assert comparison.earlier.shape == (ROUNDS * DEVICES, SIZE)


def test_memory_is_of_two_rounds() -> None:
    memory, _ = memory_of()
    for number in range(1, LAST + 1):
        compare(memory, number)
    assert len(memory._sketches) == ROUNDS + 1


def test_what_was_trained_from_the_same_model_explains_nothing() -> None:
    """A device that trains again after a void round comes to the same."""
    memory, _ = memory_of()
    assert len(compare(memory, LAST, (0, 1, 2, 2)).earlier) == DEVICES
    assert rejected(compare(memory, LAST, (0, 1, 2, 2))) == []


def test_of_few_updates_as_many_rounds_are_remembered_as_there_is_room_for() -> None:
    """A copy of an update of long ago is one."""
    rounds = FEW_EARLIER // FEWER

    def few(number: int) -> np.ndarray:
        rows = updates_of(number)[:FEWER]
        if number == rounds + 1:
            rows[1] = updates_of(2)[1] + 0.1 * updates_of(3)[0]
        return rows

    memory = Sketches(lambda items: (list(range(len(items))), few(1)))
    items: Any = [SimpleNamespace(position=i, update=SimpleNamespace(device=i)) for i in range(FEWER)]
    history: Any = SimpleNamespace(rounds={}, model_before=lambda n: n)
    history.numbers_before = partial(History.numbers_before, history)
    for number in range(1, rounds + 2):
        history.rounds[number] = SimpleNamespace(number=number, submissions=items, accepted=(True,) * FEWER)
        found = memory.compare(history, history.rounds[number], items, few(number), None)
        assert len(found.earlier) == FEWER * min(number - 1, rounds)
        assert found.recent == FEWER * min(number - 1, ROUNDS)
        new, _ = novelty.check(found.sketches, found.earlier, np.ones(FEWER, bool))
        expected = [1] if number == rounds + 1 else []
        assert np.flatnonzero(~new.passed).tolist() == expected
    assert len(memory._sketches) == rounds + 1
