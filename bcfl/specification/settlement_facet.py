"""Offer what a round comes to: tally, races, and the next in line."""

from __future__ import annotations

from typing import Final

from bcfl.specification import election, proposals, verification
from bcfl.specification.call import Facet

FACET: Final = Facet(
    writes=(election.solve, proposals.skip, verification.tally),
    views=(election.lead_now, election.puzzle, election.target),
)
