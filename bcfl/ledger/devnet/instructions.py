"""Run the instructions that a program is mostly made of in fewer calls than py-evm's own need.

A step is an instruction at its place, or a push and what takes it. It does the common case alone. For
whatever is unusual (little gas, a short stack, memory that costs more than there is, a jump to nowhere) it
has changed nothing yet, and py-evm's own instruction decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from eth.vm import opcode_values as op
from eth.vm.computation import memory_gas_cost
from eth.vm.forks.prague.computation import PragueComputation

DEPTH: Final = 1_000  # of a stack; the limit is 1,024
MASK: Final = 2**256 - 1
WORD: Final = 32  # bytes
FAR: Final = 2**32  # a place in memory that nobody pays for
PUSH_GAS: Final = 3  # also of DUP and SWAP

# Computation, its gas meter and its stack -> the next place, or `back`: ~place, where py-evm goes on.
Step = Callable[[Any, Any, list[Any]], int]
BINARY: Final[Mapping[int, Callable[[int, int], int]]] = {  # of the top of the stack and what is below it
    op.ADD: lambda top, below: top + below & MASK,
    op.SUB: lambda top, below: top - below & MASK,
    op.MUL: lambda top, below: top * below & MASK,
    op.DIV: lambda top, below: top // below if below else 0,
    op.MOD: lambda top, below: top % below if below else 0,
    op.AND: lambda top, below: top & below,
    op.OR: lambda top, below: top | below,
    op.XOR: lambda top, below: top ^ below,
    op.LT: lambda top, below: int(top < below),
    op.GT: lambda top, below: int(top > below),
    op.EQ: lambda top, below: int(top == below),
    op.SHL: lambda top, below: below << top & MASK if top < 256 else 0,
    op.SHR: lambda top, below: below >> top if top < 256 else 0,
}
UNARY: Final[Mapping[int, Callable[[int], int]]] = {op.ISZERO: lambda top: int(not top), op.NOT: MASK.__xor__}
PLAIN: Final = PragueComputation.opcodes  # as py-evm has them
GAS: Final[Mapping[int, int]] = {code: getattr(plain, "gas_cost", 0) for code, plain in PLAIN.items()}


def _number(value: int | bytes) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "big")


def leave(back: int) -> Step:
    """Return the step that leaves an instruction to py-evm."""
    return lambda _computation, _meter, _values: back


def push(number: int, price: int, after: int, back: int) -> Step:
    """Return the step of a push."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or len(values) > DEPTH:
            return back
        meter.gas_remaining -= price
        values.append(number)
        return after

    return run


def binary_with(number: int, of: Callable[[int, int], int], price: int, after: int, back: int) -> Step:
    """Return the step of a push, and of an instruction that takes the number and what is below it."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or not 0 < len(values) <= DEPTH:
            return back
        meter.gas_remaining -= price
        below = values[-1]
        values[-1] = of(number, below if isinstance(below, int) else int.from_bytes(below, "big"))
        return after

    return run


def mload_at(start: int, price: int, after: int, back: int) -> Step:
    """Return the step of a push, and of reading memory there."""
    end = start + WORD

    def run(computation: Any, meter: Any, values: list[Any]) -> int:
        memory = computation._memory._bytes
        if meter.gas_remaining < price or len(values) > DEPTH or end > len(memory):
            return back
        meter.gas_remaining -= price
        values.append(int.from_bytes(memory[start:end], "big"))
        return after

    return run


def mstore_at(start: int, price: int, after: int, back: int) -> Step:
    """Return the step of a push, and of writing memory there."""
    end = start + WORD

    def run(computation: Any, meter: Any, values: list[Any]) -> int:
        if not 0 < len(values) <= DEPTH or not _has_room(computation, meter, end, price):
            return back
        computation._memory._bytes[start:end] = _number(values.pop()).to_bytes(WORD, "big")
        return after

    return run


def _has_room(computation: Any, meter: Any, end: int, price: int) -> bool:
    """Take the gas of an instruction and of memory up to `end`, and make it; False, and nothing, for less."""
    size: int = len(computation._memory._bytes)
    if end > size:
        if end > FAR:
            return False
        price += memory_gas_cost(end) - memory_gas_cost(size)
    if meter.gas_remaining < price:
        return False
    meter.gas_remaining -= price
    if end > size:
        computation._memory.extend(0, end)
    return True


def jump_to(landing: int, price: int, back: int) -> Step:
    """Return the step of a push, of a jump there, and of the label, before `landing`."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or len(values) > DEPTH:
            return back
        meter.gas_remaining -= price
        return landing

    return run


def jumpi_to(landing: int, price: int, after: int, back: int) -> Step:
    """Return the step of a push, and of a jump there on a condition, with the label, before `landing`."""
    longer = price + GAS[op.JUMPDEST]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < longer or not 0 < len(values) <= DEPTH:
            return back
        if _number(values.pop()):
            meter.gas_remaining -= longer
            return landing
        meter.gas_remaining -= price
        return after

    return run


def dup(depth: int, after: int, back: int) -> Step:
    """Return the step that copies the word at a depth, from 1."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < PUSH_GAS or not depth <= len(values) <= DEPTH:
            return back
        meter.gas_remaining -= PUSH_GAS
        values.append(values[-depth])
        return after

    return run


def swap(depth: int, after: int, back: int) -> Step:
    """Return the step that changes the upper word for the one at a depth below it, from 1."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < PUSH_GAS or len(values) <= depth:
            return back
        meter.gas_remaining -= PUSH_GAS
        values[-1], values[-1 - depth] = values[-1 - depth], values[-1]
        return after

    return run


def swap_pop(after: int, back: int) -> Step:
    """Return the step of what drops the second word."""
    price = PUSH_GAS + GAS[op.POP]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or len(values) < 2:
            return back
        meter.gas_remaining -= price
        del values[-2]
        return after

    return run


def pop(after: int, back: int) -> Step:
    """Return the step that drops a word."""
    price = GAS[op.POP]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or not values:
            return back
        meter.gas_remaining -= price
        del values[-1]
        return after

    return run


def binary(of: Callable[[int, int], int], price: int, after: int, back: int) -> Step:
    """Return the step of an instruction that makes one word of two."""

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or len(values) < 2:
            return back
        meter.gas_remaining -= price
        values[-1] = of(_number(values.pop()), _number(values[-1]))
        return after

    return run


def unary(of: Callable[[int], int], after: int, back: int) -> Step:
    """Return the step of an instruction that makes a word of one."""
    price = GAS[op.NOT]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or not values:
            return back
        meter.gas_remaining -= price
        values[-1] = of(_number(values[-1]))
        return after

    return run


def mload(after: int, back: int) -> Step:
    """Return the step that reads memory."""
    price = GAS[op.MLOAD]

    def run(computation: Any, meter: Any, values: list[Any]) -> int:
        if not values:
            return back
        end = _number(values[-1]) + WORD
        if not _has_room(computation, meter, end, price):
            return back
        values[-1] = int.from_bytes(computation._memory._bytes[end - WORD : end], "big")
        return after

    return run


def mstore(after: int, back: int) -> Step:
    """Return the step that writes memory."""
    price = GAS[op.MSTORE]

    def run(computation: Any, meter: Any, values: list[Any]) -> int:
        if len(values) < 2:
            return back
        end = _number(values[-1]) + WORD
        if not _has_room(computation, meter, end, price):
            return back
        computation._memory._bytes[end - WORD : end] = _number(values[-2]).to_bytes(WORD, "big")
        del values[-2:]
        return after

    return run


def calldataload(after: int, back: int) -> Step:
    """Return the step that reads a call's data."""
    price = GAS[op.CALLDATALOAD]

    def run(computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or not values:
            return back
        meter.gas_remaining -= price
        start = _number(values[-1])
        word = computation.msg.data_as_bytes[start : start + WORD]
        values[-1] = int.from_bytes(word, "big") << 8 * (WORD - len(word))
        return after

    return run


def jumpdest(after: int, back: int) -> Step:
    """Return the step of a label."""
    price = GAS[op.JUMPDEST]

    def run(_computation: Any, meter: Any, _values: list[Any]) -> int:
        if meter.gas_remaining < price:
            return back
        meter.gas_remaining -= price
        return after

    return run


def jump(destinations: frozenset[int], back: int) -> Step:
    """Return the step of a jump to one of `destinations`."""
    price = GAS[op.JUMP]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or not values:
            return back
        place = _number(values[-1])
        if place not in destinations:
            return back
        meter.gas_remaining -= price
        del values[-1]
        return place

    return run


def jumpi(destinations: frozenset[int], after: int, back: int) -> Step:
    """Return the step of a jump on a condition, to one of `destinations`."""
    price = GAS[op.JUMPI]

    def run(_computation: Any, meter: Any, values: list[Any]) -> int:
        if meter.gas_remaining < price or len(values) < 2:
            return back
        place, is_taken = _number(values[-1]), _number(values[-2])
        if is_taken and place not in destinations:
            return back
        meter.gas_remaining -= price
        del values[-2:]
        return place if is_taken else after

    return run
