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
@dev    What every participant calls in every round is here; the rest is in `Annex` and, behind it, in `Court`,
        which run on this contract's storage: one address, one ABI, three pieces of code below the size
        that EIP-170 allows.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import treasury
from modules import rounds
from modules import membership
from modules import submissions
from modules import scores
from modules import election
from modules import verification
from modules import rewards
from modules import proposals
from modules import leaves
from modules import tallies
from modules import disputes

initializes: terms
initializes: registry[terms := terms]
initializes: treasury
initializes: rounds[terms := terms, registry := registry]
initializes: membership[registry := registry, rounds := rounds]
initializes: submissions[terms := terms, registry := registry, rounds := rounds]
initializes: scores
initializes: election[terms := terms, registry := registry, rounds := rounds, scores := scores]
initializes: verification[
    terms := terms,
    registry := registry,
    rounds := rounds,
    submissions := submissions,
    election := election,
    treasury := treasury,
    scores := scores,
]
initializes: rewards[terms := terms, registry := registry, rounds := rounds, treasury := treasury]
initializes: proposals[
    terms := terms,
    registry := registry,
    rounds := rounds,
    election := election,
    verification := verification,
    rewards := rewards,
    treasury := treasury,
]
initializes: leaves[terms := terms]
initializes: tallies[rounds := rounds]
initializes: disputes[
    terms := terms,
    treasury := treasury,
    leaves := leaves,
    rounds := rounds,
    registry := registry,
    election := election,
    verification := verification,
    proposals := proposals,
    tallies := tallies,
]

exports: (
    treasury.fund,
    membership.__interface__,
    rounds.start,
    rounds.advance,
    rounds.round_clock,
    submissions.commit,
    submissions.reveal,
    verification.commit_vote,
    verification.unveil,
    proposals.propose,
    proposals.attest,
    proposals.finalize,
    proposals.model,
)


interface Annex:
    def court() -> address: view


ANNEX: immutable(address)
COURT: immutable(address)


@deploy
@payable
def __init__(terms_: IFederation.Terms, root: bytes32, cid: bytes32, annex_: address):
    """
    @notice Fixes the terms and the genesis model; what is sent fills the pool.
    @param terms_ What the parties agreed on.
    @param root Merkle root of the genesis model.
    @param cid sha2-256 digest of its CID.
    @param annex_ The `Annex` deployed with the same terms.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(root, cid)
    submissions.__init__()
    election.__init__()
    proposals.__init__(root, cid)
    treasury.books = msg.value
    assert annex_.is_contract, "federation: no annex"
    ANNEX = annex_
    COURT = staticcall Annex(annex_).court()


@external
@view
def annex() -> address:
    """
    @notice Where the code of tally and election is.
    """
    return ANNEX


@external
def multicall(calls: Bytes[16384], lengths: DynArray[uint256, 32]):
    """
    @notice Several steps in one transaction: all of them, or none.
    @dev    One buffer instead of a list of them: memory is paid for by its highest word.
    @param calls The calldata of all, one behind the other.
    @param lengths The length of each.
    """
    start: uint256 = 0
    for length: uint256 in lengths:
        raw_call(self, slice(calls, start, length), is_delegate_call=True)
        start += length
    assert start == len(calls), "federation: lengths do not add up"


@external
@payable
@raw_return
def __default__() -> Bytes[4096]:
    """
    @notice Hands what is not found here to the annex. What comes with a bond goes to the court at once: it is a
            challenge or a dispute.
    """
    assert len(msg.data) >= 4, "federation: no such function"
    code: address = ANNEX
    if msg.value != 0:
        code = COURT
    return raw_call(code, msg.data, max_outsize=4096, is_delegate_call=True)
