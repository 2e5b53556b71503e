"""Encode what a device signs and commits to, and the word that its update leaves on chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import GROUP, MAX_PACE
from bcfl.protocol.types import Engine, SignedUpdate, Update

DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
COMMITMENT = 64  # shift of the commitment in the word of an update
UPDATE_TYPE = keccak(
    b"Update(uint256 round,uint256 device,bytes32 root,bytes32 cid,"
    b"uint256 samples,uint256 microseconds,uint256 salt)"
)


@dataclass(frozen=True)
class Domain:
    """The chain and the contract to which a signature is bound."""

    chain_id: int
    contract: str

    @cached_property
    def separator(self) -> bytes:
        """Return the EIP-712 domain separator, 32 bytes."""
        return keccak(
            DOMAIN_TYPE + keccak(b"bcfl") + keccak(b"1") + word(self.chain_id) + word(int(self.contract, 16))
        )


@lru_cache(maxsize=4096)
def commitment(domain: Domain, update: Update) -> bytes:
    """Return the EIP-712 hash of an update: what the device signs is what it commits to."""
    struct = keccak(
        UPDATE_TYPE
        + word(update.round)
        + word(update.device)
        + update.root
        + update.cid
        + word(update.samples)
        + word(update.microseconds)
        + word(update.salt)
    )
    return keccak(b"\x19\x01" + domain.separator + struct)


def batch_digest(commitments: Iterable[bytes]) -> bytes:
    """Fold commitments into the digest that stands on chain for a batch."""
    return fold(commitments)


def pack_claim(update: Update) -> int:
    """Pack device (32 bits), samples (32), microseconds (64) and salt (128) into one word."""
    return update.device << 224 | update.samples << 192 | update.microseconds << 128 | update.salt


def unpack_claim(round_: int, root: bytes, cid: bytes, claim: int) -> Update:
    """Return the update that a revealed root, CID digest and claim describe."""
    return Update(
        round=round_,
        device=claim >> 224,
        root=root,
        cid=cid,
        samples=claim >> 192 & 0xFFFFFFFF,
        microseconds=claim >> 128 & (1 << 64) - 1,
        salt=claim & (1 << 128) - 1,
    )


def pace(update: Update) -> int:
    """Return samples per second, at most MAX_PACE."""
    return min(update.samples * 1_000_000 // max(update.microseconds, 1), MAX_PACE)


def update_word(domain: Domain, update: Update, engine: int = Engine.STAKE) -> int:
    """Pack what the chain of updates keeps: commitment (192 bits), pace (24), device (16), samples (24).

    The pace is there only in a round of the resource engine.
    """
    return packed_word(commitment(domain, update), update, engine)


def packed_word(digest: bytes, update: Update, engine: int) -> int:
    """Return the word of an update whose commitment is `digest`."""
    top = int.from_bytes(digest, "big") >> COMMITMENT << COMMITMENT
    pace_bits = pace(update) if engine == Engine.RESOURCE else 0
    return top | pace_bits << 40 | update.device << 24 | update.samples


def opens(domain: Domain, update: Update, chain_word: int) -> bool:
    """Return whether an update is what stands behind a word of the chain of updates, whatever the engine."""
    return (update_word(domain, update) ^ chain_word) >> COMMITMENT == 0


def checkpoints(words: Iterable[int]) -> tuple[bytes, ...]:
    """Return the chain of updates after every GROUP updates and at the end."""
    digests: list[bytes] = []
    digest = bytes(32)
    position = -1
    for position, item in enumerate(words):
        digest = fold([word(item)], digest)
        if position % GROUP == GROUP - 1:
            digests.append(digest)
    if position >= 0 and position % GROUP != GROUP - 1:
        digests.append(digest)
    return tuple(digests)


def reveal_args(
    submitter: str, batch: Sequence[bytes], openings: Sequence[SignedUpdate | None]
) -> tuple[str, int, list[bytes], list[bytes], list[int], list[list[bytes]], list[bytes]]:
    """Return the arguments of `reveal` for a batch of commitments and their updates, None where sealed."""
    signed_updates = [item for item in openings if item is not None]
    return (
        submitter,
        sum(1 << position for position, item in enumerate(openings) if item is not None),
        [item.update.root for item in signed_updates],
        [item.update.cid for item in signed_updates],
        [pack_claim(item.update) for item in signed_updates],
        [[item.signature[:32], item.signature[32:]] for item in signed_updates],
        [commitment for commitment, item in zip(batch, openings, strict=True) if item is None],
    )


def claim_cap(claims: Sequence[int]) -> int:
    """Return the lower median of a round's claims: a larger claim counts no more, 0 where there is none."""
    return sorted(claims)[(len(claims) - 1) // 2] if claims else 0
