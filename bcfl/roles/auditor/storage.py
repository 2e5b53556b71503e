"""The contract's storage compared with what its events come to: rounds, model, turns, and every wei."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.rounds import History
from bcfl.protocol.scores import Resources
from bcfl.protocol.transcript import StorageSnapshot
from bcfl.protocol.turns import LEAST
from bcfl.roles.auditor.balances import Balances
from bcfl.roles.auditor.replay import Replay
from bcfl.roles.auditor.verdict import Issue

NOTHING = bytes(32)


def check_ledger(history: History, storage: StorageSnapshot, number: int) -> Iterator[Issue]:
    """Check that the contract keeps the hash of the block that the events of a round give."""
    block = next((each for each in history.blocks if each.round == number), None)
    due = NOTHING if block is None else block_hash(block)
    if storage.ledger.get(number, NOTHING) != due:
        yield "contract.ledger", f"the contract keeps 0x{storage.ledger.get(number, NOTHING).hex()}"


def check_storage(replay: Replay, storage: StorageSnapshot) -> Iterator[Issue]:
    """Check the storage after the last event."""
    yield from _check_round(replay.history, storage)
    yield from _check_totals(replay, storage)
    yield from _check_credits(replay.balances, storage)
    yield from _check_miners(replay.history, storage)


def _check_round(history: History, storage: StorageSnapshot) -> Iterator[Issue]:
    if (storage.root, storage.cid) != (history.head.root, history.head.cid):
        yield "contract.model", "the contract's current model is not that of the last block"
    for seat, credit in enumerate(storage.turn_credits):
        if credit != history.credits.get(seat, LEAST):
            yield f"contract.turn_credits[{seat}]", "not the credit that the turns come to"
    if storage.round != history.number:
        yield "contract.round", f"the contract is in round {storage.round}"


def _check_totals(replay: Replay, storage: StorageSnapshot) -> Iterator[Issue]:
    stakes = sum(member.stake for member in replay.history.miners.values())
    for name, amount, due in (
        ("pool", storage.pool, replay.balances.pool),
        ("owed", storage.owed, replay.balances.owed),
        ("staked", storage.staked, stakes),
    ):
        if amount != due:
            yield f"contract.{name}", f"{amount} wei, and the logs come to {due}"
    if storage.balance < storage.pool + storage.owed + storage.staked:
        yield "contract.balance", f"{storage.balance} wei is less than stakes, debts and pool together"


def _check_credits(balances: Balances, storage: StorageSnapshot) -> Iterator[Issue]:
    for account in sorted({*storage.credits, *balances.credits}):
        due = balances.credits.get(account, 0)
        if storage.credits.get(account, 0) != due:
            yield f"contract.credits[{account}]", f"not the {due} wei of the logs"


def _check_miners(history: History, storage: StorageSnapshot) -> Iterator[Issue]:
    for account, member in sorted(history.miners.items()):
        if storage.stakes.get(account, 0) != member.stake:
            yield f"contract.stakes[{account}]", f"not the {member.stake} wei of the logs"
        score = history.resources.get(account, Resources()).score
        if storage.scores.get(account, score) != score:
            yield f"contract.scores[{account}]", f"not the {score} that the logs come to"
