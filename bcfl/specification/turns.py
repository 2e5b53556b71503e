"""Share out leads in turns; the rule is `bcfl.protocol.turns`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bcfl.protocol import turns as twin
from bcfl.protocol.limits import MAX_MINERS
from bcfl.specification.call import Call


def turn_credits(call: Call) -> tuple[int, ...]:
    """Return the credits of all seats, in units of 2**-24 leads; of a seat that nobody took the least."""
    credits = call.state.turns.credits
    return tuple(credits.get(seat, twin.LEAST) for seat in range(MAX_MINERS))


def join(call: Call, seat: int) -> None:
    """Give a seat that is taken anew its first credit."""
    call.state.turns.credits[seat] = twin.JOINING


def charge(call: Call, seat: int) -> None:
    """Let a seat pay for one lead."""
    call.state.turns.credits = twin.charge(call.state.turns.credits, seat)


def share(call: Call, weights: Mapping[int, int]) -> None:
    """Share out one lead by weight; who has lost its turn has none."""
    call.state.turns.credits = twin.share(call.state.turns.credits, weights)


def first(call: Call, seats: Iterable[int]) -> int:
    """Return the seat with the most credit; of several the lowest."""
    return twin.first(call.state.turns.credits, seats)
