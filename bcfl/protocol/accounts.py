"""Hold the keys of devices, miners and owners, and make and read their 64-byte signatures."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Final

from coincurve import PrivateKey, PublicKey

from bcfl.protocol.addresses import checksummed
from bcfl.protocol.hashing import keccak

KEY_BYTES: Final = 32
ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141  # of secp256k1


class Account:
    """A secp256k1 key of 32 bytes; its text shows the address, not the key; raises ValueError for others."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES or not 0 < int.from_bytes(key, "big") < ORDER:
            raise ValueError("a key is 32 bytes, and neither 0 nor beyond the order of secp256k1")
        self._key = bytes(key)

    @classmethod
    def derive(cls, seed: int, name: str, index: int = 0) -> Account:
        """Return the account that a seed, a name and an index always give."""
        return cls(keccak(f"bcfl account {seed} {name} {index}".encode()))

    @property
    def key(self) -> bytes:
        """Return the secret key, 32 bytes, for signing transactions."""
        return self._key

    @cached_property
    def address(self) -> str:
        """Return the checksummed address."""
        return _address(self._private.public_key)

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest in 64 bytes (EIP-2098): r, then parity and s."""
        signature = self._private.sign_recoverable(digest, hasher=None)  # r, s and parity
        return signature[:32] + bytes([signature[32] | signature[64] << 7]) + signature[33:64]

    @cached_property
    def _private(self) -> PrivateKey:
        return PrivateKey(self._key)

    def secret(self, *parts: object) -> bytes:
        """Derive 32 bytes that only this key can, the same for the same parts: salts survive a crash."""
        return keccak(self.key + keccak(repr(parts).encode()))

    def __repr__(self) -> str:
        return f"Account({self.address})"


@lru_cache(maxsize=4096)
def signer(digest: bytes, signature: bytes) -> str | None:
    """Recover the address behind a 64-byte signature (EIP-2098) of a 32-byte digest, or None."""
    if len(digest) != 32 or len(signature) != 64:
        return None
    s, parity = bytes([signature[32] & 0x7F]) + signature[33:], signature[32] >> 7
    try:
        recoverable = signature[:32] + s + bytes([parity])
        return _address(PublicKey.from_signature_and_message(recoverable, digest, hasher=None))
    except Exception:  # a forged signature may make the library raise anything
        return None


def _address(key: PublicKey) -> str:
    return checksummed(keccak(key.format(compressed=False)[1:])[12:])
