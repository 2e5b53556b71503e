"""What an audit looks at, gathered from a chain (all steps): logs, calldata, the contract's storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.abi import Abi
from bcfl.ledger.contract import Contract, Event
from bcfl.protocol.disputes import NOBODY
from bcfl.protocol.submissions import Domain
from bcfl.protocol.transcript import Call, StorageSnapshot, Transcript
from bcfl.protocol.types import Engine, Terms

SIGNED: Final = "Revealed"  # the event whose signatures are in calldata alone
READ: Final = frozenset({"reveal"})  # the calls whose arguments an audit looks at


def gather(contract: Contract, from_block: int = 0, head: int | None = None) -> Transcript:
    """Everything up to block `head` (the last); raises LedgerError where the node does not have it."""
    last = int(contract.chain.request("eth_blockNumber"), 16) if head is None else head
    events = list(contract.events(from_block, last))
    if not events or events[0].name != "Genesis":
        raise LedgerError(f"the chain tells of no deployment of {contract.address}; name an earlier block")
    signed = dict.fromkeys(event.transaction for event in events if event.name == SIGNED)
    found = {name: _transaction(contract, name) for name in [events[0].transaction, *signed]}
    return Transcript(
        domain=Domain(contract.chain.chain_id, contract.address),
        terms=Terms(*contract.call("agreed", block=last)),
        events=events,
        calls=calls_in(contract.abi, contract.address, {name: found[name] for name in signed}),
        endowment=int(found[events[0].transaction]["value"], 16),
        storage_snapshot=storage_snapshot(contract, events, last),
    )


def calls_in(
    abi: Abi, address: str, transactions: Mapping[bytes, Mapping[str, Any]]
) -> dict[bytes, tuple[Call, ...]]:
    """The calls of a contract that transactions make themselves, not through another contract."""
    own = address.lower()
    return {
        name: tuple(_calls(abi, bytes.fromhex(found["input"][2:])))
        for name, found in transactions.items()
        if (found["to"] or "").lower() == own
    }


def storage_snapshot(contract: Contract, events: Sequence[Event], block: int) -> StorageSnapshot:
    """What the contract's storage says at the end of a block of everything that the logs name."""

    def asked(function: str, *args: object) -> Any:
        return contract.call(function, *args, block=block)

    rounds = {event.args["round"] for event in events if event.name == "RoundOpened"}
    claimed = {event.args["account"] for event in events if event.name in ("Claimed", "Withdrawn")}
    claimed |= {event.args["challenger"] for event in events if event.name == "Refuted"}
    ended = [event.args for event in events if event.name == "DisputeEnded"]
    claimed |= {args[name] for args in ended for name in ("challenger", "answerer")} - {NOBODY}
    miners = {event.args["miner"] for event in events if event.name == "MinerRegistered"}
    root, cid = asked("model")
    balance = contract.chain.request("eth_getBalance", contract.address, hex(block))
    stakes, tails, scores = {}, {}, {}
    counted = any(event.name == "RoundOpened" and event.args["engine"] == Engine.RESOURCE for event in events)
    for miner in sorted(miners):
        with suppress(Reverted):  # it has left
            stakes[miner] = asked("miner", miner)[2]
            tails[miner] = asked("tail", miner)
            if counted:
                scores[miner] = asked("resources", miner)[4]
    return StorageSnapshot(
        block=block,
        ledger={number: asked("ledger", number) for number in sorted({0, *rounds})},
        root=root,
        cid=cid,
        seed=asked("round_seed"),
        round=asked("round_clock")[2],
        pool=asked("pool"),
        owed=asked("owed"),
        staked=asked("staked"),
        balance=int(balance, 16),
        credits={account: asked("credits", account) for account in sorted(claimed)},
        stakes=stakes,
        tails=tails,
        scores=scores,
    )


def _transaction(contract: Contract, name: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = contract.chain.request("eth_getTransactionByHash", "0x" + name.hex())
    if found is None:
        raise LedgerError(f"the node has lost transaction 0x{name.hex()}: ask one that keeps all of them")
    return found


def _calls(abi: Abi, data: bytes) -> Iterator[Call]:
    """The call that calldata is, or those inside a multicall."""
    kind = abi.called(data)
    if kind is None:
        return
    if kind.name == "multicall":
        joined, lengths = kind.arguments(data)
        start = 0
        for length in lengths:
            yield from _calls(abi, joined[start : start + length])
            start += length
    else:
        yield Call(kind.name, kind.arguments(data) if kind.name in READ else ())
