"""Make keys and digests out of names, the same in every test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from eth_keys.datatypes import PrivateKey
from eth_utils.address import to_checksum_address

from bcfl.protocol.hashing import keccak


@dataclass(frozen=True)
class Account:
    """A key that signs transactions."""

    key: bytes

    @cached_property
    def private(self) -> PrivateKey:
        return PrivateKey(self.key)

    @cached_property
    def address(self) -> str:
        return to_checksum_address(self.private.public_key.to_address())


def account(name: str, number: int = 0) -> Account:
    return Account(keccak(f"{name} {number}".encode()))


def digest(*parts: object) -> bytes:
    return keccak(repr(parts).encode())
