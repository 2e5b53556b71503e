"""Elect leaders by lottery (`stake`, `resource`, `committee`) or by a proof-of-work race (`pow`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.lottery import LEAD, Entrant, order
from bcfl.protocol.types import Engine

RETARGET = 4  # a race moves the target by this factor at most
MIN_TARGET = 2**128  # the hardest race
ACCOUNT = (1 << 160) - 1  # the bits of a voter word that hold the account
NOVICE = 1 << 196  # the bit of a voter word that says novice


def ranking(seed: bytes, voters: Sequence[int], scores: Mapping[int, int] | None = None) -> list[int]:
    """Return all voter words in the order in which they may lead, whatever the order in which they unveiled.

    The weights are those of the votes, or the `scores` by account in a round of the resource engine.
    """
    words = {item & ACCOUNT: item for item in voters}
    entrants = [
        Entrant(account, scores[account] if scores else item >> 160 & 0xFFFF, bool(item & NOVICE))
        for account, item in words.items()
    ]
    return [words[entrant.account] for entrant in order(seed, LEAD, entrants)]


def is_attested(engine: int, attested_weight: int, voting_weight: int) -> bool:
    """Return whether the attested weight makes a proposal final: over 2/3 of all, over 1/2 of a committee."""
    if engine == Engine.COMMITTEE:
        return attested_weight * 2 > voting_weight
    return attested_weight * 3 > voting_weight * 2


def proof_value(puzzle: bytes, turn: int, miner: str, nonce: int) -> int:
    """Return the number that proves work if it is below the target."""
    return int.from_bytes(keccak(puzzle + word(turn) + word(int(miner, 16)) + word(nonce)), "big")


def search(puzzle: bytes, turn: int, miner: str, target: int, start: int, tries: int) -> int | None:
    """Return the first nonce of `tries` from `start` on that proves the work, or None."""
    prefix = puzzle + word(turn) + word(int(miner, 16))
    for nonce in range(start, start + tries):
        if int.from_bytes(keccak(prefix + word(nonce)), "big") < target:
            return nonce
    return None


def retarget(target: int, duration: int, target_duration: int) -> int:
    """Return the next race's target after one that took `duration` seconds."""
    seconds = min(max(duration * RETARGET, target_duration), target_duration * RETARGET * RETARGET)
    return min(max(target // (target_duration * RETARGET) * seconds, MIN_TARGET), 2**256 - 1)


def ease(target: int, target_duration: int) -> int:
    """Return the next race's target after one that nobody won in time."""
    return retarget(target, target_duration * RETARGET, target_duration)
