# pragma version 0.4.3
# pragma optimize gas
"""
@title Annex: what a federation does once a round or seldom
@license Apache-2.0
@notice Tally, election, the next in line, joining and leaving, claims, and what can be asked. It
        is deployed once with the federation's terms and only ever runs on the federation's storage:
        `Federation` delegates to it. Both initialize the same modules in the same order, so
        that every slot is the same; a test compares the layouts.
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import treasury
from modules import rounds
from modules import membership
from modules import submissions
from modules import election
from modules import verification
from modules import rewards
from modules import proposals

initializes: terms
initializes: registry[terms := terms]
initializes: treasury
initializes: rounds[terms := terms, registry := registry]
initializes: membership[registry := registry, rounds := rounds]
initializes: submissions[terms := terms, registry := registry, rounds := rounds]
initializes: election[terms := terms, registry := registry, rounds := rounds]
initializes: verification[
    terms := terms,
    registry := registry,
    rounds := rounds,
    submissions := submissions,
    election := election,
    treasury := treasury,
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

exports: (
    registry.__interface__,
    treasury.withdraw,
    treasury.pool,
    treasury.owed,
    treasury.credits,
    rounds.ledger,
    rounds.round_seed,
    rounds.binding,
    membership.__interface__,
    submissions.update_hash,
    submissions.domain_separator,
    election.__interface__,
    verification.tally,
    rewards.__interface__,
    proposals.skip,
)


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms, as in the federation's own code.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))
    submissions.__init__()
    election.__init__()
    proposals.__init__(empty(bytes32), empty(bytes32))


@external
@view
def agreed() -> IFederation.Terms:
    """
    @notice The terms.
    """
    return terms.TERMS
