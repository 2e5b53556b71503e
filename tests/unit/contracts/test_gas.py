"""Gas: exactly what the snapshot says, and within the protocol's goals."""

from __future__ import annotations

import json

import pytest

from bcfl.protocol.limits import TRANSACTION_GAS
from bcfl.protocol.types import Engine, Mode
from testkit import gas, largest_calls

SNAPSHOT = json.loads(gas.SNAPSHOT.read_text())


@pytest.mark.evm("gas")
@pytest.mark.parametrize("size", gas.SIZES, ids=str)
def test_steady_round(size: gas.Size) -> None:
    assert gas.steady_round(size) == SNAPSHOT[str(size)], gas.HINT


@pytest.mark.evm("gas")
def test_rare_calls() -> None:
    assert gas.rare_calls() == SNAPSHOT["rare"], gas.HINT


@pytest.mark.evm("gas")
def test_dispute_calls() -> None:
    assert gas.dispute_calls() == SNAPSHOT["dispute"], gas.HINT


@pytest.mark.evm("gas")
@pytest.mark.parametrize("name", largest_calls.ROWS)
def test_largest_calls(name: str) -> None:
    assert largest_calls.ROWS[name]() == SNAPSHOT[name], gas.HINT


@pytest.mark.evm("gas")
@pytest.mark.parametrize("name", gas.LARGEST)
def test_the_largest_calls_fit_a_transaction(name: str) -> None:
    assert max(SNAPSHOT[name].values()) < TRANSACTION_GAS


@pytest.mark.evm("gas")
@pytest.mark.parametrize(("size", "goal"), gas.GOALS.items(), ids=str)
def test_goals(size: gas.Size, goal: int) -> None:
    assert sum(SNAPSHOT[str(size)].values()) / size.participants <= goal


@pytest.mark.evm("gas")
def test_an_account_with_both_roles_takes_part_once() -> None:
    assert gas.Size(20, 20, Engine.RESOURCE, Mode.FULL).participants == 20


@pytest.mark.evm("gas")
def test_the_table_names_calls_and_goal() -> None:
    text = gas.table(gas.Size(20, 5), {"commit": 25_000})
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
