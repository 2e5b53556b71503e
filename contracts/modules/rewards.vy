# pragma version 0.4.3
"""
@title rewards: who earned what
@license Apache-2.0
@notice A finished round sets aside its reward; whoever earned a part of it claims it later by
        showing the block, the tally and the list it stands in: each round once, in any order,
        so that whoever claims for another takes nothing from it; what is claimed already stays as it is.
        Verdicts are paid by weight and, where proposals can be challenged, only to who attested. Prices are
        integers: what they leave over stays in the pool.
"""

from interfaces import IFederation
from modules import constants
from modules import packing
from modules import terms
from modules import registry
from modules import rounds
from modules import treasury

uses: terms
uses: registry
uses: rounds
uses: treasury


ROUNDS: constant(uint256) = 128  # in one word of claims
DEVICE: constant(uint256) = 0
MINER: constant(uint256) = 1

claims: HashMap[address, HashMap[uint256, uint256]]  # two bits a round, 128 rounds a word: DEVICE, MINER


@internal
@view
def _prices(reward: uint256, samples: uint256, matches: uint256) -> (uint256, uint256, uint256):
    """
    @notice What a sample, a matching verdict and the lead earn.
    @param reward The round's reward.
    @param samples The accepted samples.
    @param matches The matching verdicts, each with its voter's weight.
    """
    devices: uint256 = reward * terms.TERMS.device_share // constants.BASIS
    miners: uint256 = reward * terms.TERMS.miner_share // constants.BASIS
    leader: uint256 = reward * (constants.BASIS - terms.TERMS.device_share - terms.TERMS.miner_share) // constants.BASIS
    return devices // max(samples, 1), miners // max(matches, 1), leader


@internal
def _reserve(samples: uint256, matches: uint256) -> uint256:
    """
    @notice Sets aside what a finished round earns, as far as the pool goes.
    @param samples The accepted samples.
    @param matches The matching verdicts.
    @return The round's reward.
    """
    books: uint256 = treasury.books
    reward: uint256 = min(books & constants.MASK128, terms.TERMS.reward)
    if reward == 0:
        return 0
    sample: uint256 = 0
    verdict: uint256 = 0
    leader: uint256 = 0
    sample, verdict, leader = self._prices(reward, samples, matches)
    earned: uint256 = sample * samples + verdict * matches + leader
    treasury.books = books - earned + (earned << treasury.OWED)
    return reward


@internal
@view
def _check(block_: IFederation.Block, tally: IFederation.Tally):
    """
    @notice Insists that a block is in the model ledger and a tally is the block's.
    @param block_ The block.
    @param tally The tally.
    """
    assert keccak256(abi_encode(block_)) == rounds.ledger[block_.round], "rewards: not in the ledger"
    assert keccak256(abi_encode(tally)) == block_.accepted, "rewards: not the block's tally"


@internal
def _credit(round: uint256, account: address, role: uint256, amount: uint256, forfeit: uint256):
    """
    @notice Books what an account has claimed, once.
    @param round The round it was earned in.
    @param account The account.
    @param role DEVICE or MINER.
    @param amount The amount in wei.
    @param forfeit What was set aside for it and goes back to the pool.
    """
    bit: uint256 = 1 << (round % ROUNDS * 2 + role)
    claims: uint256 = self.claims[account][round // ROUNDS]
    if claims & bit != 0:
        return
    self.claims[account][round // ROUNDS] = claims | bit
    treasury.credits[account] += amount
    if forfeit != 0:
        treasury.books = treasury.books - (forfeit << treasury.OWED) + forfeit
    log IFederation.Claimed(round=round, account=account, amount=amount, as_miner=role == MINER)


@external
def claim_device(
    block_: IFederation.Block,
    tally: IFederation.Tally,
    position: uint256,
    updates: DynArray[uint256, constants.GROUP],
):
    """
    @notice Credits a device with its share of a finished round; anybody may hand it in.
    @param block_ The round's block.
    @param tally The round's tally.
    @param position The position of the device's update among the round's updates.
    @param updates The words of the group of 32 updates (fewer at the end) that the position is in.
    """
    self._check(block_, tally)
    level: uint256 = (tally.levels[position // 64] >> (position % 64 * 4)) & 15
    assert level != 0, "rewards: not accepted"
    group: uint256 = position // constants.GROUP
    links: bytes32 = empty(bytes32)
    if group != 0:
        links = tally.checkpoints[group - 1]
    for update: uint256 in updates:
        links = keccak256(abi_encode(links, update))
    assert links == tally.checkpoints[group], "rewards: not the round's updates"
    update: uint256 = updates[position % constants.GROUP]
    device: address = packing._account(registry.devices[(update >> 24) & constants.MASK16])
    sample: uint256 = 0
    verdict: uint256 = 0
    leader: uint256 = 0
    sample, verdict, leader = self._prices(block_.reward, tally.samples, 0)
    self._credit(block_.round, device, DEVICE, sample * min(update & constants.MASK24, tally.cap) * level, 0)


@external
def claim_miner(block_: IFederation.Block, tally: IFederation.Tally, position: uint256):
    """
    @notice Credits a miner with its share of a finished round; anybody may hand it in. What a voter that did not
            attest would have earned goes back to the pool.
    @param block_ The round's block.
    @param tally The round's tally.
    @param position The miner's place among the round's voters.
    """
    self._check(block_, tally)
    voter: uint256 = tally.voters[position]
    miner: address = packing._account(voter)
    matches: uint256 = 0
    for i: uint256 in range(len(tally.voters), bound=constants.MAX_MINERS):
        matches += tally.matches[i] * packing._weight(tally.voters[i])
    sample: uint256 = 0
    verdict: uint256 = 0
    leader: uint256 = 0
    sample, verdict, leader = self._prices(block_.reward, tally.samples, matches)
    amount: uint256 = verdict * tally.matches[position] * packing._weight(voter)
    forfeit: uint256 = 0
    attested: bool = (block_.attested >> (voter >> packing.SEAT)) & 1 == 1
    if not attested and terms.TERMS.challenge_seconds != 0:
        # Where nothing is final before the window is over, everybody has had the time to attest.
        forfeit = amount
        amount = 0
    if miner == block_.leader:
        amount += leader
    self._credit(block_.round, miner, MINER, amount, forfeit)


@external
@view
def claimed(account: address, round: uint256) -> (bool, bool):
    """
    @notice Whether an account has claimed a round's shares.
    @param account The account.
    @param round The round.
    @return Whether the device's share is claimed, and whether the miner's is.
    """
    claims: uint256 = self.claims[account][round // ROUNDS] >> (round % ROUNDS * 2)
    return claims & 1 == 1, claims & 2 == 2
