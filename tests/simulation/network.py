"""The nodes of a federation: one chain, a pool of transactions, and each party's own way to them.

A party's transactions go through the real `Delivery`, with nonces, to a node that may lose them, be slow or
fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Event, Key
from bcfl.ledger.delivery import Delivery
from bcfl.protocol.hashing import keccak

if TYPE_CHECKING:
    from tests.simulation.chain import EpisodeChain
    from tests.simulation.process import Process
    from tests.simulation.world import World

TIMEOUT_SECONDS, POLL_SECONDS = 180.0, 0.25  # of a delivery
KEPT_CLOCKS = 8  # blocks back of which a stale node still knows the clock


@dataclass(frozen=True)
class Transaction:
    """A call on its way."""

    key: Key
    nonce: int
    function: str
    args: tuple[Any, ...]
    value: int
    name: str  # its hash


@dataclass
class Network:
    """The chain, what waits for it, and what came of what was mined."""

    chain: EpisodeChain
    world: World
    version: int = 0  # of the chain: changes with each block and each reorganisation
    known: dict[str, Transaction] = field(default_factory=dict)  # by hash, all ever signed
    waiting: dict[str, Transaction] = field(default_factory=dict)  # in the pool
    outcomes: dict[str, tuple[int, Reverted | None]] = field(default_factory=dict)  # block and error
    nonces: Counter[str] = field(default_factory=Counter)  # mined, by account
    order: list[str] = field(default_factory=list)  # of the mined
    _events: list[list[Event]] = field(default_factory=list)  # by block
    _calls: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _clocks: dict[int, tuple[int, Any]] = field(default_factory=dict)  # block -> time and clock
    _blocks: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    head: int = 0

    def sync_time(self) -> None:
        """Bring the clock of the chain to that of the world, or the world's to the chain's."""
        self.now()

    def now(self) -> int:
        """Return the time that a transaction sent now would see; the two clocks agree then."""
        now, world = self.chain.now(), self.world
        if now < int(world.time):
            self.chain.warp(int(world.time))
            return self.chain.now()
        if now > world.time:
            world.time = float(now)
        return now

    def mine(self, transaction: Transaction) -> bool:
        """Put a transaction into a block, if it is its turn; return whether it was."""
        address = transaction.key.address
        if transaction.nonce != self.nonces[address] or transaction.name in self.outcomes:
            return False
        self.sync_time()
        error = None
        try:
            self.chain.contract.send(
                transaction.key, transaction.function, *transaction.args, value=transaction.value
            )
        except Reverted as reverted:
            error = reverted
        self.nonces[address] += 1
        self.waiting.pop(transaction.name, None)
        self.order.append(transaction.name)
        self.refresh()
        self.outcomes[transaction.name] = self.head, error
        self.sync_time()
        self.world.on_block()
        for other in [item for item in self.waiting.values() if item.key.address == address]:
            if other.nonce < self.nonces[address]:
                self.waiting.pop(other.name, None)  # another one took its place
            elif other.nonce == self.nonces[address]:
                self.mine(other)
        return True

    def refresh(self) -> None:
        """Forget what was read of the chain as it was."""
        self.head = self.chain.head()
        self.version += 1
        self._calls.clear()
        if self.world.keeps_clocks:
            self._clocks[self.head] = self.chain.now(), self.chain.contract.call("round_clock")
            self._clocks.pop(self.head - KEPT_CLOCKS, None)

    def take_back(self, mark: object, head: int, mined: int) -> list[Transaction]:
        """Revert the chain to a mark; return the transactions that were in the blocks taken back."""
        self.chain.revert(mark)
        lost = [self.known[name] for name in self.order[mined:]]
        del self.order[mined:], self._events[head + 1 :]
        for transaction in lost:
            self.outcomes.pop(transaction.name, None)
            self.nonces[transaction.key.address] -= 1
        self._blocks = {number: block for number, block in self._blocks.items() if number <= head}
        self._clocks = {number: clock for number, clock in self._clocks.items() if number <= head}
        self.refresh()
        return lost

    def events(self, first: int, last: int) -> list[Event]:
        """Return the events of some blocks."""
        for number in range(len(self._events), last + 1):
            self._events.append(list(self.chain.contract.events(number, number)))
        return [event for events in self._events[first : last + 1] for event in events]

    def call(self, function: str, args: tuple[Any, ...], sender: str | None) -> Any:
        """Return what a call gives now; raises Reverted."""
        key = (self.now(), function, args, sender)
        if key not in self._calls:
            try:
                self._calls[key] = self.chain.contract.call(function, *args, sender=sender)
            except Reverted as error:
                self._calls[key] = error
        if isinstance(self._calls[key], Reverted):
            raise Reverted(str(self._calls[key]))
        return self._calls[key]

    def encode(self, function: str, args: tuple[Any, ...]) -> bytes:
        """Return the calldata of a call: claims ask for it once to know the price and once to send it."""
        key = "calldata", function, repr(args)
        if key not in self._calls:
            self._calls[key] = self.chain.contract.encode(function, *args)
        data: bytes = self._calls[key]
        return data

    def clock_at(self, head: int) -> tuple[int, Any] | None:
        """Return time and clock at the end of a block, if they are still known."""
        return self._clocks.get(head)

    def block(self, number: int) -> Mapping[str, Any] | None:
        """Return number and hash of a block."""
        block = self._blocks.get(number)
        if block is None and (block := self.chain.block(number)) is not None:
            self._blocks[number] = block
        return block


class PartyChain:
    """What a party's node tells of the chain (`bcfl.ledger.chain.Chain`, as far as it is used)."""

    view = "pending"

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self.chain_id: int = network.chain.contract.chain.chain_id
        self.head = 0  # as far as this node is

    def look(self) -> bool:
        """Ask the node anew how far the chain is, and return whether it knows; raises Unreachable."""
        process = self.process
        struck = process.strike("node-silent", "node-null", "node-away", "node-lags")
        fault = None if struck is None else process.suffer(struck)
        if fault == "node-silent" or process.is_away("node"):
            raise Unreachable("the node does not answer")
        self.head = max(0, self.network.head - process.lag())
        return fault is None

    def now(self) -> int:
        """Return the time of the node's pending block."""
        stale = self.network.clock_at(self.head) if self.process.lag() else None
        return self.network.now() + self.process.skew if stale is None else stale[0]

    def request(self, method: str, *params: Any) -> Any:
        """Return the answer of the node to one of the few calls that are made of it."""
        if method == "eth_blockNumber":
            return hex(self.head)
        if method == "eth_getBlockByNumber":
            return self._block(params[0])
        raise LedgerError(f"the simulated node does not know {method}")

    def _block(self, name: str) -> Mapping[str, Any] | None:
        """Return a block by its number or name; the pending one names the last as its parent."""
        if name == "finalized":
            return None
        if name in ("latest", "pending") and not self.look():
            return None
        number = self.head if name in ("latest", "pending") else int(name, 16)
        block = self.network.block(number)
        if block is None or name != "pending":
            return block
        return {
            "number": hex(number + 1),
            "hash": None,
            "parentHash": block["hash"],
            "timestamp": hex(self.now()),
        }


class PartyContract:
    """The contract as a party sees it through its node; has what the ledgers use of `Contract`."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self.chain = PartyChain(network, process)
        self.address: str = network.chain.contract.address

    def encode(self, function: str, *args: Any) -> bytes:
        """Return the calldata of a call."""
        return self.network.encode(function, args)

    def call(self, function: str, *args: Any, sender: str | None = None) -> Any:
        """Call a function; a node that lags knows the clock as it was."""
        stale = self.network.clock_at(self.chain.head) if self.process.lag() else None
        if stale is not None and function == "round_clock":
            return stale[1]
        if stale is not None and function == "advance":
            raise Reverted("rounds: nothing is due")
        return self.network.call(function, args, sender)

    def pieces(self, first: int, last: int, name: str | None = None) -> Iterator[tuple[int, Sequence[Event]]]:
        """Yield the events of some blocks, where the node fails half-way only the first."""
        assert name is None
        if first > last:
            return
        fault = self.process.strike("node-half", "node-garbles")
        if last > first and fault is not None and fault.kind == "node-half":
            middle = (first + last) // 2
            yield middle, self.network.events(first, middle)
            raise Unreachable("the node fails half-way")
        if (
            fault is not None
        ):  # `bcfl.ledger.answers` refuses what is out of order, cut or of another contract
            raise Unreachable("the node's answer makes no sense")
        yield last, self.network.events(first, last)

    def price(self, key: Key, function: str, *args: Any) -> int:
        """Return a price; claims are worth more."""
        price: int = self.network.chain.contract.price(key, function, *args)
        return price

    def gas(self, key: Key, function: str, *args: Any) -> int:
        """Return 0: nothing is metered."""
        del key, function, args
        return 0

    def send(self, key: Key, function: str, *args: Any, value: int = 0, gas: int | None = None) -> Any:
        """Sign a call and deliver it; raises as `Contract.send`."""
        del gas
        if self.process.is_away("node"):
            raise Unreachable("the node does not answer")
        if self.process.strike("tx-refused"):
            raise LedgerError("the node refused: the pool is full")
        nonce = int(self._request("eth_getTransactionCount", key.address, "pending"), 16)
        raw = keccak(f"{key.address} {nonce} {function} {args!r} {value}".encode())
        signed = SignedTransaction(raw, key.address, nonce)
        self.network.known[signed.hash] = Transaction(key, nonce, function, args, value, signed.hash)
        receipt = Delivery(self._request, "the node", signed).receipt(TIMEOUT_SECONDS, POLL_SECONDS)
        if receipt["error"] is not None:
            raise Reverted(str(receipt["error"]))
        return Receipt(receipt["gas"])

    def _request(self, method: str, *params: Any) -> Any:
        """Answer what a delivery asks of the node."""
        network, process = self.network, self.process
        if process.is_away("node"):
            raise Unreachable("the node does not answer")
        if method == "eth_getTransactionReceipt":
            outcome = network.outcomes.get(params[0])
            return None if outcome is None else {"error": outcome[1], "gas": 1}
        if method == "eth_getTransactionByHash":
            return {} if params[0] in network.waiting or params[0] in network.outcomes else None
        if method == "eth_getTransactionCount":
            address, view = params
            waiting = [item.nonce for item in network.waiting.values() if item.key.address == address]
            count = network.nonces[address]
            while view == "pending" and count in waiting:
                count += 1
            return hex(count)
        return self._take(SignedTransaction(bytes.fromhex(params[0][2:]), "", 0).hash)

    def _take(self, name: str) -> str:
        """Take a transaction into the pool, or mine it at once."""
        network, process = self.network, self.process
        transaction = network.known[name]
        if process.pass_point("tx", "node-silent"):
            raise Unreachable("the node does not answer")
        if name in network.outcomes:
            raise LedgerError("the node refused: already known")
        if transaction.nonce < network.nonces[transaction.key.address]:
            raise LedgerError("the node refused: nonce too low")
        fault = process.strike("tx-lost", "tx-delayed")
        if fault is not None and fault.kind == "tx-lost":
            return name
        if fault is not None:
            network.waiting[name] = transaction
            process.world.later(
                process.world.dice.number(1, 25, fault.name), lambda: network.mine(transaction)
            )
            process.trouble(process.world.dice.number(1, 25, fault.name))
        else:
            network.waiting[name] = transaction
            network.mine(transaction)
        if process.strike("tx-answer-lost"):
            raise Unreachable("the node does not answer")
        process.pass_point("tx-after")
        return name


@dataclass(frozen=True)
class Receipt:
    """What the ledger needs of a receipt."""

    gas_used: int
