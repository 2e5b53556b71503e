"""Keep a chain without an EVM: blocks, ether, time that moves only when told; all can be taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bcfl.errors import LedgerError
from bcfl.ledger.abi import address_of
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Event
from bcfl.protocol.hashing import keccak, word
from bcfl.specification.call import BlockContext, Receiver
from bcfl.specification.state import State

if TYPE_CHECKING:
    from web3 import Web3

CHAIN_ID: Final = 31337  # what development chains use
GENESIS_TIME: Final = 1_700_000_000
WEALTH: Final = 10**24  # wei of each account at the beginning
BASE_FEE: Final = 7  # wei: where it comes to on a chain with empty blocks
KEPT: Final = 64  # blocks whose state can be read


@dataclass(frozen=True)
class Transaction:
    """A call in a block; `calldata` makes its bytes, which nobody needs as a rule."""

    hash: bytes
    sender: str
    to: str | None
    value: int
    calldata: Callable[[], bytes]


@dataclass(frozen=True)
class Block:
    """A block of the chain, with the events that its transaction logged."""

    number: int
    timestamp: int
    hash: bytes
    transaction: Transaction | None = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """All of a chain at one moment."""

    height: int
    timestamp: int  # of the next block
    state: State


class VirtualChain:
    """The chain port without an EVM: one block a transaction, gas costs nothing.

    A block comes one second after the one before, or later where `warp` or `advance` says so, as on the
    embedded chain. Its hash depends on everything before it and on its calls. `receivers` are accounts that
    run code when they get ether; `base_fee` is what a call sees of the market for gas.
    """

    view = "pending"  # its state is that of the last block, its clock that of the next

    def __init__(
        self,
        *,
        accounts: Iterable[str] = (),
        genesis_time: int = GENESIS_TIME,
        chain_id: int = CHAIN_ID,
    ) -> None:
        self.chain_id = chain_id
        self.state = State()
        for account in accounts:
            self.state.accounts.balances[address_of(account)] = WEALTH
        self.blocks = [Block(0, genesis_time, keccak(b"bcfl" + word(chain_id) + word(genesis_time)))]
        self.receivers: dict[str, Receiver] = {}
        self.base_fee = BASE_FEE
        self._next_time = genesis_time + 1
        self._states: deque[tuple[int, State]] = deque(maxlen=KEPT)  # number of a block, state after it

    @property
    def head(self) -> Block:
        """The last block."""
        return self.blocks[-1]

    def now(self) -> int:
        """Return the timestamp of the next block, in seconds since 1970."""
        return self._next_time

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier than `timestamp`."""
        self._next_time = max(self._next_time, timestamp)

    def advance(self, seconds: int) -> None:
        """Let so many seconds pass before the next block."""
        self.warp(self._next_time + seconds)

    def balance(self, account: str) -> int:
        """Return an account's wei."""
        return self.state.accounts.balances.get(address_of(account), 0)

    def next_block(self) -> BlockContext:
        """Return the block that a call made now is in."""
        return BlockContext(self.head.number + 1, self._next_time, self.head.hash, self.base_fee)

    def mine(self, transaction: Transaction | None = None, events: tuple[Event, ...] = ()) -> Block:
        """Add a block, an empty one without a transaction."""
        content = b"" if transaction is None else transaction.hash
        number, time = self.head.number + 1, self._next_time
        digest = keccak(self.head.hash + word(number) + word(time) + content)
        self.blocks.append(Block(number, time, digest, transaction, events))
        self._next_time = time + 1
        return self.head

    def adopt(self, digest: bytes) -> None:
        """Let the last block have this hash, where this chain follows another one."""
        self.blocks[-1] = replace(self.head, hash=digest)

    def keep(self, state: State) -> None:
        """Keep the state after the last block, so that it can still be read when the next one has come."""
        self._states.append((self.head.number, state))

    def state_at(self, number: int) -> State:
        """Return the state after a block; raises LedgerError for one that is too old, or not there yet."""
        last = self.head.number
        if number > last or (len(self._states) == KEPT and number < self._states[0][0]):
            raise LedgerError(f"the state after block {number} cannot be read: the last block is {last}")
        # Between the block and the next transaction nothing has changed.
        return next((state for kept, state in self._states if kept >= number), self.state)

    def snapshot(self) -> Snapshot:
        """Return what `revert` goes back to."""
        return Snapshot(self.head.number, self._next_time, self.state.copy())

    def revert(self, snapshot: Snapshot) -> None:
        """Take back all blocks since a snapshot, as a reorganisation does; it may be used again."""
        del self.blocks[snapshot.height + 1 :]
        self.state.restore(snapshot.state.copy())
        self._next_time = snapshot.timestamp
        kept = [item for item in self._states if item[0] <= snapshot.height]
        self._states = deque(kept, maxlen=KEPT)

    # The chain port.

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one of the few JSON-RPC calls that clients make; raises LedgerError."""
        if method == "eth_blockNumber":
            return hex(self.head.number)
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getBlockByNumber":
            return self._block_json(params[0])
        if method == "eth_getBalance":
            state = self.state_at(self._number(params[1] if len(params) > 1 else "latest"))
            return hex(state.accounts.balances.get(address_of(params[0]), 0))
        if method == "eth_getTransactionCount":
            return hex(self.state.accounts.nonces.get(address_of(params[0]), 0))
        if method == "eth_getTransactionByHash":
            return self._transaction_json(bytes.fromhex(params[0][2:]))
        raise LedgerError(f"a chain without an EVM does not answer {method}")

    def fees(self) -> tuple[int, int]:
        """Return twice the base fee, and no tip."""
        return 2 * self.base_fee, 0

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Return 0: nothing is metered."""
        del transaction
        return 0

    def deliver(
        self, transaction: SignedTransaction, raise_fee: Callable[[int], SignedTransaction] | None = None
    ) -> Mapping[str, Any]:
        """Refuse: there is no machine that would run bytes."""
        del raise_fee
        raise LedgerError(f"a chain without an EVM takes no bytes: {len(transaction.raw)} of them")

    @property
    def w3(self) -> Web3:
        """Nothing: raises LedgerError, for web3 needs a node."""
        return self._refuse()

    def close(self) -> None:
        """Do nothing: there is no file."""

    def _refuse(self) -> NoReturn:
        raise LedgerError("a chain without an EVM has no web3")

    def _number(self, name: str) -> int:
        if name in ("latest", "pending", "safe", "finalized"):
            return self.head.number
        return 0 if name == "earliest" else int(name, 16)

    def _block_json(self, name: str) -> dict[str, str] | None:
        if name == "pending":
            coming = self.next_block()
            parent = "0x" + coming.parent.hex()
            time = hex(coming.timestamp)
            return {"number": hex(coming.number), "timestamp": time, "hash": "", "parentHash": parent}
        number = self._number(name)
        if not 0 <= number <= self.head.number:
            return None
        block = self.blocks[number]
        return {
            "number": hex(number),
            "hash": "0x" + block.hash.hex(),
            "parentHash": "0x" + (self.blocks[number - 1].hash if number else bytes(32)).hex(),
            "timestamp": hex(block.timestamp),
            "baseFeePerGas": hex(self.base_fee),
        }

    def _transaction_json(self, digest: bytes) -> dict[str, Any] | None:
        for block in reversed(self.blocks):
            transaction = block.transaction
            if transaction is not None and transaction.hash == digest:
                return {
                    "hash": "0x" + digest.hex(),
                    "blockNumber": hex(block.number),
                    "from": transaction.sender,
                    "to": transaction.to,
                    "value": hex(transaction.value),
                    "input": "0x" + transaction.calldata().hex(),
                }
        return None
