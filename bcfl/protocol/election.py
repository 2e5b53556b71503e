"""Step 5: who leads, by `stake` or by `pow`."""

from __future__ import annotations

from collections.abc import Sequence

from bcfl.protocol.hashing import keccak, word

RETARGET = 4  # a race moves the target by this factor at most
MIN_TARGET = 2**128


def ranking(seed: bytes, voters: Sequence[int]) -> list[int]:
    """All voter words in the order in which they may lead: drawn by weight, without replacement.

    They are drawn from in the order of their accounts, whatever the order in which they unveiled.
    """
    left = sorted(voters, key=lambda item: item & (1 << 160) - 1)
    order = []
    for place in range(len(left)):
        total = sum(item >> 160 & 0xFFFF for item in left)
        ticket = int.from_bytes(keccak(seed + word(place)), "big") % total
        for item in left:
            weight = item >> 160 & 0xFFFF
            if ticket < weight:
                order.append(item)
                left.remove(item)
                break
            ticket -= weight
    return order


def proof_value(seed: bytes, turn: int, miner: str, nonce: int) -> int:
    """The number that has to be under the target."""
    return int.from_bytes(keccak(seed + word(turn) + word(int(miner, 16)) + word(nonce)), "big")


def search(seed: bytes, turn: int, miner: str, target: int, start: int, tries: int) -> int | None:
    """The first nonce of a range that proves the work, or None."""
    prefix = seed + word(turn) + word(int(miner, 16))
    for nonce in range(start, start + tries):
        if int.from_bytes(keccak(prefix + word(nonce)), "big") < target:
            return nonce
    return None


def retarget(target: int, took: int, wished: int) -> int:
    """The next race's target after one that took `took` seconds."""
    clipped = min(max(took * RETARGET, wished), wished * RETARGET * RETARGET)
    return min(max(target // (wished * RETARGET) * clipped, MIN_TARGET), 2**256 - 1)


def ease(target: int, wished: int) -> int:
    """The next race's target after one that nobody won in time."""
    return retarget(target, wished * RETARGET, wished)
