"""The measure of branch coverage sees each outcome once it happens, however the contract was compiled."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import boa
import pytest

from tests import branches

SOURCE = """
# pragma version 0.4.3
total: uint256
items: DynArray[uint256, 10]

@internal
def _even(n: uint256) -> bool:
    return n % 2 == 0

@external
def add(n: uint256, m: uint256):
    assert n != 7 and m != 7, "adder: seven"
    if n == 3:
        return
    if n + m > 5:
        self.total += 2 * n
    elif not self._even(m):
        self.total = 1
    else:
        self.total -= n
    for i: uint256 in range(n, bound=20):
        if i == 4:
            continue
        self.items.append(n if n > 3 else 2)
        if i == 5:
            break
    if self._even(n):
        if m == 1:
            raise "adder: one"
"""
# Of the asserts and ifs, after the pragma for the optimizer has become the second line.
LINES = (12, 13, 15, 17, 22, 24, 25, 27, 28)
CALLS = ((3, 0), (1, 0), (1, 1), (9, 1), (7, 0), (0, 7), (4, 0), (6, 1), (2, 0), (2, 1), (0, 1))


@pytest.fixture(params=["none", "gas", "codesize"])
def contract(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(branches, "codes", {})
    return boa.loads(SOURCE.replace("0.4.3", f"0.4.3\n#pragma optimize {request.param}", 1).lstrip())


def call(contract: Any, n: int, m: int) -> None:
    """Call and record, whatever the contract answers."""
    with suppress(boa.BoaError):
        contract.add(n, m)
    branches.record(contract._computation, contract)


def missing() -> dict[int, int]:
    """Outcomes not yet seen of each branch, by line."""
    return {line: 2 - count for (_, line, _), count in branches.outcomes().items()}


def test_no_call_no_outcome(contract: Any) -> None:
    call(contract, 7, 0)
    assert missing() == {line: 1 if line == LINES[0] else 2 for line in LINES}


def test_every_outcome_is_seen(contract: Any) -> None:
    for n, m in CALLS:
        call(contract, n, m)
    assert missing() == dict.fromkeys(LINES, 0)
    assert branches.percentage(branches.outcomes()) == 100


@pytest.mark.parametrize(
    ("calls", "counts"),
    [
        ([(3, 0)], {12: 1, 13: 1}),
        ([(1, 1)], {12: 1, 13: 1, 15: 1, 17: 1, 22: 1, 24: 1, 25: 1, 27: 1}),
        ([(1, 1), (3, 0)], {12: 1, 13: 2, 15: 1, 17: 1, 22: 1, 24: 1, 25: 1, 27: 1}),
    ],
)
def test_only_what_happened_is_seen(
    contract: Any, calls: list[tuple[int, int]], counts: dict[int, int]
) -> None:
    for n, m in calls:
        call(contract, n, m)
    assert {line: 2 - count for line, count in missing().items() if count < 2} == counts
