"""Report branches that run on the embedded chain to the measure of coverage (tests/branches.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from testkit.mocks import compiled
from testkit.proposal_fixture import ProposalFixture

JUMPI = 0x57
DEPLOYABLES = ("Federation", "SettlementFacet", "ChallengeFacet", "DisputeFacet", "MembershipFacet")
SOURCES = (
    *(f"{n}.vy" for n in DEPLOYABLES),
    *(f"mocks/{n}Mock.vy" for n in ("Registry", "Election", "Lottery", "Verification", "Rewards")),
)

Outcome = tuple[bytes, int, bool]  # code, program counter, whether the jump fell through


class Reporter:
    """Report before the measure sums up: a plugin that is registered later is called earlier."""

    def __init__(self, outcomes: set[Outcome]) -> None:
        self.outcomes = outcomes

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        report(self.outcomes)


@pytest.fixture(scope="module")
def fixture(request: pytest.FixtureRequest) -> ProposalFixture:
    """A proposal fixture with the `PROPOSAL_TERMS` of the test's module."""
    return ProposalFixture(request.module.PROPOSAL_TERMS)


@pytest.fixture(scope="session", autouse=True)
def _branches(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("branches", None) is None:
        return
    from eth.vm.forks.prague.computation import PragueComputation

    outcomes: set[Outcome] = set()
    jump = PragueComputation.opcodes[JUMPI]
    PragueComputation.opcodes = {**PragueComputation.opcodes, JUMPI: record_jumps(jump, outcomes)}  # type: ignore[dict-item]
    pytestconfig.pluginmanager.register(Reporter(outcomes))


def record_jumps(jump: Callable[..., Any], outcomes: set[Outcome]) -> Callable[..., Any]:
    """The conditional jump, recording each outcome."""

    def record_jump(computation: Any) -> None:
        code = computation.code
        condition = computation._stack.values[-2]
        falls_through = not (condition if isinstance(condition, int) else any(condition))
        outcomes.add((code._raw_code_bytes, code.program_counter - 1, falls_through))
        jump(computation=computation)

    return record_jump


def report(outcomes: set[Outcome]) -> None:
    """Report the outcomes in code that can be mapped to sources."""
    from vyper.ir.compile_ir import assembly_to_evm

    from tests import branches

    for path in SOURCES:
        data = compiled(path)
        metadata = bytes.fromhex(data.integrity_sum)
        pieces = [
            (data.bytecode, *assembly_to_evm(data.assembly, compiler_metadata=metadata)),
            (data.bytecode_runtime, *assembly_to_evm(data.assembly_runtime)),
        ]
        for code, assembly, maps in pieces:
            assert code == assembly
            taken_jumps = {(pc, falls_through) for raw, pc, falls_through in outcomes if raw.startswith(code)}
            if taken_jumps:
                places = branches.branches_of(code, maps["pc_raw_ast_map"])
                source_jumps = {(pc, falls_through) for pc, falls_through in taken_jumps if pc in places}
                branches.merge(branches.name_of(code), places, source_jumps)
