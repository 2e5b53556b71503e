# pragma version 0.4.3
# pragma optimize gas
"""
@title Court: what a federation may never have to do
@license Apache-2.0
@notice Challenges, and what can be asked. It is deployed once with the federation's terms and
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
from modules import leaves
from modules import tallies
from modules import disputes
from modules import aggregation
from modules import challenges
from modules import directory

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
initializes: aggregation[terms := terms, leaves := leaves]
initializes: challenges[
    terms := terms,
    registry := registry,
    treasury := treasury,
    leaves := leaves,
    aggregation := aggregation,
    rounds := rounds,
    election := election,
    verification := verification,
    proposals := proposals,
    tallies := tallies,
]
initializes: directory[registry := registry]

exports: (
    registry.staked,
    directory.__interface__,
    rounds.ledger,
    rounds.round_seed,
    rounds.binding,
    submissions.update_hash,
    submissions.domain_separator,
    challenges.__interface__,
    disputes.dispute,
    disputes.dispute_update,
    disputes.answer_rows,
    disputes.answer,
    disputes.answer_leaf,
    disputes.pursue,
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
