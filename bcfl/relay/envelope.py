"""Who sent a message to which miner (steps 3 to 7): a signature over it, for one chain, contract and desk.

The signature inside a message stays valid when it is public on chain; without this one, whoever read it
there could hand it in again in a later round and keep the device's own message out.
"""

from __future__ import annotations

from typing import Final

from eth_keys.datatypes import Signature
from eth_utils.address import to_checksum_address

from bcfl.protocol.accounts import Account
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
    signature = bytes.fromhex(seal_)
    vs = int.from_bytes(signature[32:], "big")
    try:
        made = Signature(vrs=(vs >> 255, int.from_bytes(signature[:32], "big"), vs & (1 << 255) - 1))
        key = made.recover_public_key_from_msg_hash(_digest(domain, miner, path, body))
        return str(to_checksum_address(key.to_address()))
    except Exception:  # whatever a forged signature makes the library raise
        return None


def _digest(domain: Domain, miner: str, path: str, body: bytes) -> bytes:
    desk = bytes.fromhex(miner[2:])
    return keccak(PURPOSE + domain.separator + desk + keccak(path.encode()) + keccak(body))
