"""Read and write addresses of accounts: 20 bytes, as text with the checksum of EIP-55.

It is what eth_utils does with them, which takes a third of a second to load.
"""

from __future__ import annotations

import re
from typing import Final

from bcfl.protocol.hashing import keccak

ADDRESS: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{40})", re.ASCII)
ADDRESS_BYTES: Final = 20


def checksummed(address: str | bytes) -> str:
    """Return an address, in any spelling or as its 20 bytes, with its checksum; raises ValueError."""
    letters = _letters(address)
    digest = keccak(letters.encode("ascii")).hex()
    return "0x" + "".join(
        letter.upper() if nibble > "7" else letter for letter, nibble in zip(letters, digest, strict=False)
    )


def address_bytes(address: str | bytes) -> bytes:
    """Return the 20 bytes of an address in any spelling; raises ValueError."""
    return bytes.fromhex(_letters(address))


def is_checksummed(address: str) -> bool:
    """Whether a text is an address, and its checksum is right."""
    return ADDRESS.fullmatch(address) is not None and checksummed(address) == address


def has_checksum(address: str) -> bool:
    """Whether a text is an address in large and small letters: its checksum, be it right or wrong."""
    match = ADDRESS.fullmatch(address)
    return match is not None and match[1] not in (match[1].lower(), match[1].upper())


def _letters(address: str | bytes) -> str:
    """Return the 40 small hexadecimal letters of an address; raises ValueError."""
    if isinstance(address, bytes):
        if len(address) != ADDRESS_BYTES:
            raise ValueError(f"an address has {ADDRESS_BYTES} bytes, not {len(address)}")
        return address.hex()
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError(f"{address[:60]!r} is not an address")
    return match[1].lower()
