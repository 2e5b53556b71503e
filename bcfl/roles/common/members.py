"""Say who is a member that gets keys, and which miners are asked for those of a round."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcfl.protocol.rounds import History, Member, Round


def is_member(history: History, account: str) -> bool:
    """Whether an account takes part, or will: who leaves, or is let go, does until the next round opens.

    Until then it is bound to act, and a miner that does not loses stake: so it has to read the model.
    """
    miner, index = history.miners.get(account), history.device_index(account)
    is_miner = miner is not None and _is_there(miner)
    return is_miner or history.is_device(account) or (index is not None and history.takes_part(index))


def miners_to_ask(history: History, round_: Round) -> list[str]:
    """Return the miners that may have the keys of a finished round: its voters, the others, who has left.

    A voter that has left is asked last, for a key that nobody else may have.
    """
    there = [account for account, member in history.miners.items() if _is_there(member)]
    gone = [account for account in round_.readers if account not in there]
    return sorted(there, key=lambda account: account not in round_.readers) + gone


def _is_there(miner: Member) -> bool:
    """Whether a miner stays, or sits in the running round: it has weight until the next one opens."""
    return not miner.exit_round or bool(miner.weight)
