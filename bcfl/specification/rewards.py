"""Say who earned what, and credit it once; the prices are those of `bcfl.protocol.rewards`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bcfl.protocol import rewards as twin
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import GROUP, MAX_MINERS
from bcfl.protocol.types import ZERO_DIGEST, Block, Tally
from bcfl.protocol.verification import IN_WORD, fields_bytes, unpack_codes
from bcfl.specification import treasury
from bcfl.specification.call import Call, bounded, require, unsigned
from bcfl.specification.packing import account_of
from bcfl.specification.state import Device

MAX_CHECKPOINTS: Final = 32
MAX_WORDS: Final = 16


def reserve(call: Call, samples: int, matches: int) -> int:
    """Set aside what a finished round earns, as far as the pool goes; returns the round's reward."""
    books = call.state.treasury
    reward = min(books.pool, call.terms.reward)
    if reward == 0:
        return 0
    price = twin.prices_of(call.terms, reward, samples, matches)
    earned = price.sample * samples + price.verdict * matches + price.leader
    books.pool = unsigned(books.pool - earned)
    books.owed += earned
    return reward


def claim_device(
    call: Call, block: Sequence[Any], tally: Sequence[Any], position: int, updates: Sequence[int]
) -> None:
    """Credit a device with its share of a finished round; anybody may hand it in.

    `updates`: the words of the group of 32 updates (fewer at the end) that the position is in.
    """
    bounded(GROUP, updates)
    head, count = _check(call, block, tally)
    level = count.levels[position]
    require(level, "rewards: not accepted")
    group = position // GROUP
    links = count.checkpoints[group - 1] if group else ZERO_DIGEST
    links = fold(map(word, updates), links)
    require(links == count.checkpoints[group], "rewards: not the round's updates")
    update = updates[position % GROUP]
    device = call.state.registry.devices.get(update >> 24 & 0xFFFF, Device())
    price = twin.prices(call.terms, head.reward, count)
    amount = price.sample * min(update & 0xFFFFFF, count.cap) * level
    _credit(call, head.round, device.account, amount, 0, as_miner=False)


def claim_miner(call: Call, block: Sequence[Any], tally: Sequence[Any], position: int) -> None:
    """Credit a miner with its share of a finished round; anybody may hand it in.

    What a voter that did not attest would have earned goes back to the pool.
    """
    head, count = _check(call, block, tally)
    miner = account_of(count.voters[position])
    amount, forfeit = twin.verdict_pay(call.terms, head, count, position)
    if miner == head.leader:
        amount += twin.prices(call.terms, head.reward, count).leader
    _credit(call, head.round, miner, amount, forfeit, as_miner=True)


def claimed(call: Call, account: str, round_: int) -> tuple[bool, bool]:
    """Return whether the device's share of a round is claimed, and whether the miner's is."""
    claims = call.state.rewards.claims.get(account, 0) >> 2 * round_
    return bool(claims & 1), bool(claims & 2)


def _check(call: Call, block: Sequence[Any], tally: Sequence[Any]) -> tuple[Block, Tally]:
    """Insist that a block is in the model ledger and a tally is the block's; returns both."""
    points, votes, voters, matches, levels, cap, samples = tally
    bounded(MAX_CHECKPOINTS, points)
    bounded(MAX_MINERS, voters, matches)
    bounded(MAX_WORDS, levels)
    head = Block(*block)
    is_known = twin.block_hash(head) == call.state.rounds.ledger.get(head.round, ZERO_DIGEST)
    require(is_known, "rewards: not in the ledger")
    is_its = keccak(fields_bytes(*tally)) == head.accepted
    require(is_its, "rewards: not the block's tally")
    codes = unpack_codes(levels, IN_WORD * len(levels))
    return head, Tally(points, votes, voters, matches, codes, cap, samples)


def _credit(call: Call, round_: int, account: str, amount: int, forfeit: int, *, as_miner: bool) -> None:
    """Book what an account has claimed, once; `forfeit` was set aside for it and goes back to the pool."""
    claims, bit = call.state.rewards.claims, 1 << 2 * round_ + as_miner
    if claims.get(account, 0) & bit:
        return
    claims[account] = claims.get(account, 0) | bit
    treasury.credit(call, account, amount)
    books = call.state.treasury
    books.owed = unsigned(books.owed - forfeit)
    books.pool += forfeit
    call.log("Claimed", round=round_, account=account, amount=amount, as_miner=as_miner)
