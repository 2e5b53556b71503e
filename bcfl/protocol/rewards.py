"""Compute what a finished round earns devices, miners and the leader, and the hash of its block."""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import Block, Tally, Terms


@dataclass(frozen=True)
class Prices:
    """What one accepted sample, one matching verdict and the lead earn, in wei."""

    sample: int
    verdict: int
    leader: int


def prices(terms: Terms, reward: int, tally: Tally) -> Prices:
    """Return the prices of a round; divisions round down and leave the remainder in the pool."""
    leader_share = BASIS_POINTS - terms.device_share - terms.miner_share
    return Prices(
        sample=reward * terms.device_share // BASIS_POINTS // max(tally.samples, 1),
        verdict=reward * terms.miner_share // BASIS_POINTS // max(sum(tally.matches), 1),
        leader=reward * leader_share // BASIS_POINTS,
    )


def earned(terms: Terms, reward: int, tally: Tally) -> int:
    """Return the wei that a finished round sets aside for all."""
    price = prices(terms, reward, tally)
    return price.sample * tally.samples + price.verdict * sum(tally.matches) + price.leader if reward else 0


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
    )
