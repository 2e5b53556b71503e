"""Sign a message for one chain, contract and miner, and recover its sender.

The signature inside a message stays valid when it is public on chain; without this one, whoever read it
there could send it again in a later round and keep the device's own message out.
"""

from __future__ import annotations

from typing import Final

from bcfl.protocol.accounts import Account, signer
from bcfl.protocol.hashing import keccak
from bcfl.protocol.submissions import Domain

HEADER: Final = "X-Bcfl-Signature"
DIGITS: Final = 128
PURPOSE: Final = keccak(b"bcfl relay 1")


def seal(account: Account, domain: Domain, miner: str, path: str, body: bytes) -> str:
    """Return the value of HEADER for a message to `miner`: 64 bytes in hex."""
    return account.sign(_digest(domain, miner, path, body)).hex()


def sender(domain: Domain, miner: str, path: str, body: bytes, signature: str) -> str | None:
    """Return the account that signed a message to `miner`, or None if nobody did."""
    if len(signature) != DIGITS or signature.strip("0123456789abcdef"):
        return None
    return signer(_digest(domain, miner, path, body), bytes.fromhex(signature))


def _digest(domain: Domain, miner: str, path: str, body: bytes) -> bytes:
    address = bytes.fromhex(miner[2:])
    return keccak(PURPOSE + domain.separator + address + keccak(path.encode()) + keccak(body))
