"""Offer who takes part, and what they earn."""

from __future__ import annotations

from typing import Final

from bcfl.specification import treasury
from bcfl.specification.call import Call, Facet


def agreed(call: Call) -> tuple[object, ...]:
    """Return the terms."""
    return tuple(vars(call.terms).values())


FACET: Final = Facet(
    writes=(treasury.withdraw,),
    views=(treasury.pool, treasury.owed, treasury.credits, agreed),
)
