# pragma version 0.4.3
"""
@title state: one storage for all facets
@license Apache-2.0
@notice Every module of a federation, initialized once and in one order, so that every facet finds every slot
        in the same place; a test compares the layouts.
"""

from interfaces import IFederation
from modules import terms
from modules import turns
from modules import registry
from modules import treasury
from modules import absence
from modules import rounds
from modules import submissions
from modules import scores
from modules import election
from modules import committees
from modules import verification
from modules import rewards
from modules import leaves
from modules import docket
from modules import proposals
from modules import refutations
from modules import tallies
from modules import disputes
from modules import aggregation
from modules import challenges
from modules import membership
from modules import directory

initializes: terms
initializes: turns
initializes: registry[terms := terms, turns := turns]
initializes: treasury
initializes: absence[terms := terms, registry := registry, treasury := treasury]
initializes: rounds[terms := terms, registry := registry]
initializes: submissions[terms := terms, registry := registry, rounds := rounds]
initializes: scores
initializes: election[
    terms := terms, registry := registry, rounds := rounds, scores := scores, turns := turns
]
initializes: committees[terms := terms, registry := registry, rounds := rounds]
initializes: verification[
    terms := terms,
    registry := registry,
    rounds := rounds,
    submissions := submissions,
    election := election,
    absence := absence,
    committees := committees,
    scores := scores,
]
initializes: rewards[terms := terms, registry := registry, rounds := rounds, treasury := treasury]
initializes: leaves[terms := terms]
initializes: docket[
    terms := terms, treasury := treasury, rounds := rounds, election := election, leaves := leaves
]
initializes: proposals[
    terms := terms,
    registry := registry,
    rounds := rounds,
    election := election,
    turns := turns,
    docket := docket,
    verification := verification,
    rewards := rewards,
    treasury := treasury,
]
initializes: refutations[
    terms := terms,
    registry := registry,
    treasury := treasury,
    rounds := rounds,
    election := election,
    proposals := proposals,
    docket := docket,
]
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
    docket := docket,
    refutations := refutations,
    tallies := tallies,
]
initializes: aggregation[terms := terms, leaves := leaves]
initializes: challenges[terms := terms, leaves := leaves, aggregation := aggregation, tallies := tallies, rounds := rounds, verification := verification, proposals := proposals, docket := docket, refutations := refutations, disputes := disputes]
initializes: membership[registry := registry, absence := absence, rounds := rounds]
initializes: directory[registry := registry]


@deploy
def __init__(terms_: IFederation.Terms, root: bytes32, cid: bytes32):
    """
    @notice Fixes the terms and the genesis model; in a facet that is only delegated to, the model is empty.
    @param terms_ What the parties agreed on.
    @param root Merkle root of the genesis model.
    @param cid sha2-256 digest of its CID.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(root, cid)
    submissions.__init__()
    election.__init__()
    proposals.__init__(root, cid)
