# pragma version 0.4.3
# pragma optimize gas
"""
@title Court: what a federation does seldom
@license Apache-2.0
@notice Joining and leaving, claims, and what can be asked. It is deployed once with the federation's terms and
        only ever runs on the federation's storage: `Annex` delegates to it.
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
    scores.__interface__,
    rewards.__interface__,
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
