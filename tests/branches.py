"""Branch coverage of the contracts: which outcomes of every if and assert the tests have executed.

A pytest plugin, on with `--branches PERCENT`: it prints what is missing and fails the run below PERCENT.
The compiler tells which node of the source an opcode stems from; a branch is a conditional jump whose node is
an if, a conditional expression or an assert, and it is covered when the jump was seen both taken and not.
Jumps on the embedded chain come from tests/unit/contracts/conftest.py, those in titanoboa from its own trace.
(titanoboa 0.2.8 has a plugin for coverage.py, which loses most branches inside loops and functions.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import boa
import pytest
from vyper import ast

ROOT = Path(__file__).parents[1]
KINDS = (ast.If, ast.IfExp, ast.Assert)
EXITS = (ast.Continue, ast.Break, ast.Return)  # their label is pushed before the jump of the if around them
PUSH0, PUSH32, JUMPI = 0x5F, 0x7F, 0x57
LOOK_BACK = 6  # opcodes between the end of a condition and the jump that it decides

DEPLOYABLES = ("Federation", "SettlementFacet", "ChallengeFacet", "DisputeFacet", "MembershipFacet")
SOURCES = (
    *(f"{name}.vy" for name in DEPLOYABLES),
    *(f"mocks/{name}Mock.vy" for name in ("Registry", "Election", "Lottery", "Verification", "Rewards")),
)

Branch = tuple[str, int, int]  # path, line, column
Piece = tuple[bytes, dict[int, Branch]]  # code, and the branch at each of its conditional jumps


@dataclass
class Code:
    """One piece of bytecode: the branch at each conditional jump, and the outcomes seen."""

    branches: dict[int, Branch]
    outcomes: set[tuple[int, bool]] = field(default_factory=set)


codes: dict[str, Code] = {}
jumps: dict[
    bytes, set[tuple[int, bool]]
] = {}  # of code on the embedded chain: counter, whether it fell through


def opcodes(code: bytes) -> Iterator[tuple[int, int]]:
    """Program counter and opcode of every instruction."""
    pc = 0
    while pc < len(code):
        yield pc, code[pc]
        pc += 1 + (code[pc] - PUSH0 if PUSH0 < code[pc] <= PUSH32 else 0)


def condition_of(node: Any) -> Any:
    """The innermost if, conditional expression or assert that has `node` in its condition."""
    child, parent = node, getattr(node, "_parent", None)
    while parent is not None and not (isinstance(parent, KINDS) and child is parent.test):
        child, parent = parent, getattr(parent, "_parent", None)
    return parent


def branches_of(code: bytes, nodes: dict[int, Any]) -> dict[int, Branch]:
    """The jump that decides each condition.

    The optimizer may leave that jump without its node; then it is the last nameless jump right after
    opcodes of the condition (the ones before it are checks for overflow).
    """
    direct: dict[int, Any] = {}
    indirect: dict[Any, int] = {}
    recent_nodes: list[Any] = []
    for pc, opcode in opcodes(code):
        node = nodes.get(pc)
        recent_nodes = [*recent_nodes[1 - LOOK_BACK :], node]
        if opcode != JUMPI:
            continue
        if isinstance(node, KINDS):
            direct[pc] = node
        elif node is None:
            owners = [
                owner for near in reversed(recent_nodes) if near is not None and (owner := condition_of(near))
            ]
            if owners:
                indirect[owners[0]] = pc
    nodes_with_jump = set(direct.values())
    jumps = direct | {pc: node for node, pc in indirect.items() if node not in nodes_with_jump}
    return {pc: (str(n.module_node.resolved_path), n.lineno, n.col_offset) for pc, n in jumps.items()}


@lru_cache(maxsize=4096)
def name_of(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()


def record(computation: Any, contract: Any) -> None:
    """Note the outcome of every branch of one call, and of the calls it made."""
    if hasattr(contract, "source_map") and hasattr(contract, "compiler_data"):
        compiler_data = contract.compiler_data
        code = compiler_data.bytecode if computation.msg.is_create else compiler_data.bytecode_runtime
        raw_code = computation.code._raw_code_bytes
        if not raw_code.startswith(code):
            code = raw_code  # an internal function called by itself
        name = name_of(code)
        if name not in codes:
            codes[name] = Code(branches_of(code, contract.source_map["pc_raw_ast_map"]))
        entry, trace = codes[name], computation.code._trace
        transitions = set(pairwise(trace))
        entry.outcomes.update((pc, next_pc == pc + 1) for pc, next_pc in transitions if pc in entry.branches)
    for child in computation.children:
        if child.msg.code_address:
            record(child, boa.env._lookup_contract_fast(child.msg.code_address))


def merge(name: str, branches: dict[int, Branch], pairs: set[tuple[int, bool]]) -> None:
    codes.setdefault(name, Code(branches)).outcomes.update(pairs)


def pieces(path: str) -> list[Piece]:
    """Compile a source; creation code and runtime code, each with its branches."""
    from vyper.ir.compile_ir import assembly_to_evm

    from testkit.mocks import compiled

    data = compiled(path)
    metadata = bytes.fromhex(data.integrity_sum)
    codes_with_maps = [
        (data.bytecode, *assembly_to_evm(data.assembly, compiler_metadata=metadata)),
        (data.bytecode_runtime, *assembly_to_evm(data.assembly_runtime)),
    ]
    for code, assembly, _ in codes_with_maps:
        assert code == assembly
    return [(code, branches_of(code, maps["pc_raw_ast_map"])) for code, _, maps in codes_with_maps]


def place_jumps() -> None:
    """Find the branches of the jumps on the embedded chain: compile what they may belong to, once."""
    if not jumps:
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        compiled_pieces = [piece for group in pool.map(pieces, SOURCES) for piece in group]
    for code, places in compiled_pieces:
        taken = {jump for raw, pairs in jumps.items() if raw.startswith(code) for jump in pairs}
        if taken:
            merge(name_of(code), places, {(pc, fell) for pc, fell in taken if pc in places})


def outcomes() -> dict[Branch, int]:
    """How many of its two outcomes each branch has shown, in the bytecode that shows most."""
    best: dict[Branch, int] = {}
    for code in codes.values():
        for pc, branch in code.branches.items():
            count = sum((pc, fell) in code.outcomes for fell in (True, False))
            best[branch] = max(best.get(branch, 0), count)
    return {branch: best[branch] for branch in sorted(best) if "/mocks/" not in branch[0]}


def percentage(counts: dict[Branch, int]) -> float:
    return 100 * sum(counts.values()) / (2 * len(counts)) if counts else 0.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--branches", type=float, metavar="PERCENT", help="least branch coverage of the contracts"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("branches") is not None:
        boa.Env._coverage_enabled = True
        boa.Env._trace_computation = lambda _, computation, contract=None: record(computation, contract)


def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    for name, branches, pairs in output.get("branches", ()):
        merge(name, {pc: (path, line, column) for pc, path, line, column in branches}, set(map(tuple, pairs)))
    for code, pairs in output.get("jumps", ()):
        jumps.setdefault(code, set()).update(map(tuple, pairs))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    minimum = session.config.getoption("branches")
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["branches"] = [
            (name, [(pc, *branch) for pc, branch in code.branches.items()], list(code.outcomes))
            for name, code in codes.items()
        ]
        session.config.workeroutput["jumps"] = [(code, list(pairs)) for code, pairs in jumps.items()]
    elif minimum is not None and exitstatus == 0:
        place_jumps()
        if percentage(outcomes()) < minimum:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("branches") is None:
        return
    counts = outcomes()
    terminalreporter.section("branch coverage of the contracts")
    for path in sorted({path for path, _, _ in counts}):
        counts_of_file = {branch: count for branch, count in counts.items() if branch[0] == path}
        missing = [
            f"{line}{'' if count else '!'}" for (_, line, _), count in counts_of_file.items() if count < 2
        ]
        name = Path(path).relative_to(ROOT) if Path(path).is_relative_to(ROOT) else path
        terminalreporter.write_line(f"{percentage(counts_of_file):6.1f}%  {name!s:<36} {' '.join(missing)}")
    total = f"{percentage(counts):6.1f}%  of {2 * len(counts)} outcomes of {len(counts)} branches"
    terminalreporter.write_line(
        f"{total}, {config.getoption('branches'):g}% wanted (N: one outcome missing, N!: both)"
    )
