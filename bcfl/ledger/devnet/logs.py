"""Ask for logs of the embedded chain in its index, and show them as JSON-RPC has them: without an EVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcfl.errors import RunError
from bcfl.ledger.devnet.values import Json, parse_number, to_hex


@dataclass(frozen=True)
class LogRow:
    """One log of a block, as the index has it; absent topics are None."""

    block: int
    position: int  # in the block
    transaction_index: int
    transaction_hash: bytes
    address: bytes
    topic0: bytes | None
    topic1: bytes | None
    topic2: bytes | None
    topic3: bytes | None
    data: bytes

    @property
    def topics(self) -> tuple[bytes, ...]:
        """Return the topics that it has."""
        topics = (self.topic0, self.topic1, self.topic2, self.topic3)
        return tuple([topic for topic in topics if topic is not None])


HASH_BYTES, ADDRESS_BYTES = 32, 20


def log_row(path: Path | None, values: Sequence[Any]) -> LogRow:
    """Return a row of the index in the file `path`; raises RunError where it can be of no log."""
    row = LogRow(*values)
    is_log = (
        type(row.block) is type(row.position) is type(row.transaction_index) is int
        and row.block >= 0 <= row.position
        and row.transaction_index >= 0
        and type(row.transaction_hash) is type(row.address) is type(row.data) is bytes
        and len(row.transaction_hash) == HASH_BYTES
        and len(row.address) == ADDRESS_BYTES
    )
    for topic in (row.topic0, row.topic1, row.topic2, row.topic3):
        is_log = is_log and (topic is None or (type(topic) is bytes and len(topic) == HASH_BYTES))
    if not is_log:
        raise damage(path, f"a log of block {str(row.block)[:20]}")
    return row


def damage(path: Path | None, place: str) -> RunError:
    """Return the error of a chain's file that is damaged at a place."""
    return RunError(f"{path}: the chain is damaged ({place}): put it back from a copy, or start a new run")


def log_query(
    first: int, last: int, addresses: Sequence[bytes] = (), topics: Sequence[Sequence[bytes]] = ()
) -> tuple[str, list[int | bytes]]:
    """Return SQL and its values for the logs of the blocks `first` to `last`; an empty list allows all."""
    conditions = ["block BETWEEN ? AND ?"]
    values: list[int | bytes] = [first, last]
    # `+` keeps sqlite from the index of topics where no topic narrows it: it would read all blocks.
    address = "address" if topics and topics[0] else "+address"
    columns = [(address, addresses), *((f"topic{i}", choices) for i, choices in enumerate(topics))]
    for column, choices in columns:
        if choices:
            conditions.append(f"{column} IN ({', '.join('?' * len(choices))})")
            values.extend(choices)
    return f"SELECT * FROM log WHERE {' AND '.join(conditions)} ORDER BY block, position", values


def height_of(block: Any, pending: int) -> int:
    """Return the number of a block that JSON-RPC names; `pending` is that of the next one."""
    tags = {None: pending - 1, "pending": pending, "earliest": 0}
    tags |= dict.fromkeys(("latest", "safe", "finalized"), pending - 1)
    return tags[block] if block in tags else parse_number(block)


def log_json(row: LogRow, block_hash: bytes, timestamp: int) -> Json:
    """Return a log of the block with a hash, of so many seconds since 1970."""
    return {
        "address": to_hex(row.address),
        "topics": [to_hex(topic) for topic in row.topics],
        "data": to_hex(row.data),
        "blockNumber": hex(row.block),
        "blockHash": to_hex(block_hash),
        "blockTimestamp": hex(timestamp),
        "transactionHash": to_hex(row.transaction_hash),
        "transactionIndex": hex(row.transaction_index),
        "logIndex": hex(row.position),
        "removed": False,
    }
