"""Read the word of a voter, which is the same in storage, in the tally and in calldata."""

from __future__ import annotations

from bcfl.ledger.abi import address_of
from bcfl.protocol.types import ACCOUNT, SEAT, Voter, weight_of
from bcfl.protocol.verification import wish_of

DEVICE = 176  # shift
WISH = 192  # shift


def account_of(voter: int) -> str:
    """Return a voter's account."""
    return address_of((voter & ACCOUNT).to_bytes(20, "big"))


def voter_of(voter: int) -> Voter:
    """Return who is behind a word."""
    device = voter >> DEVICE & 0xFFFF
    wish = wish_of(voter >> WISH & 15)
    return Voter(account_of(voter), weight_of(voter), device - 1 if device else None, wish, voter >> SEAT)
