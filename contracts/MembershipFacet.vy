# pragma version 0.4.3
# pragma optimize gas
"""
@title MembershipFacet: who takes part, and what they earn
@license Apache-2.0
@notice Joining, resting and leaving, claims and withdrawals, and the views of all of them.
        It is deployed once with the federation's terms and only ever runs on the federation's storage.
"""

from interfaces import IFederation
from modules import state
from modules import absence
from modules import directory
from modules import membership
from modules import registry
from modules import rewards
from modules import rounds
from modules import scores
from modules import submissions
from modules import treasury
from modules import turns
from modules import terms

initializes: state
uses: absence
uses: directory
uses: membership
uses: registry
uses: rewards
uses: rounds
uses: scores
uses: treasury
uses: turns
uses: terms

exports: (
    membership.__interface__,
    directory.__interface__,
    registry.owner,
    registry.staked,
    treasury.withdraw,
    treasury.pool,
    treasury.owed,
    treasury.credits,
    absence.rest,
    rewards.__interface__,
    rounds.start,
    rounds.ledger,
    rounds.binding,
    scores.__interface__,
    submissions.update_hash,
    submissions.domain_separator,
    turns.turn_credits,
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
    assert next_.is_contract, "membership facet: no next facet"
    NEXT = next_


@external
@view
def agreed() -> IFederation.Terms:
    """
    @notice The terms.
    """
    return terms.TERMS


@external
@payable
@raw_return
def __default__() -> Bytes[4096]:
    """
    @notice Hands what is not found here to the next facet.
    """
    return raw_call(NEXT, msg.data, max_outsize=4096, is_delegate_call=True)
