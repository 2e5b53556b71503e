# pragma version 0.4.3
# pragma optimize gas
"""
@title Federation: one model, many parties, no one trusted
@license Apache-2.0
@notice The control plane of a federation. A round goes
            commit -> reveal -> vote -> unveil -> tally -> (elect) -> propose -> attest -> finalize
        and the next one opens. Each phase has a deadline and closes early when all who may act have
        acted; whatever is due can be pushed on by anyone. A round that comes to nothing is void:
        the model stays, the reason is recorded, the next round opens. Lists travel in calldata and
        events; storage keeps their digests in slots that every round uses again.
@dev    What every participant calls in every round is here; the rest is in facets (as in EIP-2535), which run on this
        contract's storage: one address, one ABI. What is not found is handed on: to `SettlementFacet`,
        or to `ChallengeFacet` where it comes with ether, from both to `DisputeFacet`, and then to `MembershipFacet`.
"""

from interfaces import IFederation
from modules import state
from modules import proposals
from modules import rounds
from modules import submissions
from modules import treasury
from modules import verification

initializes: state
uses: proposals
uses: rounds
uses: submissions
uses: treasury
uses: verification

exports: (
    treasury.fund,
    rounds.advance,
    rounds.round_clock,
    submissions.commit,
    submissions.reveal,
    verification.commit_vote,
    verification.unveil,
    proposals.propose,
    proposals.attest,
    proposals.correct_cid,
    proposals.finalize,
    proposals.model,
)


SETTLEMENT: immutable(address)
MEMBERSHIP: immutable(address)


@deploy
@payable
def __init__(terms_: IFederation.Terms, root: bytes32, cid: bytes32, settlement: address, membership: address):
    """
    @notice Fixes the terms and the genesis model; what is sent fills the pool.
    @param terms_ What the parties agreed on.
    @param root Merkle root of the genesis model.
    @param cid sha2-256 digest of its CID.
    @param settlement The `SettlementFacet` deployed with the same terms.
    @param membership The `MembershipFacet` deployed with the same terms.
    """
    state.__init__(terms_, root, cid)
    treasury.books = msg.value
    assert settlement.is_contract and membership.is_contract, "federation: no facets"
    SETTLEMENT = settlement
    MEMBERSHIP = membership


@external
@view
def facets() -> (address, address):
    """
    @notice The facets that calls are handed to: without ether the first, with ether the second.
    """
    return SETTLEMENT, MEMBERSHIP


@external
def multicall(calls: Bytes[20480], lengths: DynArray[uint256, 32], optional: uint256):
    """
    @notice Several calls in one transaction: all of them, or none but for those that may fail.
    @dev    One buffer instead of a list of them: memory is paid for by its highest word.
    @param calls The calldata of all, one behind the other.
    @param lengths The length of each.
    @param optional The mask of the calls that may fail: what somebody else may have done before.
    """
    start: uint256 = 0
    bit: uint256 = optional
    for length: uint256 in lengths:
        if bit & 1 == 1:
            success: bool = raw_call(
                self, slice(calls, start, length), is_delegate_call=True, revert_on_failure=False
            )
        else:
            raw_call(self, slice(calls, start, length), is_delegate_call=True)
        start += length
        bit >>= 1
    assert start == len(calls), "federation: lengths do not add up"


@external
@payable
@raw_return
def __default__() -> Bytes[4096]:
    """
    @notice Hands what is not found here to a facet. What comes with ether is a stake or a bond.
    """
    assert len(msg.data) >= 4, "federation: no such function"
    facet: address = SETTLEMENT
    if msg.value != 0:
        facet = MEMBERSHIP
    return raw_call(facet, msg.data, max_outsize=4096, is_delegate_call=True)
