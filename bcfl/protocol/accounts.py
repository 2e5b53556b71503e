"""Hold the keys of devices, miners and owners, and make and read their 64-byte signatures."""

from __future__ import annotations

from functools import cached_property, lru_cache

from coincurve import PrivateKey as Signer
from eth_keys.datatypes import PrivateKey, Signature
from eth_utils.address import to_checksum_address

from bcfl.protocol.hashing import keccak


class Account:
    """A secp256k1 key of 32 bytes; its text shows the address, never the key."""

    def __init__(self, key: bytes) -> None:
        self._private = PrivateKey(key)

    @classmethod
    def derive(cls, seed: int, name: str, index: int = 0) -> Account:
        """Return the account that a seed, a name and an index always give."""
        return cls(keccak(f"bcfl account {seed} {name} {index}".encode()))

    @property
    def key(self) -> bytes:
        """Return the secret key, 32 bytes, for signing transactions."""
        secret: bytes = self._private.to_bytes()
        return secret

    @cached_property
    def address(self) -> str:
        """Return the checksummed address."""
        return str(to_checksum_address(self._private.public_key.to_address()))

    def sign(self, digest: bytes) -> bytes:
        """Sign a 32-byte digest in 64 bytes (EIP-2098): r, then parity and s."""
        signature = self._signer.sign_recoverable(digest, hasher=None)  # r, s and parity
        return signature[:32] + bytes([signature[32] | signature[64] << 7]) + signature[33:64]

    @cached_property
    def _signer(self) -> Signer:
        return Signer(self.key)

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
    vs = int.from_bytes(signature[32:], "big")
    try:
        recoverable = Signature(vrs=(vs >> 255, int.from_bytes(signature[:32], "big"), vs & (1 << 255) - 1))
        return str(to_checksum_address(recoverable.recover_public_key_from_msg_hash(digest).to_address()))
    except Exception:  # a forged signature may make the library raise anything
        return None
