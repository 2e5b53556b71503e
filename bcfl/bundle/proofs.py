"""Prove and verify what a block's hash stands for: its transactions, its receipts, and who logged in it."""

from __future__ import annotations

from collections.abc import Sequence

import rlp  # type: ignore[import-untyped]
from trie.hexary import HexaryTrie

from bcfl.bundle.encodings import decode
from bcfl.errors import BundleError
from bcfl.protocol.hashing import keccak

BLOOM_BITS = 2047


def root_of(items: Sequence[bytes]) -> bytes:
    """Return the root of the trie of a block's receipts or transactions."""
    return bytes(_trie(items).root_hash)


def prove(items: Sequence[bytes], index: int) -> list[bytes]:
    """Return the nodes that lead from the root to an item."""
    nodes = _trie(items).get_proof(rlp.encode(index))  # type: ignore[no-untyped-call]
    return [rlp.encode(node) for node in nodes]


def verified_item(root: bytes, index: int, proof: Sequence[bytes]) -> bytes:
    """Return the item at an index, by the nodes that lead to it; raises BundleError where they do not."""
    try:
        nodes = [decode(node) for node in proof]
        item: bytes = HexaryTrie.get_from_proof(root, rlp.encode(index), nodes)  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a forged proof makes the library raise
        raise BundleError(
            f"a transaction is not proven to be in its block ({type(error).__name__})"
        ) from None
    return item


def may_log(bloom: bytes, address: bytes) -> bool:
    """Return whether the bloom filter of a header allows for a log of a contract; never wrongly false."""
    bits = int.from_bytes(bloom, "big")
    digest = keccak(address)
    places = (int.from_bytes(digest[i : i + 2], "big") & BLOOM_BITS for i in (0, 2, 4))
    return all(bits >> place & 1 for place in places)


def _trie(items: Sequence[bytes]) -> HexaryTrie:
    trie = HexaryTrie({}, prune=True)
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return trie
