"""Encode headers, transactions and receipts of JSON-RPC as the bytes that a chain hashes, and decode those.

The encoding of a node's answer is hashed and compared, so a wrong or unknown answer is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import rlp  # type: ignore[import-untyped]

from bcfl.errors import BundleError

Json = Mapping[str, Any]
Item = Any  # bytes, or a list of items
NUMBER: Final = 8  # bytes of a block's number, time and gas, at most
WEI: Final = 32
DEEPEST: Final = 8  # lists in lists: access lists and authorizations have five
# The fields of a header in their order; a chain before a fork has none of those that came with it.
HEADER: Final = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom",
    "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce",
    "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot",
    "requestsHash",
)  # fmt: skip
NUMBERS: Final = frozenset((
    "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed",
    "excessBlobGas",
))  # fmt: skip
TIP = ("maxPriorityFeePerGas", "maxFeePerGas")
BODY = ("gas", "to", "value", "input")
SIGNED = ("yParity", "r", "s")
TRANSACTIONS: Final[Mapping[int, tuple[str, ...]]] = {
    0: ("nonce", "gasPrice", *BODY, "v", "r", "s"),
    1: ("chainId", "nonce", "gasPrice", *BODY, "accessList", *SIGNED),
    2: ("chainId", "nonce", *TIP, *BODY, "accessList", *SIGNED),
    3: ("chainId", "nonce", *TIP, *BODY, "accessList", "maxFeePerBlobGas", "blobVersionedHashes", *SIGNED),
    4: ("chainId", "nonce", *TIP, *BODY, "accessList", "authorizationList", *SIGNED),
}
WHOLE: Final = frozenset(("to", "input", "accessList", "blobVersionedHashes", "authorizationList"))


def header_bytes(block: Json) -> bytes:
    """Encode the header of a block as it is hashed."""
    present = [name for name in HEADER if block.get(name) not in (None, "0x") or name == "extraData"]
    fields = [_number(block[name]) if name in NUMBERS else _bytes(block[name]) for name in present]
    return _typed(0, fields)


def transaction_bytes(transaction: Json) -> bytes:
    """Encode a signed transaction as it stands in the block's trie."""
    kind = int(transaction.get("type", "0x0"), 16)
    if kind not in TRANSACTIONS:
        raise BundleError(f"a transaction of type {kind}, which this version of bcfl does not know")
    fields = [_field(name, transaction[name]) for name in TRANSACTIONS[kind]]
    return _typed(kind, fields)


def receipt_bytes(receipt: Json) -> bytes:
    """Encode a receipt as it stands in the block's trie."""
    logs = [
        [_bytes(log["address"]), [*map(_bytes, log["topics"])], _bytes(log["data"])]
        for log in receipt["logs"]
    ]
    head = [_number(receipt["status"]), _number(receipt["cumulativeGasUsed"]), _bytes(receipt["logsBloom"])]
    return _typed(int(receipt.get("type", "0x0"), 16), [*head, logs])


def header_of(data: bytes) -> dict[str, bytes]:
    """Return the fields of an encoded header by name; raises BundleError."""
    fields = _list(decode(data), 15, len(HEADER))
    header = {name: _data(value) for name, value in zip(HEADER, fields, strict=False)}
    for name in ("number", "timestamp"):
        _bounded(header[name], NUMBER)
    return header


def logs_of(receipt: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """Return address, topics and data of every log of an encoded receipt; raises BundleError."""
    fields = _list(decode(_untyped(receipt)), 4, 4)
    logs = []
    for log in _list(fields[3], 0, 1 << 20):
        address, topics, data = _list(log, 3, 3)
        logs.append((_data(address), [_data(topic) for topic in _list(topics, 0, 4)], _data(data)))
    return logs


def gas_of(receipt: bytes) -> int:
    """Return the gas of an encoded receipt and of all before it in its block; raises BundleError."""
    return _bounded(_data(_list(decode(_untyped(receipt)), 4, 4)[1]), NUMBER)


def call_of(transaction: bytes) -> tuple[bytes, int, bytes]:
    """Return receiver (empty: none), wei and data of an encoded transaction; raises BundleError."""
    kind = transaction[0] if transaction and transaction[0] < 0x80 else 0
    names = TRANSACTIONS.get(kind)
    if names is None:
        raise BundleError(f"a transaction of type {kind}, which this version of bcfl does not know")
    fields = _list(decode(_untyped(transaction)), len(names), len(names))
    to, value, data = (_data(fields[names.index(name)]) for name in ("to", "value", "input"))
    return to, _bounded(value, WEI), data


def decode(data: bytes) -> Item:
    """Decode RLP that a stranger wrote: one item, no bytes left over, lists no deeper than any real one."""
    item, end = _item(data, 0, len(data), 0)
    if end != len(data):
        raise BundleError("bytes follow the end of an encoded record")
    return item


def _item(data: bytes, position: int, end: int, depth: int) -> tuple[Item, int]:
    """Decode the item at `position`; returns it and the position after it."""
    if position >= end or depth > DEEPEST:
        raise BundleError("an encoded record is cut off, or too deep")
    prefix = data[position]
    if prefix < 0x80:
        return data[position : position + 1], position + 1
    is_list = prefix >= 0xC0
    start, size = position + 1, prefix - (0xC0 if is_list else 0x80)
    if size > 55:  # so many bytes above 55 hold the size
        start, size = start + size - 55, int.from_bytes(data[start : start + size - 55], "big")
    stop = start + size
    if stop > end:
        raise BundleError("an encoded record is cut off")
    if not is_list:
        return data[start:stop], stop
    items = []
    while start < stop:
        item, start = _item(data, start, stop, depth + 1)
        items.append(item)
    return items, stop


def _typed(kind: int, fields: Sequence[Item]) -> bytes:
    payload: bytes = rlp.encode(fields)
    return bytes((kind,)) + payload if kind else payload


def _untyped(payload: bytes) -> bytes:
    return payload[1:] if payload and payload[0] < 0x80 else payload


def _field(name: str, value: Any) -> Item:
    """Return a transaction's field: bytes, a list of them, or a number."""
    if name not in WHOLE:
        return _number(value)
    if name == "accessList":
        return [[_bytes(entry["address"]), [*map(_bytes, entry["storageKeys"])]] for entry in value]
    if name == "authorizationList":
        keys = ("chainId", "address", "nonce", "yParity", "r", "s")
        return [[_bytes(e[key]) if key == "address" else _number(e[key]) for key in keys] for e in value]
    return [*map(_bytes, value)] if isinstance(value, list) else _bytes(value or "0x")


def _number(value: str) -> bytes:
    number = int(value, 16)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])


def _list(item: Item, minimum: int, maximum: int) -> list[Item]:
    if not isinstance(item, list) or not minimum <= len(item) <= maximum:
        raise BundleError("an encoded record has other fields than it should have")
    return item


def _bounded(value: bytes, most: int) -> int:
    """Return the number that so many bytes are at most: one that no chain has fits no page and no table."""
    if len(value) > most:
        raise BundleError(f"an encoded record has a number of {len(value):,} bytes")
    return int.from_bytes(value, "big")


def _data(item: Item) -> bytes:
    if not isinstance(item, bytes):
        raise BundleError("an encoded record has a list where bytes belong")
    return item
