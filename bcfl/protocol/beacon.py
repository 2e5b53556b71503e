"""Derive the seeds of rounds: every leader shows one layer of a hash chain that was fixed long before.

    layer n = keccak(layer n + 1); layer 0, the tail, is registered; a leader shows the layer after the last.

There is one right layer: a leader shows it, or loses its turn and a penalty.
"""

from __future__ import annotations

from bcfl.protocol.accounts import Account
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.submissions import Domain

LENGTH = 4096  # layers that a chain has beside its tail


def secret(account: Account, domain: Domain, number: int = 0) -> bytes:
    """Derive the innermost layer of an account's chain; `number` counts the chains that it has had before."""
    return account.secret("chain", domain.separator, number)


def tail(innermost: bytes, length: int = LENGTH) -> bytes:
    """Return the tail of a chain, layer 0: what a miner registers of it."""
    layer = innermost
    for _ in range(length):
        layer = keccak(layer)
    return layer


def chain_tail(account: Account, domain: Domain, number: int = 0) -> bytes:
    """Return the tail of an account's chain, as it registers or renews it."""
    return tail(secret(account, domain, number))


def next_layer(innermost: bytes, last_layer: bytes, length: int = LENGTH) -> bytes | None:
    """Return the layer whose hash is the last one shown; None if the chain is used up or is another."""
    layer = innermost
    for _ in range(length):
        hash_ = keccak(layer)
        if hash_ == last_layer:
            return layer
        layer = hash_
    return None


def seed_after(seed: bytes, layer: bytes) -> bytes:
    """Return the seed of the round after a finalized one."""
    return keccak(seed + layer)


def seed_after_void(seed: bytes, round_: int) -> bytes:
    """Return the seed of the round after a void one."""
    return keccak(seed + word(round_))
