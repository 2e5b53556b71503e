"""Choose the ledger; report branches of the bytecode to the measure of coverage (tests/branches.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from testkit.ledgers import BYTECODE, CHOSEN
from testkit.proposal_fixture import ProposalFixture


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave facts of the EVM out where the tests run on the specification, alone or beside the bytecode."""
    for item in items:
        if (fact := item.get_closest_marker("evm")) and CHOSEN != BYTECODE:
            item.add_marker(pytest.mark.skip(reason=f"a fact of the EVM: {fact.args[0]}"))


@pytest.fixture(scope="module")
def fixture(request: pytest.FixtureRequest) -> ProposalFixture:
    """A proposal fixture with the `PROPOSAL_TERMS` of the test's module."""
    return ProposalFixture(request.module.PROPOSAL_TERMS)


@pytest.fixture(scope="session", autouse=True)
def _branches(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("branches", None) is None:
        return
    from eth.vm.forks.prague.computation import PragueComputation

    from bcfl.ledger.devnet.programs import QuickComputation
    from tests import branches

    for computation in (PragueComputation, QuickComputation):
        recorder = record_jumps(computation.opcodes[branches.JUMPI], branches.jumps)
        computation.opcodes = {**computation.opcodes, branches.JUMPI: recorder}


def record_jumps(
    jump: Callable[..., Any], outcomes: dict[bytes, set[tuple[int, bool]]]
) -> Callable[..., Any]:
    """The conditional jump, recording each outcome.

    Code is looked up once per call of a contract, not per jump: comparing bytes takes longer than jumping.
    """
    code: Any = None
    jumps: set[tuple[int, bool]] = set()

    def record_jump(computation: Any) -> None:
        nonlocal code, jumps
        if computation.code is not code:
            code = computation.code
            jumps = outcomes.setdefault(code._raw_code_bytes, set())
        condition = computation._stack.values[-2]
        falls_through = not (condition if isinstance(condition, int) else any(condition))
        jumps.add((code.program_counter - 1, falls_through))
        jump(computation=computation)

    return record_jump
