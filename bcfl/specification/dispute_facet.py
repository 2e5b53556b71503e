"""Offer disputes and the docket: what is kept back must be shown."""

from __future__ import annotations

from typing import Final

from bcfl.specification import disputes, docket
from bcfl.specification.call import Facet

FACET: Final = Facet(
    writes=(
        docket.settle,
        disputes.answer_rows,
        disputes.answer,
        disputes.answer_leaf,
        disputes.pursue,
        disputes.expire,
    ),
    payable=(docket.announce_challenge, disputes.dispute, disputes.dispute_update),
    views=(docket.dispute_price, disputes.dispute_state),
)
