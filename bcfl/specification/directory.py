"""Say who takes part, to whoever asks."""

from __future__ import annotations

from bcfl.specification.call import Call, require
from bcfl.specification.state import ZERO_ADDRESS, Exit


def miner(call: Call, account: str) -> tuple[int, int, int, bool, int, int]:
    """Return a miner's index, weight, stake and state."""
    registry = call.state.registry
    record = registry.records.get(account)
    require(record is not None, "registry: not a miner")
    assert record is not None
    is_active = bool(registry.active >> record.index & 1) and registry.miners.get(record.index) == account
    leave = registry.exits.get(account, Exit(0))
    stake = registry.stakes.get(account, 0)
    return record.index, record.weight, stake, is_active, leave.round, leave.time


def miner_at(call: Call, index: int) -> str:
    """Return the account of the miner at an index."""
    return call.state.registry.miners.get(index, ZERO_ADDRESS)


def active_miners(call: Call) -> tuple[int, int]:
    """Return the mask of active miners and their total weight."""
    return call.state.registry.active, call.state.registry.total


def device(call: Call, index: int) -> tuple[str, int, int]:
    """Return a device's account and membership."""
    found = call.state.registry.devices.get(index)
    require(found is not None, "registry: not a device")
    assert found is not None
    return found.account, found.from_round, found.until_round


def device_of(call: Call, account: str) -> int:
    """Return the index of a device."""
    index = call.state.registry.device_index.get(account)
    require(index is not None, "registry: not a device")
    assert index is not None
    return index


def devices_registered(call: Call) -> int:
    """Return how many devices were ever admitted."""
    return len(call.state.registry.devices)
