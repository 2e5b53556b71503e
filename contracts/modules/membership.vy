# pragma version 0.4.3
"""
@title membership: joining, resting and leaving
@license Apache-2.0
@notice The doors of the registry. Who joins, rests or leaves during a round does so from the next one on.
"""

from interfaces import IFederation
from modules import constants
from modules import registry
from modules import absence
from modules import rounds
from modules import treasury

uses: registry
uses: absence
uses: rounds


@external
def transfer_ownership(account: address):
    """
    @notice Hands the ownership on; the zero address gives it up for ever, and nobody admits devices any more.
    @param account The next owner.
    """
    registry._transfer_ownership(account)


@external
@payable
def register_miner():
    """
    @notice Joins as a miner with what is sent as stake.
    """
    registry._register_miner(rounds._round(rounds.clock))
    absence._forget(registry.records[msg.sender] & registry.INDEX)


@external
@payable
def top_up():
    """
    @notice Adds what is sent to the sender's stake.
    """
    registry._top_up()


@external
def resume():
    """
    @notice Ends the sender's suspension from the next round on.
    """
    absence._resume(rounds._round(rounds.clock))


@external
def evict(account: address):
    """
    @notice Frees the seat of a miner that has been suspended for long; anybody may.
    @param account The miner.
    """
    absence._evict(account, rounds._round(rounds.clock))


@external
def leave_miner():
    """
    @notice Stops mining from the next round on; the stake is free some rounds or some time later.
    """
    registry._leave_miner(msg.sender, rounds._round(rounds.clock))


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
    clock: uint256 = rounds.clock
    idle: bool = clock & constants.MASK4 == constants.IDLE
    treasury._send(msg.sender, registry._release_stake(msg.sender, rounds._round(clock), idle))


@external
def register_devices(accounts: DynArray[address, 64]):
    """
    @notice Admits devices from the next round on.
    @param accounts Their accounts.
    """
    registry._register_devices(accounts, rounds._round(rounds.clock))


@external
def accept_device():
    """
    @notice Consents to be a device too, as a miner that the owner has admitted as one.
    """
    registry._accept_device()


@external
def leave_device(account: address):
    """
    @notice Lets a device go from the next round on.
    @param account The device.
    """
    registry._leave_device(account, rounds._round(rounds.clock))
