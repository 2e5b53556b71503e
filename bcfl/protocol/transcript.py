"""Hold what an outsider needs to check a whole training: logs, calldata and the contract's storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bcfl.protocol.event import LogEvent
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Terms


@dataclass(frozen=True)
class Call:
    """One call of the contract in a transaction."""

    function: str
    args: tuple[Any, ...]
    optional: bool = False  # it may have failed alone, in a transaction that did not


@dataclass(frozen=True)
class StorageSnapshot:
    """The values in the contract's own storage at the end of a block; money in wei."""

    block: int
    ledger: Mapping[int, bytes]  # round -> hash of its block, 32 zero bytes where there is none
    root: bytes  # of the current model
    cid: bytes
    round: int
    pool: int
    owed: int
    staked: int
    balance: int
    credits: Mapping[str, int] = field(default_factory=dict)  # of every account that has claimed
    stakes: Mapping[str, int] = field(default_factory=dict)  # of every miner that is registered
    scores: Mapping[str, int] = field(default_factory=dict)  # of these miners, under the resource engine
    turn_credits: tuple[int, ...] = ()  # by seat, in units of 2**-24 leads


@dataclass(frozen=True)
class Transcript:
    """Everything that an audit needs except the bytes of the vectors."""

    domain: Domain
    terms: Terms
    events: Sequence[LogEvent]  # all of the contract, in order
    calls: Mapping[bytes, tuple[Call, ...]]  # by transaction hash; none where another contract calls
    endowment: int  # wei sent with the deployment
    storage_snapshot: StorageSnapshot
