# pragma version 0.4.3
"""
@title directory: who takes part, for whoever asks
@license Apache-2.0
@notice The views of `registry`.
"""

from interfaces import IFederation
from modules import constants
from modules import packing
from modules import registry

uses: registry


@external
@view
def miner(account: address) -> IFederation.Miner:
    """
    @notice A miner's index, weight, stake and state.
    @param account Its account.
    """
    record: uint256 = registry.records[account]
    assert record != 0, "registry: not a miner"
    index: uint256 = record & registry.INDEX
    return IFederation.Miner(
        index=index,
        weight=(record >> registry.WEIGHT) & registry.MAX_WEIGHT,
        stake=registry.stakes[account],
        active=(registry.roster >> index) & 1 == 1 and registry.miners[index] == account,
        exit_round=registry.exits[account] & constants.MASK32,
        exit_time=registry.exits[account] >> registry.EXIT_TIME,
    )


@external
@view
def miner_at(index: uint256) -> address:
    """
    @notice The account of the miner at an index.
    @param index 0 to 63.
    """
    return registry.miners[index]


@external
@view
def active_miners() -> (uint256, uint256):
    """
    @notice The mask of active miners and their total weight.
    """
    return registry.roster & constants.MASK64, (registry.roster >> registry.TOTAL) & constants.MASK32


@external
@view
def device(index: uint256) -> IFederation.Device:
    """
    @notice A device's account and membership.
    @param index Its index.
    """
    assert index < registry.device_count, "registry: not a device"
    word: uint256 = registry.devices[index]
    return IFederation.Device(
        account=packing._account(word),
        from_round=(word >> registry.SINCE) & constants.MASK32,
        until_round=word >> registry.UNTIL,
    )


@external
@view
def device_of(account: address) -> uint256:
    """
    @notice The index of a device.
    @param account Its account.
    """
    position: uint256 = registry.device_index[account]
    assert position != 0, "registry: not a device"
    return position - 1


@external
@view
def devices_registered() -> uint256:
    """
    @notice How many devices were ever admitted.
    """
    return registry.device_count

