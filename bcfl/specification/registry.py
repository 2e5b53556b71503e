"""Keep who takes part: miners with their stakes and weights, devices with their accounts.

What changes during a round takes effect when the next one opens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from bcfl.protocol.limits import BASIS_POINTS, MAX_MINERS, MAX_REGISTRATIONS, MAX_WEIGHT
from bcfl.protocol.types import Mode
from bcfl.specification import turns
from bcfl.specification.call import Call, bounded, require, unsigned
from bcfl.specification.state import STAYS, ZERO_ADDRESS, Device, Exit, Record

MAX_DEVICES: Final = 65_535


def owner(call: Call) -> str:
    """Return who admits devices and opens the first round."""
    return call.state.registry.owner


def staked(call: Call) -> int:
    """Return the sum of all stakes, wei."""
    return call.state.registry.staked


def seats(mask: int) -> Iterator[int]:
    """Yield the seats in a mask, the lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def seat(call: Call, account: str, mask: int) -> tuple[Record | None, int]:
    """Return a miner's record, and its bit in a mask of miners; 0 if the miner does not count."""
    record = call.state.registry.records.get(account)
    if record is None or not record.is_seated:
        return record, 0
    return record, mask & 1 << record.index


def staying(call: Call, account: str) -> Record:
    """Return the record of a miner that has a seat and has not asked to leave."""
    record = call.state.registry.records.get(account)
    require(record is not None and record.is_seated, "registry: not a miner")
    assert record is not None
    require(account not in call.state.registry.exits, "registry: leaving")
    return record


def is_device(call: Call, account: str) -> bool:
    """Whether an account is admitted as a device and has not asked to leave, nor been let go."""
    registry = call.state.registry
    index = registry.device_index.get(account)
    return index is not None and registry.devices[index].until_round == STAYS


def transfer_ownership(call: Call, account: str) -> None:
    """Hand the ownership on; only the owner may. The zero address gives it up for ever."""
    registry = call.state.registry
    require(call.sender == registry.owner, "registry: not the owner")
    registry.owner = account
    call.log("OwnershipTransferred", previous=call.sender, owner=account)


def register_miner(call: Call) -> int:
    """Take the sender's stake; it votes from the next round on. Returns its seat."""
    registry = call.state.registry
    require(call.sender not in registry.records, "registry: already a miner")
    is_full = call.terms.mode == Mode.FULL
    require(not is_full or is_device(call, call.sender), "registry: not a device")
    index = next((i for i in range(MAX_MINERS) if i not in registry.miners), MAX_MINERS)
    require(index < MAX_MINERS, "registry: no room for a miner")
    # In the other modes it consents: the owner may have admitted an account that does not want it.
    registry.records[call.sender] = Record(index, is_device=is_full)
    registry.miners[index] = call.sender
    turns.join(call, index)
    registry.changed |= 1 << index
    _add_stake(call)
    call.log("MinerRegistered", miner=call.sender, index=index, stake=call.value)
    return index


def top_up(call: Call) -> None:
    """Raise the sender's stake; its weight follows when the next round opens."""
    registry = call.state.registry
    record = staying(call, call.sender)
    _add_stake(call)
    registry.changed |= 1 << record.index
    call.log("StakeChanged", miner=call.sender, stake=registry.stakes[call.sender])


def _add_stake(call: Call) -> None:
    """Add what was sent to the sender's stake."""
    registry = call.state.registry
    stake = registry.stakes.get(call.sender, 0) + call.value
    require(stake >= call.terms.min_stake, "registry: stake below the minimum")
    registry.stakes[call.sender] = stake
    registry.staked += call.value


def leave_miner(call: Call, account: str, round_: int) -> None:
    """Let a miner stop voting when the next round opens; its stake stays for a while."""
    registry = call.state.registry
    record = staying(call, account)
    exit_round = round_ + 1 + call.terms.exit_rounds
    registry.exits[account] = Exit(exit_round)
    registry.leaving |= 1 << record.index
    call.log("MinerLeft", miner=account, exit_round=exit_round)


def release_stake(call: Call, account: str, round_: int, is_idle: bool) -> int:
    """End a miner's membership; returns what is left of its stake, for the caller to pay out.

    Some rounds or some time after its last round, whichever comes first, and at once before the first round.
    """
    registry = call.state.registry
    leave = registry.exits.get(account)
    require(leave is not None, "registry: not leaving")
    assert leave is not None
    is_late = leave.time != 0 and call.block.timestamp >= leave.time + call.terms.exit_seconds
    is_free = is_idle or is_late or (leave.time != 0 and round_ >= leave.round)
    require(is_free, "registry: stake still locked")
    if is_idle:  # no refresh has freed the seat
        index = registry.records[account].index
        del registry.miners[index]
        registry.changed &= ~(1 << index)
        registry.leaving &= ~(1 << index)
    stake = registry.stakes.pop(account, 0)
    del registry.exits[account]
    registry.records.pop(account, None)
    registry.staked -= stake
    call.log("StakeChanged", miner=account, stake=0)
    return stake


def penalize(call: Call, round_: int, index: int, penalty: int) -> int:
    """Take a penalty, or what is left, from a stake; returns what was taken, for the pool."""
    registry = call.state.registry
    miner = registry.miners.get(index, ZERO_ADDRESS)
    stake = registry.stakes.get(miner, 0)
    taken = min(stake, penalty)
    registry.stakes[miner] = stake - taken
    registry.staked -= taken
    registry.changed |= 1 << index
    call.log("Penalized", round=round_, miner=miner, amount=taken)
    return taken


def slash(call: Call, round_: int, mask: int, author: int, author_part: int, part: int) -> tuple[int, int]:
    """Take parts of stakes, in basis points; returns what was taken from the author, and from all.

    `mask`: of those that made or attested what was refuted; `author`: the seat of who made it.
    """
    registry = call.state.registry
    taken = total = 0
    for index in seats(mask):
        miner = registry.miners.get(index, ZERO_ADDRESS)
        stake = registry.stakes.get(miner, 0)
        amount = stake * (author_part if index == author else part) // BASIS_POINTS
        registry.stakes[miner] = stake - amount
        total += amount
        if index == author:
            taken = amount
        call.log("Penalized", round=round_, miner=miner, amount=amount)
    registry.staked = unsigned(registry.staked - total)
    registry.changed |= mask
    return taken, total


def refresh(call: Call, round_: int) -> None:
    """Let what changed take effect when a round opens.

    A seat whose stake is below the minimum is freed, and what is left of the stake goes the way of an exit.
    """
    registry = call.state.registry
    for index in seats(registry.changed | registry.leaving):
        miner = registry.miners.get(index)
        if miner is None:
            continue
        record, bit = registry.records[miner], 1 << index
        if registry.active & bit:
            registry.total -= record.weight
            registry.active &= ~bit
        weight = min(registry.stakes.get(miner, 0) // call.terms.min_stake, MAX_WEIGHT)
        if registry.leaving & bit or weight == 0:
            _free(call, miner, index, round_)
            continue
        if record.is_suspended:
            weight = 0
        if weight:
            registry.active |= bit
        registry.total += weight
        is_too = (record.consents or record.is_device) and is_device(call, miner)
        registry.records[miner] = replace(record, weight=weight, consents=False, is_device=is_too)
    registry.changed = registry.leaving = 0


def _free(call: Call, miner: str, index: int, round_: int) -> None:
    """Free a seat; from now on the time of the exit runs."""
    registry = call.state.registry
    leave = registry.exits.get(miner)
    if leave is None:
        leave = Exit(round_ + call.terms.exit_rounds)
        call.log("MinerLeft", miner=miner, exit_round=leave.round)
    registry.exits[miner] = replace(leave, time=call.block.timestamp)
    registry.records[miner] = Record(0, is_seated=False)
    del registry.miners[index]


def register_devices(call: Call, accounts: Sequence[str], round_: int) -> None:
    """Admit devices from the next round on; only the owner may. One that has left returns to its index."""
    bounded(MAX_REGISTRATIONS, accounts)
    registry = call.state.registry
    require(call.sender == registry.owner, "registry: not the owner")
    for account in accounts:
        require(account != ZERO_ADDRESS, "registry: no account")
        index = registry.device_index.get(account)
        if index is None:
            index = len(registry.devices)
            require(index < MAX_DEVICES, "registry: no room for a device")
            registry.device_index[account] = index
        else:
            require(registry.devices[index].until_round <= round_, "registry: already a device")
        registry.devices[index] = Device(account, round_ + 1, STAYS)
        call.log("DeviceRegistered", device=account, index=index, from_round=round_ + 1)


def accept_device(call: Call) -> None:
    """Let a miner consent to be a device too, from the next round on."""
    registry = call.state.registry
    record = staying(call, call.sender)
    require(is_device(call, call.sender), "registry: not a device")
    require(not (record.is_device or record.consents), "registry: already a device")
    registry.records[call.sender] = replace(record, consents=True)
    registry.changed |= 1 << record.index
    call.log("DeviceAccepted", miner=call.sender, index=registry.device_index[call.sender])


def leave_device(call: Call, account: str, round_: int) -> None:
    """Let a device go from the next round on; the device itself or the owner may ask for it.

    A miner is a device no longer; where every miner has to be one, it loses its seat as well.
    """
    registry = call.state.registry
    require(call.sender in (account, registry.owner), "registry: not the device")
    index = registry.device_index.get(account)
    require(index is not None, "registry: not a device")
    assert index is not None
    device = registry.devices[index]
    require(device.until_round == STAYS, "registry: leaving")
    registry.devices[index] = replace(device, until_round=round_ + 1)
    call.log("DeviceLeft", device=account, index=index, until_round=round_ + 1)
    record = registry.records.get(account)
    if record is not None and record.is_seated:
        registry.changed |= 1 << record.index
        if call.terms.mode == Mode.FULL and account not in registry.exits:
            leave_miner(call, account, round_)
