"""Offer challenges: one honest party is enough."""

from __future__ import annotations

from typing import Final

from bcfl.specification import challenges
from bcfl.specification.call import Facet

FACET: Final = Facet(
    writes=(
        challenges.challenge_sum,
        challenges.challenge_row,
        challenges.challenge_weights,
        challenges.challenge_leaf,
        challenges.challenge_padding,
    )
)
