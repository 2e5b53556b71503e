"""Which function of the sources a piece of executed bytecode belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testkit import mocks

JUMPDEST, PUSH0, PUSH32 = 0x5B, 0x5F, 0x7F

Execution = tuple[bytes, int]  # code as it stood in the chain, program counter of a label


def functions_of(executions: set[Execution]) -> dict[Execution, str]:
    """Return the function, as `path:name` below contracts/, of each label that belongs to one."""
    by_code: dict[bytes, set[int]] = {}
    for code, pc in executions:
        by_code.setdefault(code, set()).add(pc)
    names = {}
    for code, functions in _labels():
        for raw, pcs in by_code.items():
            if raw.startswith(code):
                names.update({(raw, pc): functions[pc] for pc in pcs if pc in functions})
    return names


def _labels() -> Iterator[tuple[bytes, dict[int, str]]]:
    """Yield the codes of each contract, with and without constructor, and the function of each label."""
    from vyper.ir.compile_ir import assembly_to_evm

    for path in [*mocks.CONTRACTS.glob("*.vy"), *mocks.CONTRACTS.glob("mocks/*.vy")]:
        data = mocks.compiled(str(path.relative_to(mocks.CONTRACTS)))
        metadata = bytes.fromhex(data.integrity_sum)
        for assembly in (
            assembly_to_evm(data.assembly, compiler_metadata=metadata),
            assembly_to_evm(data.assembly_runtime),
        ):
            code, maps = assembly
            yield code, label_functions(code, maps["pc_raw_ast_map"])


def label_functions(code: bytes, nodes: dict[int, Any]) -> dict[int, str]:
    """Return the function of the first opcode behind each label that stems from a function."""
    functions: dict[int, str] = {}
    label: int | None = None
    for pc, opcode in opcodes(code):
        if opcode == JUMPDEST:
            label = pc
        if label is not None and label not in functions and (name := function_of(nodes.get(pc))):
            functions[label] = name
    return functions


def opcodes(code: bytes) -> Iterator[tuple[int, int]]:
    """Yield program counter and opcode of every instruction."""
    pc = 0
    while pc < len(code):
        yield pc, code[pc]
        pc += 1 + (code[pc] - PUSH0 if PUSH0 < code[pc] <= PUSH32 else 0)


def function_of(node: Any) -> str | None:
    """Return the function that a node of the sources stands in, as `path:name` below contracts/."""
    from vyper import ast

    function = node
    while function is not None and not isinstance(function, ast.FunctionDef):
        function = getattr(function, "_parent", None)
    if function is None:
        return None
    return name_of(Path(function.module_node.resolved_path), function.name)


def name_of(path: Path, function: str) -> str:
    """Return `path:name` with the path below contracts/."""
    root = mocks.CONTRACTS.resolve()
    return f"{path.resolve().relative_to(root).as_posix()}:{function}"
