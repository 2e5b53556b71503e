"""Who sent a message to which miner (steps 3 to 7): a signature over it, for one chain, contract and desk.

The signature inside a message stays valid when it is public on chain; without this one, whoever read it
there could hand it in again in a later round and keep the device's own message out.
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
    """The value of HEADER for a message to `miner`."""
    return account.sign(_digest(domain, miner, path, body)).hex()


def sender(domain: Domain, miner: str, path: str, body: bytes, seal_: str) -> str | None:
    """The account that sealed a message, or None if nobody did."""
    if len(seal_) != DIGITS or seal_.strip("0123456789abcdef"):
        return None
    return signer(_digest(domain, miner, path, body), bytes.fromhex(seal_))


def _digest(domain: Domain, miner: str, path: str, body: bytes) -> bytes:
    inbox = bytes.fromhex(miner[2:])
    return keccak(PURPOSE + domain.separator + inbox + keccak(path.encode()) + keccak(body))
