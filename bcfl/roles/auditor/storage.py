"""The end of the logs beside what the contract's storage says: rounds, model, seed, and every wei."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History
from bcfl.protocol.scores import Resources
from bcfl.protocol.transcript import StorageSnapshot
from bcfl.roles.auditor.reading import Record
from bcfl.roles.auditor.submissions import Found

NOTHING = bytes(32)


def check_ledger(record: Record, storage_snapshot: StorageSnapshot, number: int) -> Iterator[Found]:
    """The hash that the contract keeps for a round is that of the block that the logs tell of."""
    block = next((each for each in record.history.blocks if each.round == number), None)
    due = NOTHING if block is None else block_hash(block)
    if storage_snapshot.ledger.get(number, NOTHING) != due:
        yield "contract.ledger", f"the contract keeps 0x{standing.ledger.get(number, NOTHING).hex()}"


def check_standing(record: Record, storage_snapshot: StorageSnapshot) -> Iterator[Found]:
    """What holds after the last log."""
    history, books = record.history, record.books
    head = history.head
    if (storage_snapshot.root, storage_snapshot.cid) != (head.root, head.cid):
        yield "contract.model", "the contract's current model is not that of the last block"
    if storage_snapshot.seed != history.seed:
        yield "contract.seed", "the contract's seed is not that of the last draw"
    if storage_snapshot.round != max(history.rounds, default=0):
        yield "contract.round", f"the contract is in round {standing.round}"
    staked = sum(member.stake for member in history.miners.values())
    for name, kept, due in (
        ("pool", storage_snapshot.pool, books.pool),
        ("owed", storage_snapshot.owed, books.owed),
        ("staked", storage_snapshot.staked, staked),
    ):
        if kept != due:
            yield f"contract.{name}", f"{kept} wei, and the logs come to {due}"
    if storage_snapshot.balance < storage_snapshot.pool + storage_snapshot.owed + storage_snapshot.staked:
        yield "contract.balance", f"{standing.balance} wei is less than stakes, debts and pool together"
    for account in sorted({*storage_snapshot.credits, *books.credits}):
        if storage_snapshot.credits.get(account, 0) != books.credits.get(account, 0):
            yield f"contract.credits[{account}]", f"not the {books.credits.get(account, 0)} wei of the logs"
    for account, member in sorted(history.miners.items()):
        if storage_snapshot.stakes.get(account, 0) != member.stake:
            yield f"contract.stakes[{account}]", f"not the {member.stake} wei of the logs"
        if account in storage_snapshot.tails and storage_snapshot.tails[account] != history.tails[account]:
            yield f"contract.tails[{account}]", "not the layer that the logs show last"
        if account in storage_snapshot.scores and storage_snapshot.scores[account] != _score(history, account):
            yield f"contract.scores[{account}]", f"not the {_score(history, account)} that the logs come to"


def _score(history: History, account: str) -> int:
    return history.resources.get(account, Resources()).score
