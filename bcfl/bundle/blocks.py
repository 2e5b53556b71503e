"""Read the chain's side of a bundle: blocks with the contract's logs, such that one hash proves all of them.

A *record* is one block: its header; all its receipts, if its bloom filter allows for a log of the contract;
and the transactions that logged, each with its proof. Headers without a gap, down from a trusted hash,
prove that no log is missing and none is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bcfl.bundle.encodings import (
    call_of,
    gas_of,
    header_bytes,
    header_of,
    logs_of,
    receipt_bytes,
    transaction_bytes,
)
from bcfl.bundle.proofs import may_log, prove, root_of, verified_item
from bcfl.errors import BundleError, LedgerError
from bcfl.ledger.abi import Abi, EventType, address_of
from bcfl.ledger.contract import Contract, Event
from bcfl.protocol.hashing import keccak

GAPLESS: Final = 50_000  # blocks, 30 MB of headers; of a longer time only those blocks that hold logs


@dataclass(frozen=True)
class ProvenTransaction:
    """A transaction that logged something: its index in the block, and the nodes that prove it."""

    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class BlockRecord:
    """One block, as far as it concerns the contract."""

    header: bytes
    receipts: tuple[bytes, ...] = ()
    transactions: tuple[ProvenTransaction, ...] = ()


@dataclass(frozen=True)
class ProvenLogs:
    """The contract's logs in the records of a bundle, and the transactions that made them, as in JSON-RPC."""

    events: list[Event]
    transactions: dict[bytes, Mapping[str, Any]]
    head: bytes  # hash of the last block
    number: int
    gaps: int  # stretches of blocks that are left out
    gas: dict[bytes, int]  # by transaction


def fetch_records(contract: Contract, events: Sequence[Event], head: int) -> Iterator[BlockRecord]:
    """Fetch the records of a contract whose logs up to block `head` are `events`; raises LedgerError."""
    numbers: Sequence[int] = range(events[0].block, head + 1)
    if len(numbers) > GAPLESS:
        numbers = sorted({event.block for event in events} | {head})
    for number in numbers:
        yield _fetch_record(contract, number)


def read_records(abi: Abi, address: str, records: Iterable[BlockRecord]) -> ProvenLogs:
    """Check records and read them; raises BundleError at the first that contradicts itself or another."""
    events: list[Event] = []
    transactions: dict[bytes, Mapping[str, Any]] = {}
    gas: dict[bytes, int] = {}
    head, height, gaps = b"", -1, 0
    for record in records:
        header = header_of(record.header)
        number = int.from_bytes(header["number"], "big")
        if number <= height:
            raise BundleError(f"block {number} stands after block {height}")
        if height >= 0 and number != height + 1:
            gaps += 1
        elif height >= 0 and header["parentHash"] != head:
            raise BundleError(f"block {number} does not follow the block {height} that stands before it")
        head, height = keccak(record.header), number
        events += _events(abi, address, record, header, transactions, gas)
    if not events or events[0].name != "Genesis":
        raise BundleError("the bundle does not begin with the contract's deployment")
    return ProvenLogs(events, transactions, head, height, gaps, gas)


def _fetch_record(contract: Contract, number: int) -> BlockRecord:
    try:
        return _record(contract, number)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise LedgerError(f"block {number}: the node's answer lacks what a proof is made of") from None


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
    answers = [request("eth_getTransactionReceipt", each["hash"]) for each in block["transactions"]]
    receipts = tuple(receipt_bytes(answer) for answer in answers)
    payloads = [transaction_bytes(each) for each in block["transactions"]]
    roots = root_of(receipts), root_of(payloads)
    if roots != (_bytes(block["receiptsRoot"]), _bytes(block["transactionsRoot"])):
        raise LedgerError(f"block {number} holds what this version of bcfl cannot encode: no bundle of it")
    indices = [i for i, answer in enumerate(answers) if _has_log_of(contract, answer)]
    transactions = tuple(ProvenTransaction(i, tuple(prove(payloads, i))) for i in indices)
    return BlockRecord(header, receipts, transactions)


def _events(
    abi: Abi,
    address: str,
    record: BlockRecord,
    header: Mapping[str, bytes],
    transactions: dict[bytes, Mapping[str, Any]],
    gas: dict[bytes, int],
) -> Iterator[Event]:
    """Yield the contract's logs in one block; adds what made them to `transactions`, and its gas to `gas`."""
    number, emitter = int.from_bytes(header["number"], "big"), _bytes(address)
    if not record.receipts:
        if may_log(header["logsBloom"], emitter):
            raise BundleError(f"block {number} may hold logs of the contract, and its receipts are left out")
        return
    if root_of(record.receipts) != header["receiptsRoot"]:
        raise BundleError(f"the receipts of block {number} are not those that its header names")
    proofs = {transaction.index: transaction.proof for transaction in record.transactions}
    timestamp, position, total = int.from_bytes(header["timestamp"], "big"), 0, 0
    for index, receipt in enumerate(record.receipts):
        name, before, total = b"", total, gas_of(receipt)
        for account, topics, data in logs_of(receipt):
            kind = abi.events.get(topics[0]) if topics and account == emitter else None
            if kind is not None:
                name = name or _transaction_hash(header, index, proofs.get(index), transactions)
                gas[name] = total - before
                args = _args(kind, topics, data)
                yield Event(kind.name, args, number, timestamp, name, position, address_of(address))
            position += 1


def _args(kind: EventType, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    try:
        return kind.decode(topics, data)
    except LedgerError as error:
        raise BundleError(str(error)) from None


def _transaction_hash(
    header: Mapping[str, bytes],
    index: int,
    proof: tuple[bytes, ...] | None,
    transactions: dict[bytes, Mapping[str, Any]],
) -> bytes:
    """Return the hash of a transaction that is proven to be in its block; adds it to `transactions`."""
    if proof is None:
        number = int.from_bytes(header["number"], "big")
        raise BundleError(f"block {number}: transaction {index} logged something and is left out")
    payload = verified_item(header["transactionsRoot"], index, proof)
    to, value, data = call_of(payload)
    name = keccak(payload)
    transactions[name] = {"to": _hex(to) if to else None, "value": hex(value), "input": _hex(data)}
    if not to:
        transactions[name] = {**transactions[name], "from": _sender(payload)}
    return name


def _sender(transaction: bytes) -> str | None:
    """Return the address of who signed an encoded transaction; None where that cannot be told."""
    from eth_account import Account  # what few bundles need at all

    try:
        return str(Account.recover_transaction(transaction))
    except Exception:  # whatever an odd signature makes the library raise
        return None


def _has_log_of(contract: Contract, receipt: Mapping[str, Any]) -> bool:
    return any(log["address"].lower() == contract.address.lower() for log in receipt["logs"])


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
