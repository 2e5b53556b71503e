"""Limit the seconds that a foreign request may compute on a served chain.

Gas alone bounds a request at minutes of py-evm's time: pairings of curves, for one, are pure Python there.
Code without a jump or a call ends soon, so jumps and calls check the clock, and a precompile does at each
function that it enters. The exception goes through all frames at once: a call has no result then, and a
transaction is refused and changes nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from eth.abc import ComputationAPI, OpcodeAPI
from eth.vm import opcode_values
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.opcode import as_opcode
from eth_typing import Address, BlockNumber

from bcfl.ledger.devnet.evm import Evm, QuickState, QuickVM
from bcfl.ledger.devnet.node import NodeError
from bcfl.ledger.devnet.programs import QuickComputation

TOO_MUCH: Final = -32005  # what nodes answer to a request that is beyond a limit
CHECKED: Final = (
    opcode_values.JUMP,
    opcode_values.JUMPI,
    opcode_values.CALL,
    opcode_values.CALLCODE,
    opcode_values.DELEGATECALL,
    opcode_values.STATICCALL,
    opcode_values.CREATE,
    opcode_values.CREATE2,
)
PIECE_BITS: Final = 2**19  # of an exponent and a modulus, multiplied: a power in one piece is not interrupted
ARITHMETIC: Final = ("eth.", "py_ecc.", "bcfl.ledger.devnet.")  # modules whose functions a precompile runs
Precompile = Callable[[ComputationAPI], Any]
_limit = threading.local()


class TooLong(NodeError):
    """A request computes longer than it may. No VMError: no frame of the EVM may survive it."""


def check() -> None:
    """Raise TooLong where this thread has a limit and is beyond it."""
    deadline: float | None = getattr(_limit, "deadline", None)
    if deadline is not None and time.thread_time() > deadline:
        raise TooLong(TOO_MUCH, f"the request computes for more than {_limit.seconds:g} seconds")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what this thread computes fail with TooLong after so many seconds of the processor.

    So a machine that stands still refuses nothing.
    """
    _limit.seconds, _limit.deadline = seconds, time.thread_time() + seconds
    try:
        yield
    finally:
        _limit.deadline = None


def _with_deadline(opcode: OpcodeAPI) -> OpcodeAPI:
    """Return the same opcode with a check of the clock before it."""

    def checked(computation: ComputationAPI) -> None:
        check()
        opcode(computation)

    return as_opcode(checked, opcode.mnemonic, 0)  # the opcode itself takes the gas


def _interruptible(precompile: Precompile) -> Precompile:
    """Return the same precompile with a check of the clock at each function that it enters."""

    def checked(computation: ComputationAPI) -> Any:
        check()
        if getattr(_limit, "deadline", None) is None:
            return precompile(computation)
        profile = sys.getprofile()
        sys.setprofile(_check_arithmetic)  # of this thread only; what it raises ends what is running
        try:
            return precompile(computation)
        finally:
            sys.setprofile(profile)

    return checked


def _check_arithmetic(frame: FrameType, *_: object) -> None:
    """Raise TooLong as `check` does, where a precompile's own function runs.

    Python ignores what is raised within the collection of garbage, and calls no profile again after that.
    """
    if frame.f_globals.get("__name__", "").startswith(ARITHMETIC):
        check()


def power(base: int, exponent: int, modulus: int) -> int:
    """Return `pow(base, exponent, modulus)`, computed in pieces: no other thread runs during one.

    The calls of `pow` are seen by the profile of a precompile, so the clock is checked at each.
    """
    size = max(1, PIECE_BITS // modulus.bit_length() // 8)
    digits = exponent.to_bytes((exponent.bit_length() + 7) // 8, "big")
    base, result = base % modulus, 1 % modulus
    for start in range(0, len(digits), size):
        piece = digits[start : start + size]
        shifted = pow(result, 1 << 8 * len(piece), modulus)
        result = shifted * pow(base, int.from_bytes(piece, "big"), modulus) % modulus
    return result


def _all_interruptible() -> dict[Address, Precompile]:
    vars(sys.modules["eth.precompiles.modexp"])["pow"] = power
    return {at: _interruptible(call) for at, call in PragueComputation.get_precompiles().items()}


class _Computation(QuickComputation):
    opcodes = QuickComputation.opcodes | {
        code: _with_deadline(PragueComputation.opcodes[code]) for code in CHECKED
    }
    _precompiles = _all_interruptible()  # type: ignore[assignment]


class _State(QuickState):
    computation_class = _Computation


class _VM(QuickVM):
    _state_class = _State


class ServedEvm(Evm):
    """The embedded chain, with calls and transactions that can be limited."""

    vm_configuration = ((BlockNumber(0), _VM),)
