"""Draw committees by independent weighted tickets, bit for bit as `lottery.vy`.

A ticket is a uniform number u; -ln(u / 2**256) is an exponential waiting time. Divided by the weight it is a
key, and the smallest key is first, with a probability of its share of the weight (Efraimidis and Spirakis,
2006). An account that stays away changes nobody else's key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import COMMITTEES

ONE = 2**128
LN2 = 235865763225513294137944142764154484399  # ln(2) * 2**128
ROOT = 240615969168004511545033772477625056927  # sqrt(1/2) * 2**128
TERMS = 14  # of the series


@dataclass(frozen=True)
class Entrant:
    """An account that takes part in a draw."""

    account: int
    weight: int


def ticket(seed: bytes, committee: int, account: int) -> int:
    """Return an account's ticket: a uniform number below 2**256 that nobody can choose."""
    return int.from_bytes(keccak(seed + word(committee) + word(account)), "big")


def wait(number: int) -> int:
    """Return -ln(number / 2**256) * 2**128, the lowest bit taken as set; off by less than 2**-70."""
    odd = number | 1
    zeros = 256 - odd.bit_length()
    m, base = (odd << zeros) >> 128, zeros * LN2
    below = m < ROOT
    if below:
        m, base = m << 1, base + LN2
    t = (abs(m - ONE) << 128) // (ONE + m)
    square = t * t >> 128
    series = ONE // (2 * TERMS - 1)
    for divisor in range(2 * TERMS - 3, 0, -2):
        series = (series * square >> 128) + ONE // divisor
    series = series * t >> 127
    return base - series if below else base + series


def order(seed: bytes, committee: int, entrants: Iterable[Entrant]) -> list[Entrant]:
    """Sort entrants by their keys, the smallest first, ties by account."""
    waits = {item: wait(ticket(seed, committee, item.account)) for item in entrants}

    def compare(one: Entrant, other: Entrant) -> int:
        product, other_product = waits[one] * other.weight, waits[other] * one.weight
        return product - other_product or one.account - other.account

    return sorted(waits, key=cmp_to_key(compare))


def committees(seed: bytes, entrants: Iterable[Entrant], size: int) -> list[set[int]]:
    """Return the accounts of the committees of the next rounds, each of `size` members or of all entrants."""
    drawn = list(entrants)
    return [
        {entrant.account for entrant in order(seed, committee, drawn)[:size]}
        for committee in range(COMMITTEES)
    ]
