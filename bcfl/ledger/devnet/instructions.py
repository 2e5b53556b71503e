"""Run the instructions that a program is mostly made of in fewer calls than py-evm's own need.

A quick one does the common case alone. For whatever is unusual (little gas, a short stack, memory that grows,
a jump to nowhere) it has changed nothing yet, and py-evm's own instruction decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from eth.abc import OpcodeAPI
from eth.vm import opcode_values as op
from eth.vm.forks.prague.computation import PragueComputation

DEPTH: Final = 1_000  # of a stack; the limit is 1,024
MASK: Final = 2**256 - 1
PUSH_GAS: Final = 3  # also of DUP and SWAP

Instruction = Callable[[Any], Any]
Slow = Any  # py-evm's instruction, with its price `gas_cost`
BINARY: Final[Mapping[int, Callable[[int, int], int]]] = {  # of the top of the stack and what is below it
    op.ADD: lambda top, below: top + below & MASK,
    op.SUB: lambda top, below: top - below & MASK,
    op.AND: lambda top, below: top & below,
    op.OR: lambda top, below: top | below,
    op.XOR: lambda top, below: top ^ below,
    op.LT: lambda top, below: int(top < below),
    op.GT: lambda top, below: int(top > below),
    op.EQ: lambda top, below: int(top == below),
    op.SHL: lambda top, below: below << top & MASK if top < 256 else 0,
    op.SHR: lambda top, below: below >> top if top < 256 else 0,
}


def quick(opcodes: Mapping[int, OpcodeAPI]) -> dict[int, Any]:
    """Return py-evm's instructions with the frequent ones replaced."""
    table: dict[int, Any] = dict(opcodes)
    for size in range(1, 33):
        table[op.PUSH1 + size - 1] = _push(size, opcodes[op.PUSH1 + size - 1])
    for depth in range(1, 17):
        table[op.DUP1 + depth - 1] = _dup(depth, opcodes[op.DUP1 + depth - 1])
        table[op.SWAP1 + depth - 1] = _swap(depth, opcodes[op.SWAP1 + depth - 1])
    for code, of in BINARY.items():
        table[code] = _binary(opcodes[code], of)
    makers = {op.POP: _pop, op.MLOAD: _mload, op.MSTORE: _mstore}
    makers |= {op.JUMPDEST: _jumpdest, op.JUMP: _jump, op.JUMPI: _jumpi}
    table |= {code: make(opcodes[code]) for code, make in makers.items()}
    for code, instruction in table.items():
        if instruction is not opcodes[code]:
            instruction.mnemonic = opcodes[code].mnemonic  # which py-evm logs
    return table


@cache
def destinations(code: bytes) -> frozenset[int]:
    """Return the places of a program that one can jump to."""
    places, place = set(), 0
    while place < len(code):
        byte = code[place]
        if byte == op.JUMPDEST:
            places.add(place)
        place += byte - op.PUSH1 + 2 if op.PUSH1 <= byte <= op.PUSH32 else 1
    return frozenset(places)


def _number(value: int | bytes) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "big")


def _push(size: int, slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, code, values = computation._gas_meter, computation.code, computation._stack.values
        start = code.program_counter
        word = code._raw_code_bytes[start : start + size]
        if meter.gas_remaining < PUSH_GAS or len(values) > DEPTH or len(word) < size:
            return slow(computation)
        meter.gas_remaining -= PUSH_GAS
        code.program_counter = start + size
        return values.append(word)

    return run


def _dup(depth: int, slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values = computation._gas_meter, computation._stack.values
        if meter.gas_remaining < PUSH_GAS or not depth <= len(values) <= DEPTH:
            return slow(computation)
        meter.gas_remaining -= PUSH_GAS
        return values.append(values[-depth])

    return run


def _swap(depth: int, slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values = computation._gas_meter, computation._stack.values
        if meter.gas_remaining < PUSH_GAS or len(values) <= depth:
            return slow(computation)
        meter.gas_remaining -= PUSH_GAS
        values[-1], values[-1 - depth] = values[-1 - depth], values[-1]
        return None

    return run


def _pop(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values = computation._gas_meter, computation._stack.values
        if meter.gas_remaining < slow.gas_cost or not values:
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        del values[-1]
        return None

    return run


def _binary(slow: Slow, of: Callable[[int, int], int]) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values = computation._gas_meter, computation._stack.values
        if meter.gas_remaining < slow.gas_cost or len(values) < 2:
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        values[-1] = of(_number(values.pop()), _number(values[-1]))
        return None

    return run


def _mload(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values, memory = computation._gas_meter, computation._stack.values, computation._memory._bytes
        if meter.gas_remaining < slow.gas_cost or not values:
            return slow(computation)
        end = _number(values[-1]) + 32
        if end > len(memory):
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        values[-1] = bytes(memory[end - 32 : end])
        return None

    return run


def _mstore(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values, memory = computation._gas_meter, computation._stack.values, computation._memory._bytes
        if meter.gas_remaining < slow.gas_cost or len(values) < 2:
            return slow(computation)
        end = _number(values[-1]) + 32
        if end > len(memory):
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        memory[end - 32 : end] = _number(values[-2]).to_bytes(32, "big")
        del values[-2:]
        return None

    return run


def _jumpdest(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter = computation._gas_meter
        if meter.gas_remaining < slow.gas_cost:
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        return None

    return run


def _jump(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values, code = computation._gas_meter, computation._stack.values, computation.code
        if meter.gas_remaining < slow.gas_cost or not values:
            return slow(computation)
        place = _number(values[-1])
        if place not in destinations(code._raw_code_bytes):
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        del values[-1]
        code.program_counter = place
        return None

    return run


def _jumpi(slow: Slow) -> Instruction:
    def run(computation: Any) -> Any:
        meter, values, code = computation._gas_meter, computation._stack.values, computation.code
        if meter.gas_remaining < slow.gas_cost or len(values) < 2:
            return slow(computation)
        place, is_taken = _number(values[-1]), _number(values[-2])
        if is_taken and place not in destinations(code._raw_code_bytes):
            return slow(computation)
        meter.gas_remaining -= slow.gas_cost
        del values[-2:]
        if is_taken:
            code.program_counter = place
        return None

    return run


class QuickComputation(PragueComputation):
    """Prague's instructions, the frequent ones in fewer calls."""

    opcodes = quick(PragueComputation.opcodes)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.consume_gas = self._gas_meter.consume_gas  # type: ignore[method-assign]
        for name in ("pop_ints", "pop_any", "pop1_int", "pop1_bytes", "pop1_any", "push_int", "push_bytes"):
            setattr(self, f"stack_{name}", getattr(self._stack, name))
