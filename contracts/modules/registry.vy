# pragma version 0.4.3
"""
@title registry: who takes part
@license Apache-2.0
@notice Miners with their stakes and weights, devices with their accounts. What
        changes during a round takes effect when the next one opens. A miner's
        record is one word, so that a commitment costs one slot: digest (224 bits) | spare (3) |
        consents to be a device (1) | suspended (1) | left (1) | also a device (1) | registered (1) |
        weight (16) | index (8). An exit is one word: time (36) | round (32).
"""

from interfaces import IFederation
from modules import constants
from modules import terms
from modules import turns

uses: terms
uses: turns


MAX_WEIGHT: constant(uint256) = constants.MASK16

INDEX: constant(uint256) = constants.MASK8
WEIGHT: constant(uint256) = 8  # shift
REGISTERED: constant(uint256) = 2**24
ALSO_DEVICE: constant(uint256) = 2**25
LEFT: constant(uint256) = 2**26
SUSPENDED: constant(uint256) = 2**27  # has a seat without weight until it resumes
CONSENT: constant(uint256) = 2**28  # becomes a device too when the next round opens
RECORD: constant(uint256) = constants.MASK32  # all but the digest

# Roster: active (64) | changed (64) | leaving (64) | total weight (32) | next engine (8).
CHANGED: constant(uint256) = 64
LEAVING: constant(uint256) = 128
TOTAL: constant(uint256) = 192
ENGINE: constant(uint256) = 224

# Device: until round (32) | from round (32) | account (160).
SINCE: constant(uint256) = 160
UNTIL: constant(uint256) = 192
MAX_DEVICES: constant(uint256) = 65_535

EXIT_TIME: constant(uint256) = 32  # shift

owner: public(address)
records: HashMap[address, uint256]
stakes: HashMap[address, uint256]
exits: HashMap[address, uint256]
miners: HashMap[uint256, address]
roster: uint256
staked: public(uint256)
devices: HashMap[uint256, uint256]
device_index: HashMap[address, uint256]  # index + 1
device_count: uint256


@deploy
def __init__():
    """
    @notice The deployer owns the federation: it admits devices and opens the first round.
    """
    self.owner = msg.sender
    self.roster = terms.TERMS.engine << ENGINE


@internal
def _transfer_ownership(account: address):
    """
    @notice Hands the ownership on; only the owner may. The zero address gives it up for ever.
    @param account The next owner.
    """
    assert msg.sender == self.owner, "registry: not the owner"
    self.owner = account
    log IFederation.OwnershipTransferred(previous=msg.sender, owner=account)


@internal
@payable
def _register_miner(round: uint256):
    """
    @notice Takes the sender's stake; it votes from the next round on.
    @param round The running round.
    """
    assert self.records[msg.sender] == 0, "registry: already a miner"
    is_full: bool = terms.TERMS.mode == constants.FULL
    assert not is_full or self._is_device(msg.sender), "registry: not a device"
    index: uint256 = constants.MAX_MINERS
    for i: uint256 in range(constants.MAX_MINERS):
        if self.miners[i] == empty(address):
            index = i
            break
    assert index < constants.MAX_MINERS, "registry: no room for a miner"
    record: uint256 = index | REGISTERED
    if is_full:
        # In the other modes it consents: the owner may have admitted an account that does not want it.
        record |= ALSO_DEVICE
    self.records[msg.sender] = record
    self.miners[index] = msg.sender
    turns._join(index)
    self.roster |= 1 << (CHANGED + index)
    self._add_stake()
    log IFederation.MinerRegistered(miner=msg.sender, index=index, stake=msg.value)


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
@view
def _is_device(account: address) -> bool:
    """
    @notice Whether an account is admitted as a device and has not asked to leave, nor been let go.
    @param account The account.
    """
    position: uint256 = self.device_index[account]
    return position != 0 and self.devices[position - 1] >> UNTIL == constants.MASK32


@internal
@view
def _staying(account: address) -> uint256:
    """
    @notice The record of a miner that has a seat and has not asked to leave.
    @param account Its account.
    """
    record: uint256 = self.records[account]
    assert record & REGISTERED != 0, "registry: not a miner"
    assert self.exits[account] == 0, "registry: leaving"
    return record


@internal
@payable
def _top_up():
    """
    @notice Raises the sender's stake; its weight follows when the next round opens.
    """
    record: uint256 = self._staying(msg.sender)
    self._add_stake()
    self.roster |= 1 << (CHANGED + (record & INDEX))
    log IFederation.StakeChanged(miner=msg.sender, stake=self.stakes[msg.sender])


@internal
def _leave_miner(account: address, round: uint256):
    """
    @notice A miner stops voting when the next round opens; its stake stays for a while.
    @param account The miner.
    @param round The running round.
    """
    record: uint256 = self._staying(account)
    exit_round: uint256 = round + 1 + terms.TERMS.exit_rounds
    self.exits[account] = exit_round
    self.roster |= 1 << (LEAVING + (record & INDEX))
    log IFederation.MinerLeft(miner=account, exit_round=exit_round)


@internal
def _release_stake(account: address, round: uint256, idle: bool) -> uint256:
    """
    @notice Ends a miner's membership and hands back what is left of its stake: some rounds or some time
            after its last round, whichever comes first, and at once before the first round.
    @param account The miner.
    @param round The running round.
    @param idle Whether the first round has not been opened.
    @return The amount, for the caller to pay out.
    """
    exit: uint256 = self.exits[account]
    assert exit != 0, "registry: not leaving"
    left: uint256 = exit >> EXIT_TIME
    late: bool = left != 0 and block.timestamp >= left + terms.TERMS.exit_seconds
    assert idle or late or (left != 0 and round >= exit & constants.MASK32), "registry: stake still locked"
    if idle:
        # No refresh has freed the seat.
        index: uint256 = self.records[account] & INDEX
        self.miners[index] = empty(address)
        self.roster &= ~(1 << (CHANGED + index) | 1 << (LEAVING + index))
    stake: uint256 = self.stakes[account]
    self.stakes[account] = 0
    self.exits[account] = 0
    self.records[account] = 0
    self.staked -= stake
    log IFederation.StakeChanged(miner=account, stake=0)
    return stake


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
def _slash(round: uint256, mask: uint256, author: uint256, author_part: uint256, part: uint256) -> (uint256, uint256):
    """
    @notice Takes a part of the stakes of miners. The sum of all stakes and the roster are written once.
    @param round The running round.
    @param mask The mask of those that made or attested what was refuted.
    @param author The index of the author.
    @param author_part How much of the author's stake, in basis points.
    @param part How much of each other's stake, in basis points.
    @return What was taken from the author, and from all, for the caller to share out.
    """
    taken: uint256 = 0
    total: uint256 = 0
    left: uint256 = mask
    for index: uint256 in range(constants.MAX_MINERS):
        if left == 0:
            break
        if left & 1 == 1:
            miner: address = self.miners[index]
            stake: uint256 = self.stakes[miner]
            amount: uint256 = stake * (author_part if index == author else part) // constants.BASIS
            self.stakes[miner] = stake - amount
            total += amount
            if index == author:
                taken = amount
            log IFederation.Penalized(round=round, miner=miner, amount=amount)
        left >>= 1
    self.staked -= total
    self.roster |= mask << CHANGED
    return taken, total


@internal
def _refresh(round: uint256) -> uint256:
    """
    @notice Lets what changed take effect; called when a round opens. A seat whose stake is below the
            minimum is freed, and what is left of the stake goes the way of an exit.
    @param round The round that opens.
    @return The roster.
    """
    roster: uint256 = self.roster
    leaving: uint256 = (roster >> LEAVING) & constants.MASK64
    changes: uint256 = (roster >> CHANGED) & constants.MASK64 | leaving
    if changes == 0:
        return roster
    active: uint256 = roster & constants.MASK64
    total: uint256 = (roster >> TOTAL) & constants.MASK32
    for index: uint256 in range(constants.MAX_MINERS):
        bit: uint256 = 1 << index
        if changes & bit == 0:
            continue
        miner: address = self.miners[index]
        if miner == empty(address):
            continue
        record: uint256 = self.records[miner]
        if active & bit != 0:
            total -= (record >> WEIGHT) & MAX_WEIGHT
        weight: uint256 = min(self.stakes[miner] // terms.TERMS.min_stake, MAX_WEIGHT)
        if leaving & bit != 0 or weight == 0:
            active &= ~bit
            self._free(miner, index, round)
            continue
        if record & SUSPENDED != 0:
            weight = 0
        if weight == 0:
            active &= ~bit
        else:
            active |= bit
        total += weight
        if record & (CONSENT | ALSO_DEVICE) != 0:
            record &= ~(CONSENT | ALSO_DEVICE)
            if self._is_device(miner):
                record |= ALSO_DEVICE
        self.records[miner] = record & ~(MAX_WEIGHT << WEIGHT) | weight << WEIGHT
    roster = active | total << TOTAL | roster & (constants.MASK8 << ENGINE)
    self.roster = roster
    return roster


@internal
def _free(miner: address, index: uint256, round: uint256):
    """
    @notice Frees a seat; from now on the time of the exit runs.
    @param miner Who had it.
    @param index The seat.
    @param round The round that opens.
    """
    exit: uint256 = self.exits[miner]
    if exit == 0:
        exit = round + terms.TERMS.exit_rounds
        log IFederation.MinerLeft(miner=miner, exit_round=exit)
    self.exits[miner] = exit | block.timestamp << EXIT_TIME
    self.records[miner] = LEFT
    self.miners[index] = empty(address)


@internal
def _register_devices(accounts: DynArray[address, 64], round: uint256):
    """
    @notice Admits devices from the next round on; only the owner may. A device that has left returns to its
            index. A miner becomes a device too only with its consent.
    @param accounts Their accounts.
    @param round The running round.
    """
    assert msg.sender == self.owner, "registry: not the owner"
    count: uint256 = self.device_count
    for account: address in accounts:
        assert account != empty(address), "registry: no account"
        index: uint256 = count
        position: uint256 = self.device_index[account]
        if position == 0:
            assert count < MAX_DEVICES, "registry: no room for a device"
            count += 1
            self.device_index[account] = count
        else:
            index = position - 1
            assert self.devices[index] >> UNTIL <= round, "registry: already a device"
        self.devices[index] = (
            convert(account, uint256) | (round + 1) << SINCE | constants.MASK32 << UNTIL
        )
        log IFederation.DeviceRegistered(device=account, index=index, from_round=round + 1)
    self.device_count = count


@internal
def _accept_device():
    """
    @notice A miner consents to be a device too, from the next round on.
    """
    record: uint256 = self._staying(msg.sender)
    assert self._is_device(msg.sender), "registry: not a device"
    assert record & (ALSO_DEVICE | CONSENT) == 0, "registry: already a device"
    self.records[msg.sender] = record | CONSENT
    self.roster |= 1 << (CHANGED + (record & INDEX))
    log IFederation.DeviceAccepted(miner=msg.sender, index=self.device_index[msg.sender] - 1)


@internal
def _leave_device(account: address, round: uint256):
    """
    @notice Lets a device go from the next round on; the device itself or the owner may ask for it. A miner
            is a device no longer; where every miner has to be one, it loses its seat as well.
    @param account The device.
    @param round The running round.
    """
    assert msg.sender == account or msg.sender == self.owner, "registry: not the device"
    position: uint256 = self.device_index[account]
    assert position != 0, "registry: not a device"
    device: uint256 = self.devices[position - 1]
    assert device >> UNTIL == constants.MASK32, "registry: leaving"
    self.devices[position - 1] = device & ~(constants.MASK32 << UNTIL) | (round + 1) << UNTIL
    log IFederation.DeviceLeft(device=account, index=position - 1, until_round=round + 1)
    record: uint256 = self.records[account]
    if record & REGISTERED != 0:
        self.roster |= 1 << (CHANGED + (record & INDEX))
        if terms.TERMS.mode == constants.FULL and self.exits[account] == 0:
            self._leave_miner(account, round)


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
