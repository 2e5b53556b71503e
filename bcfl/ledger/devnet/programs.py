"""Make steps of programs, and let py-evm run what is between them.

A step is made when its place is first reached, and kept: contracts are called again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from eth.vm import opcode_values as op
from eth.vm.code_stream import CodeStream
from eth.vm.forks.prague.computation import PragueComputation

from bcfl.ledger.devnet import instructions as steps
from bcfl.ledger.devnet.instructions import BINARY, FAR, GAS, PLAIN, UNARY, Step

KEPT_PROGRAMS: Final = 16
KEPT_STEPS: Final = 8_192  # of a program; about 3 MB
MAKERS: Final = {
    op.POP: steps.pop,
    op.MLOAD: steps.mload,
    op.MSTORE: steps.mstore,
    op.JUMPDEST: steps.jumpdest,
    op.CALLDATALOAD: steps.calldataload,
}
TAKERS: Final = frozenset({*BINARY, op.MLOAD, op.MSTORE, op.JUMP, op.JUMPI})  # of what is pushed before
_programs: dict[tuple[bytes, int], Program] = {}


class Program(dict[int, Step]):
    """The steps of some bytecode, by their places, each made when it is first reached."""

    def __init__(self, code: bytes, opcodes: Mapping[int, Any]) -> None:
        super().__init__()
        self._code, self._opcodes = code, opcodes

    def __missing__(self, place: int) -> Step:
        step = self._make(place)
        if len(self) < KEPT_STEPS:
            self[place] = step
        return step

    @cached_property
    def destinations(self) -> frozenset[int]:
        """Return the places that one can jump to."""
        places, place = set(), 0
        while place < len(self._code):
            byte = self._code[place]
            if byte == op.JUMPDEST:
                places.add(place)
            place += byte - op.PUSH1 + 2 if op.PUSH1 <= byte <= op.PUSH32 else 1
        return frozenset(places)

    def _make(self, place: int) -> Step:
        code, back, after = self._at(place), ~place, place + 1
        if not self._is_plain(code):
            return steps.leave(back)
        if op.PUSH0 <= code <= op.PUSH32:
            after += code - op.PUSH0
            if after > len(self._code):
                return steps.leave(back)
            return self._push(int.from_bytes(self._code[place + 1 : after], "big"), GAS[code], after, back)
        if op.DUP1 <= code <= op.DUP16:
            return steps.dup(code - op.DUP1 + 1, after, back)
        if code == op.SWAP1 and self._at(after) == op.POP and self._is_plain(op.POP):
            return steps.swap_pop(after + 1, back)
        if op.SWAP1 <= code <= op.SWAP16:
            return steps.swap(code - op.SWAP1 + 1, after, back)
        if code in MAKERS:
            return MAKERS[code](after, back)
        if code in BINARY:
            return steps.binary(BINARY[code], GAS[code], after, back)
        if code in UNARY:
            return steps.unary(UNARY[code], after, back)
        if code == op.JUMP:
            return steps.jump(self.destinations, back)
        if code == op.JUMPI:
            return steps.jumpi(self.destinations, after, back)
        return steps.leave(back)

    def _push(self, number: int, price: int, after: int, back: int) -> Step:
        """Return the step of a push, with the instruction that takes it where that is a frequent one."""
        code = self._at(after)
        if code in TAKERS and self._is_plain(code):
            both = price + GAS[code]
            if code in BINARY:
                return steps.binary_with(number, BINARY[code], both, after + 1, back)
            if code in (op.MLOAD, op.MSTORE):
                if number < FAR:
                    make = steps.mload_at if code == op.MLOAD else steps.mstore_at
                    return make(number, both, after + 1, back)
            elif number in self.destinations and self._is_plain(op.JUMPDEST):
                if code == op.JUMP:
                    return steps.jump_to(number + 1, both + GAS[op.JUMPDEST], back)
                return steps.jumpi_to(number + 1, both, after + 1, back)
        return steps.push(number, price, after, back)

    def _at(self, place: int) -> int:
        return self._code[place] if place < len(self._code) else op.STOP

    def _is_plain(self, code: int) -> bool:
        return self._opcodes.get(code) is PLAIN.get(code)


def program_of(code: bytes, opcodes: Mapping[int, Any]) -> Program:
    """Return the steps of some bytecode where instructions are as in `opcodes`."""
    key = code, id(opcodes)  # nobody else's as long as the program is kept, which holds on to them
    program = _programs.get(key)
    if program is None:
        if len(_programs) >= KEPT_PROGRAMS:
            _programs.clear()
        program = _programs[key] = Program(code, opcodes)
    return program


class Stream(CodeStream):
    """A program that runs its quick steps itself, and gives py-evm the instructions between them."""

    __slots__ = ("_computation",)

    def __init__(self, computation: Any) -> None:
        super().__init__(computation.msg.code)
        self._computation = computation

    def __iter__(self) -> Iterator[int]:
        computation, self._computation = self._computation, None  # a circle would wait to be collected
        meter, values = computation._gas_meter, computation._stack.values
        code = self._raw_code_bytes
        program = program_of(code, computation.opcodes)
        place = self.program_counter
        while True:
            place = program[place](computation, meter, values)
            if place < 0:
                place = ~place
                self.program_counter = place + 1
                yield code[place] if place < len(code) else op.STOP
                place = self.program_counter  # which a jump has moved


class QuickComputation(PragueComputation):
    """Prague's instructions, the frequent ones in fewer calls."""

    opcodes: Any = dict(PLAIN)  # noqa: RUF012

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.consume_gas = self._gas_meter.consume_gas  # type: ignore[method-assign]
        for name in ("pop_ints", "pop_any", "pop1_int", "pop1_bytes", "pop1_any", "push_int", "push_bytes"):
            setattr(self, f"stack_{name}", getattr(self._stack, name))
        if self.msg.code and not self.logger.show_debug2:  # who logs at that level sees each instruction
            self.code = Stream(self)
