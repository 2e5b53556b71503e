"""Gas: exactly what the snapshot says, and within the protocol's goals."""

from __future__ import annotations

import json

import pytest

from bcfl.protocol.types import Engine
from benchmarks import gas

SNAPSHOT = json.loads(gas.SNAPSHOT.read_text())
HINT = "gas has changed; if it is meant, run `python -m benchmarks.gas --write` and commit the snapshot"


@pytest.mark.parametrize("size", gas.SIZES, ids=lambda size: gas.name_of(*size))
def test_steady_round(size: tuple[int, int, Engine]) -> None:
    assert gas.steady_round(*size) == SNAPSHOT[gas.name_of(*size)], HINT


def test_rare_steps() -> None:
    assert gas.rare_steps() == SNAPSHOT["rare"], HINT


@pytest.mark.parametrize(("size", "goal"), gas.GOALS.items(), ids=str)
def test_goals(size: tuple[int, int], goal: int) -> None:
    row = SNAPSHOT[gas.name_of(*size, Engine.STAKE)]
    assert sum(row.values()) / sum(size) <= goal


def test_the_table_names_steps_and_goal() -> None:
    text = gas.table(20, 5, Engine.STAKE, {"commit": 25_000})
    assert text.splitlines()[-1].split() == [
        "all,",
        "and",
        "per",
        "participant",
        "25,000",
        "1,000",
        "goal",
        "45,000",
    ]
