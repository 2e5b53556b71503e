# pragma version 0.4.3
"""
@title registry: who takes part
@license Apache-2.0
@notice Miners with their stakes and weights, devices with their accounts. What
        changes during a round takes effect when the next one opens. A miner's
        record is one word, so that a commitment costs one slot: digest (224 bits) | renewed (1) |
        novice (1) | left (1) | also a device (1) | registered (1) | weight (16) | index (8).
        A miner's *tail* is the last shown layer of its hash chain, from which the draws get their seeds.
"""

from interfaces import IFederation
from modules import terms

uses: terms


MAX_MINERS: constant(uint256) = 64
MAX_WEIGHT: constant(uint256) = 65_535

INDEX: constant(uint256) = 255
WEIGHT: constant(uint256) = 8  # shift
REGISTERED: constant(uint256) = 2**24
ALSO_DEVICE: constant(uint256) = 2**25
LEFT: constant(uint256) = 2**26
NOVICE: constant(uint256) = 2**27  # ranks after everybody else in a draw
RENEWED: constant(uint256) = 2**28  # has a new tail, and shows no layer of it in this round
RECORD: constant(uint256) = 2**32 - 1  # all but the digest

# Roster: active (64) | changed (64) | leaving (64) | total weight (32) | next engine (8) | novices (1).
MASK64: constant(uint256) = 2**64 - 1
CHANGED: constant(uint256) = 64
LEAVING: constant(uint256) = 128
TOTAL: constant(uint256) = 192
ENGINE: constant(uint256) = 224
MASK8: constant(uint256) = 2**8 - 1
NOVICES: constant(uint256) = 2**232  # `novices` is not empty
FULL: constant(uint256) = 0  # the mode in which every miner is a device
COHORT: constant(uint256) = 64  # bits

# Device: until round (32) | from round (32) | account (160).
SINCE: constant(uint256) = 160
UNTIL: constant(uint256) = 192
MASK32: constant(uint256) = 2**32 - 1
MAX_DEVICES: constant(uint256) = 65_535

OWNER: immutable(address)

records: HashMap[address, uint256]
stakes: HashMap[address, uint256]
exits: HashMap[address, uint256]
miners: HashMap[uint256, address]
tails: HashMap[address, bytes32]
roster: uint256
novices: uint256  # four masks: who became a novice in the running round, and in the three before
staked: public(uint256)
devices: HashMap[uint256, uint256]
device_index: HashMap[address, uint256]  # index + 1
device_count: uint256


@deploy
def __init__():
    """
    @notice The deployer owns the federation: it admits devices and opens the first round.
    """
    OWNER = msg.sender
    self.roster = terms.TERMS.engine << ENGINE


@internal
@payable
def _register_miner(tail: bytes32, round: uint256):
    """
    @notice Takes the sender's stake; it votes from the next round on.
    @param tail The last layer of its hash chain.
    @param round The running round.
    """
    assert self.records[msg.sender] == 0, "registry: already a miner"
    assert tail != empty(bytes32), "registry: no tail"
    if terms.TERMS.mode == FULL:
        assert self.device_index[msg.sender] != 0, "registry: not a device"
    index: uint256 = MAX_MINERS
    for i: uint256 in range(MAX_MINERS):
        if self.miners[i] == empty(address):
            index = i
            break
    assert index < MAX_MINERS, "registry: no room for a miner"
    record: uint256 = index | REGISTERED
    if self.device_index[msg.sender] != 0:
        record |= ALSO_DEVICE
    self.records[msg.sender] = record
    self.miners[index] = msg.sender
    self.tails[msg.sender] = tail
    self._change(index, round)
    self._add_stake()
    log IFederation.MinerRegistered(miner=msg.sender, index=index, stake=msg.value, tail=tail)


@internal
@payable
def _add_stake():
    """
    @notice Adds what was sent to the sender's stake.
    """
    stake: uint256 = self.stakes[msg.sender] + msg.value
    assert stake >= terms.TERMS.min_stake, "registry: stake below the minimum"
    self.stakes[msg.sender] = stake
    self.staked += msg.value


@internal
def _change(index: uint256, round: uint256):
    """
    @notice Lets a miner's new stake or tail take effect in the next round, as a novice's. Whoever leads knows
            the next seed before the others: what it changes then must not win it a draw.
    @param index The miner's index.
    @param round The running round; before the first one nobody knows a seed.
    """
    roster: uint256 = self.roster | 1 << (CHANGED + index)
    if round != 0:
        self.novices |= 1 << index
        roster |= NOVICES
    self.roster = roster


@internal
def _renew(tail: bytes32, round: uint256):
    """
    @notice Replaces the sender's hash chain; it shows a layer of the new one from the next round on.
    @param tail The last layer of the new chain.
    @param round The running round.
    """
    record: uint256 = self.records[msg.sender]
    assert record & REGISTERED != 0, "registry: not a miner"
    assert self.exits[msg.sender] == 0, "registry: leaving"
    assert tail != empty(bytes32), "registry: no tail"
    self.records[msg.sender] = record | RENEWED
    self.tails[msg.sender] = tail
    self._change(record & INDEX, round)
    log IFederation.Renewed(miner=msg.sender, tail=tail)


@internal
@payable
def _top_up(round: uint256):
    """
    @notice Raises the sender's stake; its weight follows when the next round opens.
    @param round The running round.
    """
    record: uint256 = self.records[msg.sender]
    assert record != 0, "registry: not a miner"
    assert self.exits[msg.sender] == 0, "registry: leaving"
    self._add_stake()
    self._change(record & INDEX, round)
    log IFederation.StakeChanged(miner=msg.sender, stake=self.stakes[msg.sender])


@internal
def _leave_miner(round: uint256):
    """
    @notice The sender stops voting when the next round opens; its stake stays for a while.
    @param round The running round.
    """
    record: uint256 = self.records[msg.sender]
    assert record != 0, "registry: not a miner"
    assert self.exits[msg.sender] == 0, "registry: leaving"
    exit_round: uint256 = round + 1 + terms.TERMS.exit_rounds
    self.exits[msg.sender] = exit_round
    self.roster |= 1 << (LEAVING + (record & INDEX))
    log IFederation.MinerLeft(miner=msg.sender, exit_round=exit_round)


@internal
def _release_stake(round: uint256) -> uint256:
    """
    @notice Ends the sender's membership and hands back what is left of its stake.
    @param round The running round.
    @return The amount, for the caller to pay out.
    """
    exit_round: uint256 = self.exits[msg.sender]
    assert exit_round != 0, "registry: not leaving"
    assert round >= exit_round, "registry: stake still locked"
    stake: uint256 = self.stakes[msg.sender]
    self.stakes[msg.sender] = 0
    self.exits[msg.sender] = 0
    self.records[msg.sender] = 0
    self.staked -= stake
    log IFederation.StakeChanged(miner=msg.sender, stake=0)
    return stake


@internal
def _slash(round: uint256, index: uint256) -> uint256:
    """
    @notice Takes the whole stake of a miner.
    @param round The running round.
    @param index The miner's index.
    @return The amount taken, for the caller to share out.
    """
    return self._penalize(round, index, max_value(uint256))


@internal
def _penalize(round: uint256, index: uint256, penalty: uint256) -> uint256:
    """
    @notice Takes a penalty, or what is left, from a miner's stake.
    @param round The running round.
    @param index The miner's index.
    @param penalty The amount in wei.
    @return The amount taken, for the caller to put into the pool.
    """
    miner: address = self.miners[index]
    stake: uint256 = self.stakes[miner]
    taken: uint256 = min(stake, penalty)
    self.stakes[miner] = stake - taken
    self.staked -= taken
    self.roster |= 1 << (CHANGED + index)
    log IFederation.Penalized(round=round, miner=miner, amount=taken)
    return taken


@internal
def _refresh() -> uint256:
    """
    @notice Lets what changed take effect; called when a round opens.
    @return The roster.
    """
    roster: uint256 = self.roster
    changes: uint256 = (roster >> CHANGED | roster >> LEAVING) & MASK64
    novices: uint256 = 0
    if roster & NOVICES != 0:
        # The oldest of the four masks falls off at the top.
        cohorts: uint256 = self.novices
        changes |= cohorts >> (3 * COHORT)
        novices = (cohorts | cohorts >> COHORT | cohorts >> (2 * COHORT)) & MASK64
        self.novices = cohorts << COHORT
        if novices == 0:
            roster &= ~NOVICES
    if changes == 0:
        return roster
    leaving: uint256 = (roster >> LEAVING) & MASK64
    active: uint256 = roster & MASK64
    total: uint256 = (roster >> TOTAL) & MASK32
    for index: uint256 in range(MAX_MINERS):
        if (changes >> index) & 1 == 0:
            continue
        miner: address = self.miners[index]
        if miner == empty(address):
            continue
        record: uint256 = self.records[miner] & ~(NOVICE | RENEWED)
        bit: uint256 = 1 << index
        if novices & bit != 0:
            record |= NOVICE
        if active & bit != 0:
            total -= (record >> WEIGHT) & MAX_WEIGHT
        if leaving & bit != 0:
            active &= ~bit
            self.records[miner] = LEFT
            self.miners[index] = empty(address)
            continue
        weight: uint256 = min(self.stakes[miner] // terms.TERMS.min_stake, MAX_WEIGHT)
        total += weight
        if weight == 0:
            active &= ~bit
        else:
            active |= bit
        self.records[miner] = (record & ~(MAX_WEIGHT << WEIGHT)) | weight << WEIGHT
    roster = active | total << TOTAL | roster & (MASK8 << ENGINE | NOVICES)
    self.roster = roster
    return roster


@internal
def _register_devices(accounts: DynArray[address, 64], from_round: uint256):
    """
    @notice Admits devices; only the owner may.
    @param accounts Their accounts.
    @param from_round The first round they take part in.
    """
    assert msg.sender == OWNER, "registry: not the owner"
    count: uint256 = self.device_count
    assert count + len(accounts) <= MAX_DEVICES, "registry: no room for a device"
    for account: address in accounts:
        assert account != empty(address), "registry: no account"
        assert self.device_index[account] == 0, "registry: already a device"
        self.devices[count] = convert(account, uint256) | from_round << SINCE | MASK32 << UNTIL
        self.device_index[account] = count + 1
        if self.records[account] != 0:
            self.records[account] |= ALSO_DEVICE
        log IFederation.DeviceRegistered(device=account, index=count, from_round=from_round)
        count += 1
    self.device_count = count


@internal
def _leave_device(account: address, until_round: uint256):
    """
    @notice Lets a device go; the device itself or the owner may ask for it.
    @param account The device.
    @param until_round The first round it no longer takes part in.
    """
    assert msg.sender == account or msg.sender == OWNER, "registry: not the device"
    position: uint256 = self.device_index[account]
    assert position != 0, "registry: not a device"
    device: uint256 = self.devices[position - 1]
    assert device >> UNTIL == MASK32, "registry: leaving"
    self.devices[position - 1] = (device & ~(MASK32 << UNTIL)) | until_round << UNTIL
    log IFederation.DeviceLeft(device=account, index=position - 1, until_round=until_round)


@internal
@view
def _seat(miner: address, mask: uint256) -> (uint256, uint256):
    """
    @notice A miner's record, and its bit in a mask of miners.
    @param miner The account.
    @param mask The miners that count.
    @return The record, and the bit; the bit is zero if the miner does not count.
    """
    record: uint256 = self.records[miner]
    if record & REGISTERED == 0:
        return record, 0
    return record, mask & (1 << (record & INDEX))
