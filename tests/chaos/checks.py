"""What must hold after a chaos run, read from chain, store and logs alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from eth_utils.abi import function_abi_to_4byte_selector

from bcfl.ledger.artifact import artifact
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History
from bcfl.roles.common.archive import Archive
from tests.chaos.federation import Federation
from tests.chaos.parties import KEEP

OFTEN = ("advance", "skip")  # due several times with the same arguments
EMPTY = "00" * 32  # ends the commitment to a batch with nothing in it, which is alike in every round
ONCE = ("Committed", "VoteCommitted", "Voted", "Attested", "MinerRegistered", "Announced", "Claimed")


def faults(federation: Federation) -> Iterator[str]:
    """Everything that is not as it should be, in words; lost stakes are in `losses`."""
    history = federation.ledger.history()
    yield from _twice(federation, history)
    yield from _recomputed(federation.archive(), history, 1)
    yield from _kept(federation, history)
    yield from _logs(federation)


def failed_transactions(federation: Federation) -> int:
    """How many transactions were mined and refused: what a race between two parties costs."""
    chain = federation.ledger.contract.chain
    receipts = (
        chain.request("eth_getTransactionReceipt", item["hash"]) for item in _transactions(federation)
    )
    return sum(int(receipt["status"], 16) == 0 for receipt in receipts)


def losses(federation: Federation) -> Iterator[str]:
    """Stakes that were lost, in words: faults, unless the machine was too busy to be back in time."""
    history = federation.ledger.history()
    for round_ in history.rounds.values():
        for account, amount in round_.penalties:
            yield f"{account} lost {amount} wei in round {round_.number}"
    for member in history.miners.values():
        if member.stake != federation.terms.min_stake * 2 - 1:
            yield f"{member.account} has a stake of {member.stake}"


def _twice(federation: Federation, history: History) -> Iterator[str]:
    """No event of an account and a round twice, no device twice in a round, no call mined twice."""
    counts: Counter[tuple[object, ...]] = Counter()
    for event in federation.ledger.contract.events():
        if event.name in ONCE:
            args = event.args
            sender = args.get("miner") or args.get("sender") or args.get("account")
            counts[event.name, args.get("round"), sender, args.get("as_miner")] += 1
    for round_ in history.rounds.values():
        counts.update(("device", round_.number, item.update.device) for item in round_.submissions)
    often = {_selector(name) for name in OFTEN}
    for item in _transactions(federation):
        if item["input"][:10] not in often and not item["input"].endswith(EMPTY):
            counts["call", item["from"], item["input"]] += 1
    yield from (f"{count} times: {str(what)[:200]}" for what, count in counts.items() if count > 1)


def _selector(name: str) -> str:
    """How the calldata of a function of the contract begins."""
    entry = next(item for item in artifact()["abi"] if item.get("name") == name)
    return "0x" + function_abi_to_4byte_selector(entry).hex()


def _transactions(federation: Federation) -> Iterator[dict[str, str]]:
    chain = federation.ledger.contract.chain
    for number in range(int(chain.request("eth_blockNumber"), 16) + 1):
        yield from chain.request("eth_getBlockByNumber", hex(number), True)["transactions"]


def _recomputed(archive: Archive, history: History, first: int) -> Iterator[str]:
    """Each block follows from the one before, and its model from that one's and the accepted updates."""
    for parent, block in zip(history.blocks, history.blocks[1:], strict=False):
        if block.round < first:
            continue
        round_ = history.rounds[block.round]
        if block.parent != block_hash(parent):
            yield f"block of round {block.round} does not follow the one before"
        model = archive.next_model(parent, round_.accepted_submissions())
        proposal = round_.proposals[-1]
        if (model.root, model.cid, model.rows) != (block.root, block.cid, proposal.rows):
            yield f"the model of round {block.round} is another one"
        if not (archive.fetch_model(block.round, block.root, block.cid) == model.model).all():
            yield f"the bytes of the model of round {block.round} are others"


def _kept(federation: Federation, history: History) -> Iterator[str]:
    """On a real daemon: what nobody pins goes, and the last rounds stay."""
    if federation.daemon is None:
        return
    federation.daemon.post("repo/gc")
    last = max(history.rounds)
    yield from _recomputed(federation.archive(), history, last - 2)
    archive = federation.archive()
    early = [archive.sizes.update_cid(item) for item in history.rounds[1].submissions]
    pins = [cid for cid in early if archive.store.has(cid)]
    # Miners look for copies of them for the last time in the round of the next block: void ones do not count.
    if pins and len(history.blocks) > 2 and last > history.blocks[2].round + KEEP:
        yield f"{len(pins)} updates of round 1 are kept for ever"


def _logs(federation: Federation) -> Iterator[str]:
    for log in sorted(federation.folder.glob("*.log")):
        if "Traceback" in log.read_text():
            yield f"{log.name} has a traceback"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    seed: int
    store: str
    kills: int
    rounds: int
    blocks: int  # of the rounds; the others were void
    seconds: float
    refused: int  # transactions
    slow: bool
    faults: tuple[str, ...]
    lag: float = 0.0  # the longest time from one look at the chain to the next, seconds
    outage: float = 0.0  # the longest time that the store was away, seconds
    unjudged: tuple[str, ...] = ()  # stakes that were lost where the machine was too slow
