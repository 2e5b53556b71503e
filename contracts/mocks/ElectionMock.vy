# pragma version 0.4.3
"""
@title ElectionMock: turns, races and scores on their own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import turns
from modules import registry
from modules import rounds
from modules import scores
from modules import election

initializes: terms
initializes: turns
initializes: registry[terms := terms, turns := turns]
initializes: rounds[terms := terms, registry := registry]
initializes: scores
initializes: election[
    terms := terms, registry := registry, rounds := rounds, scores := scores, turns := turns
]

exports: election.target


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()
    rounds.__init__(empty(bytes32), empty(bytes32))
    election.__init__()


@external
def leads(
    engine: uint256,
    credits: uint256[8],
    voters: DynArray[uint256, 64],
    records: DynArray[uint256, 64],
    leads: DynArray[uint256, 64],
) -> (DynArray[uint256, 64], uint256[8]):
    """
    @notice Who leads, turn after turn, and the words of credits after them.
    @param engine The round's engine.
    @param credits The words of credits before.
    @param voters Who voted.
    @param records What is known of their resources.
    @param leads The lead before each turn: who has lost its turn, and whether a proposal stands.
    """
    turns.words = credits
    for i: uint256 in range(len(voters), bound=64):
        scores.records[convert(voters[i] & constants.MASK160, address)] = records[i]
    seats: DynArray[uint256, 64] = []
    for lead: uint256 in leads:
        election._pass_on(engine << rounds.ENGINE | 1 << rounds.ROUND, lead, 0, voters)
        seats.append(election.lead & constants.MASK8)
    return seats, turns.words


@external
@pure
def most_pace(paces: DynArray[uint256, 64], factor: uint256) -> uint256:
    """
    @notice The most that a pace counts in a round.
    @param paces The words of all active miners.
    @param factor The multiple of the median, in basis points.
    """
    return scores._most(paces, factor)


@external
def joined(credits: uint256[8], seat: uint256) -> uint256[8]:
    """
    @notice The words of credits after somebody took a seat.
    @param credits The words of credits before.
    @param seat The seat.
    """
    turns.words = credits
    turns._join(seat)
    return turns.words


@external
def charged(credits: uint256[8], seat: uint256) -> uint256[8]:
    """
    @notice The words of credits after a seat paid for a lead.
    @param credits The words of credits before.
    @param seat The seat.
    """
    turns.words = credits
    turns._charge(seat)
    return turns.words


@external
@pure
def proofs(puzzle: bytes32, turn: uint256, miner: address, nonces: DynArray[uint256, 256]) -> DynArray[uint256, 256]:
    """
    @notice The numbers that have to be under the target.
    @param puzzle What the race starts from.
    @param turn How many leaders have lost their turn.
    @param miner Whose proofs they are.
    @param nonces The proofs.
    """
    numbers: DynArray[uint256, 256] = []
    for nonce: uint256 in nonces:
        numbers.append(election._proof(puzzle, turn, miner, nonce))
    return numbers


@external
def forget(account: address):
    """
    @notice Lets an account be new.
    @param account The account.
    """
    scores.records[account] = 0


@external
def note(account: address, round: uint256, shown: uint256, pace: uint256) -> IFederation.Resources:
    """
    @notice What is known of a miner's resources after a round.
    @param account The miner.
    @param round The round.
    @param shown What the round has shown.
    @param pace Samples per second.
    """
    scores._note(account, round, shown, pace)
    return scores._read(account)


@external
@view
def score(account: address, round: uint256) -> uint256:
    """
    @notice The weight of a miner in the draws of a round.
    @param account The miner.
    @param round The round.
    """
    return scores._score(account, round)


@external
def retarget(target: uint256, seconds: uint256) -> uint256:
    """
    @notice The target after a race.
    @param target The target before.
    @param seconds How long the race took.
    """
    election.target = target
    election._retarget(seconds)
    return election.target
