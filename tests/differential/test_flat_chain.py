"""Random programs come to the same on plain py-evm, the embedded chain and that of the tests.

`FLAT_PROGRAMS=5000` plays a campaign.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest
from eth.vm import opcode_values as op
from eth.vm.forks.prague.computation import PragueComputation
from eth_typing import Address
from eth_utils.address import to_canonical_address

from bcfl.errors import LedgerError
from bcfl.ledger.contract import sign
from bcfl.ledger.devnet.accounts import States
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.devnet.instructions import BINARY, UNARY
from bcfl.ledger.devnet.programs import QuickComputation
from bcfl.protocol.accounts import Account
from testkit.flat_chain import FlatChain
from testkit.plain_chain import PlainChain

PROGRAMS: Final = int(os.environ.get("FLAT_PROGRAMS", "18"))
SENDER = Account.derive(0, "owner")
LIMITS = (25_000, 60_000, 120_000, 400_000, *[2_000_000] * 5)
WORDS = (0, 1, 2, 31, 32, 33, 63, 64, 255, 256, 257, 1_024, 2**64, 2**160, 2**255 - 1, 2**255, 2**256 - 1)
PLAIN = (  # of the stack alone: how many words they take
    *((code, 2) for code in range(op.ADD, op.SMOD + 1)), (op.ADDMOD, 3), (op.MULMOD, 3), (op.EXP, 2),
    (op.SIGNEXTEND, 2), *((code, 2) for code in range(op.LT, op.EQ + 1)), (op.ISZERO, 1),
    *((code, 2) for code in range(op.AND, op.XOR + 1)), (op.NOT, 1),
    *((code, 2) for code in range(op.BYTE, op.SAR + 1)), (op.CALLDATALOAD, 1),
    *((code, 2) for code in BINARY for _ in range(4)), *((code, 1) for code in UNARY for _ in range(4)),
)  # fmt: skip
FACTS = (
    op.ADDRESS, op.ORIGIN, op.CALLER, op.CALLVALUE, op.CALLDATASIZE, op.CODESIZE, op.GASPRICE, op.COINBASE,
    op.RETURNDATASIZE, op.TIMESTAMP, op.NUMBER, op.GASLIMIT, op.CHAINID, op.SELFBALANCE, op.BASEFEE, op.PC,
    op.MSIZE, op.GAS,
)  # fmt: skip
CALL_CODES = (op.CALL, op.CALL, op.DELEGATECALL, op.STATICCALL, op.CALLCODE)
INIT_CODES = (  # that a program creates contracts with
    bytes.fromhex("60015f5260206000f3"),  # a word of code
    bytes.fromhex("600160005560006000f3"),  # a slot, and no code
    bytes.fromhex("60aa60005260206000fd"),  # reverts
    bytes.fromhex("33ff"),  # destructs itself while it is created
    bytes.fromhex("600160005533ff"),  # with a slot
    bytes.fromhex("60ef60005360016000f3"),  # code that none may begin with
    bytes.fromhex("6160016000f3"),  # 24,577 bytes of code
    bytes.fromhex("fe"),
    bytes.fromhex("6433ff00000060005260056020f3"),
    bytes.fromhex("7f33ff000000000000000000000000000000000000000000000000000000000000600052600260006000f3"),
    bytes.fromhex("6133ff5f52600260 1ef3".replace(" ", "")),  # a contract that destructs itself when called
)


GADGETS = (  # what programs call most
    bytes.fromhex("5f5450600154505f5c50600160015d6001600155600060025533505f5fa05f5ffd"),  # reverts
    bytes.fromhex("6002600155600060025560015f5d5f545f5260205ff3"),  # sets and clears
    bytes.fromhex("33ff"),
    bytes.fromhex("5a5f5260205ff3"),
    bytes.fromhex("6001545f5260205fa000"),
)

CONTRACTS, CALLS, SLOTS = len(GADGETS), 5, 4


def push(number: int) -> bytes:
    size = max(1, (number.bit_length() + 7) // 8)
    return bytes([op.PUSH1 + size - 1]) + number.to_bytes(size, "big")


class Writer:
    """Writes a program out of parts that mostly do something."""

    def __init__(self, chance: Random, addresses: list[Address]) -> None:
        self.chance, self.addresses, self.code = chance, addresses, b""

    def write(self) -> bytes:
        parts: list[Callable[[], None]] = [
            self.sum, self.sum, self.fact, self.store, self.store, self.load, self.transient, self.memory,
            self.hash, self.log, self.call, self.call, self.create, self.account, self.copy, self.jump,
            self.shuffle, self.loop, self.bytes, self.end,
        ]  # fmt: skip
        self.code += push(0) * 3
        for _ in range(self.chance.randrange(4, 30)):
            self.chance.choice(parts)()
        self.code += push(0) + bytes([op.MSTORE, op.MSIZE]) + push(0) + bytes([op.LOG0])
        return self.code + push(64) + push(0) + bytes([op.RETURN])

    def keep(self, mixer: int = op.XOR) -> None:
        """Mix the word on top of the stack into the one below, which is logged in the end."""
        self.code += bytes([mixer]) if self.chance.random() < 0.98 else b""

    def word(self) -> None:
        number = self.chance.choice(WORDS) if self.chance.random() < 0.6 else self.chance.getrandbits(256)
        self.code += push(number)

    def small(self, most: int = 96) -> None:
        self.code += push(self.chance.randrange(most))

    def sum(self) -> None:
        for _ in range(self.chance.randrange(1, 9)):
            code, count = self.chance.choice(PLAIN)
            for _ in range(count):
                self.word()
            self.code += bytes([code])
            self.keep()

    def fact(self) -> None:
        self.code += bytes([self.chance.choice(FACTS)])
        self.keep()

    def store(self) -> None:
        self.small(3)
        self.small(SLOTS)
        self.code += bytes([op.SSTORE])

    def load(self) -> None:
        self.small(SLOTS)
        self.code += bytes([op.SLOAD])
        self.keep(op.ADD)

    def transient(self) -> None:
        self.small(3)
        self.small(3)
        self.code += bytes([op.TSTORE]) + push(self.chance.randrange(3)) + bytes([op.TLOAD])
        self.keep(op.ADD)

    def memory(self) -> None:
        self.word()
        self.small(5_000 if self.chance.random() < 0.1 else 96)
        self.code += bytes([self.chance.choice((op.MSTORE, op.MSTORE8))])
        self.small()
        self.code += bytes([op.MLOAD])
        self.keep()

    def hash(self) -> None:
        self.small()
        self.small()
        self.code += bytes([op.SHA3])
        self.keep()

    def log(self) -> None:
        count = self.chance.randrange(5)
        for _ in range(count + 2):
            self.small()
        self.code += bytes([op.LOG0 + count])

    def target(self) -> None:
        kind = self.chance.random()
        if kind < 0.75:
            places = self.addresses[:CONTRACTS] if kind < 0.5 else self.addresses
            self.code += push(int.from_bytes(self.chance.choice(places), "big"))
        elif kind < 0.85:
            self.code += push(self.chance.choice((1, 2, 3, 4, 5, 6, 9)))
        else:
            self.code += push(2**150 + self.chance.randrange(3))

    def call(self) -> None:
        """Call something, keep what it says, and copy some of what it returns."""
        code = self.chance.choice(CALL_CODES)
        for _ in range(4):
            self.small()
        if code in (op.CALL, op.CALLCODE):
            self.code += push(self.chance.choice((0, 0, 0, 1)))
        self.target()
        self.code += bytes([op.GAS]) if self.chance.random() < 0.6 else push(self.chance.randrange(40_000))
        self.code += bytes([code])
        self.small(SLOTS)
        self.code += bytes([op.SSTORE])
        if self.chance.random() < 0.3:
            self.code += bytes([op.RETURNDATASIZE]) + push(0) + push(0) + bytes([op.RETURNDATACOPY])

    def create(self) -> None:
        """Create a contract, and call it."""
        init = self.chance.choice(INIT_CODES)
        self.code += bytes([op.PUSH1 + 31]) + init.ljust(32, b"\0")[:32] + push(0) + bytes([op.MSTORE])
        self.code += bytes([op.PUSH1 + 31]) + init[32:].ljust(32, b"\0") + push(32) + bytes([op.MSTORE])
        is_salted = self.chance.random() < 0.5
        if is_salted:
            self.small(2)
        self.code += push(len(init)) + push(0) + push(self.chance.choice((0, 0, 1)))
        self.code += bytes([op.CREATE2 if is_salted else op.CREATE])
        self.code += (push(0) * 5) + bytes([op.DUP1 + 5, op.GAS, op.CALL, op.POP, op.EXTCODESIZE])
        self.small(SLOTS)
        self.code += bytes([op.SSTORE])

    def account(self) -> None:
        self.target()
        self.code += bytes([self.chance.choice((op.BALANCE, op.EXTCODESIZE, op.EXTCODEHASH))])
        self.keep()

    def copy(self) -> None:
        for _ in range(3):
            self.small()
        self.code += bytes([self.chance.choice((op.CALLDATACOPY, op.CODECOPY, op.MCOPY))])

    def jump(self) -> None:
        """Jump over something, or to nowhere."""
        if self.chance.random() < 0.05:
            self.word()
            self.code += bytes([op.JUMP])
            return
        is_sure = self.chance.random() < 0.5
        rubbish = bytes([op.STOP]) if self.chance.random() < 0.9 else self.chance.randbytes(3)
        condition = b"" if is_sure else push(self.chance.randrange(2))
        place = len(self.code) + len(condition) + 4 + len(rubbish)
        self.code += condition + bytes([op.PUSH1 + 1]) + place.to_bytes(2, "big")
        self.code += bytes([op.JUMP if is_sure else op.JUMPI]) + rubbish + bytes([op.JUMPDEST])

    def loop(self) -> None:
        """Count down, or until there is no gas, or too much on the stack."""
        start = len(self.code) + 2
        body = self.chance.choice((b"", bytes([op.DUP1]), push(1) * 2, bytes([op.GAS, op.POP])))
        self.code += push(self.chance.choice((1, 3, 40))) + bytes([op.JUMPDEST]) + body
        self.code += push(1) + bytes([op.SWAP1, op.SUB, op.DUP1, op.PUSH1 + 1]) + start.to_bytes(2, "big")
        self.code += bytes([op.JUMPI, op.XOR])

    def shuffle(self) -> None:
        depth = self.chance.randrange(16)
        count = depth + 2 if self.chance.random() < 0.95 else 1
        for _ in range(count):
            self.word()
        is_copy = self.chance.random() < 0.5
        self.code += bytes([(op.DUP1 if is_copy else op.SWAP1) + depth, op.SUB])
        self.code += bytes([op.XOR]) * (count - 1 + is_copy)

    def bytes(self) -> None:
        if self.chance.random() < 0.05:
            codes = [code for code in self.chance.randbytes(3) if code not in (op.BLOCKHASH, op.DIFFICULTY)]
            self.code += bytes(codes)

    def end(self) -> None:
        if self.chance.random() > 0.15:
            return
        code = self.chance.choice((op.STOP, op.RETURN, op.REVERT, op.REVERT, 0xFE, op.SELFDESTRUCT))
        if code == op.SELFDESTRUCT:
            self.target()
        elif code in (op.RETURN, op.REVERT):
            self.small()
            self.small()
        self.code += bytes([code])


def send(chain: EmbeddedChain, to: str | None, data: bytes, value: int, gas: int) -> Any:
    """Return what a transaction comes to: its receipt, without hashes of blocks; or why there is none."""
    transaction = sign(chain, SENDER, to, data, value, gas)
    try:
        chain.request("eth_sendRawTransaction", "0x" + transaction.raw.hex())
    except LedgerError as error:
        return str(error)
    receipt = dict(chain.request("eth_getTransactionReceipt", transaction.hash))
    receipt["logs"] = [{**log, "blockHash": None} for log in receipt["logs"]]
    return {**receipt, "blockHash": None}


def deployment(code: bytes) -> bytes:
    """Return the init code of a program."""
    start = bytes([op.PUSH1 + 1]) + len(code).to_bytes(2, "big") + bytes([op.DUP1, op.PUSH1, 10, op.PUSH0])
    return start + bytes([op.CODECOPY, op.PUSH0, op.RETURN]) + code


def state_of(chain: EmbeddedChain, places: list[Any]) -> list[Any]:
    """Return what the state says at each place: an account, or a slot of one."""
    state = chain._evm.get_vm(chain._evm.header).state
    facts = state.account_exists, state.get_balance, state.get_nonce, state.get_code
    return [
        state.get_storage(*place) if isinstance(place, tuple) else [fact(place) for fact in facts]
        for place in places
    ]


def play(chain: EmbeddedChain, chance: Random, addresses: list[Address]) -> list[Any]:
    """Deploy some programs, call them and those before; return what came of it."""
    outcomes = []
    for _ in range(3 if addresses else CONTRACTS):
        nonce = int(chain.request("eth_getTransactionCount", SENDER.address, "latest"), 16)
        code = Writer(chance, addresses).write() if len(addresses) >= CONTRACTS else GADGETS[len(addresses)]
        outcome = send(chain, None, deployment(code), chance.choice((0, 3)), 2_000_000)
        outcomes += [nonce, outcome]
        addresses.append(to_canonical_address(outcome["contractAddress"]))
    for _ in range(CALLS):
        to = "0x" + chance.choice(addresses[-8:]).hex()
        data, value, gas = (
            chance.randbytes(chance.choice((0, 40))),
            chance.choice((0, 0, 2)),
            chance.choice(LIMITS),
        )
        outcomes.append(send(chain, to, data, value, gas))
    return outcomes


def leave_out_boa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let instructions be py-evm's own: titanoboa's plugin puts tracers around two of every computation."""
    for computation in (PragueComputation, QuickComputation):
        for code, name in ((op.SHA3, "sha3"), (op.SSTORE, "sstore")):
            instruction: Any = computation.opcodes[code]
            while hasattr(instruction, name):
                instruction = getattr(instruction, name)
            monkeypatch.setitem(computation.opcodes, code, instruction)


@pytest.mark.filterwarnings("ignore:SELFDESTRUCT:DeprecationWarning")
def test_random_programs_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of them the flat chain plays others, and goes back."""
    leave_out_boa(monkeypatch)
    flat, real = FlatChain([SENDER.address]), EmbeddedChain(None, accounts=[SENDER.address])
    plain = PlainChain([SENDER.address])
    addresses: list[Address] = []
    count = {"0x0": 0, "0x1": 0, "logs": 0}
    for seed in range(PROGRAMS):
        if seed % 4 == 0:
            snapshot = flat.snapshot()
            play(flat, Random(-1 - seed), list(addresses))
            flat.restore(snapshot)
        if seed % 3 == 0:
            real.database.states = States()  # what was read before is read again
        known = list(addresses)
        outcomes = play(flat, Random(seed), addresses)
        for chain in (plain, real):
            assert outcomes == play(chain, Random(seed), list(known)), seed
        assert real._evm.last_header() == plain._evm.last_header(), seed
        database, root = flat.database, flat._evm.last_header().state_root
        places = list(database.worlds.get(root))
        assert state_of(flat, places) == state_of(real, places), seed
        for outcome in outcomes:
            if isinstance(outcome, dict):
                count[outcome["status"]] += 1
                count["logs"] += len(outcome["logs"])
    assert min(count.values()) > PROGRAMS // 8, count
    real.close()
    plain.close()
