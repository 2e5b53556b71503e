"""Race for the lead by proofs of work (`pow`); the other engines take turns (`turns`)."""

from __future__ import annotations

from sha3 import keccak_256  # type: ignore[import-untyped]

from bcfl.protocol.hashing import keccak, word

RETARGET = 4  # a race moves the target by this factor at most
MIN_TARGET = 2**128  # the hardest race


def proof_value(puzzle: bytes, turn: int, miner: str, nonce: int) -> int:
    """Return the number that proves work if it is below the target."""
    return int.from_bytes(keccak(puzzle + word(turn) + word(int(miner, 16)) + word(nonce)), "big")


def search(puzzle: bytes, turn: int, miner: str, target: int, start: int, tries: int) -> int | None:
    """Return the first nonce of `tries` from `start` on that proves the work, or None."""
    prefix, bound = puzzle + word(turn) + word(int(miner, 16)), word(min(target, 2**256 - 1))
    for nonce in range(start, start + tries):
        # `keccak(prefix + word(nonce))`, without the calls: this is where a race spends its time.
        if keccak_256(prefix + nonce.to_bytes(32, "big")).digest() < bound:
            return nonce
    return None


def retarget(target: int, duration: int, target_duration: int) -> int:
    """Return the next race's target after one that took `duration` seconds."""
    seconds = min(max(duration * RETARGET, target_duration), target_duration * RETARGET * RETARGET)
    return min(max(target // (target_duration * RETARGET) * seconds, MIN_TARGET), 2**256 - 1)


def ease(target: int, target_duration: int) -> int:
    """Return the next race's target after one that nobody won in time."""
    return retarget(target, target_duration * RETARGET, target_duration)
