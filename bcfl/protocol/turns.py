"""Share out leads in turns: whoever has the most credit leads, and pays one for it. Twin of `turns.vy`.

Every turn shares out one lead among the miners that may have it, by weight. There is nothing to draw: a
proposal follows from the accepted set: a lead is only a fee, and who has it follows from who had it before.
Credits are integers in units of 2**-24 leads, between -128 and just below 128 leads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

UNIT = 1 << 24  # one lead
LEAST = -(1 << 31)  # a credit stays from here
MOST = (1 << 31) - 1  # to here
JOINING = -UNIT  # the credit of a seat that is taken anew

Credits = Mapping[int, int]  # seat -> credit; a seat that is not named has JOINING


def credit(credits: Credits, seat: int) -> int:
    """Return the credit of a seat, in units of 2**-24 leads."""
    return credits.get(seat, JOINING)


def share(credits: Credits, weights: Mapping[int, int]) -> dict[int, int]:
    """Share out one lead by weight (seat -> weight, at least 1 in all); return all credits after it."""
    total = sum(weights.values())
    shares = {seat: UNIT * weight // total for seat, weight in weights.items()}
    return {**credits, **{seat: min(credit(credits, seat) + part, MOST) for seat, part in shares.items()}}


def first(credits: Credits, seats: Iterable[int]) -> int:
    """Return the seat with the most credit; of several the lowest. Raises ValueError if there is none."""
    return max(seats, key=lambda seat: (credit(credits, seat), -seat))


def charge(credits: Credits, seat: int) -> dict[int, int]:
    """Return all credits after a seat has paid for one lead."""
    return {**credits, seat: max(credit(credits, seat) - UNIT, LEAST)}


def take_turn(credits: Credits, weights: Mapping[int, int]) -> tuple[int, dict[int, int]]:
    """Return the seat that leads next among these, and all credits once it has paid for that."""
    shared = share(credits, weights)
    leader = first(shared, weights)
    return leader, charge(shared, leader)
