"""Use one contract on any chain: calls, signed transactions and events, as plain Python values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from coincurve import PrivateKey

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger.abi import Abi, EventType, address_of
from bcfl.ledger.chain import (
    Busy,
    Chain,
    Estimator,
    GasReader,
    Log,
    LogReader,
    SignedTransaction,
    Unclear,
    ran_short,
)
from bcfl.protocol.hashing import keccak

RANGE = 1_000  # blocks whose events are asked for at once
GROWTH = 4  # pieces after which twice as many blocks are tried again
DYNAMIC_FEE = b"\x02"  # EIP-1559's transaction type
RAISE = 4  # a fee is raised by so great a part of it at a time
Fees = tuple[int, int]  # the most to pay for a unit of gas, and the tip in it, in wei


class Key(Protocol):
    """A signer: eth-account's LocalAccount, or anything with an address and a secret."""

    @property
    def address(self) -> str:
        """Checksummed address."""
        ...

    @property
    def key(self) -> bytes:
        """The 32 bytes of the private key."""
        ...


@dataclass(frozen=True)
class Event:
    """One event of a contract; `args` by name, addresses checksummed, lists as tuples."""

    name: str
    args: Mapping[str, Any]
    block: int
    timestamp: int  # of the block, seconds
    transaction: bytes
    log_index: int  # in the block
    address: str


@dataclass(frozen=True)
class Receipt:
    """The outcome of a transaction that did not revert."""

    hash: bytes
    block: int
    timestamp: int  # of the block, seconds
    gas_used: int
    events: tuple[Event, ...]  # of this contract, in order
    contract: str | None  # the address of the contract that the transaction created


class Contract:
    """The contract at `address`, by its ABI, on `chain`.

    Every method raises Reverted where the contract refuses, Unreachable where the node is silent, and
    LedgerError otherwise (no contract there, no funds).
    """

    def __init__(self, chain: Chain, abi: Sequence[Mapping[str, Any]], address: str) -> None:
        self.chain = chain
        self.address = address_of(address)
        self.abi = Abi(abi)
        self._times: dict[str, int] = {}

    @classmethod
    def deploy(
        cls,
        chain: Chain,
        key: Key,
        abi: Sequence[Mapping[str, Any]],
        bytecode: bytes,
        args: Sequence[Any] = (),
        value: int = 0,
    ) -> tuple[Contract, Receipt]:
        """Deploy a contract; returns its adapter and the receipt."""
        data = bytecode + Abi(abi).constructor(args)
        receipt = transact(chain, key, None, data, value)
        if receipt.get("contractAddress") is None:
            raise Unreachable("the node says that the deployment has created no contract")
        contract = cls(chain, abi, receipt["contractAddress"])
        return contract, contract._receipt(receipt)

    def encode(self, function: str, *args: Any) -> bytes:
        """Return the calldata of a call; dataclasses stand for structs."""
        return self.abi.function(function, len(args)).encode(args)

    def call(self, function: str, *args: Any, sender: str | None = None, block: int | None = None) -> Any:
        """Call `function`; returns one value, or a tuple of several, structs as tuples.

        The call is made as `sender` (nobody in particular), at the end of `block` (as if mined next).
        """
        kind = self.abi.function(function, len(args))
        call = {"to": self.address, "data": _hex(kind.encode(args))}
        if sender is not None:
            call["from"] = sender
        height = self.chain.view if block is None else hex(block)
        output = _bytes(self.chain.request("eth_call", call, height))
        if not output and kind.outputs:
            raise LedgerError(f"there is no contract with {function} at {self.address}; check the address")
        return kind.decode(output)

    def send(self, key: Key, function: str, *args: Any, value: int = 0, gas: int | None = None) -> Receipt:
        """Sign and send a call and wait until it is mined; `value` in wei, `gas` chosen when None."""
        data = self.encode(function, *args)
        return self._receipt(transact(self.chain, key, self.address, data, value, gas))

    def price(self, key: Key, function: str, *args: Any) -> int:
        """Return the most that a call would cost now, in wei; raises Reverted where it would fail.

        That is of the gas that it uses: its limit may be far above, and costs nothing.
        """
        call = {"from": key.address, "to": self.address, "data": _hex(self.encode(function, *args))}
        gas = self.chain.estimate(call) if isinstance(self.chain, Estimator) else self.chain.gas(call)
        return gas * self.chain.fees()[0]

    def gas(self, key: Key, function: str, *args: Any) -> int:
        """Return a gas limit for a call; raises Reverted where it would fail now."""
        data = _hex(self.encode(function, *args))
        return self.chain.gas({"from": key.address, "to": self.address, "value": "0x0", "data": data})

    def events(
        self, from_block: int = 0, to_block: int | None = None, name: str | None = None
    ) -> Iterator[Event]:
        """Yield events of the blocks `from_block` to `to_block` (the last), both included, piece by piece."""
        last = int(self.chain.request("eth_blockNumber"), 16) if to_block is None else to_block
        for _, events in self.pieces(from_block, last, name):
            yield from events

    def pieces(self, first: int, last: int, name: str | None = None) -> Iterator[tuple[int, list[Event]]]:
        """Yield the last block of each piece of blocks and the events in it, up to the block `last`.

        Nodes limit how many logs they give at once: a piece that is refused is halved, and grows again later.
        Raises Busy where words that may ask for fewer requests refuse one block too: later it may be given.
        """
        span, successes = RANGE, 0
        while first <= last:
            end = min(first + span - 1, last)
            try:
                events = self._piece(first, end, name)
            except LedgerError as error:
                if end == first and isinstance(error, Unclear):
                    raise Busy(
                        f"no logs, not even of block {first} alone: {error}; another node may"
                    ) from error
                if end == first or isinstance(error, Unreachable | Reverted):
                    raise
                span, successes = (end - first + 1) // 2, 0
                continue
            yield end, events
            first, successes = end + 1, successes + 1
            if successes == GROWTH:
                span, successes = min(2 * span, RANGE), 0

    def gas_of(self, transaction: bytes) -> int:
        """Return the gas that a mined transaction used."""
        gas = self.chain.gas_used(transaction) if isinstance(self.chain, GasReader) else None
        if gas is not None:
            return gas
        receipt = self.chain.request("eth_getTransactionReceipt", _hex(transaction))
        if receipt is None:
            raise LedgerError(f"transaction {_hex(transaction)} is not on this chain")
        return int(receipt["gasUsed"], 16)

    def _piece(self, first: int, last: int, name: str | None) -> list[Event]:
        """Return the events of some blocks, those of one name alone where it is given."""
        if name is None and isinstance(self.chain, LogReader):
            logs = self.chain.read_logs(self.address, first, last)
            if logs is not None:
                return list(self._read_events(logs))
        return list(self._events(self._logs(first, last, name)))

    def _read_events(self, logs: Sequence[Log]) -> Iterator[Event]:
        for log in logs:
            kind = self.abi.events.get(log.topics[0]) if log.topics else None
            if kind is not None:
                args = kind.decode(log.topics, log.data)
                yield Event(
                    kind.name, args, log.block, log.timestamp, log.transaction, log.index, self.address
                )

    def _logs(self, first: int, last: int, name: str | None) -> list[Mapping[str, Any]]:
        query: dict[str, Any] = {"address": self.address, "fromBlock": hex(first), "toBlock": hex(last)}
        if name is not None:
            query["topics"] = [_hex(self.abi.event(name).topic)]
        return cast(list[Mapping[str, Any]], self.chain.request("eth_getLogs", query))

    def _events(self, logs: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        for log in logs:
            topics = [_bytes(topic) for topic in log["topics"]]
            kind = self.abi.events.get(topics[0]) if topics else None
            if kind is not None and log["address"].lower() == self.address.lower():
                yield self._event(kind, topics, log)

    def _event(self, kind: EventType, topics: Sequence[bytes], log: Mapping[str, Any]) -> Event:
        return Event(
            name=kind.name,
            args=kind.decode(topics, _bytes(log["data"])),
            block=int(log["blockNumber"], 16),
            timestamp=self._time(log),
            transaction=_bytes(log["transactionHash"]),
            log_index=int(log["logIndex"], 16),
            address=self.address,
        )

    def _receipt(self, receipt: Mapping[str, Any]) -> Receipt:
        address = receipt.get("contractAddress")
        return Receipt(
            hash=_bytes(receipt["transactionHash"]),
            block=int(receipt["blockNumber"], 16),
            timestamp=self._time(receipt),
            gas_used=int(receipt["gasUsed"], 16),
            events=tuple(self._events(receipt["logs"])),
            contract=None if address is None else address_of(address),
        )

    def _time(self, item: Mapping[str, Any]) -> int:
        """Return the timestamp of the block of a log or a receipt; not every node puts it there."""
        if (time := item.get("blockTimestamp")) is not None:
            return int(time, 16) if isinstance(time, str) else int(time)  # anvil's receipts: a number
        name = str(item["blockHash"])  # a reorganised chain has another block of the same number
        if name not in self._times:
            block = self.chain.request("eth_getBlockByNumber", item["blockNumber"], False)
            if block is None:
                raise Unreachable(f"the node does not know block {int(item['blockNumber'], 16)} any more")
            self._times = {name: int(block["timestamp"], 16)}  # events come block by block
        return self._times[name]


def transact(
    chain: Chain, key: Key, to: str | None, data: bytes, value: int = 0, gas: int | None = None
) -> Mapping[str, Any]:
    """Sign and send one transaction and wait for it; returns its JSON-RPC receipt, raises Reverted."""
    call = {"from": key.address, "value": hex(value), "data": _hex(data)}
    if to is not None:
        call["to"] = to
    limit = chain.gas(call) if gas is None else gas
    nonce, fees = next_nonce(chain, key), chain.fees()
    receipt = chain.deliver(
        sign(chain, key, to, data, value, limit, nonce, fees),
        lambda times: sign(chain, key, to, data, value, limit, nonce, raised(fees, chain.fees(), times)),
    )
    if int(receipt["status"], 16) == 0:
        raise _revert(chain, {**call, "gas": hex(limit)}, receipt)
    return receipt


def next_nonce(chain: Chain, key: Key) -> int:
    """Return the next nonce of an account that the chain knows of."""
    return int(chain.request("eth_getTransactionCount", key.address, "pending"), 16)


def raised(fees: Fees, current_fees: Fees, times: int) -> Fees:
    """Return fees raised by a quarter so many times, or those of now where they are higher.

    Nodes replace a waiting transaction for an eighth more, of the fee and of the tip.
    """
    for _ in range(times):
        fees = fees[0] + fees[0] // RAISE + 1, fees[1] + fees[1] // RAISE + 1
    return max(fees[0], current_fees[0]), max(fees[1], current_fees[1])


def sign(
    chain: Chain,
    key: Key,
    to: str | None,
    data: bytes,
    value: int,
    gas: int,
    nonce: int | None = None,
    fees: Fees | None = None,
) -> SignedTransaction:
    """Return a signed EIP-1559 transaction, with the next nonce and the fees that the chain knows of."""
    import rlp  # type: ignore[import-untyped]

    nonce = next_nonce(chain, key) if nonce is None else nonce
    max_fee, tip = fees or chain.fees()
    target = b"" if to is None else bytes.fromhex(to[2:])
    numbers = (chain.chain_id, nonce, tip, max_fee, gas)
    fields = [*map(_short, numbers), target, _short(value), data, []]
    digest = keccak(DYNAMIC_FEE + rlp.encode(fields))
    signature = PrivateKey(bytes(key.key)).sign_recoverable(digest, hasher=None)  # r, s and parity
    parts = (signature[64:], signature[:32], signature[32:64])
    raw = DYNAMIC_FEE + rlp.encode([*fields, *(part.lstrip(b"\0") for part in parts)])
    return SignedTransaction(raw, key.address, nonce, gas)


def _revert(chain: Chain, call: Mapping[str, str], receipt: Mapping[str, Any]) -> Reverted:
    """Find out why a mined transaction failed, by making the call again on the same state.

    First at the end of its block, where the clock is right, then at the end of the block before.
    """
    if ran_short(receipt, int(call["gas"], 16)):
        return Reverted(f"out of gas: {int(receipt['gasUsed'], 16)} was not enough")
    number = int(receipt["blockNumber"], 16)
    for block in (number, number - 1):
        with suppress(LedgerError):
            try:
                chain.request("eth_call", call, hex(block))
            except Reverted as reverted:
                return reverted
    return Reverted(f"transaction {receipt['transactionHash']} failed and its repetition does not")


def _short(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])
