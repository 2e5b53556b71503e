"""A limit in seconds to what a foreign call may take of a served chain (every step of the round).

Gas alone bounds a call at half a minute of py-evm's time, in which nobody else is answered. Code without a
jump or a call ends soon, so the clock is looked at there, and only where a limit is set: a transaction has
none, for what it does must not depend on the machine.
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

WATCHED: Final = (
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


def _watched(opcode: OpcodeAPI) -> OpcodeAPI:
    """The same opcode, which looks at the clock first."""

    def look_and_do(computation: ComputationAPI) -> None:
        if overdue():
            raise TooLong("the call takes too long")
        opcode(computation)

    return as_opcode(look_and_do, opcode.mnemonic, 0)  # the opcode itself takes the gas


class _Computation(PragueComputation):
    opcodes = PragueComputation.opcodes | {
        code: _watched(PragueComputation.opcodes[code]) for code in WATCHED
    }


class _State(PragueState):
    computation_class = _Computation


class _VM(PragueVM):
    _state_class = _State


class ServedEvm(Evm):
    """The embedded chain, with calls that can be limited."""

    vm_configuration = ((BlockNumber(0), _VM),)


def overdue() -> bool:
    """Whether this thread has a limit and is beyond it."""
    until = getattr(_limit, "until", None)
    return until is not None and time.monotonic() > until


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what is called in this thread in the meantime fail with TooLong after so many seconds."""
    _limit.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.until = None
