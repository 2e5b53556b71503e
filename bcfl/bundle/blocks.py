"""The chain's side of a bundle (all steps): blocks with the contract's logs, such that one hash proves all.

A *record* is one block: its header; all its receipts, if its bloom filter allows for a log of the contract;
and the transactions that logged, each with its proof. Headers without a gap, down from a hash that somebody
trusts, prove that no log is missing and none is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_utils.crypto import keccak

from bcfl.bundle.encodings import call_of, header_bytes, header_of, logs_of, receipt_bytes, transaction_bytes
from bcfl.bundle.proofs import may_log, proof_of, proven, root_of
from bcfl.errors import BundleError, LedgerError
from bcfl.ledger.abi import Abi, EventType, address_of
from bcfl.ledger.contract import Contract, Event

GAPLESS: Final = 50_000  # blocks, 30 MB of headers; of a longer time only those blocks that hold logs


@dataclass(frozen=True)
class Logged:
    """A transaction that logged something: its place in the block, its bytes, and what proves it."""

    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class BlockRecord:
    """One block, as far as it concerns the contract."""

    header: bytes
    receipts: tuple[bytes, ...] = ()
    logged: tuple[Logged, ...] = ()


@dataclass(frozen=True)
class Read:
    """What records come to: the contract's logs, and the transactions that made them, as in JSON-RPC."""

    events: list[Event]
    transactions: dict[bytes, Mapping[str, Any]]
    head: bytes  # hash of the last block
    number: int
    gaps: int  # stretches of blocks that are left out


def records(contract: Contract, events: Sequence[Event], head: int) -> Iterator[BlockRecord]:
    """The records of a contract whose logs up to block `head` are `events`; raises LedgerError."""
    first = events[0].block
    numbers = range(first, head + 1)
    if len(numbers) > GAPLESS:
        numbers = sorted({event.block for event in events} | {head})  # type: ignore[assignment]
    for number in numbers:
        yield _record(contract, number)


def read(abi: Abi, address: str, found: Iterable[BlockRecord]) -> Read:
    """Check records and read them; raises BundleError at the first that contradicts itself or another."""
    made = Read([], {}, b"", -1, 0)
    events, transactions = made.events, made.transactions
    last, number, gaps = b"", -1, 0
    for record in found:
        header = header_of(record.header)
        here = int.from_bytes(header["number"], "big")
        if here <= number:
            raise BundleError(f"block {here} stands after block {number}")
        if number >= 0 and here != number + 1:
            gaps += 1
        elif number >= 0 and header["parentHash"] != last:
            raise BundleError(f"block {here} does not follow the block {number} that stands before it")
        last, number = keccak(record.header), here
        events += _events(abi, address, record, header, transactions)
    if not events or events[0].name != "Genesis":
        raise BundleError("the bundle does not begin with the contract's deployment")
    return Read(events, transactions, last, number, gaps)


def _record(contract: Contract, number: int) -> BlockRecord:
    request = contract.chain.request
    block = request("eth_getBlockByNumber", hex(number), True)
    if block is None:
        raise LedgerError(f"the node does not know block {number} any more: ask one that keeps all of them")
    header = header_bytes(block)
    if keccak(header) != _bytes(block["hash"]):
        raise LedgerError(f"the header of block {number} has fields that this version of bcfl does not know")
    if not may_log(_bytes(block["logsBloom"]), _bytes(contract.address)):
        return BlockRecord(header)
    found = [request("eth_getTransactionReceipt", each["hash"]) for each in block["transactions"]]
    receipts = tuple(receipt_bytes(each) for each in found)
    raw = [transaction_bytes(each) for each in block["transactions"]]
    if root_of(receipts) != _bytes(block["receiptsRoot"]) or root_of(raw) != _bytes(
        block["transactionsRoot"]
    ):
        raise LedgerError(f"block {number} holds what this version of bcfl cannot encode: no bundle of it")
    logged = [
        i for i, each in enumerate(found) if any(_own(contract, log["address"]) for log in each["logs"])
    ]
    return BlockRecord(header, receipts, tuple(Logged(i, tuple(proof_of(raw, i))) for i in logged))


def _events(
    abi: Abi,
    address: str,
    record: BlockRecord,
    header: Mapping[str, bytes],
    transactions: dict[bytes, Mapping[str, Any]],
) -> Iterator[Event]:
    """The contract's logs in one block; what makes them is added to `transactions`."""
    number, own = int.from_bytes(header["number"], "big"), _bytes(address)
    if not record.receipts:
        if may_log(header["logsBloom"], own):
            raise BundleError(f"block {number} may hold logs of the contract, and its receipts are left out")
        return
    if root_of(record.receipts) != header["receiptsRoot"]:
        raise BundleError(f"the receipts of block {number} are not those that its header names")
    proofs = {each.index: each.proof for each in record.logged}
    timestamp, position = int.from_bytes(header["timestamp"], "big"), 0
    for index, receipt in enumerate(record.receipts):
        name = b""
        for where, topics, data in logs_of(receipt):
            kind = abi.events.get(topics[0]) if topics and where == own else None
            if kind is not None:
                name = name or _named(header, index, proofs.get(index), transactions)
                args = _args(kind, topics, data)
                yield Event(kind.name, args, number, timestamp, name, position, address_of(address))
            position += 1


def _args(kind: EventType, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    try:
        return kind.decode(topics, data)
    except LedgerError as error:
        raise BundleError(str(error)) from None


def _named(
    header: Mapping[str, bytes],
    index: int,
    proof: tuple[bytes, ...] | None,
    transactions: dict[bytes, Mapping[str, Any]],
) -> bytes:
    """The hash of a transaction that is proven to be in its block."""
    if proof is None:
        number = int.from_bytes(header["number"], "big")
        raise BundleError(f"block {number}: transaction {index} logged something and is left out")
    raw = proven(header["transactionsRoot"], index, proof)
    to, value, data = call_of(raw)
    name = keccak(raw)
    transactions[name] = {"to": _hex(to) if to else None, "value": hex(value), "input": _hex(data)}
    return name


def _own(contract: Contract, address: str) -> bool:
    return address.lower() == contract.address.lower()


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
