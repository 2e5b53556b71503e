# pragma version 0.4.3
# pragma optimize gas
"""
@title DisputeFacet: what is kept back must be shown
@license Apache-2.0
@notice Disputes about the trees behind a proposal.
        It is deployed once with the federation's terms and only ever runs on the federation's storage.
"""

from interfaces import IFederation
from modules import state
from modules import disputes
from modules import docket

initializes: state
uses: disputes
uses: docket

exports: (
    disputes.__interface__,
    docket.announce_challenge,
    docket.settle,
    docket.dispute_price,
)


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms, as in the federation's own code.
    @param terms_ What the parties agreed on.
    """
    state.__init__(terms_, empty(bytes32), empty(bytes32))
