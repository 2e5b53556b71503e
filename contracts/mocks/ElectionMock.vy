# pragma version 0.4.3
"""
@title ElectionMock: draw and target of the election on their own
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import registry
from modules import rounds
from modules import scores
from modules import election

initializes: terms
initializes: registry[terms := terms]
initializes: rounds[terms := terms, registry := registry]
initializes: scores
initializes: election[terms := terms, registry := registry, rounds := rounds, scores := scores]

exports: (election.target, rounds.round_seed)


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
def draws(
    engine: uint256, seeds: DynArray[bytes32, 256], voters: DynArray[uint256, 64], records: DynArray[uint256, 64]
) -> DynArray[address, 256]:
    """
    @notice The first in the ranking of each draw.
    @param engine The round's engine.
    @param seeds The seed of each draw.
    @param voters Who voted.
    @param records What is known of their resources.
    """
    for i: uint256 in range(len(voters), bound=64):
        scores.records[convert(voters[i] & (2**160 - 1), address)] = records[i]
    found: DynArray[address, 256] = []
    for seed: bytes32 in seeds:
        rounds.seed = seed
        voter: uint256 = election._draw(engine << rounds.ENGINE | 1 << rounds.ROUND, voters, 0)
        found.append(convert(voter & (2**160 - 1), address))
    return found


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
    found: DynArray[uint256, 256] = []
    for nonce: uint256 in nonces:
        found.append(election._proof(puzzle, turn, miner, nonce))
    return found


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
