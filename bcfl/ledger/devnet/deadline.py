"""Limit the seconds that a foreign call may take on a served chain.

Gas alone bounds a call at half a minute of py-evm's time, in which no other client is answered. Code without
a jump or a call ends soon, so jumps and calls check the clock, and only where a limit is set. A transaction
has none, for what it does must not depend on the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eth.abc import ComputationAPI, OpcodeAPI
from eth.exceptions import VMError
from eth.vm import opcode_values
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.computation import PragueComputation
from eth.vm.forks.prague.state import PragueState
from eth.vm.opcode import as_opcode
from eth_typing import BlockNumber

from bcfl.ledger.devnet.evm import Evm

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
_limit = threading.local()


class TooLong(VMError):
    """A call took longer than it may; the frames around it end one after the other."""


def _with_deadline(opcode: OpcodeAPI) -> OpcodeAPI:
    """Return the same opcode with a check of the clock before it."""

    def checked(computation: ComputationAPI) -> None:
        if overdue():
            raise TooLong("the call takes too long")
        opcode(computation)

    return as_opcode(checked, opcode.mnemonic, 0)  # the opcode itself takes the gas


class _Computation(PragueComputation):
    opcodes = PragueComputation.opcodes | {
        code: _with_deadline(PragueComputation.opcodes[code]) for code in CHECKED
    }


class _State(PragueState):
    computation_class = _Computation


class _VM(PragueVM):
    _state_class = _State


class ServedEvm(Evm):
    """The embedded chain, with calls that can be limited."""

    vm_configuration = ((BlockNumber(0), _VM),)


def overdue() -> bool:
    """Return whether this thread has a limit and is beyond it."""
    deadline = getattr(_limit, "deadline", None)
    return deadline is not None and time.monotonic() > deadline


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let calls in this thread fail with TooLong after so many seconds."""
    _limit.deadline = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.deadline = None
