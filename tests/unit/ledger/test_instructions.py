"""Quick steps do what py-evm does, also where little is missing for what they would do."""

from __future__ import annotations

import logging
from itertools import product
from typing import Any

import pytest
from eth.vm import opcode_values as op
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.message import Message
from eth_typing import Address

from bcfl.ledger.devnet import programs
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.evm import Evm, genesis
from bcfl.ledger.devnet.instructions import BINARY, UNARY
from bcfl.ledger.devnet.programs import KEPT_PROGRAMS, KEPT_STEPS, QuickComputation, program_of

SENDER, TO = Address(b"\1" * 20), Address(b"\2" * 20)
WORDS = (0, 1, 255, 256, 2**255, 2**256 - 1)
DATA = bytes(range(1, 41))


@pytest.fixture(scope="module")
def evm() -> Evm:
    return genesis(Evm, Database(None), [SENDER], 1_700_000_000)


def outcome(evm: Evm, kind: Any, code: bytes, gas: int) -> Any:
    """Return all that can be seen of a call of some code: gas, error, output, the stack and memory left."""
    state = evm.get_vm(evm.header).state
    context = state.get_transaction_context_class()(gas_price=0, origin=SENDER)
    message = Message(gas=gas, to=TO, sender=SENDER, value=0, data=DATA, code=code)
    computation = kind.apply_message(state, message, context)
    error = repr(computation.error) if computation.is_error else None
    values: list[Any] = computation._stack.values
    words = [value if isinstance(value, int) else int.from_bytes(value, "big") for value in values]
    return computation.get_gas_used(), error, computation.output, words, bytes(computation._memory._bytes)


def push(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes([op.PUSH0 + size]) + number.to_bytes(size, "big")


def same(evm: Evm, code: bytes, *limits: int) -> None:
    """Compare with py-evm at the gas that a program needs, at less, and at `limits`."""
    full = outcome(evm, PragueComputation, code, 10**6)
    for gas in {10**6, *range(max(0, full[0] - 12), full[0] + 2), *limits}:
        plain = outcome(evm, PragueComputation, code, gas)
        assert outcome(evm, QuickComputation, code, gas) == plain, (code.hex(), gas)


@pytest.mark.parametrize("code", [*BINARY, op.SDIV, op.SAR, op.BYTE])
def test_two_words_come_to_what_py_evm_makes_of_them(evm: Evm, code: int) -> None:
    """Whether the upper one is pushed just before, was there, or came from memory."""
    for top, below in product(WORDS, WORDS):
        same(evm, push(below) + push(top) + bytes([code]))
    same(evm, push(7) + push(9) + bytes([op.DUP1 + 1, code]))
    same(evm, push(2**256 - 2) + push(0) + bytes([op.MSTORE]) + push(5) + push(0) + bytes([op.MLOAD, code]))


@pytest.mark.parametrize("code", [*UNARY, op.POP, op.MLOAD, op.CALLDATALOAD, op.JUMPDEST, op.PC, op.GAS])
def test_one_word_comes_to_what_py_evm_makes_of_it(evm: Evm, code: int) -> None:
    for word in (*WORDS, 31, 32, 33, 40, 41, 2**32, 2**32 + 1):
        same(evm, push(word) + bytes([code]), 0, 1, 2, 3, 4, 5, 6, 7)
        same(evm, push(word) + push(0) + bytes([op.SWAP1, op.POP, code]))


@pytest.mark.parametrize("word", [0, 1, 31, 32, 33, 1_000, 40_000, 2**32, 2**32 + 1, 2**256 - 1])
@pytest.mark.parametrize("code", [op.MSTORE, op.MLOAD, op.MSTORE8])
def test_memory_grows_at_the_same_price(evm: Evm, code: int, word: int) -> None:
    value = bytes([op.CALLDATASIZE]) * (code != op.MLOAD)
    for start in (b"", push(1) + push(100) + bytes([op.MSTORE])):
        same(evm, start + value + push(word) + bytes([code, op.MSIZE]))
        same(evm, start + push(word) + value + bytes([op.SWAP1] if value else []) + bytes([code, op.MSIZE]))


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 1_002, 1_022, 1_023, 1_024, 1_025])
def test_a_stack_is_full_where_it_is_for_py_evm(evm: Evm, count: int) -> None:
    rest = [push(1) + bytes([op.ADD]), push(0) + bytes([op.MLOAD]), bytes([op.DUP1]), bytes([op.PUSH0])]
    rest += [bytes([op.DUP16, op.SWAP16]), push(1) + push(0) + bytes([op.MSTORE])]
    for code in rest:
        same(evm, bytes([op.PUSH0]) * count + code)


@pytest.mark.parametrize("depth", range(16))
def test_a_stack_is_too_short_where_it_is_for_py_evm(evm: Evm, depth: int) -> None:
    others = [op.SWAP1, op.POP], [op.POP], [op.MSTORE], [op.JUMPI]
    for codes in ([op.DUP1 + depth], [op.SWAP1 + depth], *others):
        same(evm, b"".join(map(push, range(depth))) + bytes(codes))
    for code in (op.ADD, op.MSTORE, op.MLOAD, op.JUMPI, op.ISZERO, op.POP, op.JUMP):
        same(evm, bytes([code]))
        same(evm, push(4) + bytes([code, op.STOP, op.JUMPDEST]))


@pytest.mark.parametrize("condition", [b"", *map(push, (0, 1, 2**255)), push(32) + bytes([op.MLOAD])])
@pytest.mark.parametrize("place", ["there", "beside", "in a push", 0, 2**256 - 1])
def test_jumps_go_where_py_evm_goes(evm: Evm, condition: bytes, place: str | int) -> None:
    """Straight from a push, and from a place that was computed."""
    code = op.JUMPI if condition else op.JUMP
    for computed in (b"", push(1) + bytes([op.ADD])):
        rest = bytes([code, op.PUSH1, op.JUMPDEST, op.STOP, op.JUMPDEST, op.PUSH1, 9])
        start = len(condition) + 2 + len(computed)
        number = {"there": start + 4, "beside": start + 5, "in a push": start + 2}.get(str(place), place)
        assert isinstance(number, int)
        number -= bool(computed)
        word = bytes([op.PUSH1, number]) if 0 <= number < 256 else push(number % 2**256)
        same(evm, condition + word + computed + rest)


def test_code_may_end_within_a_push_and_be_none_at_all(evm: Evm) -> None:
    for code in (b"", bytes([op.PUSH1]), bytes([op.PUSH1 + 4, 1, 2]), push(1), bytes([0x0C]), b"\xfe"):
        same(evm, code, 0, 2, 3)


def test_an_instruction_that_others_put_in_its_place_is_run(
    evm: Evm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the measure of coverage does: also where a push comes before it."""
    places = []

    def jump(computation: Any) -> None:
        places.append(computation.code.program_counter - 1)
        PragueComputation.opcodes[op.JUMP](computation=computation)

    code = push(3) + bytes([op.JUMP, op.JUMPDEST])
    usual = outcome(evm, QuickComputation, code, 100)
    monkeypatch.setattr(QuickComputation, "opcodes", {**QuickComputation.opcodes, op.JUMP: jump})
    assert outcome(evm, QuickComputation, code, 100) == usual
    assert places == [2]


def test_who_logs_at_the_lowest_level_sees_each_instruction(
    evm: Evm, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("eth.vm.computation.BaseComputation.Loud")
    lines: list[str] = []
    monkeypatch.setattr(logger, "show_debug2", True, raising=False)
    monkeypatch.setattr(logger, "debug2", lines.append, raising=False)
    monkeypatch.setattr(QuickComputation, "logger", logger)
    outcome(evm, QuickComputation, push(1) + push(2) + bytes([op.ADD]), 100)
    assert [line.split()[2] for line in lines if line.startswith("OPCODE")] == [
        "(PUSH1)", "(PUSH1)", "(ADD)", "(STOP)",
    ]  # fmt: skip


def test_few_programs_and_steps_are_kept(evm: Evm) -> None:
    """A served chain runs what strangers send."""
    for number in range(2 * KEPT_PROGRAMS):
        program_of(push(number), QuickComputation.opcodes)
    assert len(programs._programs) <= KEPT_PROGRAMS
    long = bytes([op.JUMPDEST]) * (KEPT_STEPS + 9)
    same(evm, long)
    assert len(program_of(long, QuickComputation.opcodes)) == KEPT_STEPS
