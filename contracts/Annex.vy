# pragma version 0.4.3
# pragma optimize gas
"""
@title Annex: what a federation does once a round
@license Apache-2.0
@notice Tally, election, the next in line, claims; also how a dispute ends, for want of room in
        `Court`. It is deployed once with the federation's terms and only ever
        runs on the federation's storage: `Federation` delegates to it, and it delegates what it does
        not know to `Court`. All three initialize the same modules in the same order, so that every
        slot is the same; a test compares the layouts.
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
    treasury.withdraw,
    treasury.pool,
    treasury.owed,
    treasury.credits,
    scores.__interface__,
    election.solve,
    election.target,
    election.puzzle,
    election.lead_now,
    verification.tally,
    rewards.__interface__,
    proposals.skip,
    disputes.expire,
)

COURT: immutable(address)


@deploy
def __init__(terms_: IFederation.Terms, court_: address):
    """
    @notice Fixes the terms, as in the federation's own code.
    @param terms_ What the parties agreed on.
    @param court_ The `Court` deployed with the same terms.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))
    submissions.__init__()
    election.__init__()
    proposals.__init__(empty(bytes32), empty(bytes32))
    assert court_.is_contract, "annex: no court"
    COURT = court_


@external
@view
def court() -> address:
    """
    @notice Where the rest of the code is.
    """
    return COURT


@external
@payable
@raw_return
def __default__() -> Bytes[4096]:
    """
    @notice Hands what is not found here to the court.
    """
    return raw_call(COURT, msg.data, max_outsize=4096, is_delegate_call=True)
