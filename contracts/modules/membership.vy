# pragma version 0.4.3
"""
@title membership: joining and leaving
@license Apache-2.0
@notice The doors of the registry. Who joins or leaves during a round does so from the next one on.
"""

from interfaces import IFederation
from modules import registry
from modules import rounds
from modules import treasury

uses: registry
uses: rounds


@external
@payable
def register_miner(tail: bytes32):
    """
    @notice Joins as a miner with what is sent as stake.
    @param tail The last layer of the miner's hash chain.
    """
    registry._register_miner(tail, rounds._round(rounds.clock))


@external
def renew(tail: bytes32):
    """
    @notice Replaces the sender's hash chain; no layer of it is shown in this round.
    @param tail The last layer of the new chain.
    """
    registry._renew(tail, rounds._round(rounds.clock))


@external
@payable
def top_up():
    """
    @notice Adds what is sent to the sender's stake.
    """
    registry._top_up(rounds._round(rounds.clock))


@external
def leave_miner():
    """
    @notice Stops mining from the next round on; the stake is free some rounds later.
    """
    registry._leave_miner(rounds._round(rounds.clock))


@external
def announce(endpoint: String[200]):
    """
    @notice States where the sender's devices and the other miners reach it.
    @param endpoint Its URL.
    """
    assert registry.records[msg.sender] & registry.REGISTERED != 0, "membership: not a miner"
    log IFederation.Announced(miner=msg.sender, endpoint=endpoint)


@external
def release_stake():
    """
    @notice Pays out the stake of a miner that has left.
    """
    treasury._send(msg.sender, registry._release_stake(rounds._round(rounds.clock)))


@external
def register_devices(accounts: DynArray[address, 64]):
    """
    @notice Admits devices from the next round on.
    @param accounts Their accounts.
    """
    registry._register_devices(accounts, rounds._round(rounds.clock) + 1)


@external
def leave_device(account: address):
    """
    @notice Lets a device go from the next round on.
    @param account The device.
    """
    registry._leave_device(account, rounds._round(rounds.clock) + 1)
