# pragma version 0.4.3
# pragma optimize gas
"""
@title ChallengeFacet: one honest party is enough
@license Apache-2.0
@notice Challenges of a proposal, announced and opened.
        It is deployed once with the federation's terms and only ever runs on the federation's storage.
"""

from interfaces import IFederation
from modules import state
from modules import challenges

initializes: state
uses: challenges

exports: (
    challenges.__interface__,
)


NEXT: immutable(address)


@deploy
def __init__(terms_: IFederation.Terms, next_: address):
    """
    @notice Fixes the terms, as in the federation's own code.
    @param terms_ What the parties agreed on.
    @param next_ The facet that knows what this one does not.
    """
    state.__init__(terms_, empty(bytes32), empty(bytes32))
    assert next_.is_contract, "challenge facet: no next facet"
    NEXT = next_


@external
@payable
@raw_return
def __default__() -> Bytes[4096]:
    """
    @notice Hands what is not found here to the next facet.
    """
    return raw_call(NEXT, msg.data, max_outsize=4096, is_delegate_call=True)
