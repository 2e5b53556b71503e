"""Compute what a finished round earns devices, miners and the leader, and the hash of its block."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import SEAT, Block, Tally, Terms, weight_of


@dataclass(frozen=True)
class Prices:
    """What an accepted sample, a matching verdict (by weight of its voter) and the lead earn, in wei."""

    sample: int
    verdict: int
    leader: int


def prices(terms: Terms, reward: int, tally: Tally) -> Prices:
    """Return the prices of a round; divisions round down and leave the remainder in the pool."""
    return prices_of(terms, reward, tally.samples, weighted_matches(tally))


def prices_of(terms: Terms, reward: int, samples: int, matches: int) -> Prices:
    """Return the prices of a round of so many samples, each times its level, and weighted matches."""
    leader_share = BASIS_POINTS - terms.device_share - terms.miner_share
    return Prices(
        sample=reward * terms.device_share // BASIS_POINTS // max(samples, 1),
        verdict=reward * terms.miner_share // BASIS_POINTS // max(matches, 1),
        leader=reward * leader_share // BASIS_POINTS,
    )


def weighted_matches(tally: Tally) -> int:
    """Return the matching verdicts of all voters, each times its voter's weight."""
    return sum(count * weight_of(voter) for voter, count in zip(tally.voters, tally.matches, strict=True))


def verdict_pay(terms: Terms, block: Block, tally: Tally, position: int) -> tuple[int, int]:
    """Return what a voter's verdicts earn it and what goes back to the pool, in wei.

    Where proposals can be challenged, everybody has had the time to attest, and only who did is paid.
    """
    voter = tally.voters[position]
    price = prices(terms, block.reward, tally).verdict
    amount = price * tally.matches[position] * weight_of(voter)
    is_paid = not terms.challenge_seconds or bool(block.attested >> (voter >> SEAT) & 1)
    return (amount, 0) if is_paid else (0, amount)


def earned(terms: Terms, reward: int, tally: Tally) -> int:
    """Return the wei that a finished round sets aside for all."""
    price = prices(terms, reward, tally)
    return (
        price.sample * tally.samples + price.verdict * weighted_matches(tally) + price.leader if reward else 0
    )


def block_hash(block: Block) -> bytes:
    """Hash a block for the model ledger: keccak of the ABI encoding of its fields."""
    return keccak(
        block.parent
        + word(block.round)
        + block.accepted
        + block.root
        + block.cid
        + word(int(block.leader, 16))
        + word(block.reward)
        + word(block.engine)
        + word(block.attested)
    )
