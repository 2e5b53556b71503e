"""Gather from a chain what an audit examines: logs, calldata, the contract's storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.abi import Abi
from bcfl.ledger.contract import Contract, Event
from bcfl.protocol.submissions import Domain
from bcfl.protocol.transcript import Call, StorageSnapshot, Transcript
from bcfl.protocol.types import Engine, Terms

SIGNED: Final = "Revealed"  # the event whose signatures are in calldata alone
EXAMINED: Final = frozenset({"reveal"})  # the calls whose arguments an audit examines
# The argument of an event that names whom it, or what follows from it, may credit.
CREDITED: Final = {
    "Claimed": "account",
    "Withdrawn": "account",
    "Proposed": "author",
    "Refuted": "challenger",
    "AnnouncementEnded": "challenger",
    "DisputeEnded": "challenger",
}


def gather(contract: Contract, from_block: int = 0, head: int | None = None) -> Transcript:
    """Gather everything up to block `head` (the last); raises LedgerError where the node does not have it."""
    last = int(contract.chain.request("eth_blockNumber"), 16) if head is None else head
    events = list(contract.events(from_block, last))
    if not events or events[0].name != "Genesis":
        raise LedgerError(f"the chain tells of no deployment of {contract.address}; name an earlier block")
    creation = events[0].transaction
    names = dict.fromkeys(event.transaction for event in events if event.name == SIGNED)
    transactions = {name: _transaction(contract, name) for name in [creation, *names]}
    return Transcript(
        domain=Domain(contract.chain.chain_id, contract.address),
        terms=Terms(*contract.call("agreed", block=last)),
        events=events,
        calls=calls_in(contract.abi, contract.address, {name: transactions[name] for name in names}),
        endowment=int(transactions[creation]["value"], 16),
        storage_snapshot=storage_snapshot(contract, events, last),
    )


def calls_in(
    abi: Abi, address: str, transactions: Mapping[bytes, Mapping[str, Any]]
) -> dict[bytes, tuple[Call, ...]]:
    """Return the calls of a contract that transactions make themselves, not through another contract.

    Calldata that only the contract can read, cut where zeros follow, say, is left out like those.
    """
    calls: dict[bytes, tuple[Call, ...]] = {}
    for name, transaction in transactions.items():
        if (transaction["to"] or "").lower() == address.lower():
            with suppress(LedgerError):
                calls[name] = tuple(_calls(abi, bytes.fromhex(transaction["input"][2:])))
    return calls


def storage_snapshot(contract: Contract, events: Sequence[Event], block: int) -> StorageSnapshot:
    """Read what the contract's storage says, at the end of a block, of everything that the logs name."""

    def read(function: str, *args: object) -> Any:
        return contract.call(function, *args, block=block)

    rounds = {event.args["round"] for event in events if event.name == "RoundOpened"}
    root, cid = read("model")
    balance = contract.chain.request("eth_getBalance", contract.address, hex(block))
    stakes, scores = _members(contract, events, block)
    return StorageSnapshot(
        block=block,
        ledger={number: read("ledger", number) for number in sorted({0, *rounds})},
        root=root,
        cid=cid,
        round=read("round_clock")[2],
        pool=read("pool"),
        owed=read("owed"),
        staked=read("staked"),
        balance=int(balance, 16),
        credits={account: read("credits", account) for account in sorted(_creditors(events))},
        stakes=stakes,
        scores=scores,
        turn_credits=tuple(read("turn_credits")),
    )


def _creditors(events: Sequence[Event]) -> set[str]:
    """Return the accounts that claims, challenges and disputes may have credited."""
    return {event.args[CREDITED[event.name]] for event in events if event.name in CREDITED}


def _members(
    contract: Contract, events: Sequence[Event], block: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Return stakes in wei and scores of the miners that are registered at the end of a block."""
    miners = {event.args["miner"] for event in events if event.name == "MinerRegistered"}
    engines = {event.args["engine"] for event in events if event.name == "RoundOpened"}
    stakes, scores = {}, {}
    for miner in sorted(miners):
        with suppress(Reverted):  # it has left
            stakes[miner] = contract.call("miner", miner, block=block)[2]
            if Engine.RESOURCE in engines:
                scores[miner] = contract.call("resources", miner, block=block)[4]
    return stakes, scores


def _transaction(contract: Contract, name: bytes) -> Mapping[str, Any]:
    transaction: Mapping[str, Any] | None = contract.chain.request(
        "eth_getTransactionByHash", "0x" + name.hex()
    )
    if transaction is None:
        raise LedgerError(f"the node has lost transaction 0x{name.hex()}: ask one that keeps all of them")
    return transaction


def _calls(abi: Abi, data: bytes, optional: bool = False) -> Iterator[Call]:
    """Yield the call that calldata is, or those inside a multicall; whether each may have failed alone."""
    function = abi.function_of(data)
    if function is None:
        return
    if function.name == "multicall":
        calldata, lengths, mask = function.arguments(data)
        start = 0
        for place, length in enumerate(lengths):
            yield from _calls(abi, calldata[start : start + length], optional or bool(mask >> place & 1))
            start += length
    else:
        arguments = function.arguments(data) if function.name in EXAMINED else ()
        yield Call(function.name, arguments, optional)
